"""Which segments of a long flow still matter, so that the others need not be kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import IP_DF, OPT_TS
from rstaudit.resets.wire.ends import End
from rstaudit.resets.wire.marks import Bools, Ints, Marks, Peaks
from rstaudit.resets.wire.order import changes
from rstaudit.resets.wire.space import Space, Table
from rstaudit.resets.wire.view import TAIL

#: Segments at the beginning of a flow that are always kept.
HEAD = 8
#: The last segments of each side that are kept (`seq_echo` looks at four).
_OWN_TAIL = 4
#: SYNs and RSTs are counted up to this.
_COUNTED = 3
#: A segment is kept wherever a side's sequence number has moved by this.
_STEP = 30

#: What is counted of each side's segments that are dropped: bytes of new data, those after the
#: other side's FIN, SYNs, SYN-ACKs and RSTs.
LOST = ("bytes", "late_bytes", "syns", "synacks", "resets")


def superfluous(rows: NDArray[np.void], flow: Ints) -> tuple[Bools, Ints]:
    """Which rows say nothing that others of their flow do not say for any reset to come.

    ``rows`` are whole flows, sorted by flow; ``flow`` numbers the flow of each from 0. Every fact
    of `rstaudit.resets.wire.case` rests on the first or last few segments, on the one furthest
    in some respect, or on the first or last of a kind: those are kept.

    Also what is lost with them, of shape (flows, 2 sides, `LOST`).
    """
    table = Table(rows, flow)
    keep = _Keep(table)
    spaces = Space(table, 0), Space(table, 1)
    ends = End(table, 0, *spaces), End(table, 1, *spaces[::-1])
    for end, other in (ends, ends[::-1]):
        _pin(keep, end, other)
    resets = Marks(table.rst)
    first = keep.first(resets)
    for back in range(1, HEAD + 1):  # what led to the first reset
        keep.places(np.where(first - back >= keep.start, first - back, -1))
    keep.last(resets, HEAD)
    for end in ends:
        keep.leaders(end)
    dropped = ~keep.mask
    return dropped, _lost(table, ends, dropped)


def _lost(table: Table, ends: tuple[End, End], dropped: Bools) -> Ints:
    flows = int(table.flow[-1]) + 1 if len(table.flow) else 0
    lost = np.zeros((flows, 2, len(LOST)), dtype=np.int64)
    for side, (own, other) in enumerate((ends, ends[::-1])):
        fresh = np.flatnonzero(dropped & own.is_fresh)
        late = fresh[other.fins.count(table.first[fresh], fresh) > 0]
        for number, chosen in enumerate((fresh, late)):
            np.add.at(lost[:, side, number], table.flow[chosen], table.length[chosen])
        for number, marks in enumerate((own.syns, own.synacks, own.reset_rows), 2):
            gone = marks.index[dropped[marks.index]]
            np.add.at(lost[:, side, number], table.flow[gone], 1)
    return lost


def _pin(keep: _Keep, end: End, other: End) -> None:
    """Keep what says something about one side."""
    rows, table = keep.table.rows, keep.table
    keep.places(keep.first(end.all))
    keep.last(end.all, _OWN_TAIL)
    keep.places(_following(keep, end))
    last = end.all.last(keep.start, keep.end)
    keep.places(np.where(last >= 0, other.telling.first(last.clip(0), keep.end), -1))
    for marks in (end.syns, end.synacks, end.reset_rows, end.first_fins):
        keep.places(keep.first(marks))
        keep.last(marks, _COUNTED)
    offer = keep.first(end.synacks)  # of the handshake, and how fast it was
    asked, answered = other.syns, other.answers.marks
    keep.places(np.where(offer >= 0, asked.last(keep.start, offer.clip(0)), -1))
    keep.places(np.where(offer >= 0, answered.first(offer.clip(0), keep.end), -1))
    keep.last(end.bare_syns, 1)
    fin = keep.first(end.fins)
    keep.places(fin)
    keep.places(np.where(fin >= 0, keep.table.spoken.last(keep.start, fin.clip(0)), -1))
    keep.last(end.fresh, 1)
    keep.last(end.retries, 1)
    keep.last(end.talk, 1)
    keep.last(end.without_stamp, 1)
    keep.last(Marks(end.is_all & ~table.syn & (rows["options"] & OPT_TS != 0)), 1)
    keep.last(end.without_df, 1)
    keep.last(Marks(end.is_all & (rows["ip_flags"] & IP_DF != 0)), 1)
    keep.last(end.numbered, 1)
    for peaks, values in (
        (end.nxt, end.own_space.seq[end.all.index] + table.takes[end.all.index]),
        (end.acked, other.own_space.seq[end.acked.marks.index]),
        (end.moves, end.own_space.seq[end.moves.marks.index] + table.takes[end.moves.marks.index]),
        (end.answers, other.own_space.seq[end.answers.marks.index]),
    ):
        keep.highest(peaks, values)
        keep.steps(peaks.marks, values)
    base = table.flow[end.all.index] * 256
    ttl = rows["ttl"][end.all.index].astype(np.int64)
    keep.highest(end.ttl_high, ttl + base)
    keep.highest(end.ttl_low, 255 - ttl + base)


def _following(keep: _Keep, end: End) -> Ints:
    """The segment after the last one of that side: the other side's run begins there."""
    last = end.all.last(keep.start, keep.end)
    return np.where((last >= 0) & (last + 1 < keep.end), last + 1, -1)


class _Keep:
    """The rows to keep, and what it takes to find them."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.start = table.first[changes(table.first)]
        self.end = table.end[self.start]
        place = np.arange(len(table.rows))
        self.mask: Bools = (place - table.first < HEAD) | (table.end - place <= TAIL)

    def places(self, rows: Ints) -> None:
        """Keep these; negative ones stand for none."""
        self.mask[rows[rows >= 0]] = True

    def first(self, marks: Marks) -> Ints:
        """The first of a kind in each flow; -1: none."""
        return marks.first(self.start, self.end)

    def last(self, marks: Marks, count: int) -> Ints:
        """Keep the last few of a kind in each flow; gives the last."""
        for back in range(count, 0, -1):
            place = marks.last(self.start, self.end, back)
            self.places(place)
        return place

    def highest(self, peaks: Peaks, values: Ints) -> None:
        """Keep the first row that is as high as any in its flow."""
        if len(values):
            mask = np.zeros(len(self.mask), dtype=np.bool_)
            mask[peaks.marks.index[_records(values, peaks)]] = True
            self.last(Marks(mask), 1)

    def leaders(self, end: End) -> None:
        """Keep, for every kept row of a side, the one that was furthest ahead before it.

        So that what was a repetition still is one.
        """
        index = end.all.index
        if not len(index):
            return
        record = _records(end.own_space.seq[index] + self.table.takes[index], end.nxt)
        places = np.maximum.accumulate(np.where(record, np.arange(len(index)), 0))
        kept = np.flatnonzero(self.mask[index[1:]]) + 1
        self.mask[index[places[kept - 1]]] = True

    def steps(self, marks: Marks, values: Ints) -> None:
        """Keep a row wherever the numbers have moved far, so that they never seem to wrap."""
        if len(values):
            far = values[1:] >> _STEP != values[:-1] >> _STEP
            self.mask[marks.index[1:][far]] = True
            self.mask[marks.index[:-1][far]] = True


def _records(values: Ints, peaks: Peaks) -> Bools:
    """Which values are above all before them; the first of each flow always is."""
    record = np.ones(len(values), dtype=np.bool_)
    record[1:] = values[1:] > peaks.values[:-1]
    return record
