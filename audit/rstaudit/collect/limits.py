"""Open descriptors of every process against its limits."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rstaudit.collect.owners import hidden
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.names import LIMITS, Limits
from rstaudit.parse.errors import ParseError
from rstaudit.parse.process import parse_open_files


def collect_limits(
    tree: Tree, counts: Mapping[int, int] | None = None
) -> tuple[tuple[Limits, ...], Gap | None]:
    """Limits of each process that has descriptors open, and a gap if some could not be read.

    ``counts`` are open descriptors by pid where they are known already. Processes that end
    meanwhile are left out.
    """
    found: list[Limits] = []
    unreadable = 0
    for pid in map(int, filter(str.isdecimal, tree.names("/proc", LIMITS.name))):
        try:
            if (limits := _limits(tree, pid, counts)) is not None:
                found.append(limits)
        except MissingFact as missing:
            unreadable += missing.gap.reason not in ("absent", "not-recorded")
        except ParseError:
            unreadable += 1
    return tuple(found), _gap(tree, len(found), unreadable)


def _gap(tree: Tree, readable: int, unreadable: int) -> Gap | None:
    if unreadable:
        hint = "" if os.geteuid() == 0 else "; run as root"
        detail = f"{unreadable} processes' descriptors not readable{hint}"
        return Gap(LIMITS.name, "permission", detail)
    if words := hidden(tree):
        return Gap(LIMITS.name, "permission", words)
    if not readable and not tree.live:
        return Gap(LIMITS.name, "not-recorded", "no process's descriptors were recorded")
    return None


def _limits(tree: Tree, pid: int, counts: Mapping[int, int] | None) -> Limits | None:
    """One process; None where nothing is open, as in kernel threads."""
    count = counts.get(pid) if counts is not None else None
    if count is None:
        count = _count(tree, pid)
    if count == 0:
        return None
    soft, hard = parse_open_files(tree.text(f"/proc/{pid}/limits"))
    return Limits(pid, tree.text(f"/proc/{pid}/comm").removesuffix("\n"), count, soft, hard)


def _count(tree: Tree, pid: int) -> int:
    """Open descriptors of ``pid``; raises MissingFact.

    From 6.2 on the size of the directory is their number, and everybody may see it (fs/proc/fd.c,
    proc_readfd_count). An empty directory and an older kernel both say 0.
    """
    path = f"/proc/{pid}/fd"
    if tree.live:
        try:
            if size := os.stat(path).st_size:
                return size
        except OSError:
            pass  # `names` says why
    return len(tree.names(path, LIMITS.name))
