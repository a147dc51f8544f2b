"""A second look at sockets in CLOSE_WAIT, to tell a leak from what comes and goes."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rstaudit.collect.owners import sockets_of
from rstaudit.collect.sockdiag import collect_states
from rstaudit.collect.tree import Tree
from rstaudit.model.names import Later
from rstaudit.model.sockets import CLOSE_WAIT, Owner, SocketTable


def collect_later(
    tree: Tree, first: SocketTable, since: float, owners: Mapping[int, tuple[Owner, ...]]
) -> Later:
    """Sockets in CLOSE_WAIT now, by the lowest pid that held some of those in ``first``.

    ``since`` is when ``first`` was had (time.monotonic). Raises `MissingFact` as
    `collect_sockets`.
    """
    waiting = set(collect_states(CLOSE_WAIT).families)
    seconds = time.monotonic() - since
    holders = (owners.get(sock.inode) for sock in first.select(CLOSE_WAIT))
    pids = {min(found).pid for found in holders if found}
    counts = {}
    for pid in sorted(pids):
        mine = waiting & _inodes(tree, pid)
        waiting -= mine  # a socket that several processes hold counts for the first alone
        counts[pid] = len(mine)
    return Later(seconds, counts)


def _inodes(tree: Tree, pid: int) -> set[int]:
    """The sockets that a process holds now; none when it has ended."""
    try:
        return set(sockets_of(tree, pid)[0].values())
    except OSError:
        return set()
