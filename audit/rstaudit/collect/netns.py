"""Which network namespace this is, and how long its counters have been counting."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from rstaudit.collect.tree import Tree
from rstaudit.model.facts import MissingFact
from rstaudit.parse.errors import ParseError
from rstaudit.parse.process import ProcessStat, parse_stat

#: A key that the kernel registers in the initial network namespace only, from 3.10 to 6.18
#: (net/core/sysctl_net_core.c; measured on 6.18).
_INITIAL_ONLY = "/proc/sys/net/core/netdev_max_backlog"


class Netns(NamedTuple):
    """A network namespace: ``initial`` is None where that cannot be told.

    ``id`` is ``net:[inode]``, None in a recorded tree; ``age`` the seconds that its counters
    have been counting, None when unknown.
    """

    initial: bool | None
    id: str | None
    age: float | None

    @property
    def label(self) -> str:
        """``initial``, ``net:[inode]`` or ``unknown``."""
        return "initial" if self.initial else self.id or "unknown"


def find_netns(tree: Tree, uptime: float | None, crew_of: int = 0) -> Netns:
    """The network namespace that ``tree`` shows; ``uptime`` in seconds, None when unknown.

    Children of process ``crew_of`` pass through it on their way to others.
    """
    initial = is_initial(tree)
    name = tree.link("/proc/self/ns/net")
    if initial:
        return Netns(initial, name, uptime)
    age = None
    if tree.live and name is not None and uptime is not None:
        age = _age_of_oldest(tree, name, uptime, crew_of)
    return Netns(initial, name, age)


def is_initial(tree: Tree) -> bool | None:
    """Whether this is the initial network namespace.

    A recorded tree without any of /proc/sys/net/core is taken for one of a whole host.
    """
    if tree.exists(_INITIAL_ONLY):
        return True
    if tree.exists("/proc/sys/net/core"):
        return False if tree.live else None
    return None if tree.live else True


def _age_of_oldest(tree: Tree, namespace: str, uptime: float, crew_of: int) -> float | None:
    """Age of the oldest process in ``namespace``: the namespace is at least as old as that.

    This process and what started it may have entered the namespace a moment ago, and so do not
    count, except the first process of a container. Processes that we may not look at are left
    out.
    """
    skip = set(_ancestors(tree)) - {1}
    starts = [
        stat.start_ticks
        for pid in tree.names("/proc")
        if pid.isdigit()
        and int(pid) not in skip
        and tree.link(f"/proc/{pid}/ns/net") == namespace
        and (stat := _stat(tree, pid)) is not None
        and not 0 < stat.parent == crew_of
    ]
    if not starts:
        return None
    return max(uptime - min(starts) / os.sysconf("SC_CLK_TCK"), 0.0)


def _ancestors(tree: Tree) -> Iterator[int]:
    """Process ids of this process, its parent, and so on."""
    pid = os.getpid()
    while pid > 0:
        yield pid
        stat = _stat(tree, str(pid))
        pid = stat.parent if stat is not None else 0


def _stat(tree: Tree, pid: str) -> ProcessStat | None:
    try:
        return parse_stat(tree.text(f"/proc/{pid}/stat"))
    except (MissingFact, ParseError):
        return None  # it ended meanwhile
