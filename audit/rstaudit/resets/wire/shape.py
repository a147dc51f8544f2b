"""Questions about a `Case` that several families of causes ask."""

from __future__ import annotations

from rstaudit.resets.wire.case import Case
from rstaudit.resets.wire.facts import (
    Ack,
    After,
    Content,
    Df,
    Gap,
    IdHabit,
    Idle,
    IpId,
    Seq,
    Side,
    Stack,
    Trigger,
    Ttl,
    Window,
)

_OWN_FIN = (Side.SENDER, Side.BOTH_SENDER_FIRST, Side.BOTH_PEER_FIRST)
_PEER_FIN = (Side.PEER, Side.BOTH_SENDER_FIRST, Side.BOTH_PEER_FIRST)

#: Silences in which a device may forget a connection.
LONG = (Idle.LONG, Idle.KNOWN)


def has_ack(case: Case) -> bool:
    """Whether the reset has the ACK flag."""
    return case.ack not in (Ack.NONE, Ack.FIELD)


def is_answer(case: Case) -> bool:
    """Whether a kernel without the connection could have built it from a segment alone.

    RFC 9293 section 3.10.7.1: sequence number from the segment's ACK, no ACK flag.
    """
    return not has_ack(case) and bool(case.seq_echo) and not case.timestamp


def is_plain(case: Case) -> bool:
    """RST+ACK that says nothing else: Windows's own abort, or another system's answer."""
    return has_ack(case) and case.window == Window.ZERO and not case.timestamp


def is_full(case: Case) -> bool:
    """RST+ACK that only a kernel which holds the connection can fill in (Linux, BSD).

    Its own next sequence number, the peer's, a window or a timestamp. Where the capture lost some
    of the peer's segments, it acknowledges more than was seen.
    """
    acks = (Ack.EXACT, Ack.BEHIND, Ack.AHEAD) if case.timestamp else (Ack.EXACT, Ack.BEHIND)
    numbers = case.seq in (Seq.EXACT, Seq.UNACKED) and case.ack in acks
    windowed = case.window != Window.ZERO or case.timestamp or case.sender_zero_window
    return has_ack(case) and numbers and bool(windowed)


def is_own(case: Case) -> bool:
    """Whether it looks like an abort by the sender's kernel: full, or plain with its numbers."""
    numbers = case.seq in (Seq.EXACT, Seq.UNACKED) and case.ack in (Ack.EXACT, Ack.BEHIND)
    return is_full(case) or (is_plain(case) and numbers)


def own_fin(case: Case) -> bool:
    """Whether the sender closed before."""
    return case.fins in _OWN_FIN


def peer_fin(case: Case) -> bool:
    """Whether the peer closed before."""
    return case.fins in _PEER_FIN


def is_client(case: Case) -> bool:
    """Whether the sender opened the connection."""
    return bool(case.sender_syns or case.peer_synacks)


def is_server(case: Case) -> bool:
    """Whether the peer opened the connection."""
    return bool(case.peer_syns or case.sender_synacks)


def says_goodbye(case: Case) -> bool:
    """Whether the peer's last data is a TLS alert: close_notify, as a rule."""
    return case.content in (Content.ALERT, Content.ALERT_13)


def is_linux(case: Case) -> bool:
    """Whether the sender's handshake shows Linux."""
    return case.stack == Stack.LINUX


def elsewhere(case: Case) -> bool:
    """Whether the TTL says that another box sent it."""
    return case.ttl in (Ttl.ONE_MORE, Ttl.ONE_LESS, Ttl.MORE, Ttl.LESS)


def promptly(case: Case) -> bool:
    """Whether it came as fast after the peer's segment as an answer does."""
    return case.gap in (Gap.EARLY, Gap.PROMPT)


def knows_connection(case: Case) -> bool:
    """Whether the sender took part in the connection, as far as the capture shows."""
    return case.sender_segments > 0


def is_whole(case: Case) -> bool:
    """Whether the capture holds both directions without gaps."""
    return not case.sender_missing and not case.peer_missing


def foreign_marks(case: Case) -> int:
    """How much speaks for a forger, in points; 3 or more are as good as proof.

    Detectors of Weaver, Sommer and Paxson (NDSS 2009) for the order of segments, and what tools
    that forge resets get wrong: TTL, IP ID, DF, numbers, timing, timestamps.
    """
    return forger_marks(case) + _TTL_POINTS.get(case.ttl, 0)


def forger_marks(case: Case) -> int:
    """The same without the TTL, which a filter or router that resets openly changes, too."""
    return _conduct(case) + _header(case)


def signs(case: Case) -> list[str]:
    """What of it looks forged, in words."""
    unstamped = has_ack(case) and case.sender_timestamps and not case.timestamp
    found = {
        "TTL": elsewhere(case),
        "DF": case.df == Df.DIFFERS,
        "IP ID": _id_breaks(case),
        "sequence number": case.seq in (Seq.BEYOND, Seq.FAR) and not case.seq_echo,
        "no timestamp": bool(unstamped and is_linux(case)),
        "too early": _too_early(case),
        "others with growing numbers": case.after == After.LADDER,
        "both ends at once": bool(case.both_reset),
        "the sender goes on": case.after == After.NEW,
    }
    return [sign for sign, there in found.items() if there]


_TTL_POINTS = {int(Ttl.MORE): 2, int(Ttl.LESS): 2, int(Ttl.ONE_MORE): 1, int(Ttl.ONE_LESS): 1}


def _conduct(case: Case) -> int:
    """Points for what the supposed sender does, and when."""
    points = 0
    if case.after == After.NEW:
        points += 1 if case.seq == Seq.BEYOND else 3
    if case.after == After.LADDER and not own_fin(case) and not case.sender_missing:
        points += 2
    if _too_early(case) and not own_fin(case):
        points += 2
    if case.both_reset and promptly(case) and case.idle == Idle.SHORT:
        points += 1
    return points


def _too_early(case: Case) -> bool:
    """Whether it answers what cannot have reached the sender yet."""
    if is_answer(case):
        return case.run_gap == Gap.EARLY
    fresh = case.trigger in (Trigger.DATA, Trigger.FIN) and case.ack == Ack.EXACT
    return case.gap == Gap.EARLY and fresh and bool(case.ack_echo)


def _header(case: Case) -> int:
    """Points for what the packet says."""
    points = 0
    if case.df == Df.DIFFERS:
        points += 2 if is_linux(case) else 1
    points += _id_breaks(case)
    if case.seq in (Seq.BEYOND, Seq.FAR) and not case.seq_echo and case.sender_segments > 1:
        points += 2 if case.seq == Seq.FAR else 1
    unstamped = has_ack(case) and case.sender_timestamps and not case.timestamp
    return points + bool(unstamped and is_linux(case))


def _id_breaks(case: Case) -> bool:
    """Whether the IP ID fits neither the sender's counter nor an answer's."""
    if case.ip_id != IpId.OTHER:
        return False
    if case.id_habit == IdHabit.ZERO:
        return case.sender_segments == 3
    return case.id_habit == IdHabit.COUNTS and not is_answer(case)
