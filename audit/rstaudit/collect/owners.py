"""Which processes hold which sockets: `/proc/PID/fd` links to `socket:[inode]`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap
from rstaudit.model.sockets import Owner

_PREFIX = "socket:["


class Owners(NamedTuple):
    """Holders by socket inode; open descriptors by pid; the gap of what could not be read."""

    by_inode: Mapping[int, tuple[Owner, ...]]
    descriptors: Mapping[int, int]
    gap: Gap | None


def collect_owners(tree: Tree, *, cmdline: bool = False) -> Owners:
    """Walk the descriptors of every process that may be read.

    Processes that vanish meanwhile are left out. Those that may not be read are counted in the
    gap, since their sockets will look as if nobody held them. Raises `MissingFact` when /proc
    itself cannot be listed.
    """
    users = _Users(tree)
    by_inode: dict[int, tuple[Owner, ...]] = {}
    descriptors: dict[int, int] = {}
    denied = 0
    for pid in _pids(tree):
        try:
            inodes, count = _socket_inodes(tree, pid)
        except PermissionError:
            denied += 1
            continue
        except OSError:
            continue
        descriptors[pid] = count
        if inodes:
            holder = (_owner(tree, pid, users, cmdline),)
            for inode in inodes:
                by_inode[inode] = by_inode[inode] + holder if inode in by_inode else holder
    return Owners(by_inode, descriptors, _denied(denied))


def _pids(tree: Tree) -> Iterator[int]:
    return (int(name) for name in tree.names("/proc", "owners") if name.isdecimal())


def _socket_inodes(tree: Tree, pid: int) -> tuple[set[int], int]:
    """Inodes of the sockets that ``pid`` holds, and how many descriptors it has open."""
    folder = os.open(tree.where(f"/proc/{pid}/fd"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = os.listdir(folder)
        inodes = set()
        for name in names:
            try:
                target = os.readlink(name, dir_fd=folder)
            except OSError:  # closed since
                continue
            if target.startswith(_PREFIX) and target[len(_PREFIX) : -1].isdecimal():
                inodes.add(int(target[len(_PREFIX) : -1]))
        return inodes, len(names)
    finally:
        os.close(folder)


def _owner(tree: Tree, pid: int, users: _Users, cmdline: bool) -> Owner:
    comm = _quiet(tree, f"/proc/{pid}/comm").rstrip("\n")
    words = _quiet(tree, f"/proc/{pid}/cmdline").replace("\0", " ").strip() if cmdline else None
    return Owner(pid, comm or "?", users.of(pid), tree.link(f"/proc/{pid}/exe"), words or None)


def _quiet(tree: Tree, path: str) -> str:
    """The text of a file, empty where it cannot be read (any more)."""
    try:
        with open(tree.where(path), "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")
    except OSError:
        return ""


class _Users:
    """Names of user ids, from /etc/passwd alone: a name service would go over the network."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._names: dict[str, str] = {}
        for line in _quiet(tree, "/etc/passwd").splitlines():
            words = line.split(":")
            if len(words) > 2:
                self._names.setdefault(words[2], words[0])

    def of(self, pid: int) -> str:
        """The effective user of a process; ``?`` when it is gone."""
        for line in _quiet(self._tree, f"/proc/{pid}/status").splitlines():
            if line.startswith("Uid:"):
                words = line.split()
                return self._names.get(words[2], words[2]) if len(words) > 2 else "?"
        return "?"


def _denied(count: int) -> Gap | None:
    if not count:
        return None
    detail = f"the descriptors of {count} processes are not readable; run as root"
    return Gap("owners", "permission", detail)
