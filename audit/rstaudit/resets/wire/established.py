"""Resets in the middle of a connection that nobody had closed."""

from __future__ import annotations

from rstaudit.resets.wire.case import Case
from rstaudit.resets.wire.closing import both_aborted
from rstaudit.resets.wire.facts import (
    Ack,
    After,
    Fit,
    Gap,
    Idle,
    Seq,
    Stack,
    Trigger,
    Window,
)
from rstaudit.resets.wire.shape import (
    LONG,
    elsewhere,
    foreign_marks,
    forger_marks,
    has_ack,
    is_answer,
    is_client,
    is_full,
    is_linux,
    is_own,
    is_plain,
    is_whole,
    knows_connection,
    own_fin,
    says_goodbye,
)
from rstaudit.resets.wire.verdict import Verdict, certain, likely, possible, unknown

_CHILDREN = ("close-unread", "linger-abort", "listener-closed", "admin-destroy", "disconnect")


def decide_injected(case: Case) -> Verdict | None:
    """Decide where several marks say that neither end sent it; else None."""
    marks = foreign_marks(case)
    went_on = case.after == After.NEW and case.seq != Seq.BEYOND
    if went_on and marks >= 4:
        return certain("injected", "went_on")
    if went_on and not own_fin(case):
        return likely("injected", "went_on", "firewall-reject", "nat-invalid")
    if case.gap in (Gap.SLOW, Gap.LATE) and case.quiet not in (Idle.NONE, Idle.SHORT):
        return likely("idle-timeout", "silence_elsewhere", "injected") if marks >= 3 else None
    ladder = case.reset_moved and not case.seq_echo and case.seq in (Seq.BEYOND, Seq.FAR)
    if ladder and not case.sender_missing:
        return likely("injected", "ladder", "late-segment")
    if is_answer(case):
        # Filters and NAT hosts answer so, too, with their own TTL: that alone is no forgery.
        forged = forger_marks(case)
        if marks >= 3 and forged >= 2:
            return likely("injected", "forged", "firewall-reject")
        return None
    if marks >= 3:
        return likely("injected", "forged", "firewall-reject", "app-abort")
    return None


def decide_established(case: Case) -> Verdict:
    """Decide by the form of the reset; what nothing fits is undetermined."""
    if not knows_connection(case):
        return _from_nowhere(case)
    if is_answer(case) and case.gap == Gap.LATE and is_whole(case):
        return _by_itself(case)
    if is_answer(case):
        return _bare_abort(case) if case.trigger_acked else _forgotten(case)
    if is_own(case):
        return _aborted(case)
    if case.peer_segments == 0:
        return _one_sided(case)
    if not is_whole(case):
        return unknown("gaps", "data-to-closed", "app-abort", "half-open", "late-segment")
    if case.seq == Seq.BEYOND:
        return unknown("gaps", "data-to-closed", "app-abort", "injected")
    if case.seq == Seq.FAR:
        return possible("injected", "strange_numbers", "nat-invalid", "app-abort")
    if is_linux(case) and not has_ack(case) and case.seq == Seq.EXACT and case.sender_unacked:
        # Linux takes the number of a bare RST from the segment it answers, and none had this yet.
        return likely("injected", "bare_beyond_acked", "app-abort")
    return possible("app-abort", "odd_abort", "injected", "half-open")


def _from_nowhere(case: Case) -> Verdict:
    """Nothing of the sender was seen before this reset."""
    if case.peer_segments == 0:
        return unknown("alone", "app-abort", "half-open", "late-segment", "closed-port")
    if case.timestamp and case.ack in (Ack.EXACT, Ack.BEHIND):
        return possible("app-abort", "aborted_one_sided", *_CHILDREN)
    lone = case.peer_segments == 1 or (case.sender_resets and not case.peer_data)
    if is_answer(case) and lone and case.trigger == Trigger.ACK:
        return likely("unsolicited-segment", "stray_ack", "half-open", "late-segment", benign=True)
    if case.fit == Fit.NO_ACK and case.seq_zero and case.ack_echo and is_plain(case):
        # No connection has segments without ACK after its SYN (RFC 9293 section 3.10.7).
        return likely("unsolicited-segment", "stray_probe", "closed-port", benign=True)
    return unknown("begins_late", "half-open", "nat-invalid", "data-to-closed", "late-segment",
                   "idle-timeout", "unsolicited-segment")  # fmt: skip


def _one_sided(case: Case) -> Verdict:
    """Only the sender's packets were captured."""
    kept = case.timestamp or case.window == Window.SAME
    if case.sender_probes >= 2 and has_ack(case):
        return possible("keepalive-timeout", "probes_one_sided", "app-abort")
    if has_ack(case) and case.seq == Seq.EXACT and kept:
        return likely("app-abort", "aborted_one_sided", *_CHILDREN)
    return unknown("one_sided", "app-abort", "data-to-closed", "half-open")


def _by_itself(case: Case) -> Verdict:
    """The form of an answer, and for a long time nothing that it could answer."""
    if case.quiet in (Idle.NONE, Idle.SHORT, Idle.SECONDS):
        return possible("injected", "by_itself", "idle-timeout", "half-open", "app-abort")
    return possible("idle-timeout", "by_itself", "injected", "half-open", "app-abort")


