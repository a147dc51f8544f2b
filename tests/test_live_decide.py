"""The cause of a live reset: recorded streams of this kernel, and as older kernels tell them."""

from __future__ import annotations

import re

import pytest

from rstaudit.catalogue.causes import causes as catalogue
from rstaudit.model.diagnosis import Diagnosis
from rstaudit.model.rule import Confidence
from rstaudit.resets.live.context import Context, Quiet
from rstaudit.resets.live.decide import decide
from rstaudit.resets.live.history import History
from support.event_streams import MS, SECOND, Story, causes, here, judge, load, recorded
from support.trace_pages import as_seen_on

#: What is said of each recorded stream: the causes of all its resets.
EXPECTED = {
    "admin-destroy": {"admin-destroy"},
    "close-unread": {"close-unread"},
    "closed-port": {"closed-port"},
    "data-to-closed": {"data-to-closed"},
    "disconnect": {"disconnect"},
    "finwait2-timeout": {"finwait2-timeout"},
    "firewall-reject": {"firewall-reject"},
    "half-open": {"half-open"},
    "half-open-listening": {"half-open"},
    "handshake-timeout": {"handshake-timeout"},
    "idle-timeout": {"firewall-reject", "data-to-closed"},  # a filter that begins to reject
    "injected": {"injected", "firewall-reject"},  # the last one while a filter drops the SYN
    "injected-client": {"injected", "late-segment"},
    "invalid-final-ack": {"invalid-segment"},
    "invalid-segment": {"invalid-segment"},
    "keepalive-timeout": {"keepalive-timeout"},
    "late-after-reset": {"linger-abort", "late-segment"},
    "linger-abort": {"linger-abort"},
    "linger2-abort": {"linger2-abort"},
    "listen-overflow": {"listen-overflow"},
    "listener-closed": {"listener-closed"},
    "mptcp-fastclose": {"mptcp-fastclose"},
    "nat-expiry-client-first": {"nat-invalid"},
    "nat-rebalanced": {"nat-invalid"},
    "reject-established": {"firewall-reject", "late-segment"},
    "retransmit-timeout": {"retransmit-timeout"},
    "stale-connection": {"stale-connection"},
    "stray-ack": {"unsolicited-segment"},
    "syn-scan": {"syn-scan", "closed-port"},
    "timewait-overflow": {"timewait-overflow"},
}
#: Recorded streams that need what is said in the tests below.
APART = {"linger2-before-ack", "timewait-overflow-listening"}

OLD_KERNELS = ("5.15", "6.1", "6.8", "6.11", "6.12")
#: Streams in which a dropped packet tells a filter from a forger.
FILTERED = {"firewall-reject", "reject-established", "idle-timeout", "injected", "injected-client"}


def test_every_recorded_stream_is_judged() -> None:
    """No recording lies there without a verdict."""
    assert set(recorded()) == EXPECTED.keys() | APART


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recorded_stream_is_named(name: str) -> None:
    """With events, counters and both ends on this host the cause is named, at either end."""
    stream = load(name)
    assert causes(judge(stream.events, here(stream))) == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recorded_stream_without_counters(name: str) -> None:
    """Without counters the same is named, or a cause that lists it among its alternatives."""
    for one in judge(load(name).events, Context(peer_local=True)):
        if one.diagnosis is not None:
            _right_or_open(one.diagnosis, EXPECTED[name])


@pytest.mark.parametrize("kernel", OLD_KERNELS)
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recorded_stream_as_an_older_kernel_tells_it(name: str, kernel: str) -> None:
    """Through the layouts of older kernels, which say less: right, or the truth left open."""
    stream = load(name)
    context = here(stream)._replace(
        every_reset_traced=kernel in ("6.11", "6.12"), drops_traced=False
    )
    for one in judge(as_seen_on(kernel, stream.events), context):
        if one.diagnosis is not None:
            _right_or_open(one.diagnosis, EXPECTED[name])


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - FILTERED))
def test_a_recorded_stream_through_the_layout_of_6_12(name: str) -> None:
    """6.12 tells as much as 6.18: the same causes."""
    stream = load(name)
    assert causes(judge(as_seen_on("6.12", stream.events), here(stream))) == EXPECTED[name]


