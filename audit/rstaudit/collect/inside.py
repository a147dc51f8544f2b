"""What a child of the crew collects in its network namespace: that namespace's part of the host."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from rstaudit.collect.crew import Crew
from rstaudit.collect.host import Collection, Options, Stopped
from rstaudit.collect.namespaces import Namespace
from rstaudit.collect.netns import is_initial
from rstaudit.collect.sysctls import collect_sysctls
from rstaudit.collect.tree import Tree
from rstaudit.model import names
from rstaudit.model.facts import Gap, HostState, MissingFact
from rstaudit.model.sockets import STATE_NAMES, TIME_WAIT, SocketTable

#: Seconds that one namespace may take besides the gap between two samples; a host with hundreds
#: of thousands of sockets takes about one.
PATIENCE = 60.0

#: Where struct inet_diag_msg has idiag_inode, four bytes (include/uapi/linux/inet_diag.h).
_INODE = 68


class Inside(NamedTuple):
    """One namespace as it was found; ``stopped`` when Ctrl-C cut it short."""

    host: HostState
    stopped: bool


def start(
    spaces: tuple[Namespace, ...], options: Options, patience: float = PATIENCE
) -> Crew[Inside]:
    """Begin to collect in each of ``spaces``; the crew has the answers.

    While it waits for the second sample a child takes no processor time, so more of them run than
    there are processors.
    """
    ours = options._replace(crew_of=os.getpid())
    at_once = (os.cpu_count() or 1) * (8 if options.interval else 1)
    return Crew(spaces, lambda space: _collect(space, ours), patience + options.interval, at_once)


def host_sysctls(tree: Tree, spaces: tuple[Namespace, ...]) -> tuple[str, Mapping[str, str]]:
    """The id of the initial namespace and its running values; raises `MissingFact`.

    Where this process is in another, each of ``spaces`` is entered until it is found; it is most
    likely that of process 1.
    """
    if is_initial(tree):
        return os.readlink("/proc/self/ns/net"), collect_sysctls(tree)[0]
    likely = sorted(spaces, key=lambda space: 1 not in space.pids)
    crew = Crew(likely, _initial_sysctls, PATIENCE, 1)
    try:
        for answer in crew.answers():
            if not isinstance(answer.value, Gap):
                return answer.space.id, answer.value
    finally:
        crew.close()
    detail = "the settings of the initial network namespace cannot be read here; run it on the host"
    raise MissingFact(Gap(names.HOST_SYSCTLS.name, "unreadable", detail))


def _initial_sysctls(_: Namespace) -> Mapping[str, str]:
    if not is_initial(Tree()):
        raise MissingFact(Gap(names.HOST_SYSCTLS.name, "unreadable", "this is not it"))
    return collect_sysctls(Tree())[0]


def _collect(space: Namespace, options: Options) -> Inside:
    try:
        host, stopped = Collection(options).finish(), False
    except Stopped as cut:
        host, stopped = cut.host, True
    netns = "initial" if host.initial else space.name
    return Inside(host._replace(netns=netns, facts=_own(host, space)), stopped)


def _own(host: HostState, space: Namespace) -> dict[str, object]:
    """The facts, of processes only those in the namespace or with a socket of it.

    /proc shows the processes of every namespace, and each shall be judged once.
    """
    facts = dict(host.facts)
    inodes = _inodes(host.need(names.SOCKETS)) if names.SOCKETS.name in facts else set()
    pids: set[int] = set()
    if names.OWNERS.name in facts:
        owners = host.need(names.OWNERS)
        held = {inode: owners[inode] for inode in owners.keys() & inodes}
        pids = {owner.pid for found in held.values() for owner in found}
        facts[names.OWNERS.name] = held
    if names.LIMITS.name in facts:
        limits = host.need(names.LIMITS)
        own = (space.id, None) if host.initial else (space.id,)
        pids |= {entry.pid for entry in limits if _link(entry.pid) in own}
        facts[names.LIMITS.name] = tuple(entry for entry in limits if entry.pid in pids)
    if names.HELD.name in facts:
        every = host.need(names.HELD)
        facts[names.HELD.name] = {pid: every[pid] for pid in every.keys() & pids}
    return facts


def _inodes(table: SocketTable) -> set[int]:
    states = [state for state in STATE_NAMES if state != TIME_WAIT]
    return {
        int.from_bytes(table.blob[start + _INODE : start + _INODE + 4], sys.byteorder)
        for start, _ in table.places(*states)
    }


def _link(pid: int) -> str | None:
    """The namespace of a process; None where that is not readable: the initial one has to do."""
    return Tree().link(f"/proc/{pid}/ns/net")
