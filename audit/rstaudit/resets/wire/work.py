"""The part of the diagnosis that needs no history: flows in, facts about their resets out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import PLAIN, RST, SEGMENT, picked
from rstaudit.resets.wire import threads
from rstaudit.resets.wire.extract import Extracted, extract
from rstaudit.resets.wire.marks import Ints
from rstaudit.resets.wire.twins import twins

Columns = Sequence[NDArray[Any]]


class Piece:
    """Whole flows, some of whose resets are to be judged: ``waiting``, dtype `PENDING`."""

    def __init__(
        self, rows: NDArray[np.void], flow: Ints, ordinal: Ints, waiting: NDArray[np.void]
    ) -> None:
        self.rows, self.flow, self.ordinal, self.waiting = rows, flow, ordinal, waiting

    def columns(self) -> Columns:
        """What `work_apart` takes."""
        return self.rows.view(PLAIN), self.flow, self.waiting["frame"]


class Worked:
    """A piece with its facts worked out. ``resets`` are the places of the resets in the piece."""

    def __init__(self, piece: Piece, resets: Ints, extracted: Extracted) -> None:
        self.piece, self.resets, self.extracted = piece, resets, extracted


#: Does work on several pieces at once, and gives what comes of the last of them first.
Spread = Callable[[Callable[[Piece], Worked], Sequence[Piece]], Iterable[Worked]]


def in_threads(function: Callable[[Piece], Worked], pieces: Sequence[Piece]) -> Iterable[Worked]:
    """The plainest `Spread`."""
    return reversed(threads.in_threads(function, pieces))


def work(piece: Piece) -> Worked:
    """Work out the facts about the resets of a piece; ``syn`` of them is a row of the piece."""
    return Worked(piece, *_facts(piece.rows, piece.flow, piece.waiting["frame"]))


def work_apart(columns: Columns) -> Columns:
    """The same for another process: from `Piece.columns` to what `joined` takes."""
    plain, flow, frames = columns
    resets, extracted = _facts(plain.view(SEGMENT), flow, frames)
    names = "\n".join(extracted.figures).encode()
    figures = np.stack(list(extracted.figures.values()))
    return (
        resets, np.frombuffer(names, np.uint8), figures,
        extracted.cases, extracted.syn, extracted.from_client,
    )  # fmt: skip


def joined(piece: Piece, columns: Columns) -> Worked:
    """What `work` gives, from what `work_apart` gave, which is copied."""
    resets, names, figures, cases, syn, from_client = (column.copy() for column in columns)
    extracted = Extracted(0)
    extracted.figures = dict(zip(names.tobytes().decode().split("\n"), figures, strict=True))
    extracted.cases, extracted.syn, extracted.from_client = cases, syn, from_client
    return Worked(piece, resets, extracted)


def _facts(rows: NDArray[np.void], flow: Ints, frames: Ints) -> tuple[Ints, Extracted]:
    """Where the resets with these frames are, and the facts about them."""
    same = twins(rows, flow)
    resets = _places(rows, frames)
    kept = np.flatnonzero(same == np.arange(len(same)))
    if len(kept) == len(same):
        return resets, extract(rows, flow, resets)
    place = np.zeros(len(same), dtype=np.int64)
    place[kept] = np.arange(len(kept))
    extracted = extract(picked(rows, kept), flow[kept], place[same[resets]])
    extracted.syn = np.where(extracted.syn >= 0, kept[extracted.syn], -1)
    return resets, extracted


def _places(rows: NDArray[np.void], frames: Ints) -> Ints:
    """Where in the piece its resets are."""
    resets = np.flatnonzero(rows["flags"] & RST)
    there = rows["frame"][resets]
    order = np.argsort(there)
    found: Ints = resets[order[np.searchsorted(there, frames, sorter=order)]]
    return found
