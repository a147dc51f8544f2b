"""A look at the sockets that were just reset, while their processes still hold them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rstaudit.collect.owners import sockets_of
from rstaudit.collect.sockopts import Glimpse, glimpse
from rstaudit.collect.tree import Tree
from rstaudit.parse.reset_event import Event

#: Descriptors of a process that are tried, the newest; share of the time that looking may take.
_MOST_TRIED, _SHARE = 64, 0.05
_MOST_KEPT = 2000
_MOST_PIDS = 4


class Glimpses:
    """What was seen of sockets by their cookies. A storm of resets is looked at in samples."""

    def __init__(self) -> None:
        self._seen: dict[int, Glimpse] = {}
        self._next = 0.0

    def look(self, event: Event, pids: Iterable[int]) -> None:
        """Look for the socket of a ``receive`` event in the processes that may hold it."""
        start = time.monotonic()
        if start < self._next or not event.cookie or event.cookie in self._seen:
            return
        for pid in list(pids)[:_MOST_PIDS]:
            found = _find(pid, event)
            if found is not None:
                self._keep(event.cookie, found)
                break
        now = time.monotonic()
        self._next = now + (now - start) / _SHARE

    def of(self, event: Event) -> Glimpse | None:
        """What was seen of the socket of an event."""
        return self._seen.get(event.cookie) if event.cookie else None

    def _keep(self, cookie: int, found: Glimpse) -> None:
        self._seen[cookie] = found
        if len(self._seen) > _MOST_KEPT:
            for old in list(self._seen)[: _MOST_KEPT // 4]:
                del self._seen[old]


def _find(pid: int, event: Event) -> Glimpse | None:
    try:
        held, _ = sockets_of(Tree(), pid)
    except OSError:
        return None
    newest = sorted(held, reverse=True)[:_MOST_TRIED]
    return glimpse(pid, newest, event.cookie, event.family)
