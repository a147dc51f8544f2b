"""A look at the sockets that were just reset, while their processes still hold them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TypeVar

from rstaudit.collect.owners import sockets_of
from rstaudit.collect.sockopts import Glimpse, glimpse
from rstaudit.collect.tree import Tree
from rstaudit.parse.reset_event import Event
from rstaudit.resets.live.crossings import Ends

#: Descriptors of a process that are tried, the newest; share of a processor that looking may take.
#: What was not used of the last second may be used at once: both ends of a connection are reset
#: within a millisecond.
_MOST_TRIED, _SHARE, _SAVED = 64, 0.05, 1.0
#: How much of what was saved is not for young connections.
_RESERVED = 0.7
_MOST_KEPT = 2000
_MOST_PIDS = 4
#: Two resets of one connection, one at each end.
_NEAR_NS = 1_000_000_000

K = TypeVar("K")
V = TypeVar("V")


class Glimpses:
    """What was seen of sockets by their cookies. A storm of resets is looked at in samples.

    Times are up to the reset, however much later the look was.
    """

    def __init__(self) -> None:
        self._seen: dict[int, Glimpse] = {}
        self._last: dict[Ends, tuple[int, Glimpse]] = {}
        self._next = 0.0

    def look(self, event: Event, pids: Iterable[int], inode: int | None, *, young: bool) -> None:
        """Look for the socket of a ``receive`` event in the processes that may hold it.

        ``inode`` is its inode, where a look at all sockets found it. A ``young`` connection has
        less to tell, and only gets what the others leave.
        """
        start, spent = time.monotonic(), time.thread_time()
        due = self._next + (_SAVED * _RESERVED if young else 0)
        if start < due or not event.cookie or event.cookie in self._seen:
            return
        for pid in list(pids)[:_MOST_PIDS]:
            found = _find(pid, event, inode)
            if found is not None:
                self._keep(event, found)
                break
        took = time.thread_time() - spent
        self._next = max(self._next, start - _SAVED) + took / _SHARE

    def of(self, event: Event) -> Glimpse | None:
        """What was seen of the socket of an event."""
        return self._seen.get(event.cookie) if event.cookie else None

    def near(self, ends: Ends, time_ns: int) -> Glimpse | None:
        """What was seen of the socket with these ends that was reset about then."""
        when, found = self._last.get(ends, (0, None))
        return found if abs(when - time_ns) <= _NEAR_NS else None

    def _keep(self, event: Event, found: Glimpse) -> None:
        since = max(0, time.monotonic_ns() - event.time_ns) // 1_000_000
        sent, received, acked = (max(0, one - since) for one in found[-3:])
        found = found._replace(sent_ms=sent, received_ms=received, acked_ms=acked)
        self._seen[event.cookie] = found
        self._last[event.src, event.sport, event.dst, event.dport] = (event.time_ns, found)
        _shorten(self._seen)
        _shorten(self._last)


def _shorten(table: dict[K, V]) -> None:
    """The oldest go when there are too many."""
    if len(table) > _MOST_KEPT:
        for old in list(table)[: _MOST_KEPT // 4]:
            del table[old]


def _find(pid: int, event: Event, inode: int | None) -> Glimpse | None:
    try:
        held, _ = sockets_of(Tree(), pid)
    except OSError:
        return None
    exact = [fd for fd, one in held.items() if one == inode]
    fds = exact or sorted(held, reverse=True)[:_MOST_TRIED]
    return glimpse(pid, fds, event.cookie, event.family)
