"""Counters of one network namespace, sampled so often that the moves around a reset are known."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

#: Groups of /proc/net/snmp and netstat that tell about resets; Ip has Forwarding.
_GROUPS = ("Ip:", "Tcp:", "TcpExt:", "MPTcpExt:")
#: A counter has moved this long after the event at the latest, ns.
_AFTER_NS = 100_000

_MOST_SAMPLES, _MOST_RESETS = 256, 20_000


class Sampled(NamedTuple):
    """Counters at ``time_ns`` of the monotonic clock."""

    time_ns: int
    names: tuple[str, ...]
    values: tuple[int, ...]


class Samples:
    """The last samples of a namespace, and when it sent resets."""

    def __init__(self) -> None:
        self._samples: list[Sampled] = []
        self._times: list[int] = []
        self._sent: list[int] = []
        self._last: tuple[int, int, Mapping[str, int]] = (0, 0, {})

    @property
    def last_ns(self) -> int:
        """When the last sample was taken; 0 before the first."""
        return self._times[-1] if self._times else 0

    @property
    def newest(self) -> Sampled | None:
        """The last sample."""
        return self._samples[-1] if self._samples else None

    def add(self, sample: Sampled) -> None:
        """A sample that is newer than all others."""
        self._samples.append(sample)
        self._times.append(sample.time_ns)
        if len(self._times) > _MOST_SAMPLES:
            del self._samples[: _MOST_SAMPLES // 2], self._times[: _MOST_SAMPLES // 2]

    def sent(self, time_ns: int) -> None:
        """The namespace sent a reset; nearly in the order of time."""
        self._sent.append(time_ns)
        if len(self._sent) > _MOST_RESETS:
            del self._sent[: _MOST_RESETS // 2]

    def value(self, name: str) -> int | None:
        """A counter's last value."""
        if not self._samples:
            return None
        last = self._samples[-1]
        return last.values[last.names.index(name)] if name in last.names else None

    def around(self, time_ns: int, seen_ns: int, since_ns: int | None = None) -> Moves | None:
        """What moved between the last sample before a reset and the first after it.

        Where its connection ended before, at ``since_ns``, from the last sample before that on.

        Also how many resets the namespace sent in between, at least one. None where there is no
        sample before, or none after, or not every reset up to then is known: only those up to
        ``seen_ns`` are.
        """
        first = bisect_left(self._times, time_ns) - 1
        if since_ns is not None and since_ns < time_ns:
            first = max(bisect_left(self._times, since_ns) - 1, min(first, 0))
        last = bisect_right(self._times, time_ns + _AFTER_NS)
        if first < 0 or last == len(self._times):
            return None
        start, end = self._times[first], self._times[last]
        if end > seen_ns:
            return None
        if self._last[:2] != (start, end):
            self._last = (start, end, moves(self._samples[first], self._samples[last]))
        count = bisect_right(self._sent, end) - bisect_left(self._sent, start)
        return Moves(start, self._last[2], max(1, count))


class Moves(NamedTuple):
    """What moved between two samples: since ``start_ns``, by name, while so many resets went."""

    start_ns: int
    counters: Mapping[str, int]
    resets: int


def moves(before: Sampled, after: Sampled) -> dict[str, int]:
    """How far each counter went, those that did not move left out."""
    if before.names != after.names:
        return {}
    if before.values == after.values:
        return {}
    triples = zip(after.names, before.values, after.values, strict=True)
    return {name: new - old for name, old, new in triples if new != old}


def read_counters(time_ns: int, snmp: str, netstat: str) -> Sampled:
    """The counters in the texts of the two files; lines of another form are left out."""
    names: tuple[str, ...] = ()
    values: list[int] = []
    for text in (snmp, netstat):
        lines = text.split("\n")
        for head, line in zip(islice(lines, 0, None, 2), islice(lines, 1, None, 2), strict=False):
            if head.startswith(_GROUPS):
                found = _names(head)
                numbers = line.split()[1:]
                if len(found) == len(numbers):
                    names += found
                    values += map(int, numbers)
    return Sampled(time_ns, names, tuple(values))


_NAMES: dict[str, tuple[str, ...]] = {}


def _names(head: str) -> tuple[str, ...]:
    """``Tcp.OutRsts`` and so on, of a line of names; the same line comes again and again."""
    found = _NAMES.get(head)
    if found is None:
        group, *words = head.split()
        found = tuple(f"{group[:-1]}.{word}" for word in words)
        if len(_NAMES) < 64:
            _NAMES[head] = found
    return found
