"""What other flows say about a reset: host TTLs, scans, and resets of one port at one instant."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import ACK, RST, SYN, picked
from rstaudit.resets.wire.facts import Scan
from rstaudit.resets.wire.hashing import Hashes, addresses, mixed
from rstaudit.resets.wire.marks import Bools, Ints
from rstaudit.resets.wire.order import by_key, changes
from rstaudit.resets.wire.view import LINGER, MS, NOTHING, SECOND

#: How long before its SYN a client's other SYNs count.
_BEFORE = 5 * SECOND
#: SYNs looked at on each side of one, at most.
_MOST = 128
#: Resets of one port this near to each other are a burst.
_INSTANT = 20 * MS
#: Addresses whose TTLs are remembered, at most.
_HOSTS = 1 << 17

#: Events remembered of a kind, at most: the newest.
_EVENTS = 1 << 18
#: Microseconds that events may lie apart: 101 days.
_SPAN = 1 << 43


class _Sorted:
    """Events by who and when.

    ``names`` are those who did something, ``moments`` who and when of each event as one number,
    ``what`` the events, ``codes`` the same counted from 0, ``kinds`` how many different ones.
    """

    def __init__(self, who: Hashes, what: Hashes, time: Ints) -> None:
        order = by_key(who)
        ordered = who[order]
        first = np.zeros(len(who), dtype=np.int64)
        starts = changes(ordered)
        first[starts] = 1
        self.names = ordered[starts]
        self.origin = int(time.min(initial=np.iinfo(np.int64).max)) - SECOND
        self.moments = (np.cumsum(first) - 1) * _SPAN + self.since(time[order])
        if (self.moments[1:] < self.moments[:-1]).any():  # packets out of order
            again = np.argsort(self.moments, kind="stable")
            self.moments, order = self.moments[again], order[again]
        self.what = what[order]

    def since(self, time: Ints) -> Ints:
        """Microseconds since before the first event, kept within `_SPAN`."""
        return ((time - self.origin) // 1000).clip(0, _SPAN - 1)

    @cached_property
    def codes(self) -> tuple[Ints, int]:
        """``what`` as numbers from 0, and how many there are."""
        order = by_key(self.what)
        ordered = self.what[order]
        starts = changes(ordered)
        first = np.zeros(len(order), dtype=np.int64)
        first[starts] = 1
        codes = np.empty(len(order), dtype=np.int64)
        codes[order] = np.cumsum(first) - 1
        return codes, len(starts)


class Events:
    """Who did what when, of the last few seconds."""

    def __init__(self) -> None:
        self._who = self._what = np.zeros(0, dtype=np.uint64)
        self._time = np.zeros(0, dtype=np.int64)
        self._sorted: _Sorted | None = None

    def add(self, who: Hashes, what: Hashes, time: Ints) -> None:
        """Remember these."""
        self._who = np.concatenate((self._who, who))[-_EVENTS:]
        self._what = np.concatenate((self._what, what))[-_EVENTS:]
        self._time = np.concatenate((self._time, time))[-_EVENTS:]
        self._sorted = None

    def forget(self, time: int) -> None:
        """Drop what was before."""
        kept = self._time >= time
        if not kept.all():
            self._who, self._what, self._time = self._who[kept], self._what[kept], self._time[kept]
            self._sorted = None

    @property
    def sorted(self) -> _Sorted:
        """All of them."""
        if self._sorted is None:
            self._sorted = _Sorted(self._who, self._what, self._time)
        return self._sorted

    def near(self, who: Hashes, *spans: tuple[Ints, Ints]) -> list[tuple[Ints, Ints]]:
        """Where among ``sorted`` those of each ``who`` from one time to another are.

        ``spans`` are times, first and last; each gives where they begin and end.
        """
        events = self.sorted
        if not len(events.names):
            none = np.zeros(len(who), dtype=np.int64)
            return [(none, none) for _ in spans]
        place = np.searchsorted(events.names, who).clip(max=len(events.names) - 1)
        known = events.names[place] == who
        base = place * _SPAN
        found = []
        for first, last in spans:
            low = np.searchsorted(events.moments, base + events.since(first))
            high = np.searchsorted(events.moments, base + events.since(last), side="right")
            found.append((low, np.where(known, high, low)))
        return found


class Around:
    """The flows' common history."""

    def __init__(self) -> None:
        self._syns = Events()
        self._bursts = Events()
        self._own = Events()
        self._hosts = np.zeros(0, dtype=[("who", "<u8"), ("low", "<i8"), ("high", "<i8")])

    def note(self, rows: NDArray[np.void], first_resets: Ints) -> tuple[Ints, Ints]:
        """Learn from a batch. ``first_resets`` are the places of each flow's first RST.

        Gives for each RST of the batch the lowest and highest TTL with which its sender's SYNs
        and SYN-ACKs came before it; `NOTHING` where none did.
        """
        flags = np.ascontiguousarray(rows["flags"])
        syns = picked(rows, np.flatnonzero(flags & (SYN | RST) == SYN))
        asking = picked(syns, np.flatnonzero(syns["flags"] & ACK == 0))
        target = mixed([addresses(asking["dst"]), asking["dport"]])
        self._syns.add(addresses(asking["src"]), target, asking["time"])
        resets = picked(rows, first_resets)
        port = ports(resets)
        self._bursts.add(port, resets["key"], resets["time"])
        self._own.add(_flows(port, resets), resets["key"], resets["time"])
        return self._host_ttls(syns, picked(rows, np.flatnonzero(flags & RST)))

    def forget(self, time: int) -> None:
        """Nothing before that time will be asked for."""
        self._syns.forget(time - _BEFORE)
        self._bursts.forget(time - SECOND)
        self._own.forget(time - SECOND)

    def _host_ttls(self, syns: NDArray[np.void], resets: NDArray[np.void]) -> tuple[Ints, Ints]:
        """The range of each reset's sender, from what was before it; learns from ``syns``."""
        who = np.concatenate((self._hosts["who"], addresses(syns["src"]), addresses(resets["src"])))
        frame = np.concatenate(
            (np.zeros(len(self._hosts), dtype=np.int64), syns["frame"], resets["frame"])
        )
        old, new = len(self._hosts), len(self._hosts) + len(syns)
        ttl = syns["ttl"].astype(np.int64)
        high = np.concatenate((self._hosts["high"], ttl, np.full(len(resets), -1)))
        low = np.concatenate((255 - self._hosts["low"], 255 - ttl, np.full(len(resets), -1)))
        order = np.lexsort((frame, who))
        _, number = np.unique(who[order], return_inverse=True)
        number = number * 512
        highest = np.maximum.accumulate(high[order] + number) - number
        lowest = 255 - (np.maximum.accumulate(low[order] + number) - number)
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        asked = back[new:]
        known = highest[asked] >= 0
        answer = (
            np.where(known, lowest[asked], NOTHING), np.where(known, highest[asked], NOTHING)
        )  # fmt: skip
        if old != new:
            self._learn(who[order], highest, lowest)
        return answer

    def _learn(self, who: Hashes, highest: Ints, lowest: Ints) -> None:
        last = np.ones(len(who), dtype=np.bool_)
        last[:-1] = who[1:] != who[:-1]
        last &= highest >= 0
        hosts = np.zeros(int(last.sum()), dtype=self._hosts.dtype)
        hosts["who"], hosts["low"], hosts["high"] = who[last], lowest[last], highest[last]
        self._hosts = hosts[:_HOSTS]

    def targets(self, syns: NDArray[np.void]) -> Ints:
        """To how many (address, port) pairs the senders of these SYNs sent SYNs about then.

        From 5 s before to 2 s after; of very many SYNs the nearest 128 on either side count.
        """
        who, time = addresses(syns["src"]), syns["time"]
        around, now = (time - _BEFORE, time + LINGER), (time, time)
        (low, high), (_, here) = self._syns.near(who, around, now)
        low, high = np.maximum(low, here - _MOST), np.minimum(high, here + _MOST)
        return _distinct(*self._syns.sorted.codes, low, high)

    def bursts(self, resets: NDArray[np.void]) -> Ints:
        """How many other four-tuples' flows had their first RST from the same port within 20 ms."""
        time, port = np.ascontiguousarray(resets["time"]), ports(resets)
        instant = time - _INSTANT, time + _INSTANT
        ((low, high),) = self._bursts.near(port, instant)
        ((own, end),) = self._own.near(_flows(port, resets), instant)
        return high - low - (end - own)