def _right_or_open(diagnosis: Diagnosis, expected: set[str]) -> None:
    if diagnosis.cause not in expected:
        assert diagnosis.confidence is not Confidence.CERTAIN, diagnosis
        assert expected & set(diagnosis.alternatives), diagnosis


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() | APART))
@pytest.mark.parametrize("known", [True, False])
def test_what_is_said_is_sound(name: str, *, known: bool) -> None:
    """Causes are the catalogue's, a cause is no alternative to itself, numbers are in evidence."""
    stream = load(name)
    for one in judge(stream.events, here(stream) if known else None):
        if one.diagnosis is not None:
            sound(one.diagnosis)


def sound(diagnosis: Diagnosis) -> None:
    """Assert what holds of every diagnosis."""
    named = {diagnosis.cause, *diagnosis.alternatives}
    assert named <= catalogue().keys()
    assert diagnosis.cause not in diagnosis.alternatives
    assert len(set(diagnosis.alternatives)) == len(diagnosis.alternatives)
    if diagnosis.confidence is Confidence.CERTAIN:
        assert not diagnosis.alternatives, diagnosis
    told = " ".join(map(str, diagnosis.evidence.values()))
    why = re.sub(r"SO_LINGER \{1, 0\}|TCP_LINGER2|FIN_WAIT[12]|ss -K", "", diagnosis.why)
    for number in re.findall(r"\d+(?:\.\d+)?", why):
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?:\.0)?(?![\d])", told), (number, told)
    assert diagnosis.why.endswith(".")
    assert diagnosis.evidence["source"] == "events"


def test_a_false_receipt_is_dropped() -> None:
    """Data after shutdown(SHUT_RDWR) makes a receive event of the end that sends the reset."""
    stream = load("data-to-closed")
    judged = judge(stream.events, here(stream))
    assert [one.event.kind for one in judged if one.diagnosis is None] == ["receive"]
    assert len(judged) == 5


def test_the_cause_of_a_reset_between_two_ends_of_this_host_is_known_at_both() -> None:
    """The receiver's diagnosis is the sender's, and says where it has it from."""
    stream = load("close-unread")
    for one in judge(stream.events, here(stream)):
        assert one.diagnosis is not None
        assert one.diagnosis.confidence is Confidence.CERTAIN
        assert ("other_end" in one.diagnosis.evidence) == (one.event.kind == "receive")


def test_several_resets_for_one_connection_have_one_cause() -> None:
    """A burst of segments to a lost connection: the second reset is not a straggler's."""
    stream = load("half-open-listening")
    sent = [one for one in judge(stream.events, here(stream)) if one.event.kind == "send"]
    assert len(sent) >= 2
    assert causes(sent) == {"half-open"}


def test_a_negative_linger2_before_the_fin_is_acknowledged() -> None:
    """The kernel's reason is that of late data; a delayed acknowledgement at the peer tells."""
    stream = load("linger2-before-ack")
    (sent, received) = judge(stream.events, Context(peer_local=True))
    for one in (sent, received):
        assert one.diagnosis is not None
        assert (one.diagnosis.cause, one.diagnosis.alternatives) == (
            "data-to-closed", ("linger2-abort",),
        )  # fmt: skip
    counters = {"TcpExt.DelayedACKs": 1}
    ours = {"TcpExt.TCPPureAcks": 1, "TcpExt.TCPAbortOnData": 1}
    context = Context(counters=ours, peer_counters=counters, peer_local=True)
    told = judge(stream.events, context)[0].diagnosis
    assert told is not None
    assert told.cause == "linger2-abort"


def test_a_late_fin_at_a_listener_after_time_wait_overflowed() -> None:
    """A reset sooner than FIN_WAIT2 could have ended: only the overflow explains it."""
    events = load("timewait-overflow-listening").events
    assert "timewait-overflow" in causes(judge(events, Context(peer_local=True, fin_timeout_s=60)))


def test_a_counter_that_moved_less_than_resets_were_sent_proves_nothing() -> None:
    """One TCPAbortOnData for five resets: which of them it was is left open."""
    story = Story().connect().wait(SECOND).state("ESTABLISHED", "CLOSE")
    story.send("TCP_STATE", "CLOSE").destroy(disconnected=True)
    one = {"TcpExt.TCPAbortOnData": 1}
    assert story.told(Context(counters=one)).confidence is Confidence.CERTAIN
    told = story.told(Context(counters=one, resets=5))
    assert (told.cause, told.confidence) == ("linger-abort", Confidence.LIKELY)
    assert told.alternatives == ("disconnect",)


