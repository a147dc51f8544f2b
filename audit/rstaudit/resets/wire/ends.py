"""What one side of every flow sent: its segments by kind, and how far it had come."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import IP_DF, OPT_TS
from rstaudit.resets.wire.facts import Trigger
from rstaudit.resets.wire.marks import Bools, Ints, Marks, Peaks
from rstaudit.resets.wire.space import Space, Table

#: TTLs are below this.
_TTLS = 1 << 8


class End:
    """One side of every flow of a `Table`. A side's segments with RST are only in ``resets``.

    The terms are those of `rstaudit.resets.wire.case`. ``kind`` has a `Trigger` for each row of
    this side, ``tries`` tells its probes and retries (SYNs included).
    """

    def __init__(self, table: Table, side: int, own: Space, other: Space) -> None:
        """``own`` and ``other`` are the sequence numbers of this side and of the other."""
        self.table, self.own_space, self.other_space = table, own, other
        self.mine: Bools = table.side == side
        self.is_all = self.mine & ~table.rst
        self.all = Marks(self.is_all)
        self.reset_rows = Marks(self.mine & table.rst)
        index = self.all.index
        ends = own.seq[index] + table.takes[index]
        self.nxt = Peaks(self.all, ends)
        self._classify(ends)

    def _classify(self, ends: Ints) -> None:
        """Fill ``kind``, ``tries`` and ``fresh``."""
        table, index = self.table, self.all.index
        syn, fin, length = table.syn[index], table.fin[index], table.length[index]
        later = np.zeros(len(index), dtype=np.bool_)
        reached = np.zeros(len(index), dtype=np.int64)
        if len(index):
            later[1:] = table.flow[index[1:]] == table.flow[index[:-1]]
            reached[1:] = self.nxt.values[:-1]
        old = later & (ends <= reached)
        probe = later & ~syn & ~fin & (length <= 1) & (self.own_space.seq[index] == reached - 1)
        retry = old & ~syn & ~probe & (table.takes[index] > 0)
        kind = np.where(length > 0, np.int8(Trigger.DATA), np.int8(Trigger.ACK))
        kind[fin] = Trigger.FIN
        kind[retry] = Trigger.RETRY
        kind[probe] = Trigger.PROBE
        kind[syn] = np.where(table.acks[index[syn]], Trigger.SYN_ACK, Trigger.SYN)
        self.kind: NDArray[np.int8] = np.zeros(len(table.rows), dtype=np.int8)
        self.kind[index] = kind
        self.is_try = self._spread(probe | retry | (syn & old))
        self.probes = Marks(self._spread(probe))
        self.retries = Marks(self._spread(retry))
        self.is_fresh = self._spread((length > 0) & ~old & ~probe)
        self.fresh = Marks(self.is_fresh)

    def _spread(self, chosen: Bools) -> Bools:
        """A mask over this side's segments as one over all rows."""
        mask = np.zeros(len(self.table.rows), dtype=np.bool_)
        mask[self.all.index[chosen]] = True
        return mask

    @cached_property
    def syns(self) -> Marks:
        """SYNs without ACK."""
        return Marks(self.is_all & self.table.syn & ~self.table.acks)

    @cached_property
    def synacks(self) -> Marks:
        """SYNs with ACK."""
        return Marks(self.is_all & self.table.syn & self.table.acks)

    @cached_property
    def fins(self) -> Marks:
        """Segments with FIN."""
        return Marks(self.is_all & self.table.fin)

    @cached_property
    def first_fins(self) -> Marks:
        """FINs with nothing but what is new."""
        return Marks(self.mine & (self.kind == Trigger.FIN))

    @cached_property
    def telling(self) -> Marks:
        """Segments that are more than an ACK."""
        return Marks(self.is_all & (self.kind != Trigger.ACK))

    @cached_property
    def talk(self) -> Marks:
        """Segments without SYN."""
        return Marks(self.is_all & ~self.table.syn)

    @cached_property
    def answers(self) -> Peaks:
        """What those with ACK and without SYN acknowledge."""
        marks = Marks(self.is_all & ~self.table.syn & self.table.acks)
        return Peaks(marks, self.other_space.seq[marks.index])

    @cached_property
    def acked(self) -> Peaks:
        """What all those with ACK acknowledge: how far the other side is acknowledged."""
        marks = Marks(self.is_all & self.table.acks)
        return Peaks(marks, self.other_space.seq[marks.index])

    @cached_property
    def moves(self) -> Peaks:
        """How far segments without SYN that take sequence numbers had come."""
        marks = Marks(self.is_all & ~self.table.syn & (self.table.takes > 0))
        return Peaks(marks, self.own_space.seq[marks.index] + self.table.takes[marks.index])

    @cached_property
    def carried(self) -> Peaks:
        """How far segments with payload had come."""
        marks = Marks(self.is_all & (self.table.length > 0))
        return Peaks(marks, self.own_space.seq[marks.index] + self.table.takes[marks.index])

    @cached_property
    def ttl_high(self) -> Peaks:
        """The highest TTL, flow number times 256 added."""
        return Peaks(self.all, self._ttl() + self._base())

    @cached_property
    def ttl_low(self) -> Peaks:
        """255 less the lowest TTL, flow number times 256 added."""
        return Peaks(self.all, _TTLS - 1 - self._ttl() + self._base())

    def _ttl(self) -> Ints:
        return self.table.column("ttl")[self.all.index].astype(np.int64)

    def _base(self) -> Ints:
        return self.table.flow[self.all.index] * _TTLS

    @cached_property
    def numbered(self) -> Marks:
        """Segments with an IP ID."""
        return Marks(self.is_all & (self.table.column("ip_id") != 0))

    @cached_property
    def leaps(self) -> NDArray[np.int32]:
        """How many of ``numbered`` up to each are not 1 to 2048 ahead of the one before it."""
        ids = self.table.column("ip_id")[self.numbered.index]
        steps = np.ones(len(ids), dtype=np.uint16)
        steps[1:] = ids[1:] - ids[:-1]
        return np.cumsum((steps < 1) | (steps > 2048), dtype=np.int32)

    @cached_property
    def without_df(self) -> Marks:
        """Segments that may be fragmented."""
        return Marks(self.is_all & (self.table.column("ip_flags") & IP_DF == 0))

    @cached_property
    def bare_syns(self) -> Marks:
        """SYNs without ACK and without timestamp."""
        bare = self.table.column("options") & OPT_TS == 0
        return Marks(self.is_all & self.table.syn & ~self.table.acks & bare)

    @cached_property
    def without_stamp(self) -> Marks:
        """Segments without SYN and without timestamp."""
        bare = self.table.column("options") & OPT_TS == 0
        return Marks(self.is_all & ~self.table.syn & bare)
