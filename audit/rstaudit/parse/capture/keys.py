"""One number for both directions of a connection, and which end of it sent a segment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import SEGMENT, Rows, place

Words = NDArray[np.uint64]

#: A row, with its addresses as the numbers they are.
_NUMBERS = np.dtype(
    {
        "names": ["src4", "dst4", "src_high", "src_low", "dst_high", "dst_low"],
        "formats": [">u4", ">u4", ">u8", ">u8", ">u8", ">u8"],
        "offsets": [
            *(place(name) + 12 for name in ("src", "dst")),
            *(place(name) + at for name in ("src", "dst") for at in (0, 8)),
        ],
        "itemsize": SEGMENT.itemsize,
    }
)


class Seed(NamedTuple):
    """Two secrets, so that nobody can craft connections that fall together."""

    first: int
    second: int


def parse_seed(data: bytes) -> Seed:
    """16 bytes as a seed."""
    return Seed(int.from_bytes(data[:8], "little"), int.from_bytes(data[8:16], "little"))


def set_keys(rows: Rows, seed: Seed) -> None:
    """Fill in ``key`` and ``side`` from addresses, ports and family."""
    six = np.flatnonzero(rows["family"] == 6)
    if len(six) < len(rows):
        numbers = rows.view(_NUMBERS)
        rows["key"], rows["side"] = keys4(
            numbers["src4"], rows["sport"], numbers["dst4"], rows["dport"], seed
        )
    if len(six):
        some = rows.take(six)
        _set_keys_6(some, seed)
        rows["side"][six] = some["side"]
        rows["key"][six] = some["key"]


def keys4(
    src: NDArray[np.uint32],
    sport: NDArray[np.uint16],
    dst: NDArray[np.uint32],
    dport: NDArray[np.uint16],
    seed: Seed,
) -> tuple[Words, NDArray[np.bool_]]:
    """``key`` and ``side`` of IPv4 segments."""
    source = src.astype(np.uint64) << np.uint64(16)
    source |= sport
    target = dst.astype(np.uint64) << np.uint64(16)
    target |= dport
    return _pair(np.minimum(source, target), np.maximum(source, target), seed), source > target


def _set_keys_6(rows: Rows, seed: Seed) -> None:
    numbers = rows.view(_NUMBERS)
    high = [numbers[name].astype(np.uint64) for name in ("src_high", "dst_high")]
    low = [numbers[name].astype(np.uint64) for name in ("src_low", "dst_low")]
    port = [rows[name].astype(np.uint64) for name in ("sport", "dport")]
    same_low = (low[0] == low[1]) & (port[0] > port[1])
    same_high = (high[0] == high[1]) & ((low[0] > low[1]) | same_low)
    side = (high[0] > high[1]) | same_high
    folded = [_pair(_pair(high[end], low[end], seed), port[end], seed) for end in (0, 1)]
    rows["side"] = side
    rows["key"] = _pair(
        np.where(side, folded[1], folded[0]), np.where(side, folded[0], folded[1]), seed
    )


def _pair(first: Words, second: Words, seed: Seed) -> Words:
    """Two words mixed to one, by the multiplications and shifts of splitmix64."""
    mixed = _mix(first ^ np.uint64(seed.first))
    mixed += second
    mixed ^= np.uint64(seed.second)
    return _mix(mixed)


def _mix(words: Words) -> Words:
    words ^= words >> np.uint64(32)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(29)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(32)
    return words
