"""Resets between the end of the handshake and the first thing the server says."""

from __future__ import annotations

from rstaudit.resets.wire.case import Case
from rstaudit.resets.wire.facts import After, Fit, Gap, Idle, Seq, Trigger
from rstaudit.resets.wire.shape import elsewhere, has_ack, is_answer, is_linux
from rstaudit.resets.wire.verdict import Verdict, likely, possible


def decide_opened(case: Case) -> Verdict | None:
    """Decide for a server that sent nothing but SYN-ACKs; else None."""
    opening = case.sender_synacks + case.sender_syns  # both: a simultaneous open
    silent = case.sender_synacks and case.sender_segments == opening
    if silent and _wrong_final(case):
        return likely("invalid-segment", "wrong_final", "half-open", "data-to-closed")
    unseen = case.sender_missing and case.seq != Seq.FAR
    if not case.handshake or not silent or unseen or has_ack(case):
        return None
    if case.trigger in (Trigger.SYN, Trigger.NONE):
        return None
    if case.seq_echo and case.fit == Fit.OUTSIDE:
        return likely("invalid-segment", "wrong_final", "listen-overflow")
    if not case.seq_echo:
        if case.seq in (Seq.EXACT, Seq.UNKNOWN) or case.sender_synacks > 1:
            return None
        return likely("invalid-segment", "wrong_final_elsewhere", "injected")
    if elsewhere(case):
        return None  # its SYN-ACK came from another box
    first = case.peer_segments == 2 and case.trigger == Trigger.ACK and case.idle == Idle.SHORT
    if case.sender_synacks > 1 and is_answer(case) and not first:
        return likely("handshake-timeout", "request_forgotten", "listen-overflow", "half-open")
    return _overflow(case) if is_answer(case) else None


def _wrong_final(case: Case) -> bool:
    """Whether the segment that ends the handshake acknowledges a little too much.

    Later on that would be a segment of the sender that the capture lacks.
    """
    last = case.peer_segments == 2 and case.trigger == Trigger.ACK
    return last and bool(case.sender_missing) and case.fit == Fit.OUTSIDE and is_answer(case)


def _overflow(case: Case) -> Verdict | None:
    """The first thing that reached the server is answered with a reset."""
    others = ("invalid-segment", "firewall-reject", "injected")
    at_once = case.run_gap in (Gap.EARLY, Gap.PROMPT)
    each = case.trigger == Trigger.ACK or case.sender_resets or case.after == After.RESETS
    if at_once and each and is_linux(case):
        return likely("listen-overflow", "overflow", *others)
    if at_once or (case.run_gap == Gap.SLOW and case.idle == Idle.SHORT):
        return possible("listen-overflow", "overflow", "half-open", *others)
    return None
