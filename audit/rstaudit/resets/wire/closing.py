"""Resets after a FIN or after another reset."""

from __future__ import annotations

from rstaudit.resets.wire.case import Case
from rstaudit.resets.wire.facts import Ack, Earlier, Gap, Idle, Late, Side, Trigger
from rstaudit.resets.wire.shape import (
    LONG,
    elsewhere,
    has_ack,
    is_answer,
    is_client,
    is_full,
    is_linux,
    is_own,
    is_plain,
    own_fin,
    peer_fin,
    promptly,
    says_goodbye,
)
from rstaudit.resets.wire.verdict import Verdict, certain, likely, possible

_CLOSED_WITH_READER = ("close-unread", "linger-abort", "linger2-abort")


def decide_closing(case: Case) -> Verdict | None:
    """Decide where either side closed or reset before; None where that does not explain it."""
    again = _after_own_reset(case)
    if again is not None:
        return again
    # An answer comes at once: one that comes late is none, whatever its form.
    answers = is_answer(case) and case.gap != Gap.LATE
    if case.peer_resets and answers and not _met_closed(case):
        return _after_peer_reset(case)
    if own_fin(case):
        return _after_own_fin(case)
    if peer_fin(case) and is_own(case):
        return _after_peer_fin(case)
    return None


def _after_own_reset(case: Case) -> Verdict | None:
    """The sender aborted before; what is left of the peer's segments is answered by its kernel."""
    if case.first_reset == Earlier.FULL and (is_answer(case) or is_plain(case)):
        if is_answer(case) and not case.spoke_after_reset:
            return certain("late-segment", "after_reset", benign=True)
        return likely("late-segment", "after_reset", "injected", benign=True)
    if case.first_reset == Earlier.PLAIN and not has_ack(case) and not _met_closed(case):
        return likely("late-segment", "after_reset", "data-to-closed", benign=True)
    return None


def _after_peer_reset(case: Case) -> Verdict:
    """The peer's segments go on after its own reset: somebody forged that, or they crossed."""
    if own_fin(case) and case.fins != Side.SENDER:
        return likely("late-segment", "after_peer_reset", "data-to-closed", benign=True)
    return likely("late-segment", "after_peer_reset", "injected", "half-open", benign=True)


def _met_closed(case: Case) -> bool:
    """Whether the peer's data met a sender that had closed."""
    crossed = case.peer_unacked and case.peer_data and case.late == Late.NOTHING
    return own_fin(case) and (case.late == Late.DATA or bool(crossed))


def _after_own_fin(case: Case) -> Verdict | None:
    """The sender closed, or shut its sending side down."""
    if is_full(case):
        return _shut_then_aborted(case)
    if _met_closed(case):
        return _data_to_closed(case)
    if case.late == Late.RETRY:
        return _retry_to_closed(case)
    if case.late == Late.FIN:
        return _fin_to_closed(case)
    if case.late == Late.ACK and is_answer(case):
        return _ack_to_closed(case)
    if is_own(case):
        return _shut_then_aborted(case)
    if case.peer_segments == 0 and not has_ack(case):
        return possible("data-to-closed", "closed_one_sided", "late-segment", "linger2-abort")
    return possible("app-abort", "abort_after_fin", "data-to-closed", "late-segment", "injected")


def _data_to_closed(case: Case) -> Verdict:
    """Data met a closed socket; TLS's close_notify is nobody's loss."""
    goodbye, over = says_goodbye(case), case.fins == Side.BOTH_SENDER_FIRST
    story = "goodbye_to_closed" if goodbye else "last_to_closed" if over else "data_to_closed"
    benign = goodbye or over
    if has_ack(case):
        return likely("data-to-closed", story, "close-unread", benign=benign)
    if not is_answer(case):
        return likely("data-to-closed", story, "app-abort", "injected", benign=benign)
    if elsewhere(case) and is_linux(case):
        return possible("nat-invalid", "answered_elsewhere", "idle-timeout", "data-to-closed",
                        "firewall-reject", benign=benign)  # fmt: skip
    if elsewhere(case):
        return possible("data-to-closed", story, "nat-invalid", "timewait-overflow",
                        "idle-timeout", benign=benign)  # fmt: skip
    if case.late != Late.DATA:
        return likely("data-to-closed", "data_crossed_close", "timewait-overflow", benign=benign)
    idle = case.fin_idle not in (Idle.NONE, Idle.SHORT) and not is_client(case)
    others = ("idle-timeout", "timewait-overflow") if idle else ("timewait-overflow",)
    if case.sender_fin_acked:
        # TIME_WAIT and what stands in for FIN_WAIT_2 begin with the ACK of the FIN.
        return likely("data-to-closed", story, *others, benign=benign)
    if idle:
        return likely("data-to-closed", story, "idle-timeout", benign=benign)
    return certain("data-to-closed", story, benign=benign)


