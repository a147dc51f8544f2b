"""The segments that are kept: those of open flows that may still say something about a reset."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import PLAIN, SEGMENT, picked
from rstaudit.resets.wire.marks import Bools, Ints
from rstaudit.resets.wire.order import by_number

#: A chunk is copied where fewer than one in so many of its rows is needed.
_SPARSE = 3
#: Chunks there may be before they are joined.
_CHUNKS = 16


class _Chunk:
    """Rows of one batch. ``flow`` is -1 where a row is no longer needed."""

    def __init__(self, rows: NDArray[np.void], flow: Ints, ordinal: Ints) -> None:
        self.rows, self.flow, self.ordinal = rows, flow, ordinal
        self.needed = len(rows)

    def drop(self, numbers: Ints, excepted: Ints) -> None:
        keep = found_in(numbers, self.flow)[1]
        if len(excepted):
            keep &= ~found_in(excepted, self.rows["frame"])[1]
        self.needed = int(np.count_nonzero(keep))
        if self.needed * _SPARSE < len(self.rows):
            chosen = np.flatnonzero(keep)
            self.rows = picked(self.rows, chosen)
            self.flow, self.ordinal = self.flow[chosen], self.ordinal[chosen]
        else:
            self.flow[~keep] = -1


class Log:
    """Rows of dtype SEGMENT in the capture's order.

    With each stand the number of its flow, and which of the flow's segments it is, from 0.
    """

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []

    def __len__(self) -> int:
        return sum(chunk.needed for chunk in self._chunks)

    def append(self, rows: NDArray[np.void], flow: Ints, ordinal: Ints) -> None:
        """Keep these as well."""
        self._chunks.append(_Chunk(rows, flow, ordinal))

    def of(self, numbers: Ints) -> tuple[NDArray[np.void], Ints, Ints]:
        """All rows of some flows, given in ascending order, sorted by flow.

        Also, for each row, which of ``numbers`` its flow is, counted from 0, and its ordinal.
        """
        chosen, flow = [], []
        for chunk in self._chunks:
            place, there = found_in(numbers, chunk.flow)
            chosen.append(np.flatnonzero(there))
            flow.append(place[chosen[-1]])
        joined = np.concatenate(flow)
        order = by_number(joined)
        rows, ordinal = self._gathered(chosen)
        return picked(rows, order), joined[order], ordinal[order]

    def drop(self, numbers: Ints, excepted: Ints) -> None:
        """Keep only rows of flows in ``numbers``, and without the frames in ``excepted``.

        Both in ascending order.
        """
        for chunk in self._chunks:
            chunk.drop(numbers, excepted)
        self._chunks = [chunk for chunk in self._chunks if chunk.needed]
        if len(self._chunks) > _CHUNKS:
            self._join()

    def _join(self) -> None:
        """Small chunks, as live sources give them, become one."""
        chosen = [np.flatnonzero(chunk.flow >= 0) for chunk in self._chunks]
        pairs = zip(self._chunks, chosen, strict=True)
        flow = np.concatenate([chunk.flow[some] for chunk, some in pairs])
        rows, ordinal = self._gathered(chosen)
        self._chunks = [_Chunk(rows, flow, ordinal)]

    def _gathered(self, chosen: list[Ints]) -> tuple[NDArray[np.void], Ints]:
        """These rows of each chunk, one after the other, and their ordinals."""
        rows = np.empty(sum(map(len, chosen)), dtype=SEGMENT)
        at = 0
        for chunk, some in zip(self._chunks, chosen, strict=True):
            part = rows[at : at + len(some)].view(PLAIN)
            chunk.rows.view(PLAIN).take(some, out=part, mode="clip")
            at += len(some)
        pairs = zip(self._chunks, chosen, strict=True)
        return rows, np.concatenate([chunk.ordinal[some] for chunk, some in pairs])


def found_in(numbers: Ints, values: Ints) -> tuple[Ints, Bools]:
    """Where each value stands in ``numbers``, which ascend, and whether it does.

    Spans of up to a few million numbers, as those of flows and frames near each other are, are
    looked up in a table.
    """
    if not len(numbers) or not len(values):
        return np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=np.bool_)
    low, span = int(numbers[0]), int(numbers[-1] - numbers[0]) + 1
    if span > 1 << 22:
        place = np.searchsorted(numbers, values).clip(max=len(numbers) - 1)
        return place, numbers[place] == values
    table = np.full(span + 1, -1, dtype=np.int64)
    table[numbers - low] = np.arange(len(numbers))
    inside = (values >= low) & (values < low + span)
    place = table[np.where(inside, values - low, span)]
    return place, place >= 0
