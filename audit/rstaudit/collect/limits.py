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
    sized = tree.live and _kernel_says_sizes()
    for pid in map(int, filter(str.isdecimal, tree.names("/proc", LIMITS.name))):
        try:
            if (limits := _limits(tree, pid, counts, sized)) is not None:
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


def _kernel_says_sizes() -> bool:
    """Whether the size of /proc/PID/fd is the number of descriptors: from 6.2 on.

    Everybody may see it (fs/proc/fd.c, proc_readfd_count). Older kernels say 0 of every process.
    """
    try:
        return os.stat("/proc/self/fd").st_size > 0
    except OSError:
        return False


def _limits(tree: Tree, pid: int, counts: Mapping[int, int] | None, sized: bool) -> Limits | None:
    """One process; None where nothing is open, as in kernel threads."""
    count = counts.get(pid) if counts is not None else None
    if count is None:
        count = _count(tree, pid, sized)
    if count == 0:
        return None
    soft, hard = parse_open_files(tree.text(f"/proc/{pid}/limits"))
    return Limits(pid, tree.text(f"/proc/{pid}/comm").removesuffix("\n"), count, soft, hard)


def _count(tree: Tree, pid: int, sized: bool) -> int:
    """Open descriptors of ``pid``; raises MissingFact."""
    path = f"/proc/{pid}/fd"
    if sized:
        try:
            return os.stat(path).st_size
        except OSError:
            pass  # `names` says why
    return len(tree.names(path, LIMITS.name))
