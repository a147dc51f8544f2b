"""Who the processes behind the events are, also when they have just ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from rstaudit.collect.owners import owner_of
from rstaudit.collect.tree import Tree, read_file
from rstaudit.model.sockets import Owner

_MOST = 4096
#: Seconds after which what is known of a process is looked up again: it may have called exec(),
#: or its number may be another's.
_FRESH = 1.0
#: Processes that one look around learns.
_MOST_NEW = 200


class Person(NamedTuple):
    """A thread's process, and the network namespace of the thread (its inode; None unknown)."""

    owner: Owner | None
    netns: int | None
    at: float


class People:
    """Processes by the ids of their threads, kept for a while after they have ended.

    ``names`` gives the kernel's own memory of names by thread, for those that ended too soon.
    """

    def __init__(self, tree: Tree, names: Callable[[], Mapping[int, str]] = dict) -> None:
        self._tree = tree
        self._names = names
        self._asked = 0.0
        self._known: dict[int, Person] = {}
        self._seen: frozenset[str] = frozenset()
        self._waiting: set[str] = set()

    def learn(self, tid: int) -> Person | None:
        """What is known of a thread, looked up unless that was done a moment ago."""
        now = time.monotonic()
        person = self._known.get(tid)
        if person is not None and now - person.at < _FRESH:
            return person
        found = self._look(tid, now)
        if found is None or (found.netns is None and person is not None):  # ended, maybe a zombie
            return person
        self._keep(tid, found)
        return found

    def owner(self, tid: int) -> Owner | None:
        """The process of a thread; None for the kernel's own threads and for the unknown."""
        person = self._known.get(tid) or self.learn(tid)
        if person is not None:
            return person.owner
        name = self._name(tid)
        return None if name is None else Owner(tid, name, "?")

    def netns(self, tid: int) -> int | None:
        """The network namespace that the thread was in when it was looked up."""
        person = self._known.get(tid)
        return person.netns if person is not None else None

    def look_around(self) -> list[tuple[int, int]]:
        """The processes that have come since the last look, and their network namespaces."""
        with suppress(OSError):
            there = frozenset(filter(str.isdecimal, os.listdir("/proc")))
            new = there - self._seen
            self._seen = there
            self._waiting = self._waiting & there | new
            places = ((int(name), _netns(int(name))) for name in new)
            return [(pid, netns) for pid, netns in places if netns is not None]
        return []

    def learn_new(self) -> None:
        """Learn the processes that have come, so many at once that it takes but a moment."""
        for name in list(self._waiting)[:_MOST_NEW]:
            self._waiting.discard(name)
            self.learn(int(name))

    def _keep(self, tid: int, person: Person) -> None:
        self._known.pop(tid, None)
        self._known[tid] = person
        if len(self._known) > _MOST:
            for old in list(self._known)[: _MOST // 4]:
                del self._known[old]

    def _look(self, tid: int, now: float) -> Person | None:
        """Read /proc; None when the thread is gone."""
        try:
            status = read_file(f"/proc/{tid}/status").decode("utf-8", "surrogateescape")
        except OSError:
            return None
        words = dict(line.split(":\t", 1) for line in status.split("\n") if ":\t" in line)
        pid = words.get("Tgid", "")
        if not pid.isdecimal():
            return None
        kernel = words.get("PPid") == "2" or pid == "2"
        owner = None if kernel else owner_of(self._tree, int(pid))
        if owner is not None and owner.comm == "?":  # it ended while we looked
            owner = owner._replace(comm=words.get("Name", "?"))
        return Person(owner, _netns(tid), now)

    def _name(self, tid: int) -> str | None:
        """The name that the kernel remembers, at most ten questions a second."""
        now = time.monotonic()
        if tid == 0 or now - self._asked < 0.1:
            return None
        self._asked = now
        return self._names().get(tid)


def _netns(tid: int) -> int | None:
    with suppress(OSError, ValueError):
        return int(os.readlink(f"/proc/{tid}/ns/net")[5:-1])
    return None
