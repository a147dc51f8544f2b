"""Many resets at once, all of one direction, with what stands before and after each."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rstaudit.resets.wire.ends import End
from rstaudit.resets.wire.facts import IDLE_LIMITS, Idle
from rstaudit.resets.wire.marks import Bools, Ints, Marks, pick
from rstaudit.resets.wire.space import Table

Facts = dict[str, NDArray[np.int64]]

SECOND = 1_000_000_000
MS = 1_000_000
#: How long after a reset what happens still says something about it.
LINGER = 2 * SECOND
#: Segments before the reset that count as its tail.
TAIL = 32
#: Stands for what is not known, in columns of figures.
NOTHING = np.iinfo(np.int64).min


class View:
    """Resets at rows ``at`` of a table, sent by ``sender`` to ``peer``.

    ``start`` is where the flow of each begins, ``until`` where what happens within `LINGER`
    ends. ``figures`` collects what `Numbers` needs: nanoseconds, counts, `NOTHING`.
    """

    def __init__(self, table: Table, at: Ints, sender: End, peer: End) -> None:
        self.table, self.at, self.sender, self.peer = table, at, sender, peer
        self.start = table.first[at]
        self.time = table.time[at]
        self.figures: Facts = {}

    @cached_property
    def until(self) -> Ints:
        """The first row that comes too late to matter, is after a SYN, or in another flow."""
        syns = self.table.any_syn
        syn = syns.first(self.at + 1, self.table.end[self.at])
        low, high = self.at + 1, np.where(syn >= 0, syn + 1, self.table.end[self.at])
        limit = self.time + LINGER
        while True:
            open_ = low < high
            if not open_.any():
                return low
            middle = (low + high) // 2
            late = self.table.time[middle.clip(max=len(self.table.time) - 1)] > limit
            high = np.where(open_ & late, middle, high)
            low = np.where(open_ & ~late, middle + 1, low)

    def column(self, name: str) -> NDArray[np.int64]:
        """A field of the resets themselves."""
        return self.table.rows[name][self.at].astype(np.int64)

    def count(self, marks: Marks) -> Ints:
        """How many of these stand before each reset."""
        return marks.count(self.start, self.at)

    def any(self, marks: Marks) -> Ints:
        """1 where one of these stands before the reset."""
        return (self.count(marks) > 0).astype(np.int64)

    def first(self, marks: Marks) -> Ints:
        """The first of these in the flow, before the reset; -1: none."""
        return marks.first(self.start, self.at)

    def last(self, marks: Marks, back: int = 1) -> Ints:
        """The last of these before the reset; -1: none."""
        return marks.last(self.start, self.at, back)

    def later(self, marks: Marks) -> Bools:
        """Whether one of these comes within `LINGER` after the reset."""
        return marks.count(self.at + 1, self.until) > 0

    def since(self, place: Ints) -> Ints:
        """From that row to the reset in ns; `NOTHING` where there is no row."""
        return np.where(place >= 0, self.time - pick(self.table.time, place), NOTHING)

    def between(self, place: Ints, other: Ints) -> Ints:
        """From one row to another in ns; `NOTHING` where either is missing."""
        times = pick(self.table.time, other) - pick(self.table.time, place)
        return np.where((place >= 0) & (other >= 0), times, NOTHING)

    @cached_property
    def trigger(self) -> Ints:
        """The peer's last segment; -1: none."""
        return self.last(self.peer.all)

    @cached_property
    def runs(self) -> tuple[Ints, Ints, Ints]:
        """Among ``table.spoken``, where the last two runs before each reset begin.

        First where the earlier one begins (it is the other side's), then where the later one
        does, then where that ends. A run that is not there begins where it ends.
        """
        end = self.table.spoken.rank(self.at)
        floor = self.table.spoken.rank(np.maximum(self.start, self.at - TAIL))
        later = self._run(floor, end)
        return self._run(floor, later), later, end

    def _run(self, floor: Ints, end: Ints) -> Ints:
        starts = np.append(self.table.run_start, 0)
        return np.where(end > floor, np.maximum(starts[end - 1], floor), end)

    def run(self, end: End) -> Ints:
        """The row where the run of an end begins; -1 where the other side spoke last."""
        _, begin, stop = self.runs
        row = pick(self.table.spoken.index, np.where(begin < stop, begin, -1), -1)
        return np.where((row >= 0) & end.mine[row], row, -1)

    def last_run(self, end: End) -> tuple[Ints, Ints]:
        """Where the last run of an end begins and stops, also where the other side's follows."""
        earlier, later, stop = self.runs
        its = self.run(end) >= 0
        return np.where(its, later, earlier), np.where(its, stop, later)


def capped(numbers: Ints, most: int) -> Ints:
    """At most ``most`` each."""
    return np.minimum(numbers, most)


def flag(mask: Bools) -> Ints:
    """0 or 1."""
    return mask.astype(np.int64)


def signed(number: Ints) -> Ints:
    """The low 32 bits as a signed number (RFC 9293 section 3.4)."""
    return ((number + 2**31) & 0xFFFFFFFF) - 2**31


def idle(gap: Ints) -> Ints:
    """Silences in ns (or `NOTHING`) as `Idle`."""
    found = np.full(len(gap), int(Idle.LONG))
    for limit, word in ((50, Idle.TENS), (10, Idle.SECONDS), (1, Idle.SHORT)):
        found[gap < limit * SECOND] = word
    long = np.flatnonzero(gap >= 50 * SECOND)
    if len(long):
        limits = np.array(IDLE_LIMITS, dtype=np.int64) * SECOND
        near = np.maximum(3 * SECOND // 2, limits // 100)
        known = (abs(gap[long][:, None] - limits) <= near).any(axis=1)
        found[long[known]] = Idle.KNOWN
    found[gap == NOTHING] = Idle.NONE
    return found
