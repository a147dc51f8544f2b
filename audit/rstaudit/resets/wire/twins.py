"""Packets that were captured twice: on two interfaces, or before and after being forwarded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import FIN, SYN
from rstaudit.resets.wire.hashing import mixed
from rstaudit.resets.wire.marks import Bools, Ints
from rstaudit.resets.wire.order import distinct
from rstaudit.resets.wire.view import MS, TAIL

#: What a packet keeps on its way; its TTL and the interface it was seen on may differ.
_KEPT = ("side", "seq", "ack", "length", "flags", "window", "ip_id", "tsval", "options")
_NEAR = 20 * MS
#: Equal packets that each hang on the one before are looked through so far.
_ROUNDS = 64


def twins(rows: NDArray[np.void], flow: Ints) -> Ints:
    """For each row the place of the one it repeats, or its own.

    A repetition is alike, comes within 20 ms and 32 rows, and has an IP ID, another TTL or
    interface, or takes sequence numbers: a host that sends the same segment again counts its IP ID
    on, and does not do it so soon. Equal ACKs and RSTs without an IP ID are several.
    """
    own = np.arange(len(rows))
    alike = mixed([flow, *(rows[name] for name in _KEPT)])
    ordered = np.sort(alike)
    if not (ordered[1:] == ordered[:-1]).any():
        return own
    suspects = _repeated(alike, ordered)
    now, then = _pairs(rows, alike, suspects)
    return _firsts(own, now, then)


def _pairs(rows: NDArray[np.void], alike: NDArray[np.uint64], suspects: Ints) -> tuple[Ints, Ints]:
    """Rows that may repeat an earlier one, and that one."""
    pairs = []
    for back in range(1, TAIL + 1):
        old = suspects - back
        there = old >= 0
        now, then = suspects[there], old[there]
        same = np.flatnonzero(alike[now] == alike[then])
        same = same[_one_packet(rows, now[same], then[same])]
        pairs.append((now[same], then[same]))
    return np.concatenate([now for now, _ in pairs]), np.concatenate([then for _, then in pairs])


def _firsts(own: Ints, now: Ints, then: Ints) -> Ints:
    """For each row the first of its packet, from pairs of which the earlier one may be a first.

    What repeats a repetition only is a packet of its own: the second of two equal RSTs that were
    both seen twice, say.
    """
    found = own.copy()
    undecided = np.zeros(len(own), dtype=np.bool_)
    undecided[now] = True
    for _ in range(_ROUNDS):
        if not len(now):
            break
        first = ~undecided[then]
        found[now[first]] = then[first]
        undecided[now[first]] = False
        left = undecided[now]
        now, then = now[left], then[left]
        unsure = undecided[then]
        waits = np.zeros(len(own), dtype=np.bool_)
        waits[now[unsure]] = True
        fresh = now[~waits[now]]
        now, then = now[unsure], then[unsure]
        undecided[fresh] = False
    return found


def _repeated(alike: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> Ints:
    """The rows that have others like them."""
    twice = distinct(ordered[1:][ordered[1:] == ordered[:-1]])
    place = np.searchsorted(twice, alike).clip(max=len(twice) - 1)
    return np.flatnonzero(twice[place] == alike)


def _one_packet(rows: NDArray[np.void], now: Ints, then: Ints) -> Bools:
    near = abs(rows["time"][now] - rows["time"][then]) <= _NEAR
    elsewhere = rows["interface"][now] != rows["interface"][then]
    elsewhere |= rows["ttl"][now] != rows["ttl"][then]
    takes = (rows["length"][now] > 0) | (rows["flags"][now] & (SYN | FIN) != 0)
    one: Bools = near & (elsewhere | takes | (rows["ip_id"][now] != 0))
    return one
