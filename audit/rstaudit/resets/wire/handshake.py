"""Resets before the handshake is over."""

from __future__ import annotations

from rstaudit.resets.wire.case import Case
from rstaudit.resets.wire.facts import (
    After,
    Earlier,
    Fit,
    Gap,
    Idle,
    PeerAfter,
    Scan,
    Seq,
    Stack,
    Trigger,
    Ttl,
    Window,
)
from rstaudit.resets.wire.shape import foreign_marks, has_ack, is_answer, is_full
from rstaudit.resets.wire.verdict import Verdict, certain, likely, possible, unknown

_OPENING = (Trigger.SYN, Trigger.SYN_ACK)


def decide_handshake(case: Case) -> Verdict | None:
    """Decide where a SYN or SYN-ACK was seen and the handshake was not finished; else None."""
    if (
        case.handshake
        or case.sender_data
        or not (case.sender_syns or case.peer_syns or case.sender_synacks or case.peer_synacks)
    ):
        return None
    if _beyond_handshake(case):
        return None  # the capture lacks some of the handshake
    if case.peer_syns and not case.sender_synacks and not case.sender_syns:
        return _refused(case) if case.sender_segments == 0 else None
    if case.sender_synacks:
        return _half_way(case)
    if case.sender_syns:
        return _given_up(case)
    return _stray_offer(case)


def _beyond_handshake(case: Case) -> bool:
    """Whether the sender had the connection, so that only the capture lacks the last ACK.

    A socket that still waits for the SYN-ACK is let go without a segment (tcp.c:
    tcp_need_reset), so nobody fills in a timestamp then.
    """
    if case.peer_segments == 0:
        return case.sender_segments > case.sender_syns > 0
    if not is_full(case) or case.fit != Fit.EXACT:
        return False
    return case.trigger not in _OPENING or (
        case.trigger == Trigger.SYN_ACK and bool(case.timestamp) and foreign_marks(case) < 2
    )


def _refused(case: Case) -> Verdict | None:
    """The answer to a SYN: closed-port and firewall-reject are the same on the wire."""
    if case.trigger != Trigger.SYN:
        return unknown("one_sided", "half-open", "closed-port", "firewall-reject")
    if case.after == After.SYN and not case.peer_after:
        return likely("injected", "synack_after", "firewall-reject")
    if not has_ack(case):
        return possible("firewall-reject", "odd_refusal", "injected", "closed-port")
    if not case.ack_echo:
        return likely("injected", "wrong_refusal", "firewall-reject")
    if case.timestamp or case.other_options:
        return possible("injected", "refusal_options", "firewall-reject", "closed-port")
    if case.host_ttl in (Ttl.MORE, Ttl.LESS, Ttl.ONE_MORE, Ttl.ONE_LESS):
        return likely("firewall-reject", "refused_elsewhere", "closed-port")
    others: tuple[str, ...] = ("firewall-reject",)
    if case.reused:  # a SYN into a connection that is being opened or is not over
        others += ("stale-connection", "invalid-segment")
    usual = case.seq_zero and case.window == Window.ZERO
    if usual and case.gap != Gap.LATE:
        return likely("closed-port", "refused", *others)
    return possible("closed-port", "refused_oddly", *others, "injected")


def _half_way(case: Case) -> Verdict | None:
    """The sender answered the SYN, and the last ACK did not come or did not fit."""
    if case.trigger != Trigger.SYN and case.fit == Fit.OUTSIDE and case.seq_echo:
        return likely("invalid-segment", "wrong_final", "unsolicited-segment")
    if case.sender_retries and case.sender_since:
        certainly = case.sender_retries >= 2 and case.peer_segments > 0
        if certainly and case.stack != Stack.LINUX:
            return likely("handshake-timeout", "no_final", "injected")
        return possible("handshake-timeout", "no_final", "injected", "connect-abort")
    if foreign_marks(case) >= 2:
        return likely("injected", "forged")
    return unknown("half_handshake", "injected", "handshake-timeout", "app-abort")


def _given_up(case: Case) -> Verdict | None:
    """The sender opened the connection itself."""
    if case.peer_synacks:
        return _late_offer(case)
    if case.peer_segments == 0:
        if case.sender_retries and case.first_reset == Earlier.NONE:
            return likely("connect-timeout", "no_synack", "connect-abort")
        return possible("connect-abort", "syn_alone", "connect-timeout", "syn-scan")
    if case.trigger == Trigger.SYN:
        return unknown("half_handshake", "injected", "invalid-segment")
    if case.seq_echo and (case.fit == Fit.OUTSIDE or case.after == After.SYN):
        if case.after == After.SYN or case.sender_syns > 1:
            return certain("stale-connection", "stale")
        return likely("stale-connection", "stale", "invalid-segment")
    if case.fit == Fit.WITHIN:
        return likely("invalid-segment", "wrong_synack", "stale-connection")
    return unknown("half_handshake", "invalid-segment", "stale-connection", "injected")


def _late_offer(case: Case) -> Verdict | None:
    """A SYN-ACK came, and the sender resets it instead of finishing the handshake."""
    if case.tsecr_off and case.seq_echo:
        return certain("invalid-segment", "wrong_echo")
    if case.trigger == Trigger.SYN_ACK and case.fit in (Fit.OUTSIDE, Fit.WITHIN) and case.seq_echo:
        others = ("stale-connection",) if case.reused else ()
        return likely("invalid-segment", "wrong_synack", *others)
    if case.trigger != Trigger.SYN_ACK and case.fit == Fit.OUTSIDE and case.seq_echo:
        return likely("stale-connection", "stale", "invalid-segment")
    if _goes_on_trying(case) and not has_ack(case):
        return likely("invalid-segment", "synack_unfit", *(() if case.seq_echo else ("injected",)))
    own = case.seq == Seq.EXACT or case.seq_echo
    if not own and not has_ack(case) and case.trigger == Trigger.SYN_ACK:
        return possible("invalid-segment", "synack_elsewhere", "injected", "connect-abort")
    if not own:
        return unknown("half_handshake", "injected", "connect-abort", "syn-scan")
    if case.bare_syn:
        return likely("syn-scan", "scan", "connect-abort")
    if case.scan == Scan.MANY or (case.scan == Scan.SEVERAL and is_answer(case)):
        return likely("syn-scan", "scan_many", "connect-abort")
    if case.synack_wait not in (Idle.NONE, Idle.SHORT) or case.sender_syns > 1:
        return likely("connect-abort", "late_synack", "syn-scan")
    return likely("connect-abort", "synack_refused", "syn-scan")


def _goes_on_trying(case: Case) -> bool:
    """Whether the sender repeats its SYN after the reset: its socket still waits."""
    if case.after == After.SYN:
        return True
    if case.synack_wait not in (Idle.NONE, Idle.SHORT):
        return False  # its SYNs were repeated for want of an answer, before the first reset
    again = case.sender_resets and case.sender_retries and case.sender_syns > 1
    return bool(again) and case.run_gap in (Gap.EARLY, Gap.PROMPT)


def _stray_offer(case: Case) -> Verdict | None:
    """The peer's SYN-ACK, and no SYN of the sender in the capture."""
    if case.sender_segments:
        return None
    if case.trigger == Trigger.SYN_ACK and is_answer(case):
        if case.peer_after == PeerAfter.DATA:
            return unknown("one_sided", "connect-abort", "injected")
        return likely(
            "unsolicited-segment", "stray_synack", "connect-abort", "syn-scan", benign=True
        )
    return unknown("one_sided", "unsolicited-segment", "connect-abort", "injected")
