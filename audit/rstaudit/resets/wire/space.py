"""Sequence numbers as plain integers: flows side by side, none of them wrapping.

A sequence number is 32 bits wide and wraps (RFC 9293 section 3.4). Here each flow gets a stretch
of 64-bit integers of its own for each direction, far from those of other flows, so that
comparing, subtracting and running maxima need no further care. What a segment sends and what the
other side acknowledges lie in the same stretch.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import ACK, FIN, RST, SYN
from rstaudit.resets.wire.marks import Bools, Ints, Marks

#: Distance between the stretches of two flows: more than one flow ever moves.
_APART = 1 << 44


class Space:
    """The sequence numbers of one side of every flow, ``side`` 0 or 1.

    ``seq`` holds, for the rows of that side, where each begins; for those of the other side with
    ACK, what each acknowledges; for others nothing of use.
    """

    def __init__(self, table: Table, side: int) -> None:
        own = table.side == side
        valid = ~table.rst & (own | table.acks)
        index = np.flatnonzero(valid)
        raw = np.where(own, table.seq, table.ack)[index]
        step = np.zeros(len(index), dtype=np.int64)
        if len(index):
            step[1:] = (raw[1:] - raw[:-1]).view(np.int32)
            flow = table.flow[index]
            step[1:][flow[1:] != flow[:-1]] = _APART
        self.seq: Ints = np.zeros(len(own), dtype=np.int64)
        self.seq[index] = np.cumsum(step)


class Table:
    """Columns of segments, sorted by flow and within it in the capture's order."""

    def __init__(self, rows: NDArray[np.void], flow: Ints) -> None:
        """``flow`` numbers the flow of each row, in ascending order from 0."""
        self.rows = rows
        self._columns: dict[str, NDArray[Any]] = {}
        self.flow = flow
        size = len(rows)
        change = np.flatnonzero(flow[1:] != flow[:-1]) + 1
        starts = np.concatenate((np.zeros(min(size, 1), dtype=np.int64), change))
        lengths = np.diff(np.append(starts, size))
        self.first: Ints = np.repeat(starts, lengths)
        self.end: Ints = np.repeat(starts + lengths, lengths)
        self.time: Ints = np.ascontiguousarray(rows["time"])
        self.side = np.ascontiguousarray(rows["side"])
        self.flags = np.ascontiguousarray(rows["flags"])
        self.seq = np.ascontiguousarray(rows["seq"])
        self.ack = np.ascontiguousarray(rows["ack"])
        self.length = rows["length"].astype(np.int64)
        self.rst: Bools = self.flags & RST != 0
        self.syn: Bools = self.flags & SYN != 0
        self.fin: Bools = self.flags & FIN != 0
        self.acks: Bools = self.flags & ACK != 0
        #: How much of the sequence space each takes.
        self.takes: Ints = self.length + self.syn + self.fin
        #: The raw sequence number that follows each.
        self.raw_end = self.seq + self.takes.astype(np.uint32)

    def column(self, name: str) -> NDArray[Any]:
        """A field of all rows, fetched once."""
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = np.ascontiguousarray(self.rows[name])
        return column

    @cached_property
    def any_syn(self) -> Marks:
        """Segments with SYN."""
        return Marks(self.syn)

    @cached_property
    def spoken(self) -> Marks:
        """Segments without RST."""
        return Marks(~self.rst)

    @cached_property
    def run_start(self) -> Ints:
        """For each of ``spoken``, which of them begins the unbroken row of one side it is in."""
        index = self.spoken.index
        code = self.flow[index] * 2 + self.side[index]
        fresh = np.ones(len(code), dtype=np.bool_)
        fresh[1:] = code[1:] != code[:-1]
        return np.maximum.accumulate(np.where(fresh, np.arange(len(code)), 0))