def ports(rows: NDArray[np.void]) -> Hashes:
    """One number for the address and port that sent each."""
    return mixed([addresses(rows["src"]), rows["sport"]])


def _flows(port: Hashes, rows: NDArray[np.void]) -> Hashes:
    """One number for the port and the four-tuple of each."""
    return mixed([port, rows["key"]])


class _Range:
    def __init__(self, place: Ints, owner: Ints) -> None:
        self.place, self.owner = place, owner


def _ragged(low: Ints, high: Ints) -> _Range:
    """All places in some ranges, and which range each is in."""
    size = high - low
    owner = np.repeat(np.arange(len(low)), size)
    begin = np.concatenate(([0], np.cumsum(size)[:-1])) if len(size) else size
    return _Range(np.arange(len(owner)) - begin[owner] + low[owner], owner)


def _distinct(codes: Ints, kinds: int, low: Ints, high: Ints) -> Ints:
    """How many different codes, of those from 0 to ``kinds``, each range holds."""
    found = np.zeros(len(low), dtype=np.int64)
    for start in range(0, len(low), 2048):
        part = slice(start, start + 2048)
        inside = _ragged(low[part], high[part])
        both = np.sort(inside.owner * kinds + codes[inside.place])
        new = np.ones(len(both), dtype=np.bool_)
        new[1:] = both[1:] != both[:-1]
        found[part] = np.bincount(both[new] // max(kinds, 1), minlength=len(low[part]))
    return found


def scan(targets: Ints, known: Bools) -> Ints:
    """Counts of targets as `Scan`."""
    found = np.full(len(targets), int(Scan.MANY))
    found[targets < 30] = Scan.SEVERAL
    found[targets < 8] = Scan.FEW
    found[~known] = Scan.UNKNOWN
    return found
