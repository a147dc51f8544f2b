"""Events of several processors in the order of time."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from operator import itemgetter

from rstaudit.parse.reset_event import Event

_TIME = itemgetter(0)


class Order:
    """Holds events back until none that is older can come any more."""

    def __init__(self) -> None:
        self._waiting: list[Event] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, events: Iterable[Event]) -> None:
        """More events, each processor's in the order of time."""
        self._waiting += events

    def take(self, until_ns: int) -> list[Event]:
        """The events before ``until_ns``, sorted. Those that come later than that stay behind."""
        waiting = self._waiting
        waiting.sort(key=_TIME)  # runs that are in order already cost next to nothing
        cut = bisect_left(waiting, until_ns, key=_TIME)
        taken = waiting[:cut]
        del waiting[:cut]
        return taken


class Backlog:
    """Pages that are read but not yet looked at, by processor: the kernel's buffer stays free.

    ``times`` is the time of the last event taken of each processor with pages waiting: nothing
    older than the least of them can come from here.
    """

    def __init__(self) -> None:
        self._pages: dict[int, deque[bytes]] = {}
        self.times: dict[int, int] = {}
        self.count = 0

    def add(self, cpu: int, page: bytes) -> None:
        """A page of a processor, after all that came before."""
        self._pages.setdefault(cpu, deque()).append(page)
        self.times.setdefault(cpu, 0)
        self.count += 1

    def next(self) -> tuple[int, bytes]:
        """The first page of the processor that is furthest behind; IndexError when empty."""
        if not self.times:
            raise IndexError("no page")
        cpu = min(self.times, key=self.times.__getitem__)
        page = self._pages[cpu].popleft()
        self.count -= 1
        if not self._pages[cpu]:
            del self.times[cpu]
        return cpu, page

    def reached(self, cpu: int, time_ns: int) -> None:
        """The events of a processor are taken up to ``time_ns``."""
        if cpu in self.times:
            self.times[cpu] = time_ns

    def horizon(self, now_ns: int) -> int:
        """Up to when every event has been taken, as far as they have been read."""
        return min(self.times.values(), default=now_ns)
