"""What happens in one network namespace is no evidence for another."""

from __future__ import annotations

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.model.rule import Confidence
from rstaudit.parse.reset_event import RECEIVE, SEND, Event, Place
from rstaudit.resets.live.context import Context
from rstaudit.resets.live.crossings import Ends
from support.event_streams import MS, SECOND, Story, judge

_LOOPBACK = b"\x7f\0\0\1"
_CLIENT, _SERVER, _OTHER = b"\xc0\0\2\1", b"\xc6\x33\x64\1", b"\xcb\0\x71\1"
_ANY = bytes(4)
#: Two namespaces.
_A, _B = 101, 102
_HERE = Context(peer_local=True)


def loopback(netns: int) -> Place:
    """On an address that every namespace has."""
    return Place(netns, netns, shared=True)


def told(*stories: tuple[Story, Place], context: Context = _HERE) -> list[tuple[Event, Diagnosis]]:
    """What is said of each reset of stories that go on at once, each at its place."""
    events = [one._replace(place=place) for story, place in stories for one in story.events]
    judged = judge(sorted(events), context)
    return [(one.event, one.diagnosis) for one in judged if one.diagnosis is not None]


def refused(ends: Ends, sk: int = 1) -> Story:
    """A connect that meets a closed port, at both ends."""
    story = Story(ends)
    story.sk = sk
    story.state("CLOSE", "SYN_SENT").other_end().send("NO_SOCKET", None, irq=True)
    story.other_end().sk = sk
    return story.receive()


def established(ends: Ends) -> Story:
    """A client that is connected and then reset."""
    return Story(ends).connect().wait(10 * MS).receive()


def listens(port: int, *, closes: bool = False) -> Story:
    """A listener on any address."""
    story = Story((_ANY, port, _ANY, 0))
    story.sk = 70
    story.state("CLOSE", "LISTEN")
    return story.state("LISTEN", "CLOSE") if closes else story


def test_a_refusal_on_loopback_is_no_nat() -> None:
    """Another namespace got a reset at the same address and port a moment before."""
    first = refused((_LOOPBACK, 40000, _LOOPBACK, 9))
    second = Story((_LOOPBACK, 40000, _LOOPBACK, 8080)).connect().receive()
    for place in (loopback(_B), Place()):
        found = told((second, place), (first, loopback(_A)))
        causes = {d.cause for event, d in found if event.place == loopback(_A)}
        assert causes == {"closed-port"}


def test_a_port_that_is_used_again_is_no_nat() -> None:
    """The client's port met two refusals, of two servers, within a second."""
    first = refused((_CLIENT, 40000, _SERVER, 9), sk=1)
    second = refused((_CLIENT, 40000, _OTHER, 10), sk=3)
    second.events = [one._replace(time_ns=one.time_ns + 100 * MS) for one in second.events]
    assert {d.cause for _, d in told((first, Place()), (second, Place()))} == {"closed-port"}


def test_the_same_four_tuple_in_two_namespaces() -> None:
    """A straggler's and a refusal's namespaces keep their own histories."""
    ends = (_LOOPBACK, 40000, _LOOPBACK, 8080)
    ended = Story(ends).connect().wait(10 * MS).send("TCP_STATE", "CLOSE").state(
        "ESTABLISHED", "CLOSE"
    ).destroy(disconnected=True)  # fmt: skip
    later = refused(ends, sk=9)
    later.events = [one._replace(time_ns=one.time_ns + 50 * MS) for one in later.events]
    found = told((ended, loopback(_A)), (later, loopback(_B)))
    for event, diagnosis in found:
        expected = {_A: {"disconnect", "linger-abort"}, _B: {"closed-port"}}[event.place.netns]
        assert diagnosis.cause in expected


