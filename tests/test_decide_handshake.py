"""Resets before the handshake is over, and right after it."""

from __future__ import annotations

import pytest

from rstaudit.model.rule import Confidence
from support.conversation import LINUX, WINDOWS, Conversation, End, judge, last, only
from support.wire import linux_syn, mss


def refuse(talk: Conversation, **given: int | bytes) -> Conversation:
    """The usual answer to a SYN for a closed port, but for what is given."""
    return talk.segment("s", "RA", seq=0, **{"window": 0, "options": b"", "ip_id": 0, **given})  # type: ignore[arg-type]


def scans(targets: int, client: str) -> list[Conversation]:
    """A bare SYN, SYN-ACK and the kernel's RST, to that many ports."""
    found = []
    for port in range(targets):
        talk = Conversation(port=50000)
        talk.s = End("192.0.2.80", 1000 + port, LINUX, 77, 3)
        talk.c.address = client
        found.append(talk.segment("c", "S").segment("s", "SA").answer("c"))
    return found


def test_a_syn_answered_with_a_reset_is_a_closed_port_or_a_filter() -> None:
    """The two are the same on the wire, so neither is certain."""
    found = only(refuse(Conversation().segment("c", "S")))
    assert found.cause == "closed-port"
    assert found.confidence is Confidence.LIKELY
    assert found.alternatives[0] == "firewall-reject"
    assert "gap_seconds" in found.evidence


def test_a_refusal_with_another_ttl_than_the_host_s_is_a_firewall_s() -> None:
    """The host's own packets, in another flow, show what its TTL is."""
    host = Conversation(port=41000).talk().close("c").close("s")
    refused = refuse(Conversation().wait(1).segment("c", "S"), ttl=64)
    found = last(host, refused)
    assert found.cause == "firewall-reject"
    assert found.evidence["ttl"] == 64
    assert found.evidence["host_ttl"] == 61


def test_each_repeated_syn_is_refused_for_the_same_reason() -> None:
    """Windows repeats a refused SYN; every answer is a closed port's."""
    talk = Conversation(WINDOWS)
    for _ in range(3):
        refuse(talk.segment("c", "S", seq=talk.c.isn)).wait(0.5)
    assert [one.diagnosis.cause for one in judge(talk)] == ["closed-port"] * 3


def test_a_refusal_that_does_not_acknowledge_the_syn_is_forged() -> None:
    """Trap: RST+ACK with the SYN's own number looks like a closed port at a glance."""
    talk = Conversation().segment("c", "S")
    assert only(refuse(talk, ack=talk.c.isn)).cause == "injected"


def test_a_refusal_followed_by_the_true_syn_ack_is_forged() -> None:
    """The server answers after all."""
    talk = refuse(Conversation().segment("c", "S")).segment("s", "SA")
    found = only(talk)
    assert found.cause == "injected"


def test_a_refusal_with_options_or_a_window_is_less_sure() -> None:
    """No kernel refuses so, some boxes do."""
    with_window = only(refuse(Conversation().segment("c", "S"), window=8))
    assert (with_window.cause, with_window.confidence) == ("closed-port", Confidence.POSSIBLE)
    with_options = only(refuse(Conversation().segment("c", "S"), options=mss(1460)))
    assert with_options.confidence is Confidence.POSSIBLE
    assert "closed-port" in with_options.alternatives


def test_a_late_syn_ack_that_is_reset_is_a_connect_given_up() -> None:
    """The SYN-ACK needed more than a second; the socket was gone."""
    talk = Conversation().segment("c", "S").wait(1.2).segment("s", "SA").answer("c")
    found = only(talk)
    assert found.cause == "connect-abort"
    assert found.alternatives == ("syn-scan",)
    assert found.evidence["synack_wait_seconds"] == 1.2


def test_a_scanner_s_syn_makes_it_a_scan() -> None:
    """Window 1024 and nothing but MSS is not a SYN of any kernel."""
    talk = Conversation().segment("c", "S", window=1024, options=mss(1460))
    found = only(talk.segment("s", "SA").answer("c"))
    assert found.cause == "syn-scan"
    assert found.alternatives == ("connect-abort",)


def test_many_targets_make_it_a_scan() -> None:
    """Forty open ports reset in the handshake within a second."""
    assert {one.diagnosis.cause for one in judge(*scans(40, "192.0.2.9"))} == {"syn-scan"}


def test_a_client_that_asks_again_had_not_given_up() -> None:
    """Trap: SYN, SYN-ACK, RST, and the same SYN again - the SYN-ACK did not fit."""
    talk = Conversation().segment("c", "S").segment("s", "SA").answer("c")
    found = only(talk.wait(1).segment("c", "S", seq=talk.c.isn))
    assert found.cause == "invalid-segment"


def test_a_syn_ack_with_a_wrong_number_is_an_invalid_segment() -> None:
    """It acknowledges what was never sent, and the reset repeats that number."""
    talk = Conversation().segment("c", "S")
    talk.segment("s", "SA", ack=talk.c.isn + 5_000_000).answer("c", seq=talk.c.isn + 5_000_000)
    assert only(talk).cause == "invalid-segment"


def test_a_syn_ack_that_echoes_a_strange_timestamp_is_an_invalid_segment() -> None:
    """RFC 7323: the echoed timestamp must be one that was sent."""
    talk = (
        Conversation().segment("c", "S").segment("s", "SA", options=linux_syn(9, 123)).answer("c")
    )
    found = only(talk)
    assert found.cause == "invalid-segment"
    assert found.confidence is Confidence.CERTAIN


