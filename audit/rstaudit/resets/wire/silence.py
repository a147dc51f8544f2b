"""Resets after probes, retransmissions or a long silence."""

from __future__ import annotations

from rstaudit.resets.wire.case import Case
from rstaudit.resets.wire.facts import Gap, Idle, Pace, Seq
from rstaudit.resets.wire.shape import (
    LONG,
    elsewhere,
    has_ack,
    is_answer,
    is_full,
    is_linux,
    is_own,
)
from rstaudit.resets.wire.verdict import Verdict, certain, likely, possible


def decide_silence(case: Case) -> Verdict | None:
    """Decide where the silence before the reset tells; else None."""
    if case.sender_since and (case.sender_probes or case.sender_retries):
        found = _unanswered(case)
        if found is not None:
            return found
    if case.probe_rhythm and is_full(case) and not case.peer_zero_window:
        return possible("keepalive-timeout", "probe_rhythm", "app-abort")
    if is_answer(case) and case.sender_retries and not case.sender_since:
        return _spoke_too_late(case)
    if case.gap != Gap.LATE:
        return None
    if case.both_reset and case.quiet not in (Idle.NONE, Idle.SHORT):
        return likely("idle-timeout", "both_after_silence", "app-abort", "injected")
    if case.quiet in LONG and elsewhere(case):
        return likely("idle-timeout", "silence_elsewhere", "injected", "app-abort")
    if case.quiet == Idle.KNOWN and is_own(case):
        return possible("app-abort", "known_silence", "idle-timeout", "linger-abort")
    if case.quiet == Idle.KNOWN:
        return likely("idle-timeout", "known_silence", "app-abort", "injected")
    return None


def _unanswered(case: Case) -> Verdict | None:
    """The sender asked in vain, and reset."""
    if case.peer_zero_window and case.sender_probes:
        return likely("app-abort", "window_closed", "retransmit-timeout", "linger-abort")
    if case.sender_probes > case.sender_retries and has_ack(case):
        return _probes_failed(case)
    if case.sender_retries < 2:
        return None
    if is_linux(case):
        # Linux sends no reset when retransmissions run out (tcp_timer.c: tcp_write_err).
        return likely("app-abort", "gave_up_retrying", "linger-abort", "close-unread",
                      "retransmit-timeout")  # fmt: skip
    return likely("retransmit-timeout", "retries_failed", "app-abort")


def _probes_failed(case: Case) -> Verdict:
    """Keepalive probes (RFC 9293 section 3.8.4) went unanswered."""
    if case.sender_probes >= 2 and case.sender_pace in (Pace.EVEN, Pace.NONE) and is_full(case):
        return certain("keepalive-timeout", "probes_failed")
    return likely("keepalive-timeout", "probes_failed", "app-abort", "idle-timeout")


def _spoke_too_late(case: Case) -> Verdict | None:
    """The sender had retried without an answer; the peer's next segment meets a reset."""
    if case.sender_unacked and case.seq in (Seq.UNACKED, Seq.OLD, Seq.PROBE):
        return likely("retransmit-timeout", "spoke_too_late", "half-open", "injected")
    if case.sender_unacked:
        return possible("retransmit-timeout", "spoke_too_late", "half-open")
    return None