def test_options_read_while_the_socket_lived_count() -> None:
    """SO_LINGER {1, 0} seen on the socket makes the abort certain without counters."""
    from rstaudit.model.options import SocketOptions

    options = SocketOptions(
        0, False, 7200, 75, 9, 0, 60, 0, 0, False, False, 0, 0, False
    )  # fmt: skip
    story = Story().connect().state("ESTABLISHED", "CLOSE").send("TCP_STATE", "CLOSE")
    told = story.destroy(disconnected=True).told(Context(options=options))
    assert (told.cause, told.confidence) == ("linger-abort", Confidence.CERTAIN)


def test_a_connect_given_up() -> None:
    """The SYN-ACK comes after the program closed the connecting socket."""
    story = Story().state("CLOSE", "SYN_SENT").wait(300 * MS).state("SYN_SENT", "CLOSE")
    told = story.destroy().wait(700 * MS).send("NO_SOCKET", None, irq=True).told()
    assert (told.cause, told.confidence) == ("connect-abort", Confidence.CERTAIN)
    assert told.evidence["waited_ms"] == 300.0


def test_a_connect_that_timed_out() -> None:
    """The kernel gave up itself, and the SYN-ACK came later still."""
    story = Story().state("CLOSE", "SYN_SENT").wait(130 * SECOND)
    story.state("SYN_SENT", "CLOSE", irq=True).error(110).destroy()
    told = story.wait(SECOND).send("NO_SOCKET", None, irq=True).told()
    assert told.cause == "connect-abort"
    assert "connect-timeout" in told.alternatives


def test_both_ends_had_closed() -> None:
    """A straggler after LAST_ACK harms nobody."""
    story = Story().accept().state("ESTABLISHED", "CLOSE_WAIT", irq=True)
    story.state("CLOSE_WAIT", "LAST_ACK").state("LAST_ACK", "CLOSE", irq=True).destroy()
    told = story.wait(SECOND).send("NO_SOCKET", None, irq=True).told()
    assert (told.cause, told.benign) == ("late-segment", True)


def test_a_tls_farewell_is_benign() -> None:
    """A segment on port 443 right after our FIN is the peer's close_notify; minutes later not."""
    story = Story().connect().state("ESTABLISHED", "FIN_WAIT1")
    story.state("FIN_WAIT1", "FIN_WAIT2", irq=True).state("FIN_WAIT2", "CLOSE", irq=True).destroy()
    soon = story.wait(20 * MS).send("TCP_TIMEWAIT_SOCKET", "TIME_WAIT", irq=True, sk=9).told()
    assert (soon.cause, soon.benign) == ("data-to-closed", True)
    story.events.pop()
    late = story.wait(30 * SECOND).send("TCP_TIMEWAIT_SOCKET", "TIME_WAIT", irq=True, sk=9).told()
    assert (late.cause, late.benign) == ("data-to-closed", False)


def test_nothing_is_known_of_a_port() -> None:
    """A remote peer, no history: a service's port was closed, a client's port got a stray."""
    service = Story((b"\xc0\x00\x02\x01", 8080, b"\xc6\x33\x64\x01", 50000))
    told = service.send("NO_SOCKET", None, irq=True).told()
    assert (told.cause, told.confidence) == ("closed-port", Confidence.LIKELY)
    client = Story().send("NO_SOCKET", None, irq=True).told()
    assert (client.cause, client.benign) == ("unsolicited-segment", True)
    assert "late-segment" in client.alternatives


def test_a_service_that_stopped_is_said_so() -> None:
    """The listener of the port was closed a while ago."""
    nobody = (b"\0\0\0\0", 8080, b"\0\0\0\0", 0)
    story = Story(nobody).state("CLOSE", "LISTEN").state("LISTEN", "CLOSE").destroy()
    story.ends = (b"\xc0\x00\x02\x01", 8080, b"\xc6\x33\x64\x01", 50000)
    told = story.wait(3 * SECOND).send("NO_SOCKET", None, irq=True).told()
    assert told.cause == "closed-port"
    assert told.evidence["elapsed_s"] == 3.0


RECEIVED = {
    "closed-port": lambda s: s.state("CLOSE", "SYN_SENT").receive().state("SYN_SENT", "CLOSE"),
    "app-abort": lambda s: s.connect().wait(60 * SECOND).receive().state("ESTABLISHED", "CLOSE"),
    "half-open": lambda s: (
        s.connect().wait(60 * SECOND).retransmit(3).receive().state("ESTABLISHED", "CLOSE")
    ),
    "data-to-closed": lambda s: (
        s.connect().state("ESTABLISHED", "CLOSE_WAIT", irq=True).receive()
        .state("CLOSE_WAIT", "CLOSE")
    ),
    "undetermined": lambda s: s.receive(),
}  # fmt: skip