def test_an_old_acknowledgement_for_a_syn_is_a_stale_connection() -> None:
    """SYN, ACK of the old connection, RST with exactly that number, SYN again."""
    talk = Conversation().segment("c", "S")
    old = talk.c.isn - 700_000
    talk.segment("s", "A", ack=old, seq=5).answer("c", seq=old)
    found = only(talk.wait(1).segment("c", "S", seq=talk.c.isn))
    assert found.cause == "stale-connection"
    assert found.confidence is Confidence.CERTAIN


def test_syns_without_an_answer_and_a_reset_are_a_connect_timeout() -> None:
    """Linux would send none; some systems do."""
    talk = Conversation(WINDOWS)
    for gap in (0, 1, 2, 4):
        talk.wait(gap).segment("c", "S", seq=talk.c.isn)
    found = only(talk.wait(8).segment("c", "RA", ack=0, window=0))
    assert found.cause == "connect-timeout"
    assert found.evidence["sender_syns"] == 4


def test_repeated_syn_acks_and_a_reset_are_a_handshake_timeout() -> None:
    """The client's last ACK never came."""
    talk = Conversation(server=WINDOWS).segment("c", "S")
    for gap in (0, 1, 2):
        talk.wait(gap).segment("s", "SA", seq=talk.s.isn)
    assert only(talk.wait(4).segment("s", "R", window=0)).cause == "handshake-timeout"


def test_data_for_a_forgotten_request_is_a_handshake_timeout() -> None:
    """The SYN-ACK was repeated although the client had answered: the server took no ACK."""
    talk = Conversation().open()
    for gap in (1, 2):
        talk.wait(gap).segment("s", "SA", seq=talk.s.isn).segment("c", "A")
    talk.wait(4).say("c", 100, taken=False)
    assert only(talk.answer("s")).cause == "handshake-timeout"


def test_a_reset_for_the_last_ack_is_a_full_accept_queue() -> None:
    """SYN, SYN-ACK, ACK and at once a bare RST."""
    found = only(Conversation().open().answer("s"))
    assert found.cause == "listen-overflow"
    assert found.confidence is Confidence.LIKELY


def test_a_reset_for_the_ack_and_the_first_data_is_the_same() -> None:
    """The request follows the last ACK; both are answered."""
    talk = Conversation(rtt=0.03).open().say("c", 200, taken=False)
    causes = [one.diagnosis.cause for one in judge(talk.answer("s").answer("s"))]
    assert causes == ["listen-overflow"] * 2


def test_a_syn_ack_that_was_lost_once_changes_nothing() -> None:
    """Trap: the repeated SYN-ACK is not yet a handshake timeout; the first ACK is refused."""
    talk = Conversation().segment("c", "S").segment("s", "SA").wait(1)
    talk.segment("s", "SA", seq=talk.s.isn).segment("c", "A")
    assert only(talk.answer("s")).cause == "listen-overflow"


def test_a_last_ack_that_does_not_fit_is_an_invalid_segment() -> None:
    """A SYN cookie that comes back changed: the reset repeats the wrong number."""
    talk = Conversation().segment("c", "S").segment("s", "SA")
    wrong = talk.s.nxt - 900_000_000
    assert only(talk.segment("c", "A", ack=wrong).answer("s", seq=wrong)).cause == "invalid-segment"


def test_a_syn_ack_nobody_asked_for_is_unsolicited() -> None:
    """Backscatter: the echo of somebody else's forged SYN."""
    found = only(Conversation().segment("s", "SA").answer("c", seq=1_000_000))
    assert found.cause == "unsolicited-segment"
    assert found.benign


def test_a_lone_ack_is_unsolicited() -> None:
    """A stray ACK meets a listener or nothing at all."""
    found = only(Conversation().segment("c", "A", ack=12345).answer("s", seq=12345))
    assert found.cause == "unsolicited-segment"
    assert found.benign


def test_an_abort_whose_handshake_lost_its_last_ack_is_an_abort() -> None:
    """A socket that waits for the SYN-ACK is let go in silence: this one had the connection."""
    talk = Conversation().segment("c", "S").segment("s", "SA").segment("c", "A", lost=True)
    assert only(talk.abort("c")).cause == "app-abort"


def test_one_direction_with_a_finished_handshake_is_no_abandoned_one() -> None:
    """Only the client's packets: SYN, ACK, data, abort."""
    talk = Conversation().segment("c", "S").segment("s", "SA", lost=True).segment("c", "A")
    assert only(talk.abort("c")).cause == "app-abort"


@pytest.mark.parametrize("off", [1, 7, 5000])
def test_a_last_ack_a_little_too_high_is_invalid(off: int) -> None:
    """The same whether the number is far away or near: the server had sent nothing yet."""
    talk = Conversation().segment("c", "S").segment("s", "SA")
    wrong = talk.s.nxt + off
    assert only(talk.segment("c", "A", ack=wrong).answer("s", seq=wrong)).cause == "invalid-segment"


def test_a_wrong_ack_in_a_simultaneous_open_is_invalid() -> None:
    """Both sent a SYN; the answer acknowledges what was never sent."""
    talk = Conversation().segment("c", "S").segment("s", "S").segment("c", "SA")
    wrong = talk.c.nxt + 5000
    assert only(talk.segment("s", "A", ack=wrong).answer("c", seq=wrong)).cause == "invalid-segment"


def test_a_first_request_answered_with_another_ttl_is_no_overflow() -> None:
    """The host that sent the SYN-ACK has one TTL; a filter on the path answers the request."""
    found = only(Conversation().open().say("c", 300, taken=False).answer("s", ttl=250))
    assert found.cause != "listen-overflow"
    assert found.confidence is Confidence.POSSIBLE
