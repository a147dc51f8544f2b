"""What other flows say about a reset: host TTLs, scans, and resets of one port at one instant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import ACK, RST, SYN
from rstaudit.resets.wire.facts import Scan
from rstaudit.resets.wire.hashing import Hashes, addresses, mixed
from rstaudit.resets.wire.marks import Bools, Ints
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

_EVENT = np.dtype([("who", "<u8"), ("what", "<u8"), ("time", "<i8")])


class Events:
    """Who did what when, of the last few seconds."""

    def __init__(self) -> None:
        self._recent = np.zeros(0, dtype=_EVENT)
        self._sorted: tuple[Hashes, NDArray[np.void], Ints] | None = None
        self._origin = 0

    def add(self, who: Hashes, what: NDArray[Any], time: Ints) -> None:
        """Remember these."""
        new = np.zeros(len(who), dtype=_EVENT)
        new["who"], new["what"], new["time"] = who, what, time
        self._recent = np.concatenate((self._recent, new))[-_EVENTS:]
        self._sorted = None

    def forget(self, time: int) -> None:
        """Drop what was before."""
        self._recent = self._recent[self._recent["time"] >= time]
        self._sorted = None

    def near(self, who: Hashes, first: Ints, last: Ints) -> tuple[NDArray[np.void], Ints, Ints]:
        """All events by who and when, and the range of those of each ``who`` in these times."""
        if self._sorted is None:
            events = self._recent[np.lexsort((self._recent["time"], self._recent["who"]))]
            names = np.unique(events["who"])
            self._origin = int(events["time"].min(initial=np.iinfo(np.int64).max)) - SECOND
            moments = self._moments(names, events["who"], events["time"])
            self._sorted = names, events, moments
        names, events, moments = self._sorted
        low = np.searchsorted(moments, self._moments(names, who, first))
        high = np.searchsorted(moments, self._moments(names, who, last), side="right")
        known = np.isin(who, names)
        return events, low, np.where(known, high, low)

    def _moments(self, names: Hashes, who: Hashes, time: Ints) -> Ints:
        """Who and when (in microseconds) as one number that sorts as both."""
        since = (time - self._origin) // 1000
        moment: Ints = np.searchsorted(names, who) * _SPAN + since.clip(0, _SPAN - 1)
        return moment


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
        syns = rows.take(np.flatnonzero(flags & (SYN | RST) == SYN))
        asking = syns.take(np.flatnonzero(syns["flags"] & ACK == 0))
        target = mixed([addresses(asking["dst"]), asking["dport"]])
        self._syns.add(addresses(asking["src"]), target, asking["time"])
        resets = rows.take(first_resets)
        self._bursts.add(ports(resets), resets["key"], resets["time"])
        self._own.add(_flows(resets), resets["key"], resets["time"])
        return self._host_ttls(syns, rows.take(np.flatnonzero(flags & RST)))

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
        events, low, high = self._syns.near(who, time - _BEFORE, time + LINGER)
        _, _, here = self._syns.near(who, time, time)
        low, high = np.maximum(low, here - _MOST), np.minimum(high, here + _MOST)
        return _distinct(events["what"], low, high)

    def bursts(self, resets: NDArray[np.void]) -> Ints:
        """How many other four-tuples' flows had their first RST from the same port within 20 ms."""
        time = resets["time"]
        _, low, high = self._bursts.near(ports(resets), time - _INSTANT, time + _INSTANT)
        _, own, end = self._own.near(_flows(resets), time - _INSTANT, time + _INSTANT)
        return high - low - (end - own)


def ports(rows: NDArray[np.void]) -> Hashes:
    """One number for the address and port that sent each."""
    return mixed([addresses(rows["src"]), rows["sport"]])


def _flows(rows: NDArray[np.void]) -> Hashes:
    """One number for the port and the four-tuple of each."""
    return mixed([ports(rows), rows["key"]])


class _Range:
    def __init__(self, place: Ints, owner: Ints) -> None:
        self.place, self.owner = place, owner


def _ragged(low: Ints, high: Ints) -> _Range:
    """All places in some ranges, and which range each is in."""
    size = high - low
    owner = np.repeat(np.arange(len(low)), size)
    begin = np.concatenate(([0], np.cumsum(size)[:-1])) if len(size) else size
    return _Range(np.arange(len(owner)) - begin[owner] + low[owner], owner)


def _distinct(values: NDArray[np.uint64], low: Ints, high: Ints) -> Ints:
    """How many different values each range holds."""
    found = np.zeros(len(low), dtype=np.int64)
    names, codes = np.unique(values, return_inverse=True)
    for start in range(0, len(low), 2048):
        part = slice(start, start + 2048)
        inside = _ragged(low[part], high[part])
        both = np.sort(inside.owner * len(names) + codes[inside.place])
        new = np.ones(len(both), dtype=np.bool_)
        new[1:] = both[1:] != both[:-1]
        found[part] = np.bincount(both[new] // max(len(names), 1), minlength=len(low[part]))
    return found


def scan(targets: Ints, known: Bools) -> Ints:
    """Counts of targets as `Scan`."""
    found = np.full(len(targets), int(Scan.MANY))
    found[targets < 30] = Scan.SEVERAL
    found[targets < 8] = Scan.FEW
    found[~known] = Scan.UNKNOWN
    return found
