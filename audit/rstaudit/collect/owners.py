"""Which processes hold which sockets: `/proc/PID/fd` links to `socket:[inode]`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from rstaudit.collect.tree import Tree, read_file
from rstaudit.model.facts import Gap
from rstaudit.model.sockets import STATE_NAMES, TIME_WAIT, Owner, SocketTable
from rstaudit.parse.cgroup import Place, parse_cgroup
from rstaudit.parse.errors import ParseError
from rstaudit.parse.process import parse_uid

#: What reading says of a process that has ended.
_GONE = (errno.ENOENT, errno.ESRCH, errno.ENOTDIR)

#: include/linux/proc_ns.h, PROC_PID_INIT_INO.
_INITIAL_PID_NAMESPACE = f"pid:[{0xEFFFFFFC}]"


class Owners(NamedTuple):
    """Holders by socket inode; open descriptors by pid; the gap of what could not be read.

    ``held`` are the sockets of each pid: inode by descriptor.
    """

    by_inode: Mapping[int, tuple[Owner, ...]]
    descriptors: Mapping[int, int]
    gap: Gap | None
    held: Mapping[int, Mapping[int, int]] = MappingProxyType({})


def collect_owners(tree: Tree, *, cmdline: bool = False) -> Owners:
    """Walk the descriptors of every process that may be read.

    Processes that vanish meanwhile are left out. Those that may not be read are counted in the
    gap, since their sockets will look as if nobody held them. Raises `MissingFact` when /proc
    itself cannot be listed.
    """
    users = _Users(tree)
    by_inode: dict[int, tuple[Owner, ...]] = {}
    descriptors: dict[int, int] = {}
    held: dict[int, Mapping[int, int]] = {}
    errors: list[OSError] = []
    for pid in pids(tree):
        try:
            sockets, count = sockets_of(tree, pid)
        except OSError as error:
            if error.errno not in _GONE:
                errors.append(error)
            continue
        descriptors[pid] = count
        if sockets:
            held[pid] = sockets
            inodes = set(sockets.values())
            holder = (_owner(tree, pid, users, cmdline),)
            shared = {inode: by_inode[inode] + holder for inode in inodes & by_inode.keys()}
            by_inode.update(dict.fromkeys(inodes, holder))
            by_inode.update(shared)
    return Owners(by_inode, descriptors, _gap(tree, errors), held)


def pids(tree: Tree) -> Iterator[int]:
    """Every process that /proc shows; raises `MissingFact` when it cannot be listed."""
    return (int(name) for name in tree.names("/proc", "owners") if name.isdecimal())


def sockets_of(tree: Tree, pid: int | str) -> tuple[dict[int, int], int]:
    """Inodes by descriptor of the sockets of ``pid``, and how many descriptors it has open.

    ``pid`` may be ``PID/task/TID``. Raises OSError.
    """
    folder = os.open(tree.where(f"/proc/{pid}/fd"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = os.listdir(folder)
        return _sockets(names, _targets(folder, names)), len(names)
    finally:
        os.close(folder)


def _targets(folder: int, names: list[str]) -> list[str]:
    """Where each link points; nowhere for those closed meanwhile."""
    try:
        return [os.readlink(name, dir_fd=folder) for name in names]
    except OSError:
        return [_target(folder, name) for name in names]


def _target(folder: int, name: str) -> str:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return ""


def _sockets(names: list[str], targets: list[str]) -> dict[int, int]:
    pairs = [
        (name, target[8:-1])
        for name, target in zip(names, targets, strict=True)
        if target[:8] == "socket:["
    ]
    try:
        return {int(name): int(inode) for name, inode in pairs}
    except ValueError:  # a recorded tree may hold anything
        return {int(n): int(i) for n, i in pairs if n.isdecimal() and i.isdecimal()}


def owner_of(tree: Tree, pid: int, *, cmdline: bool = False) -> Owner:
    """A process by its id."""
    return _owner(tree, pid, _Users(tree), cmdline)


def _owner(tree: Tree, pid: int, users: _Users, cmdline: bool) -> Owner:
    comm = _quiet(tree, f"/proc/{pid}/comm").rstrip("\n")
    words = _quiet(tree, f"/proc/{pid}/cmdline").replace("\0", " ").strip() if cmdline else None
    exe = tree.link(f"/proc/{pid}/exe")
    return Owner(pid, comm or "?", users.of(pid), exe, words or None, *_place(tree, pid))


def _place(tree: Tree, pid: int) -> Place:
    """The unit and the container of a process; neither where that cannot be read."""
    try:
        return _parse_cgroup(_quiet(tree, f"/proc/{pid}/cgroup"))
    except ParseError:
        return Place(None, None)


#: The workers of a program are all in one place, so the same text comes again and again.
_parse_cgroup = lru_cache(maxsize=256)(parse_cgroup)


def _quiet(tree: Tree, path: str) -> str:
    """The text of a file, empty where it cannot be read (any more)."""
    try:
        return read_file(tree.where(path)).decode("utf-8", "surrogateescape")
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
        try:
            number = str(parse_uid(_quiet(self._tree, f"/proc/{pid}/status")))
        except ParseError:
            return "?"
        return self._names.get(number, number)


def _gap(tree: Tree, errors: list[OSError]) -> Gap | None:
    """Why not every process could be looked at; None where all were."""
    if not errors:
        words = hidden(tree)
        return None if words is None else Gap("owners", "permission", words)
    detail = f"the descriptors of {len(errors)} processes are not readable"
    other = next((error for error in errors if not isinstance(error, PermissionError)), None)
    if other is None:
        return Gap("owners", "permission", f"{detail}; run as root")
    return Gap("owners", "unreadable", f"{detail}: {(other.strerror or str(other)).lower()}")


def hidden(tree: Tree) -> str | None:
    """What hides processes from us, in words, and what would help; None where nothing does.

    With hidepid=2 /proc leaves out the processes that we may not trace (proc(5)); process 1 is
    then one of them.
    """
    if not tree.live or tree.exists("/proc/1"):
        return None
    hint = "it needs CAP_SYS_PTRACE" if os.geteuid() == 0 else "run as root"
    return f"/proc shows only some processes (hidepid); {hint}"


def outside(
    tree: Tree, table: SocketTable, by_inode: Mapping[int, tuple[Owner, ...]]
) -> Gap | None:
    """The gap of sockets whose holders are in another pid namespace; None where there are none.

    A socket that no process holds has inode 0, so that one with an inode has a holder somewhere.
    """
    if not tree.live or tree.link("/proc/self/ns/pid") in (None, _INITIAL_PID_NAMESPACE):
        return None
    states = [state for state in STATE_NAMES if state != TIME_WAIT]
    lost = sum(1 for sock in table.select(*states) if sock.inode and sock.inode not in by_inode)
    if not lost:
        return None
    detail = f"processes of another pid namespace hold {lost} sockets; run it in theirs"
    return Gap("owners", "unreadable", detail)
