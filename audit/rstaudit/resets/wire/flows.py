"""Which flow each segment belongs to, and which flows are open."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import ACK, FIN, RST, SYN
from rstaudit.resets.wire.marks import Bools, Ints
from rstaudit.resets.wire.order import by_key, changes

#: What a flow has had so far; each for side 0, and twice that for side 1.
_SENT, _SYN, _FIN = 1, 4, 16
_RST = 64
_BOTH_FINS = 3 * _FIN

#: One open flow. ``number`` counts flows from 0; ``seen`` are the bits above; ``syn`` the number
#: of each side's SYN or SYN-ACK; ``last`` the time of the newest segment; ``rows`` how many the
#: log keeps, ``total`` how many there were; ``reused``: an earlier flow had the same four-tuple.
FLOW = np.dtype(
    [
        ("key", "<u8"), ("number", "<i8"), ("last", "<i8"), ("rows", "<i8"), ("total", "<i8"),
        ("seen", "<i8"),        ("syn", "<u4", (2,)), ("reused", "?"),
    ]
)  # fmt: skip


#: More SYNs than this that need a look each are a flood, and looked at less closely.
_FLOOD = 4096


class Assigned:
    """The segments of a batch by flow.

    ``group`` says for each segment to which part of the batch it belongs: parts are the segments
    of one flow. For each part, ``number`` is the flow's; ``reused``: an earlier flow had the same
    four-tuple; ``first_reset``: the flow's first RST is in this part. ``ordinal`` counts the
    segments of each flow from 0, over all batches.
    """

    def __init__(self, order: Ints, starts: Ints, part: NDArray[np.void], before: Ints) -> None:
        """``before``: how many segments each part's flow had in earlier batches."""
        self.number: Ints = part["number"].copy()
        self.reused: Bools = part["reused"].copy()
        self.first_reset: Bools = np.zeros(len(part), dtype=np.bool_)
        lengths = np.diff(np.append(starts, len(order)))
        self.group: Ints = np.empty(len(order), dtype=np.int64)
        self.group[order] = np.repeat(np.arange(len(starts)), lengths)
        self.ordinal: Ints = np.empty(len(order), dtype=np.int64)
        self.ordinal[order] = np.arange(len(order)) + np.repeat(before - starts, lengths)

    @property
    def flow(self) -> Ints:
        """The number of each segment's flow."""
        return self.number[self.group]


class Flows:
    """The open flows, one per four-tuple. ``count`` is how many there were in all."""

    def __init__(self) -> None:
        self.open = np.zeros(0, dtype=FLOW)
        self.count = 0

    def assign(self, rows: NDArray[np.void]) -> Assigned:
        """Give each segment of a batch its flow, opening new ones."""
        order = by_key(np.ascontiguousarray(rows["key"]))
        sorted_ = _Sorted(rows, order)
        groups = changes(sorted_.key)
        place, known = self._find(sorted_.key[groups])
        splits = self._splits(sorted_, groups, place, known)
        starts = np.union1d(groups, splits) if len(splits) else groups
        owner = np.searchsorted(groups, starts, side="right") - 1
        first = starts == groups[owner]
        continued = first & known[owner] & ~np.isin(starts, splits)
        numbers = np.zeros(len(starts), dtype=np.int64)
        fresh = ~continued
        numbers[fresh] = self.count + np.arange(fresh.sum())
        self.count += int(fresh.sum())
        numbers[continued] = self.open["number"][place[owner[continued]]]
        part = self._parts(sorted_, starts, numbers)
        part["reused"] = ~first | (known[owner] & fresh)
        old = self.open[place[owner[continued]]]
        before = np.zeros(len(part), dtype=np.int64)
        before[continued] = old["total"]
        first_reset = part["seen"] & _RST != 0
        first_reset[continued] &= old["seen"] & _RST == 0
        _join(part, continued, old)
        self._replace(part)
        assigned = Assigned(order, starts, part, before)
        assigned.first_reset = first_reset
        return assigned

    def _find(self, keys: NDArray[np.uint64]) -> tuple[Ints, Bools]:
        """Where the open flows with these keys stand, and whether there are any."""
        if not len(self.open):
            return np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=np.bool_)
        place = np.searchsorted(self.open["key"], keys).clip(max=len(self.open) - 1)
        return place, self.open["key"][place] == keys

    def _splits(self, batch: _Sorted, groups: Ints, place: Ints, known: Bools) -> Ints:
        """Where a SYN with another sequence number begins a new flow on an old four-tuple."""
        syns = np.flatnonzero(batch.flags & (SYN | ACK | RST) == SYN)
        group = np.searchsorted(groups, syns, side="right") - 1
        unsure = (syns != groups[group]) | known[group]
        end, seq = group * 2 + batch.side[syns], batch.seq[syns]
        again = np.zeros(len(syns), dtype=np.bool_)
        again[1:] = (end[1:] == end[:-1]) & (seq[1:] == seq[:-1])
        if np.count_nonzero(unsure & ~again) > _FLOOD:
            again = _repeated(end, seq)
        begins: list[int] = []
        for at, number in zip(syns[unsure & ~again], group[unsure & ~again], strict=True):
            start = int(groups[number])
            state = self.open[place[number]] if known[number] else None
            if begins and begins[-1] >= start:
                start, state = begins[-1], None
            if batch.begins(start, int(at), state):
                begins.append(int(at))
        return np.array(begins, dtype=np.int64)

    def _parts(self, batch: _Sorted, starts: Ints, numbers: Ints) -> NDArray[np.void]:
        """What each flow had in this batch."""
        part = np.zeros(len(starts), dtype=FLOW)
        if not len(starts):
            return part
        part["key"] = batch.key[starts]
        part["number"] = numbers
        part["last"] = np.maximum.reduceat(batch.time, starts)
        part["rows"] = part["total"] = np.diff(np.append(starts, len(batch.key)))
        part["seen"] = np.bitwise_or.reduceat(batch.seen(), starts)
        syns = np.flatnonzero(batch.flags & (SYN | RST) == SYN)[::-1]
        owner = np.searchsorted(starts, syns, side="right") - 1
        part["syn"][owner, batch.side[syns]] = batch.seq[syns]
        return part

    def _replace(self, part: NDArray[np.void]) -> None:
        """Put the newest flow of each four-tuple among the open ones."""
        newest = np.ones(len(part), dtype=np.bool_)
        newest[:-1] = part["key"][1:] != part["key"][:-1]
        part = part[newest]
        place, known = self._find(part["key"])
        self.open[place[known]] = part[known]
        added = part[~known]
        if len(added):
            where = np.searchsorted(self.open["key"], added["key"])
            self.open = np.insert(self.open, where, added)

    def ended(self) -> Bools:
        """Which open flows had a RST, or a FIN of both sides."""
        seen = self.open["seen"]
        ended: Bools = (seen & _RST != 0) | (seen & _BOTH_FINS == _BOTH_FINS)
        return ended

    def forget(self, gone: Bools) -> None:
        """Close these of the open flows."""
        self.open = self.open[~gone]


