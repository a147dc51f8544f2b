"""From the segments of flows to the facts about their resets: `Case` and `Numbers` as columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rstaudit.resets.wire.case import Case
from rstaudit.resets.wire.ending import afterwards, closing
from rstaudit.resets.wire.ends import End
from rstaudit.resets.wire.form import header, trace
from rstaudit.resets.wire.marks import Bools, Ints
from rstaudit.resets.wire.opening import first_syn, handshake, traffic
from rstaudit.resets.wire.space import Space, Table
from rstaudit.resets.wire.timing import silences, trigger, unanswered
from rstaudit.resets.wire.view import Facts, View

_FAMILIES = (handshake, traffic, header, trace, trigger, silences, closing, unanswered, afterwards)


class Extracted:
    """The facts about some resets, a row each.

    ``cases`` has a column for each field of `Case`, those of other flows and the payload left 0.
    ``figures`` are columns in nanoseconds, bytes and counts, by the names of `Numbers`; `NOTHING`
    where not known. ``syn`` is the row of the flow's first SYN in the table, -1 where it has none.
    ``from_client``: the reset's sender seems to be the client.
    """

    def __init__(self, count: int) -> None:
        self.cases: NDArray[np.uint8] = np.zeros((count, len(Case._fields)), dtype=np.uint8)
        self.figures: Facts = {}
        self.syn: Ints = np.full(count, -1)
        self.from_client: Bools = np.zeros(count, dtype=np.bool_)

    def get(self, name: str) -> NDArray[np.uint8]:
        """The column of a field."""
        return self.cases[:, Case._fields.index(name)]

    def set(self, name: str, values: Ints, rows: Ints | slice = slice(None)) -> None:
        """Fill the column of a field."""
        self.cases[rows, Case._fields.index(name)] = values


def extract(rows: NDArray[np.void], flow: Ints, at: Ints) -> Extracted:
    """The facts about the resets at ``at``.

    ``rows`` are all segments of their flows that count, sorted by flow; ``flow`` numbers the flow
    of each from 0.
    """
    table = Table(rows, flow)
    spaces = Space(table, 0), Space(table, 1)
    ends = End(table, 0, *spaces), End(table, 1, *spaces[::-1])
    found = Extracted(len(at))
    for side in (0, 1):
        chosen = np.flatnonzero(table.side[at] == side)
        if len(chosen):
            view = View(table, at[chosen], ends[side], ends[1 - side])
            _fill(found, chosen, view)
    return found


def _fill(found: Extracted, chosen: Ints, view: View) -> None:
    """The facts about the resets of one side."""
    for family in _FAMILIES:
        for name, values in family(view).items():
            found.set(name, values, chosen)
    for name, values in view.figures.items():
        if name not in found.figures:
            found.figures[name] = np.zeros(len(found.cases), dtype=np.int64)
        found.figures[name][chosen] = values
    found.syn[chosen] = first_syn(view)
    found.from_client[chosen] = _from_client(view)


def _from_client(view: View) -> Bools:
    """Whether the sender opened the flow; else, whether its port is the higher one."""
    mine, theirs = view.first(view.sender.syns), view.first(view.peer.syns)
    offered, asked = view.first(view.sender.synacks), view.first(view.peer.synacks)
    higher = view.column("sport") > view.column("dport")
    guess = np.where(asked >= 0, True, np.where(offered >= 0, False, higher))
    both = (mine >= 0) & ((theirs < 0) | (mine < theirs))
    client: Bools = np.where((mine >= 0) | (theirs >= 0), both, guess)
    return client