def _retry_to_closed(case: Case) -> Verdict:
    """The peer repeats what it sent before."""
    if case.peer_unacked:
        return likely(
            "data-to-closed", "retry_to_closed", "timewait-overflow", "late-segment",
            benign=says_goodbye(case),
        )  # fmt: skip
    return likely("late-segment", "straggler", "data-to-closed", benign=True)


def _fin_to_closed(case: Case) -> Verdict:
    """The peer's FIN is answered with a reset: the sender kept nothing that could take it."""
    if case.peer_fin_acked and is_answer(case):
        return certain("late-segment", "straggler", benign=True)
    if case.peer_fin_acked:
        return possible("late-segment", "after_both_fins", "app-abort", benign=True)
    if is_linux(case) and case.since_fin not in LONG:
        return likely("timewait-overflow", "fin_to_closed", "data-to-closed", "late-segment",
                      benign=True)  # fmt: skip
    return likely("data-to-closed", "fin_to_closed", "timewait-overflow", "late-segment",
                  benign=True)  # fmt: skip


def _ack_to_closed(case: Case) -> Verdict:
    """Nothing but acknowledgements came after the sender's FIN."""
    if case.fins != Side.SENDER:
        if case.sender_fin_acked and case.peer_fin_acked:
            return certain("late-segment", "straggler", benign=True)
        return likely("late-segment", "straggler", "data-to-closed", benign=True)
    if case.peer_unacked and case.peer_data:
        return likely("data-to-closed", "data_crossed_close", "timewait-overflow", "linger2-abort",
                      benign=says_goodbye(case))  # fmt: skip
    later = case.trigger == Trigger.PROBE or case.since_fin != Idle.SHORT
    if case.sender_fin_acked and promptly(case) and later:
        # What FIN_WAIT_2 was is over, as after tcp_fin_timeout.
        return likely("data-to-closed", "gone_after_fin", "timewait-overflow", "late-segment",
                      "linger2-abort")  # fmt: skip
    if case.sender_fin_acked and promptly(case) and is_linux(case):
        return likely("linger2-abort", "ack_of_fin", "timewait-overflow", "data-to-closed")
    return possible("app-abort", "abort_after_fin", "linger2-abort", "data-to-closed")


def _shut_then_aborted(case: Case) -> Verdict:
    """An abort by a program that had shut its sending side down, or by its kernel's timer."""
    if case.both_reset:
        return both_aborted(case, "abort_after_fin")
    half = case.fins == Side.SENDER and case.sender_fin_acked
    quiet = case.quiet not in (Idle.NONE, Idle.SHORT)
    if half and case.quiet in LONG:
        return likely("finwait2-timeout", "fin_then_silence", "app-abort", *_CLOSED_WITH_READER)
    if half and quiet:
        return possible("app-abort", "fin_then_silence", "finwait2-timeout", *_CLOSED_WITH_READER)
    if case.sender_retries >= 2 and case.sender_since:
        return likely("app-abort", "fin_unanswered", "memory-pressure", "retransmit-timeout")
    if case.late == Late.DATA:
        return likely("app-abort", "abort_after_fin", "close-unread", "linger-abort")
    if half and case.trigger == Trigger.ACK and promptly(case):
        return likely("app-abort", "abort_after_fin", "linger2-abort", "linger-abort",
                      "close-unread", "memory-pressure")  # fmt: skip
    if case.burst >= 2:
        return likely("app-abort", "abort_after_fin", "memory-pressure", *_CLOSED_WITH_READER)
    return likely("app-abort", "abort_after_fin", *_CLOSED_WITH_READER, "memory-pressure",
                  benign=_nothing_lost(case))  # fmt: skip


def _after_peer_fin(case: Case) -> Verdict:
    """The peer had closed its side; the sender aborts instead of closing its own."""
    if case.both_reset:
        return both_aborted(case, "abort_after_peer_fin")
    others = ["close-unread", "linger-abort", "admin-destroy", "disconnect"]
    if case.peer_fin_acked and not case.peer_unacked and case.sender_data:
        others[:2] = ["linger-abort", "close-unread"]
    return likely("app-abort", "abort_after_peer_fin", *others, benign=_nothing_lost(case))


def both_aborted(case: Case, story: str) -> Verdict:
    """Each end resets in the same instant, which a box between them does, too.

    Such a box knows no timestamps, or has a TTL of its own.
    """
    if case.timestamp and is_full(case) and not elsewhere(case):
        return likely("app-abort", story, "injected", "linger-abort", "close-unread")
    return possible("app-abort", story, "injected", "linger-abort", "close-unread")


def _nothing_lost(case: Case) -> bool:
    """Whether both were done: the peer closed, and nothing of either is outstanding."""
    if not peer_fin(case) or case.sender_unacked:
        return False
    if says_goodbye(case):
        return True
    answered = is_client(case) or not case.peer_spoke_last
    taken = case.ack == Ack.EXACT or (case.peer_fin_acked and not case.peer_unacked)
    return bool(taken and answered)
