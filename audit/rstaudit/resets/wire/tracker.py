"""Batches of segments to diagnosed resets, in memory bounded by the flows open at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import RST, SegmentBatch, picked
from rstaudit.resets.wire.around import Around
from rstaudit.resets.wire.diagnose import PENDING, Diagnoser, History
from rstaudit.resets.wire.flows import Assigned, Flows
from rstaudit.resets.wire.found import Found
from rstaudit.resets.wire.log import Log, found_in
from rstaudit.resets.wire.marks import Bools, Ints
from rstaudit.resets.wire.order import distinct
from rstaudit.resets.wire.trim import superfluous
from rstaudit.resets.wire.twins import twins
from rstaudit.resets.wire.view import LINGER, SECOND
from rstaudit.resets.wire.work import Spread, in_threads

__all__ = ["Found", "Tracker"]

#: Segments of flows that have ended, and of all flows, that are kept at most.
ENDED_ROWS = 1 << 15
ALL_ROWS = 1 << 18
#: Resets that wait for what follows them, at most.
WAITING = 1 << 16
#: A flow that has ended is forgotten after so long.
_ENDED = 60 * SECOND
#: A flow with more segments than this is cut down to those that matter.
LONG = 256
#: Empty batches of a live source (about two a second) after which nothing more is waited for.
_QUIET = 5


class Tracker:
    """Finds the flows of one capture and diagnoses their resets.

    ``flows`` counts flows, ``tcp_packets`` segments, ``evicted`` flows forgotten before they
    ended, because too many were open at once.
    """

    def __init__(self, *, keep_all: bool = False, spread: Spread = in_threads) -> None:
        """``keep_all``: every reset keeps its flow for `Found.steps`, not only the first few.

        ``spread`` works on several pieces at once; see `rstaudit.resets.wire.work`.
        """
        self.tcp_packets = 0
        self.evicted = 0
        self._flows = Flows()
        self._log = Log()
        self._around = Around()
        self._diagnoser = Diagnoser(keep_all, spread)
        self._pending = np.zeros(0, dtype=PENDING)
        self._payloads: dict[int, bytes] = {}
        #: What was in segments that were dropped, by flow; see `superfluous`.
        self._lost: dict[int, Ints] = {}
        self._now = np.iinfo(np.int64).min
        self._quiet = 0

    @property
    def flows(self) -> int:
        """Flows found so far."""
        return self._flows.count

    @property
    def kept(self) -> int:
        """Segments held at the moment."""
        return len(self._log)

    def feed(self, batch: SegmentBatch) -> list[Found]:
        """Take the next segments; gives the resets that can be judged by now, by frame.

        A reset waits for what follows it within 2 s of the capture's time; no longer where a live
        source is quiet for that long, or very many wait.
        """
        if not len(batch.rows):
            self._quiet += 1
            return self.flush() if self._quiet >= _QUIET else []
        self._quiet = 0
        rows = batch.rows
        self.tcp_packets += len(rows)
        self._now = max(self._now, int(rows["time"].max()))
        assigned = self._flows.assign(rows)
        self._log.append(rows, assigned.flow, assigned.ordinal)
        self._note(rows, assigned, batch.payloads)
        due = self._pending["time"] + LINGER < self._now
        due[:-WAITING] = True
        found = self._judge(due)
        self._clean()
        return found

    def flush(self) -> list[Found]:
        """All resets seen so far, whatever may still follow them."""
        return self._judge(np.ones(len(self._pending), dtype=np.bool_))

    def finish(self) -> list[Found]:
        """The capture ends here: the resets that waited for more."""
        found = self.flush()
        self._log = Log()
        return found

    def _note(
        self, rows: NDArray[np.void], assigned: Assigned, payloads: Mapping[int, bytes]
    ) -> None:
        """Remember the batch's resets until they can be judged."""
        resets = np.flatnonzero(rows["flags"] & RST)
        group = assigned.group[resets]
        _, first = np.unique(group, return_index=True)
        first = np.sort(first)
        fresh = resets[first[assigned.first_reset[group[first]]]]
        flow = assigned.flow
        low, high = self._around.note(rows, fresh)
        new = np.zeros(len(resets), dtype=PENDING)
        new["frame"], new["time"], new["flow"] = (
            rows["frame"][resets], rows["time"][resets], flow[resets],
        )  # fmt: skip
        new["low"], new["high"], new["reused"] = low, high, assigned.reused[group]
        self._pending = np.concatenate((self._pending, new))
        self._payloads.update(payloads)

    def _judge(self, due: Bools) -> list[Found]:
        """Diagnose these of the pending resets."""
        if not due.any():
            return []
        now, self._pending = self._pending[due], self._pending[~due]
        history = History(self._log, self._around, self._payloads, self._lost)
        found = self._diagnoser.judge(now, history)
        for one in found:
            self._payloads.pop(one.frame, None)
        return found

    def _clean(self) -> None:
        """Forget what no reset to come will need."""
        waiting = self._pending["time"].min(initial=self._now)
        self._around.forget(int(waiting) - LINGER - SECOND)
        self._release()
        excepted = self._trim()
        needed = distinct(np.concatenate((self._flows.open["number"], self._pending["flow"])))
        if self._lost:
            numbers = np.array(sorted(self._lost), dtype=np.int64)
            for number in numbers[~np.isin(numbers, needed)].tolist():
                del self._lost[number]
        self._log.drop(needed, excepted)

    def _release(self) -> None:
        """Forget flows that have ended, and where there are too many, idle ones."""
        flows = self._flows
        ended = flows.ended() & ~np.isin(flows.open["number"], self._pending["flow"])
        settled = ended & (flows.open["last"] + LINGER < self._now)
        gone = settled & (flows.open["last"] + _ENDED < self._now)
        gone |= _oldest(flows.open, settled & ~gone, ENDED_ROWS)
        if int(flows.open["rows"][~gone].sum()) > ALL_ROWS:
            idle = ~gone & ~np.isin(flows.open["number"], self._pending["flow"])
            others = int(flows.open["rows"][~gone & ~idle].sum())
            surplus = _oldest(flows.open, idle, max(0, ALL_ROWS - others))
            self.evicted += int((surplus & ~ended).sum())
            gone |= surplus
        flows.forget(gone)

    def _trim(self) -> Ints:
        """Cut long flows down, up to the first reset that waits; gives the frames to drop."""
        long = np.flatnonzero(self._flows.open["rows"] > LONG)
        if not len(long):
            return np.zeros(0, dtype=np.int64)
        long = long[np.argsort(self._flows.open["number"][long])]
        numbers = self._flows.open["number"][long]
        rows, flow, _ = self._log.of(numbers)
        settled = np.flatnonzero(rows["frame"] < self._first_waiting(numbers)[flow])
        rows, flow = picked(rows, settled), flow[settled]
        dropped = twins(rows, flow) != np.arange(len(rows))
        once = np.flatnonzero(~dropped)
        dropped[once], lost = superfluous(picked(rows, once), flow[once])
        for number, amount in zip(numbers.tolist(), lost, strict=False):
            self._lost[number] = self._lost.get(number, 0) + amount
        self._flows.open["rows"][long] -= np.bincount(flow[dropped], minlength=len(long))
        return np.sort(rows["frame"][dropped])

    def _first_waiting(self, numbers: Ints) -> Ints:
        """The frame of each flow's first reset that waits; beyond all frames where none does."""
        first = np.full(len(numbers), np.iinfo(np.int64).max)
        place, there = found_in(numbers, self._pending["flow"])
        np.minimum.at(first, place[there], self._pending["frame"][there])
        return first


def _oldest(open_: NDArray[np.void], chosen: Bools, rows: int) -> Bools:
    """Those of the chosen flows to forget so that the others have at most so many rows."""
    places = np.flatnonzero(chosen)
    newest = places[np.argsort(-open_["last"][places], kind="stable")]
    surplus = np.cumsum(open_["rows"][newest]) > rows
    gone = np.zeros(len(open_), dtype=np.bool_)
    gone[newest[surplus]] = True
    return gone
