"""Segments and flows as plain values, for the slow oracle."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

from rstaudit.parse.capture import segments as seg
from rstaudit.resets.wire.facts import IDLE_LIMITS, Idle, Pace
from rstaudit.resets.wire.stack import LINUX_ORDERS

MS = 1_000_000
SECOND = 1000 * MS
TAIL = 32


class Seg(NamedTuple):
    """A SEGMENT row as plain values."""

    frame: int
    time: int
    key: int
    side: int
    family: int
    source: tuple[bytes, int]
    target: tuple[bytes, int]
    seq: int
    ack: int
    length: int
    flags: int
    window: int
    ttl: int
    ip_id: int
    ip_flags: int
    options: int
    mss: int
    wscale: int
    tsval: int
    tsecr: int
    head: bytes
    interface: int
    reason: int
    linux_order: bool

    @property
    def end(self) -> int:
        """The sequence number that follows it."""
        extra = bool(self.flags & seg.SYN) + bool(self.flags & seg.FIN)
        return (self.seq + self.length + extra) & 0xFFFFFFFF

    @property
    def rst(self) -> bool:
        """Whether it is a reset."""
        return bool(self.flags & seg.RST)

    @property
    def syn(self) -> bool:
        """Whether it has SYN, with or without ACK."""
        return bool(self.flags & seg.SYN)

    @property
    def fin(self) -> bool:
        """Whether it has FIN."""
        return bool(self.flags & seg.FIN)

    @property
    def acks(self) -> bool:
        """Whether its acknowledgement number counts."""
        return bool(self.flags & seg.ACK)

    @property
    def occupies(self) -> bool:
        """Whether it takes sequence numbers."""
        return bool(self.length) or self.syn or self.fin


def plain(row: Any) -> Seg:
    """A row of dtype SEGMENT as a `Seg`."""
    return Seg(
        int(row["frame"]),
        int(row["time"]),
        int(row["key"]),
        int(row["side"]),
        int(row["family"]),
        (bytes(row["src"]), int(row["sport"])),
        (bytes(row["dst"]), int(row["dport"])),
        int(row["seq"]),
        int(row["ack"]),
        int(row["length"]),
        int(row["flags"]),
        int(row["window"]),
        int(row["ttl"]),
        int(row["ip_id"]),
        int(row["ip_flags"]),
        int(row["options"]),
        int(row["mss"]),
        int(row["wscale"]),
        int(row["tsval"]),
        int(row["tsecr"]),
        bytes(row["head"]).ljust(8, b"\0"),
        int(row["interface"]),
        int(row["mptcp_reason"]),
        int(row["order"]) in LINUX_ORDERS,
    )


def less(a: int, b: int) -> int:
    """``a - b`` in sequence space, -2**31 to 2**31 - 1."""
    return ((a - b + 2**31) & 0xFFFFFFFF) - 2**31


def highest(values: Iterable[int]) -> int | None:
    """The furthest of some sequence numbers that lie near each other; None of none."""
    best: int | None = None
    for value in values:
        if best is None or less(value, best) > 0:
            best = value
    return best


def idle_of(gap: int | None) -> Idle:
    """A silence in ns as its bucket."""
    if gap is None:
        return Idle.NONE
    if gap < SECOND:
        return Idle.SHORT
    if gap < 10 * SECOND:
        return Idle.SECONDS
    if gap < 50 * SECOND:
        return Idle.TENS
    known = any(abs(gap - n * SECOND) <= max(3 * SECOND // 2, n * SECOND // 100)
                for n in IDLE_LIMITS)  # fmt: skip
    return Idle.KNOWN if known else Idle.LONG


def pace_of(times: list[int]) -> Pace:
    """How the gaps between these times develop."""
    gaps = [b - a for a, b in itertools.pairwise(times)]
    if len(gaps) < 2:
        return Pace.NONE
    if 10 * max(gaps) <= 13 * min(gaps):
        return Pace.EVEN
    shrinks = any(10 * b < 7 * a for a, b in itertools.pairwise(gaps))
    return Pace.GROWING if 2 * gaps[-1] >= 3 * gaps[0] and not shrinks else Pace.OTHER


def same_packet(a: Seg, b: Seg) -> bool:
    """Whether two segments are one packet, captured twice."""
    alike = a[3:12] == b[3:12] and (a.ip_id, a.tsval, a.options) == (b.ip_id, b.tsval, b.options)
    elsewhere = a.interface != b.interface or a.ttl != b.ttl
    return alike and abs(a.time - b.time) <= 20 * MS and (a.ip_id != 0 or elsewhere or a.occupies)


def split(rows: Iterable[Seg]) -> list[list[Seg]]:
    """The flows, in the order of their first segments. A SYN with another ISN begins a new one."""
    flows: list[list[Seg]] = []
    open_: dict[int, list[Seg]] = {}
    for row in rows:
        flow = open_.get(row.key)
        if flow is None or begins(row, flow):
            flow = open_[row.key] = []
            flows.append(flow)
        flow.append(row)
    return flows


def begins(row: Seg, flow: list[Seg]) -> bool:
    """Whether this SYN opens another connection on the same four-tuple."""
    if not row.syn or row.acks or row.rst:
        return False
    own = [old for old in flow if old.side == row.side and not old.rst]
    if own:
        return not any(old.syn and old.seq == row.seq for old in own)
    answered = any(old.syn for old in flow)  # simultaneous open, or the other side's SYN
    return not answered


def unique(flow: list[Seg]) -> list[Seg]:
    """The flow without what was captured twice."""
    kept: list[Seg] = []
    for row in flow:
        if not any(same_packet(row, old) for old in kept[-TAIL:]):
            kept.append(row)
    return kept