@pytest.mark.parametrize("cause", sorted(RECEIVED))
def test_a_reset_from_a_remote_host_is_inferred(cause: str) -> None:
    """What our end was doing, never certain, and undetermined says what is missing."""
    story = Story()
    RECEIVED[cause](story)
    told = story.told()
    assert told.cause == cause
    assert told.confidence is not Confidence.CERTAIN
    assert told.alternatives
    if cause == "undetermined":
        assert "capture" in told.why


def test_a_quiet_connection_that_is_reset_when_used_again() -> None:
    """How long it was quiet comes from the socket."""
    story = Story().connect().wait(400 * SECOND).receive().state("ESTABLISHED", "CLOSE", irq=True)
    told = story.told(Context(idle_ms=350_000))
    assert told.cause == "idle-timeout"
    assert told.evidence["idle_s"] == 350.0


def test_a_reset_that_no_kernel_here_sent() -> None:
    """The claimed sender is on this host: a filter that dropped just before, else a forger."""
    story = Story().connect().wait(SECOND).receive().state("ESTABLISHED", "CLOSE", irq=True)
    assert story.told(Context(peer_local=True)).cause == "injected"
    assert story.told(Context(peer_local=True, drops_traced=False)).cause == "firewall-reject"
    assert story.told(Context(peer_local=True, lost=True)).cause == "app-abort"
    filtered = Story().connect().wait(SECOND).drop("NETFILTER_DROP").receive()
    filtered.state("ESTABLISHED", "CLOSE", irq=True)
    assert filtered.told(Context(peer_local=True)).cause == "firewall-reject"


def quiet_then_reset() -> Story:
    """A connection on which nothing is said for four seconds, and then a reset comes."""
    story = Story().connect().wait(4 * SECOND).drop("NETFILTER_DROP").receive()
    return story.state("ESTABLISHED", "CLOSE", irq=True)


def test_a_filter_of_this_host_that_had_forgotten_the_connection() -> None:
    """Quiet for longer than conntrack remembers, then used, and the filter rejects it."""
    forgot = Context(peer_local=True, quiet=Quiet(0, 3100), forgets_s=3)
    told = quiet_then_reset().told(forgot)
    assert (told.cause, told.alternatives) == ("idle-timeout", ("firewall-reject", "injected"))
    assert (told.evidence["quiet_s"], told.evidence["forgets_s"]) == (3.1, 3)
    assert "3.1 s" in told.why
    assert "3 s" in told.why


@pytest.mark.parametrize(
    "context",
    [
        Context(quiet=Quiet(0, 2900), forgets_s=3),
        Context(quiet=Quiet(0, 2900)),
        Context(forgets_s=3),
        Context(),
    ],
)
def test_a_filter_that_cannot_have_forgotten_rejects(context: Context) -> None:
    """Not quiet for long enough, or it is not known how long: a rule rejects."""
    told = quiet_then_reset().told(context._replace(peer_local=True))
    assert (told.cause, told.alternatives) == ("firewall-reject", ("injected", "idle-timeout"))


def test_data_sent_again_and_again_is_no_silence() -> None:
    """The filter let the data out all the while: it had not forgotten."""
    story = Story().connect().wait(SECOND).retransmit(3).drop("NETFILTER_DROP").receive()
    story.state("ESTABLISHED", "CLOSE", irq=True)
    told = story.told(Context(peer_local=True, quiet=Quiet(0, 3100), forgets_s=1))
    assert told.cause == "firewall-reject"


def test_without_a_drop_the_filter_is_not_who_reset() -> None:
    """Dropped packets are traced, none was dropped: the filter of this host did not reject."""
    story = Story().connect().wait(4 * SECOND).receive().state("ESTABLISHED", "CLOSE", irq=True)
    context = Context(peer_local=True, quiet=Quiet(0, 3100), forgets_s=3)
    assert story.told(context).cause == "injected"
    assert story.told(context._replace(drops_traced=False)).cause == "idle-timeout"


def both_reset() -> Story:
    """Four seconds of silence, then a reset at both ends at once."""
    story = Story().connect().other_end().accept().wait(4 * SECOND).other_end().receive()
    story.state("ESTABLISHED", "CLOSE", irq=True).wait(MS)
    return story.other_end().receive().state("ESTABLISHED", "CLOSE", irq=True)


