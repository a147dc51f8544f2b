"""Counting and finding rows of one kind before a place in an array, for many places at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Where fewer than one row in so many is marked, searching is faster than a table of counts.
_SPARSE = 16


class Marks:
    """The rows where ``mask`` holds. ``index`` are their places, in order."""

    def __init__(self, mask: Bools) -> None:
        self.index: Ints = np.flatnonzero(mask)
        self._table: Ints | None = None
        # The same few arrays of places are asked for again and again.
        self._known: dict[int, tuple[Ints, Ints]] = {}
        if len(self.index) * _SPARSE > len(mask):
            self._table = np.zeros(len(mask) + 1, dtype=np.int64)
            np.cumsum(mask, out=self._table[1:])

    def rank(self, places: Ints) -> Ints:
        """How many marked rows stand before each place."""
        known = self._known.get(id(places))
        if known is not None:
            return known[1]
        if self._table is not None:
            rank: Ints = self._table[places]
        elif len(self.index):
            rank = np.searchsorted(self.index, places)
        else:
            rank = np.zeros(len(places), dtype=np.int64)
        self._known[id(places)] = places, rank  # the array itself, so that its id stays its own
        return rank

    def count(self, first: Ints, end: Ints) -> Ints:
        """How many stand in each half-open range."""
        return self.rank(end) - self.rank(first)

    def last(self, first: Ints, end: Ints, back: int = 1) -> Ints:
        """The place of the last (``back`` = 1), second to last ... in each range; -1: none."""
        rank = self.rank(end) - back
        return np.where(rank >= self.rank(first), self._at(rank), -1)

    def first(self, first: Ints, end: Ints) -> Ints:
        """The place of the first in each range; -1: none."""
        rank = self.rank(first)
        return np.where(rank < self.rank(end), self._at(rank), -1)

    def _at(self, rank: Ints) -> Ints:
        if not len(self.index):
            return np.full(len(rank), -1)
        return self.index.take(rank, mode="clip")


class Peaks:
    """The highest ``values`` of marked rows so far, within each flow.

    ``values`` has one entry per marked row. Those of a later flow must all be above those of an
    earlier one (see `rstaudit.resets.wire.space`).
    """

    def __init__(self, marks: Marks, values: Ints) -> None:
        self.marks = marks
        self._values = values
        self.values = np.maximum.accumulate(values) if len(values) else values

    def before(self, first: Ints, end: Ints) -> tuple[Ints, Bools]:
        """The highest in each range that begins with its flow, and whether there is any."""
        rank = self.marks.rank(end) - 1
        known = rank >= self.marks.rank(first)
        if not len(self.values):
            return np.zeros(len(end), dtype=np.int64), known
        return self.values.take(rank, mode="clip"), known

    def between(self, start: Ints, first: Ints, end: Ints) -> tuple[Ints, Bools]:
        """The highest in each range that begins at ``first``, in flows that begin at ``start``."""
        highest, known = self.before(start, end)
        known &= self.marks.count(first, end) > 0
        odd = np.flatnonzero(known & (self.marks.count(start, first) > 0))
        if len(odd):  # there are some ahead of the range: look at those in it alone
            ranges = np.stack((self.marks.rank(first)[odd], self.marks.rank(end)[odd]), axis=1)
            values = np.append(self._values, 0)
            highest = highest.copy()
            highest[odd] = np.maximum.reduceat(values, ranges.ravel())[::2]
        return highest, known


def pick(values: NDArray[Any], places: Ints, nothing: int = 0) -> Ints:
    """``values`` at ``places``; ``nothing`` where a place is negative."""
    if not len(values):
        return np.full(len(places), nothing)
    found = values.take(places, mode="clip").astype(np.int64, copy=False)
    return np.where(places >= 0, found, nothing)
