"""The network namespaces of a host, and what people call them."""

from __future__ import annotations

import errno
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from rstaudit.collect.netns import is_initial
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap, MissingFact
from rstaudit.parse.cgroup import parse_cgroup
from rstaudit.parse.errors import ParseError
from rstaudit.parse.mounts import parse_netns_mounts

#: Where `ip netns` keeps its namespaces (ip-netns(8)).
_IP_NETNS = "/run/netns/"

#: include/uapi/linux/capability.h
_CAP_SYS_ADMIN = 21


class Namespace(NamedTuple):
    """A network namespace.

    ``id`` is ``net:[inode]``; ``name`` what the report calls it; ``aliases`` other names that a
    user may give it; ``paths`` the files to enter it by; ``pids`` the processes in it; ``enter``
    the words to put before a command so that it runs there, empty where we are already.
    """

    id: str
    name: str
    aliases: tuple[str, ...]
    paths: tuple[str, ...]
    pids: frozenset[int]
    enter: str


class Found(NamedTuple):
    """All namespaces, the initial one first, those without a name last.

    The gap is None unless some may have been missed.
    """

    spaces: tuple[Namespace, ...]
    gap: Gap | None


def may_enter() -> bool:
    """Whether this process has CAP_SYS_ADMIN, without which setns(2) is refused."""
    with suppress(MissingFact, ValueError):
        for line in Tree().text("/proc/self/status").splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return os.geteuid() == 0


def find_namespaces(tree: Tree) -> Found:
    """Every network namespace that a process is in or a mount holds.

    One that only an open descriptor or a thread other than its process's first keeps alive is
    not found. Raises `MissingFact` when /proc cannot be listed.
    """
    pids, refused = _processes(tree)
    mounts = _mounts(tree)
    here = tree.link("/proc/self/ns/net") or ""
    first = _initial(tree, here)
    spaces = [
        _namespace(tree, id_, sorted(pids.get(id_, ())), mounts.get(id_, ()), here)
        for id_ in {**pids, **mounts}
    ]
    known = [space._replace(name="initial") if space.id == first else space for space in spaces]
    known.sort(key=lambda space: (space.id != first, space.name == space.id, space.name, space.id))
    return Found(_distinct(known), _gap(refused))


def choose(tree: Tree, spaces: Iterable[Namespace], word: str) -> tuple[Namespace, ...]:
    """The namespaces that ``word`` may mean.

    A name or ``net:[inode]``, else another name of theirs, else the pid of a process.
    """
    spaces = tuple(spaces)
    if named := [space for space in spaces if word in (space.name, space.id)]:
        return tuple(named)
    if known := [space for space in spaces if word in space.aliases]:
        return tuple(known)
    id_ = tree.link(f"/proc/{word}/ns/net") if word.isascii() and word.isdigit() else None
    return tuple(space for space in spaces if space.id == id_)


def _processes(tree: Tree) -> tuple[dict[str, list[int]], int]:
    """Process ids by namespace, and how many processes did not let us look."""
    found: dict[str, list[int]] = {}
    refused = 0
    for pid in filter(str.isdecimal, tree.names("/proc", "netns")):
        try:
            found.setdefault(os.readlink(f"/proc/{pid}/ns/net"), []).append(int(pid))
        except OSError as error:
            refused += error.errno in (errno.EACCES, errno.EPERM)
    return found, refused


def _mounts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Mount points by namespace; of a place mounted twice the later hides the earlier."""
    try:
        pairs = parse_netns_mounts(tree.text("/proc/self/mountinfo"))
    except MissingFact:
        return {}
    places = {place: id_ for id_, place in pairs}
    found: dict[str, tuple[str, ...]] = {}
    for place, id_ in places.items():
        found[id_] = (*found.get(id_, ()), place)
    return found


def _initial(tree: Tree, here: str) -> str | None:
    """The initial namespace as far as can be told from here; `is_initial` asks it once inside."""
    return here if is_initial(tree) else None


def _namespace(
    tree: Tree, id_: str, pids: list[int], places: tuple[str, ...], here: str
) -> Namespace:
    ours = sorted(place[len(_IP_NETNS) :] for place in places if place.startswith(_IP_NETNS))
    unit, container = _place(tree, pids[0]) if pids else (None, None)
    service = unit if unit and unit.endswith(".service") else None
    names = [name for name in (container, *ours, service, unit) if name]
    paths = tuple(f"/proc/{pid}/ns/net" for pid in pids[:3]) + places
    best = container or next(iter(ours), None) or service or id_
    enter = "" if id_ == here else _command(pids, places, ours)
    return Namespace(id_, best, tuple(dict.fromkeys(names)), paths, frozenset(pids), enter)


def _place(tree: Tree, pid: int) -> tuple[str | None, str | None]:
    """Unit and container of a process; None where it has none or has ended."""
    try:
        place = parse_cgroup(tree.text(f"/proc/{pid}/cgroup"))
    except (MissingFact, ParseError):
        return None, None
    return place.unit, place.container


def _command(pids: list[int], places: tuple[str, ...], ours: list[str]) -> str:
    if ours:
        return f"ip netns exec {shlex.quote(ours[0])}"
    if pids:
        return f"nsenter -t {pids[0]} -n"
    return f"nsenter {shlex.quote(f'--net={places[0]}')}"


def _distinct(spaces: list[Namespace]) -> tuple[Namespace, ...]:
    """Where two namespaces have one name (two containers of a pod's unit), their ids tell them."""
    counts: Mapping[str, int] = Counter(space.name for space in spaces)
    return tuple(
        space._replace(name=f"{space.name} {space.id}") if counts[space.name] > 1 else space
        for space in spaces
    )


def _gap(refused: int) -> Gap | None:
    if not refused:
        return None
    detail = f"processes whose network namespace is not readable: {refused}; some may be missing"
    return Gap("netns", "permission", detail)