def test_a_device_that_ends_both_halves_of_a_silent_connection() -> None:
    """Neither end had said anything for a second, no kernel sent a reset, and both got one."""
    told = both_reset().told(
        Context(peer_local=True, quiet=Quiet(3900, 3800), peer_quiet=Quiet(3810, 3700))
    )
    assert (told.cause, told.confidence) == ("idle-timeout", Confidence.LIKELY)
    assert told.alternatives == ("injected", "firewall-reject")
    assert told.evidence["silent_s"] == 3.7
    assert "3.7 s" in told.why


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Quiet(20, 3800), Quiet(3810, 3700)),
        (Quiet(3900, 3800), Quiet(20, 3700)),
        (Quiet(3900, 20), Quiet(3810, 3700)),
        (Quiet(3900, 3800), None),
        (None, Quiet(3900, 3800)),
    ],
)
def test_resets_at_both_ends_after_traffic_are_forged(
    ours: Quiet | None, theirs: Quiet | None
) -> None:
    """Something was said just before, or it is not known that nothing was."""
    told = both_reset().told(Context(peer_local=True, quiet=ours, peer_quiet=theirs))
    assert (told.cause, told.alternatives) == ("injected", ("firewall-reject", "idle-timeout"))


def test_a_reset_at_one_silent_end_only_is_forged() -> None:
    """A device that gives up tells both; who is told alone may be the victim of a forger."""
    story = Story().connect().other_end().accept().wait(4 * SECOND).other_end().receive()
    story.state("ESTABLISHED", "CLOSE", irq=True)
    quiet = Quiet(3900, 3800)
    told = story.told(Context(peer_local=True, quiet=quiet, peer_quiet=quiet))
    assert told.cause == "injected"


def test_what_a_listener_elsewhere_sends_at_that_moment_is_another_story() -> None:
    """Both ends are known here under their own addresses: no NAT turned its reset into this one."""
    story = Story().connect().other_end().accept().wait(SECOND)
    own = story.ends
    story.ends = (b"\x0a\x01\x01\x01", 8080, bytes(4), 0)
    story.send("TCP_FLAGS", "LISTEN", irq=True, sk=9)
    story.ends = own
    story.other_end().receive().state("ESTABLISHED", "CLOSE", irq=True)
    assert story.told(Context(peer_local=True)).cause == "injected"


def test_a_filter_of_this_host_rejects_what_goes_out() -> None:
    """Right before the reset, sooner than a remote host can answer; not when that is long ago."""
    story = Story().state("CLOSE", "SYN_SENT").drop("NETFILTER_DROP").receive()
    told = story.state("SYN_SENT", "CLOSE").told(Context(peer_local=False))
    assert (told.cause, told.alternatives) == ("firewall-reject", ("closed-port",))
    story = Story().state("CLOSE", "SYN_SENT").drop("NETFILTER_DROP").wait(5 * MS).receive()
    told = story.state("SYN_SENT", "CLOSE").told(Context(peer_local=False))
    assert told.cause == "closed-port"
    busy = Story().state("CLOSE", "SYN_SENT")
    for _ in range(20):
        busy.drop("NETFILTER_DROP")
    told = busy.receive().state("SYN_SENT", "CLOSE").told(Context(peer_local=False))
    assert told.cause == "closed-port"


def test_how_long_a_socket_was_quiet_is_not_believed_beyond_its_age() -> None:
    """tcp_info of a socket that never sent data counts from the start of the machine."""
    story = Story().state("CLOSE", "SYN_SENT").receive().state("SYN_SENT", "CLOSE")
    assert story.told(Context(idle_ms=9_000_000)).cause == "closed-port"
    story = Story().connect().wait(SECOND).receive().state("ESTABLISHED", "CLOSE", irq=True)
    assert story.told(Context(idle_ms=9_000_000)).cause == "app-abort"


def test_the_receiver_hears_what_was_said_of_the_sent_reset() -> None:
    """What only the sender's namespace shows is not judged anew from the receiver's."""
    stream = load("timewait-overflow")
    history = History()
    for event in stream.events:
        history.note(event)
    sent, received = (event for event in stream.events if event.kind in ("send", "receive"))
    said = decide(sent, history, Context(fin_timeout_s=60))
    heard = decide(received, history, Context())
    assert said.cause == "timewait-overflow"
    assert (heard.cause, heard.confidence) == (said.cause, said.confidence)


