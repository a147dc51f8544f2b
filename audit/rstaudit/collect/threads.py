"""Sockets that single threads hold in descriptor tables of their own (unshare with CLONE_FILES).

`/proc/PID/fd` shows the table of the process's first thread alone, and nearly every program has
no other. So threads are looked at only when a socket that has been there for a while seems to
be in nobody's hands.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Mapping

from rstaudit.collect.owners import owner_of, pids, sockets_of
from rstaudit.collect.tree import Tree
from rstaudit.model.sockets import CLOSE_WAIT, ESTABLISHED, LISTEN, Owner, SocketTable, idle_ms

#: A younger connection may have been opened after the descriptors were read.
_LASTING_MS = 2000

#: Seconds that the search may take.
_PATIENCE = 0.1

#: The inode of a row.
_INODE = struct.Struct("=68xI")


def in_threads(
    tree: Tree, table: SocketTable, owners: Mapping[int, tuple[Owner, ...]], *, cmdline: bool
) -> dict[int, tuple[Owner, ...]]:
    """Owners of sockets of ``table`` that are not in ``owners`` and that a thread holds alone.

    Sockets of the kernel's own (an NFS client) are in nobody's table. The search ends after a
    tenth of a second. Raises `MissingFact` when /proc cannot be listed.
    """
    found: dict[int, tuple[Owner, ...]] = {}
    lost = _lost(table, owners)
    if not lost:
        return found
    for pid, inodes in _tables(tree, time.monotonic() + _PATIENCE):
        if here := inodes & lost:
            found.update(dict.fromkeys(here, (owner_of(tree, pid, cmdline=cmdline),)))
            lost -= here
            if not lost:
                break
    return found


def _lost(table: SocketTable, owners: Mapping[int, tuple[Owner, ...]]) -> set[int]:
    """Inodes without an owner, of sockets that were there when the descriptors were read."""
    lost = table.families.keys() - owners.keys()
    if not lost:
        return set()
    blob = table.blob
    return {
        inode
        for start, end in table.places(LISTEN, ESTABLISHED, CLOSE_WAIT)
        if (inode := _INODE.unpack_from(blob, start)[0]) in lost
        and (blob[start + 1] == LISTEN or idle_ms(blob, start, end) >= _LASTING_MS)
    }


def _tables(tree: Tree, deadline: float) -> Iterator[tuple[int, set[int]]]:
    """Sockets of every thread but the first, with the process's id."""
    for pid in pids(tree):
        for thread in _others(tree, pid):
            if time.monotonic() > deadline:
                return
            try:
                yield pid, set(sockets_of(tree, thread)[0].values())
            except OSError:  # it has ended, or may not be looked at
                continue


def _others(tree: Tree, pid: int) -> list[str]:
    """The threads of a process but its first, as paths below /proc.

    A directory has two links and one more for each in it, so most processes cost one stat().
    """
    folder = tree.where(f"/proc/{pid}/task")
    try:
        names = os.listdir(folder) if os.stat(folder).st_nlink > 3 else []
    except OSError:
        return []
    return [f"{pid}/task/{name}" for name in names if name != str(pid)]
