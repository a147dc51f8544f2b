"""Resets after a FIN or another reset, and which of them harm nobody."""

from __future__ import annotations

import pytest

from rstaudit.model.rule import Confidence
from support.conversation import TLS13_ALERT, TLS_ALERT, WINDOWS, Conversation, judge, last, only


def test_data_after_a_close_is_data_to_closed() -> None:
    """FIN, ACK, then data: answered with a bare RST."""
    found = only(Conversation().talk().close("s").wait(2).say("c", 100, taken=False).answer("s"))
    assert found.cause == "data-to-closed"
    assert found.alternatives == ("timewait-overflow",)
    assert not found.benign
    assert found.evidence["peer_late_bytes"] == 100


def test_data_that_meets_an_unacknowledged_fin_leaves_no_doubt() -> None:
    """Before the FIN is acknowledged there is no TIME_WAIT that could overflow."""
    talk = Conversation().talk()
    before = talk.s.nxt
    talk.close("s", taken=False).segment("c", "PA", b"x" * 100, ack=before)
    found = only(talk.answer("s", seq=before))
    assert found.cause == "data-to-closed"
    assert found.confidence is Confidence.CERTAIN


@pytest.mark.parametrize("alert", [TLS_ALERT, TLS13_ALERT])
def test_a_tls_goodbye_to_a_closed_socket_is_harmless(alert: bytes) -> None:
    """close_notify after the other end's FIN: every pip download ends so."""
    found = only(Conversation().talk().close("s").say("c", alert, taken=False).answer("s"))
    assert found.cause == "data-to-closed"
    assert found.benign


def test_each_segment_of_a_burst_meets_the_same_end() -> None:
    """Three segments, three resets, one cause."""
    talk = Conversation().talk().close("s")
    for _ in range(3):
        talk.say("c", 500, taken=False)
    talk.answer("s").answer("s").answer("s")
    assert [one.diagnosis.cause for one in judge(talk)] == ["data-to-closed"] * 3


def test_data_on_its_way_when_the_other_end_closed_is_data_to_closed() -> None:
    """In the capture the data stands before the FIN, but was never acknowledged."""
    talk = Conversation(rtt=0.05).talk().say("c", 100, taken=False)
    sent = talk.c.nxt
    talk.segment("s", "FA", ack=sent - 100).answer("s", seq=talk.s.nxt - 1)
    assert only(talk).cause == "data-to-closed"


def test_a_fin_that_meets_nothing_is_an_overflow_of_time_wait_or_late() -> None:
    """A Linux end that closed first takes the other end's FIN, unless it kept nothing."""
    found = only(Conversation().talk().close("s").wait(0.3).close("c", taken=False).answer("s"))
    assert found.cause == "timewait-overflow"
    assert found.alternatives[0] == "data-to-closed"


def test_a_straggler_after_both_fins_is_late() -> None:
    """Both ends are done; a repeated segment meets a kernel that knows nothing."""
    talk = Conversation().talk().close("c").close("s").wait(0.5)
    found = only(talk.segment("c", "A").answer("s"))
    assert found.cause == "late-segment"
    assert found.confidence is Confidence.CERTAIN
    assert found.benign


def test_a_segment_after_an_abort_is_late() -> None:
    """The abort is one thing, what was on its way another."""
    talk = Conversation().talk().abort("s").say("c", 100, taken=False).answer("s")
    causes = [(one.diagnosis.cause, one.diagnosis.benign) for one in judge(talk)]
    assert causes == [("app-abort", False), ("late-segment", True)]


def test_a_segment_after_the_peer_s_own_reset_is_late() -> None:
    """Somebody reset this end in the peer's name; the peer speaks on and is reset."""
    talk = Conversation().talk().segment("s", "RA").say("s", 100, taken=False).answer("c")
    assert judge(talk)[-1].diagnosis.cause == "late-segment"


def test_an_abort_after_the_own_fin_is_the_program_s() -> None:
    """shutdown(SHUT_WR), then close() with data unread."""
    talk = Conversation().talk().close("s").say("c", 100).abort("s")
    found = only(talk)
    assert found.cause == "app-abort"
    assert found.alternatives[0] == "close-unread"


def test_a_reset_for_the_ack_of_the_fin_is_a_negative_linger2() -> None:
    """TCP_LINGER2 below zero: not even the acknowledgement of the FIN is waited for."""
    found = only(Conversation().talk().close("s").answer("s"))
    assert found.cause == "linger2-abort"


def test_a_reset_long_after_the_own_fin_is_the_kernel_s_timer() -> None:
    """The other end never closed, and FIN_WAIT_2 ran out."""
    found = only(Conversation().talk().close("s").wait(61).abort("s"))
    assert found.cause == "finwait2-timeout"
    assert "app-abort" in found.alternatives
    assert found.evidence["quiet_seconds"] == 61


def test_a_reset_soon_after_the_own_fin_may_be_either() -> None:
    """The timer can fire within seconds, too, but so can a program."""
    found = only(Conversation().talk().close("s").wait(2).abort("s"))
    assert found.cause == "app-abort"
    assert found.confidence is Confidence.POSSIBLE
    assert found.alternatives[0] == "finwait2-timeout"


def test_an_abort_after_the_response_and_the_peer_s_fin_is_harmless() -> None:
    """Browsers and Windows reset instead of closing when all is done."""
    found = only(Conversation(WINDOWS).talk().close("s").abort("c"))
    assert found.cause == "app-abort"
    assert found.benign


def test_an_abort_that_drops_a_half_closed_request_is_not_harmless() -> None:
    """The client sent its request and a FIN, and waits for the answer."""
    found = only(Conversation().open().say("c", 500).close("c").abort("s"))
    assert found.cause == "app-abort"
    assert not found.benign


def test_an_abort_after_the_peer_s_tls_goodbye_is_harmless() -> None:
    """close_notify and FIN lay unread when the program closed."""
    talk = Conversation().talk().segment("s", "PA", TLS_ALERT).segment("s", "FA").abort("c")
    found = only(talk)
    assert found.cause == "app-abort"
    assert found.benign


def test_the_pool_s_idle_limit_is_named_as_what_else_it_could_be() -> None:
    """FIN after a round silence, data later: who closed may have been a device."""
    talk = Conversation().talk().wait(60).close("s").wait(5).say("c", 100, taken=False).answer("s")
    found = last(talk)
    assert found.cause == "data-to-closed"
    assert "idle-timeout" in found.alternatives


def test_an_ack_with_data_lost_before_it_met_a_closed_socket() -> None:
    """The client's data crossed the FIN and was never taken: that says more than the bare ACK."""
    talk = Conversation(rtt=0.02).talk().say("c", 100, taken=False)
    talk.segment("s", "FA", ack=talk.c.nxt - 100).segment("c", "A").answer("s")
    found = only(talk)
    assert found.cause == "data-to-closed"
    assert "linger2-abort" in found.alternatives


def test_a_probe_long_after_the_close_meets_nothing() -> None:
    """FIN_WAIT_2 ran out at the server; the client's keepalive finds out."""
    talk = Conversation().talk().close("s").wait(75)
    found = only(talk.segment("c", "A", seq=talk.c.nxt - 1).answer("s"))
    assert found.cause == "data-to-closed"
    again = Conversation().talk().close("s").wait(5).segment("c", "A").answer("s")
    assert only(again).cause == "data-to-closed"