def test_a_listener_elsewhere_answers_for_nobody_here() -> None:
    """A reset that nobody sent, while a listener of the same port in another namespace denied."""
    denial = Story((_ANY, 443, _ANY, 0)).wait(2 * SECOND + 9 * MS).send("TCP_FLAGS", "LISTEN")
    receipt = established((_CLIENT, 40000, _SERVER, 443))
    receipt.events[-1] = receipt.events[-1]._replace(time_ns=3 * SECOND + 10 * MS)
    at = Place(_A, 103, peer_forwards=False)
    found = dict(told((receipt, at), (denial, Place(_B, shared=True))))
    received = next(d for event, d in found.items() if event.kind == RECEIVE)
    sent = next(d for event, d in found.items() if event.kind == SEND)
    assert "other_end" not in received.evidence
    assert sent.cause == "unsolicited-segment"


def test_a_remote_server_is_no_listener_of_this_host() -> None:
    """Who connected to another host's port 443 is not the peer of a listener's reset here."""
    client = Story((_CLIENT, 40000, _SERVER, 443)).connect()
    denial = Story((_ANY, 443, _ANY, 0)).wait(SECOND).send("TCP_FLAGS", "LISTEN", irq=True)
    found = told((client, Place(_A, afar=True)), (denial, Place(_B, shared=True)))
    assert [d.cause for _, d in found] == ["unsolicited-segment"]


def test_a_refused_connect_is_not_a_listeners_doing() -> None:
    """Listeners reset no SYN, so that a listener's reset at the same time is another's."""
    denial = Story((_ANY, 80, _ANY, 0)).send("TCP_FLAGS", "LISTEN", irq=True)
    connect = Story((_CLIENT, 40000, _SERVER, 8080)).state("CLOSE", "SYN_SENT").receive()
    found = dict(told((connect, Place(_A)), (denial, Place(_B, shared=True))))
    assert {d.cause for d in found.values()} == {"injected", "unsolicited-segment"}


def test_listeners_come_and_go_elsewhere() -> None:
    """A listener that was closed in another namespace is not why nothing listens here."""
    reset = Story((_SERVER, 80, _OTHER, 40000)).wait(SECOND).send("NO_SOCKET", None, irq=True)
    gone = listens(80, closes=True)
    for netns, expected in ((_A, "was closed"), (_B, "Nothing listens")):
        there = (gone, Place(netns, shared=True))
        found = told(there, (reset, Place(_A, afar=True)), context=Context(peer_local=False))
        ((_, diagnosis),) = found
        assert expected in diagnosis.why


def test_an_accept_at_another_server_is_no_nat() -> None:
    """Another server accepted a client with the same port since."""
    client = Story((_CLIENT, 40000, _SERVER, 80)).connect().wait(10 * MS)
    client.other_end().send("NO_SOCKET", None, irq=True)
    other = Story((_LOOPBACK, 80, _LOOPBACK, 40000)).wait(5 * MS).accept()
    here = (listens(80), Place(_A, shared=True))
    found = told(here, (client, Place()), (other, loopback(_B)))
    assert [d.cause for _, d in found] == ["half-open"]


def test_a_refused_connect_through_nat_is_a_closed_port() -> None:
    """The balancer's address was connected to; it works as it should, and nothing listens."""
    connect = Story((_CLIENT, 40000, _OTHER, 80)).state("CLOSE", "SYN_SENT")
    behind = Story((_SERVER, 8080, _CLIENT, 40000)).wait(MS).send("NO_SOCKET", None, irq=True)
    connect.wait(2 * MS).receive()
    found = told((connect, Place(_A)), (behind, Place(_B)))
    assert [d.cause for _, d in found] == ["closed-port", "closed-port"]


def test_an_unknown_sender_may_be_a_filter() -> None:
    """Where nobody is known to have the sender's address, nothing is certain."""
    far = Context(peer_local=False)
    stories = [
        Story().state("CLOSE", "SYN_SENT").receive(), Story().connect().receive(),
        Story().connect().state("ESTABLISHED", "CLOSE_WAIT", irq=True).receive(),
        Story().connect().state("ESTABLISHED", "FIN_WAIT1").receive(), Story().receive(),
    ]  # fmt: skip
    for story in stories:
        said = story.told(far)
        assert said.confidence is not Confidence.CERTAIN
        assert "firewall-reject" in said.alternatives