def test_the_interrupted_thread_closes_no_listener() -> None:
    """Only a thread that is in the middle of closing the listener resets what waits there."""
    queue = (b"\0\0\0\0", 443, b"\0\0\0\0", 0)
    child = (b"\xc0\x00\x02\x01", 443, b"\xc6\x33\x64\x01", 50000)
    story = Story(queue).state("CLOSE", "LISTEN").state("LISTEN", "CLOSE").destroy()
    story.ends, story.sk = child, 7
    story.state("ESTABLISHED", "CLOSE").send("TCP_STATE", "CLOSE").destroy(disconnected=True)
    assert story.told().cause == "linger-abort"


MEMORY = {
    "memory-pressure": "TCP_ABORT_ON_MEMORY", "mptcp-reset": "MPTCP_RST_EPROHIBIT",
    "linger2-abort": "TCP_ABORT_ON_LINGER", "keepalive-timeout": "TCP_KEEPALIVE_TIMEOUT",
    "invalid-segment": "TCP_RFC7323_PAWS",
}  # fmt: skip


@pytest.mark.parametrize("cause", sorted(MEMORY))
def test_reasons_that_stand_for_one_cause(cause: str) -> None:
    """Where the kernel's reason has one cause only, that is certain without any history."""
    told = Story().send(MEMORY[cause], "ESTABLISHED", irq=True).told()
    assert (told.cause, told.confidence) == (cause, Confidence.CERTAIN)
    sound(told)


def test_a_syn_into_time_wait() -> None:
    """A connecting peer on this host: the reset from TIME_WAIT answered its SYN, not data."""
    story = Story().connect().state("ESTABLISHED", "FIN_WAIT1")
    story.state("FIN_WAIT1", "FIN_WAIT2", irq=True).state("FIN_WAIT2", "CLOSE", irq=True).destroy()
    story.other_end().wait(SECOND).state("CLOSE", "SYN_SENT").other_end()
    told = story.send("TCP_TIMEWAIT_SOCKET", "TIME_WAIT", irq=True, sk=9).told()
    assert told.cause == "stale-connection"


def test_after_lost_events_only_the_kernels_own_word_is_certain() -> None:
    """What is not in the history may have been lost."""
    story = Story().connect().wait(SECOND).state("ESTABLISHED", "CLOSE")
    story.destroy(disconnected=True).wait(SECOND).send("NO_SOCKET", None, irq=True)
    assert story.told().confidence is Confidence.CERTAIN
    assert story.told(Context(lost=True)).confidence is Confidence.LIKELY
    told = Story().send("TCP_ABORT_ON_CLOSE", "CLOSE").told(Context(lost=True))
    assert told.confidence is Confidence.CERTAIN


def test_stragglers_of_a_reset_connection_come_to_the_listener() -> None:
    """The listener names no peer; a connection at its port was reset a moment before."""
    story = Story((b"\xc0\x00\x02\x01", 443, b"\xc6\x33\x64\x01", 50000)).accept()
    story.state("ESTABLISHED", "FIN_WAIT1").state("FIN_WAIT1", "CLOSE", irq=True).destroy()
    story.send("TCP_ABORT_ON_DATA", "CLOSE", irq=True)
    story.ends = (b"\0\0\0\0", 443, b"\0\0\0\0", 0)
    soon = story.wait(MS).send("TCP_FLAGS", "LISTEN", irq=True, sk=9).told()
    assert (soon.cause, soon.benign) == ("late-segment", True)
    later = story.wait(60 * SECOND).send("TCP_FLAGS", "LISTEN", irq=True, sk=9).told()
    assert later.cause == "unsolicited-segment"


def test_a_storm_at_one_listener_finds_both_ends() -> None:
    """Thousands of resets that name no peer: each receipt is known to be the listener's."""
    queue, server = (b"\0\0\0\0", 443, b"\0\0\0\0", 0), b"\xc6\x33\x64\x01"
    events = []
    for number in range(2_000):
        story = Story((b"\x0a\0" + number.to_bytes(2, "big"), 40000, server, 443))
        client, story.now, story.sk = story.ends, number * 30_000, number + 10
        story.connect()
        story.ends = queue
        story.send("INVALID_SYN", "LISTEN", irq=True, sk=1)
        story.ends = client
        events += story.receive().state("ESTABLISHED", "CLOSE", irq=True).events
    counters = {"TcpExt.ListenOverflows": 2_000, "TcpExt.EmbryonicRsts": 2_000}
    context = Context(counters=counters, resets=2_000, peer_local=True)
    judged = judge(events, context._replace(peer_counters=counters, peer_resets=2_000))
    assert causes(judged) == {"listen-overflow"}