def _join(part: NDArray[np.void], continued: Bools, old: NDArray[np.void]) -> None:
    """Add what was known of flows before to what this batch says of them."""
    new = part[continued]
    new["last"] = np.maximum(new["last"], old["last"])
    new["rows"] += old["rows"]
    new["total"] += old["total"]
    for side in (0, 1):
        had = old["seen"] & (_SYN << side) != 0
        new["syn"][had, side] = old["syn"][had, side]
    new["seen"] |= old["seen"]
    new["reused"] = old["reused"]
    part[continued] = new


class _Sorted:
    """The columns of a batch that tell flows apart, in the order of their keys."""

    def __init__(self, rows: NDArray[np.void], order: Ints) -> None:
        # Columns are made contiguous first: jumping about in wide rows is slow.
        self.key = np.ascontiguousarray(rows["key"])[order]
        self.time = np.ascontiguousarray(rows["time"])[order]
        self.flags = np.ascontiguousarray(rows["flags"])[order]
        self.side = rows["side"].astype(np.int64)[order]
        self._rows, self._order = rows, order

    @property
    def seq(self) -> _Lazy:
        """Sequence numbers, few of which are needed."""
        return _Lazy(self._rows["seq"], self._order)

    def seen(self, part: slice = slice(None)) -> Ints:
        """What each segment adds to what its flow had."""
        flags = (self.flags[part] & (FIN | SYN | RST)).astype(np.int64)
        found: Ints = _BITS[flags | self.side[part] << 3]
        return found

    def begins(self, start: int, at: int, state: Any) -> bool:
        """Whether the SYN at ``at`` opens another connection than the rows from ``start`` on.

        ``state`` is what the flow had before the batch, a `FLOW`, or None.
        """
        side = int(self.side[at])
        seen = int(np.bitwise_or.reduce(self.seen(slice(start, at)), initial=0))
        earlier = int(state["seen"]) if state is not None else 0
        number = int(self.seq[at])
        if (seen | earlier) & (_SENT << side):
            if state is not None and earlier & (_SYN << side):
                return int(state["syn"][side]) != number
            own = np.arange(start, at)
            own = own[(self.side[own] == side) & (self.flags[own] & (SYN | RST) == SYN)]
            return number not in self.seq[own]
        return bool(seen | earlier) and not (seen | earlier) & (3 * _SYN)


class _Lazy:
    """A column in another order, of which only what is asked for is fetched."""

    def __init__(self, column: NDArray[Any], order: Ints) -> None:
        self._column, self._order = column, order

    def __getitem__(self, places: Any) -> Any:
        return self._column[self._order[places]]


def _repeated(end: Ints, seq: NDArray[np.uint32]) -> Bools:
    """Which SYNs have the number of the one before from the same end.

    Where both ends send SYNs in turn, those are not next to each other.
    """
    order = np.argsort(end, kind="stable")
    again = np.zeros(len(end), dtype=np.bool_)
    ends, numbers = end[order], seq[order]
    again[order[1:]] = (ends[1:] == ends[:-1]) & (numbers[1:] == numbers[:-1])
    return again


def _seen_bits(code: int) -> int:
    """The bits of a segment with these of FIN, SYN and RST, and its side times 8."""
    side = code >> 3
    if code & RST:
        return _RST
    found = _SENT << side
    if code & SYN:
        found |= _SYN << side
    if code & FIN:
        found |= _FIN << side
    return found


_BITS = np.array([_seen_bits(code) for code in range(16)], dtype=np.int64)