def _forgotten(case: Case) -> Verdict:
    """A segment is answered as if there had never been a connection."""
    if not is_whole(case) and case.seq in (Seq.BEYOND, Seq.FAR):
        return unknown("gaps", "data-to-closed", "half-open", "late-segment")
    if case.idle in LONG and elsewhere(case):
        return likely("idle-timeout", "forgotten_idle", "half-open", "nat-invalid",
                      "retransmit-timeout")  # fmt: skip
    if elsewhere(case):
        return _forgotten_elsewhere(case)
    if case.idle == Idle.KNOWN and case.trigger != Trigger.PROBE:
        # A keepalive timer makes round silences itself, so a probe after one says nothing.
        return possible("idle-timeout", "forgotten_idle", "half-open", "nat-invalid",
                        "retransmit-timeout")  # fmt: skip
    if case.peer_retries >= 2 or case.trigger == Trigger.PROBE:
        return likely("half-open", "forgotten", "idle-timeout", "nat-invalid",
                      "retransmit-timeout", "firewall-reject")  # fmt: skip
    return possible("half-open", "forgotten", "firewall-reject", "nat-invalid", "idle-timeout",
                    "retransmit-timeout", "late-segment", "injected")  # fmt: skip


def _forgotten_elsewhere(case: Case) -> Verdict:
    """A box on the path answers in the sender's name: another TTL than the sender's."""
    if is_client(case) and case.idle not in (Idle.NONE, Idle.SHORT):
        return possible("idle-timeout", "answered_elsewhere", "nat-invalid", "firewall-reject",
                        "injected", "half-open")  # fmt: skip
    if is_client(case):
        return possible("nat-invalid", "answered_elsewhere", "idle-timeout", "firewall-reject",
                        "injected")  # fmt: skip
    if case.idle not in (Idle.NONE, Idle.SHORT):
        return possible("idle-timeout", "answered_elsewhere", "firewall-reject", "nat-invalid",
                        "injected", "half-open")  # fmt: skip
    return possible("firewall-reject", "answered_elsewhere", "injected", "idle-timeout",
                    "nat-invalid", "half-open")  # fmt: skip


def _bare_abort(case: Case) -> Verdict:
    """A bare RST for a segment that the sender's kernel had already taken."""
    if is_linux(case):
        # Linux aborts an established connection with RST+ACK only (tcp_send_active_reset).
        return possible("injected", "bare_after_ack", "nat-invalid", "app-abort")
    return possible("app-abort", "bare_after_ack", "injected", "half-open")


def _aborted(case: Case) -> Verdict:
    """The sender's kernel resets a connection that it holds."""
    benign = says_goodbye(case) and not case.sender_unacked
    children = _order(case)
    if case.both_reset:
        return both_aborted(case, "aborted")
    if case.sender_probes and case.gap in (Gap.SLOW, Gap.LATE):
        children = (*children[:2], "keepalive-timeout", *children[2:])
    if is_full(case) and case.quiet not in LONG and not elsewhere(case):
        return likely("app-abort", "aborted", *children, benign=benign)
    if is_full(case):
        return likely("app-abort", "aborted", "idle-timeout", *children, benign=benign)
    return _plain(case, children, benign)


def _plain(case: Case, children: tuple[str, ...], benign: bool) -> Verdict:
    """RST+ACK without window or options: how Windows aborts, and how some systems answer."""
    taken = case.trigger_acked or case.gap == Gap.LATE or case.peer_unacked == 0
    if is_linux(case) and case.sender_timestamps:
        if case.gap == Gap.LATE and case.quiet not in (Idle.NONE, Idle.SHORT, Idle.SECONDS):
            return possible("idle-timeout", "unstamped", "injected", "firewall-reject", "app-abort")
        return possible("injected", "unstamped", "firewall-reject", "idle-timeout", "app-abort")
    if case.stack == Stack.UNIX and case.sender_timestamps:
        # BSD leaves a window in it, Linux also the timestamp.
        return possible("app-abort", "aborted_plainly", "idle-timeout", "injected", *children,
                        benign=benign)  # fmt: skip
    if taken:
        return likely("app-abort", "aborted_plainly", *children, "idle-timeout", benign=benign)
    away = case.trigger == Trigger.PROBE or case.peer_retries >= 2 or case.idle in LONG
    if away:
        return possible("half-open", "forgotten_plainly", "app-abort", "idle-timeout")
    if case.stack == Stack.WINDOWS:
        return likely("app-abort", "aborted_plainly", *children, "half-open", "idle-timeout",
                      benign=benign)  # fmt: skip
    return possible("app-abort", "aborted_plainly", "half-open", "idle-timeout", *children,
                    benign=benign)  # fmt: skip


def _order(case: Case) -> tuple[str, ...]:
    """The kinds of abort, likeliest first."""
    first = []
    if not case.sender_data and not is_client(case):
        first += ["listener-closed"] if case.burst else []
    if case.peer_spoke_last and not is_plain(case):
        first += ["close-unread"]
    elif not case.peer_data or not case.peer_spoke_last:
        first += ["linger-abort"]
    return (*first, *(child for child in _CHILDREN if child not in first))
