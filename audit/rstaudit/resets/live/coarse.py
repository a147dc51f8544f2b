"""Resets without events: what counters and sockets that were there a moment ago still say.

For containers without tracefs, and for kernels before 4.15. A counter tells how many and why, not
who; so several resets of one cause become one diagnosis with their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rstaudit.model.diagnosis import UNDETERMINED, Diagnosis
from rstaudit.model.rule import Confidence, Evidence

_CERTAIN, _LIKELY, _POSSIBLE = Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE


class Tally(NamedTuple):
    """``number`` of resets of one kind within an interval: ``sent`` or ``received`` here.

    At the most: some counters move for other reasons too.
    """

    direction: str
    number: int
    diagnosis: Diagnosis


class _Counted(NamedTuple):
    """What a counter means. ``sent``: each step is a reset that went out."""

    counter: str
    cause: str
    confidence: Confidence
    why: str
    alternatives: tuple[str, ...] = ()


#: In the order of certainty: what an earlier one explains is not explained again.
_SENT = (
    _Counted(
        "MPTcpExt.MPFastcloseTx", "mptcp-fastclose", _CERTAIN,
        "MPTCP connections were closed with data unread or with SO_LINGER {{1, 0}}: {count}.",
    ),
    _Counted(
        "TcpExt.TCPAbortOnClose", "close-unread", _CERTAIN,
        "Programs closed sockets while received data was unread: {count}.",
    ),
    _Counted(
        "TcpExt.TCPAbortOnLinger", "linger2-abort", _CERTAIN,
        "Programs closed sockets with a negative TCP_LINGER2: {count}.",
    ),
    _Counted(
        "TcpExt.TCPAbortOnMemory", "memory-pressure", _CERTAIN,
        "The kernel gave up closed sockets for want of memory or of room for orphans: {count}.",
    ),
    _Counted(
        "TcpExt.ListenOverflows", "listen-overflow", _LIKELY,
        "Handshakes ended at full accept queues with a reset: at most {count}.",
        ("connect-abort",),
    ),
    _Counted(
        "TcpExt.SyncookiesFailed", "invalid-segment", _LIKELY,
        "SYN cookies came back that did not check out: {count}.",
    ),
    _Counted(
        "TcpExt.TCPTimeWaitOverflow", "timewait-overflow", _POSSIBLE,
        "Connections were closed without TIME_WAIT for want of room, and late segments of theirs"
        " are reset: at most {count}.", ("data-to-closed",),
    ),
    _Counted(
        "TcpExt.TCPAbortOnData", "linger-abort", _LIKELY,
        "Programs closed sockets with SO_LINGER {{1, 0}}, or data came after close(): {count}.",
        ("data-to-closed",),
    ),
    _Counted(
        "TcpExt.TCPAbortOnTimeout", "keepalive-timeout", _POSSIBLE,
        "Connections timed out, of which only those with keepalive reset: at most {count}.",
        ("retransmit-timeout", "connect-timeout"),
    ),
)  # fmt: skip

#: A full queue resets only with tcp_abort_on_overflow; the request is counted as embryonic then.
_ONLY_WITH = {"TcpExt.ListenOverflows": "TcpExt.EmbryonicRsts"}


def infer(counters: Mapping[str, int], closed: Mapping[str, int] | None = None) -> list[Tally]:
    """What the moves of one namespace's counters tell of its resets, the surest first.

    ``counters`` are deltas by name. ``closed`` counts, by the state they were in, the sockets that
    a poll found and the next one did not (sock_diag); without it nothing is said of them. Resets
    that no other counter explains are ``undetermined`` or, where connects are refused, a closed
    port at the other end. Empty where no reset was counted.
    """
    left = counters.get("Tcp.OutRsts", 0)
    found: list[Tally] = []
    for entry in _SENT:
        count = min(_moved(counters, entry.counter), left)
        if count > 0:
            found.append(Tally("sent", count, _diagnosis(entry, count, counters)))
            left -= count
    if left > 0:
        found.append(Tally("sent", left, _unexplained(left)))
    return found + _received(counters, closed or {})


def _moved(counters: Mapping[str, int], name: str) -> int:
    moved = counters.get(name, 0)
    other = _ONLY_WITH.get(name)
    return moved if other is None else min(moved, counters.get(other, 0))


def _diagnosis(entry: _Counted, count: int, counters: Mapping[str, int]) -> Diagnosis:
    evidence: Evidence = {
        "source": "counters", entry.counter: counters[entry.counter], "count": count,
        "Tcp.OutRsts": counters.get("Tcp.OutRsts", 0),
    }  # fmt: skip
    return Diagnosis(
        entry.cause, entry.confidence, entry.why.format(count=count), entry.alternatives,
        evidence=evidence,
    )  # fmt: skip


def _unexplained(count: int) -> Diagnosis:
    return Diagnosis(
        UNDETERMINED, _POSSIBLE,
        f"{count} more resets went out that no abort counter explains: to closed ports, to"
        " segments of connections that are gone, or by disconnecting. Trace events would tell"
        " which.",
        ("closed-port", "late-segment", "half-open", "data-to-closed", "listener-closed",
         "admin-destroy", "disconnect"),
        evidence={"source": "counters", "Tcp.OutRsts": count},
    )  # fmt: skip


def _received(counters: Mapping[str, int], closed: Mapping[str, int]) -> list[Tally]:
    """Connections that were ended from outside; own aborts count in the same counters."""
    found: list[Tally] = []
    refused = min(
        counters.get("Tcp.AttemptFails", 0) - counters.get("TcpExt.EmbryonicRsts", 0),
        closed.get("SYN_SENT", counters.get("Tcp.AttemptFails", 0)),
    )
    if refused > 0:
        found.append(Tally("received", refused, Diagnosis(
            "closed-port", _POSSIBLE, f"Connects of this host failed, at most {refused} of them"
            " because they were refused.", ("firewall-reject", "connect-timeout"),
            evidence={"source": "counters", "Tcp.AttemptFails": refused},
        )))  # fmt: skip
    ours = sum(counters.get(name, 0) for name in _OWN_ENDS)
    resets = counters.get("Tcp.EstabResets", 0) - ours
    if resets > 0:
        found.append(Tally("received", resets, Diagnosis(
            UNDETERMINED, _POSSIBLE, f"{resets} established connections were ended by resets of"
            " their peers or by timeouts. Only the peer, or a capture, tells why.",
            ("app-abort", "half-open", "data-to-closed"),
            evidence={"source": "counters", "Tcp.EstabResets": resets},
        )))  # fmt: skip
    return found


_OWN_ENDS = (
    "TcpExt.TCPAbortOnClose", "TcpExt.TCPAbortOnData", "TcpExt.TCPAbortOnTimeout",
    "TcpExt.TCPAbortOnMemory",
)  # fmt: skip
