"""Options of the TCP sockets of this host's processes, and what to say of those not read."""

from __future__ import annotations

from collections.abc import Mapping

from rstaudit.collect.sockopts import Budget, Held, collect_options
from rstaudit.model.facts import Gap
from rstaudit.model.names import OPTIONS
from rstaudit.model.options import OptionTable
from rstaudit.model.sockets import SocketTable

#: Why there are none where the user switched the reading off.
EXCLUDED = Gap(OPTIONS.name, "excluded", "--no-socket-options leaves socket options unread")


def read_options(
    table: SocketTable,
    held: Mapping[int, Mapping[int, int]],
    alone: int = 0,
    budget: Budget | None = None,
) -> tuple[OptionTable, Gap | None]:
    """Options of the sockets of ``table`` that processes hold, and a gap for what is left out.

    ``held`` is inode by descriptor by pid. A socket that several processes hold is asked of the
    one with the lowest pid. ``alone`` sockets are known to be out of reach. Raises `MissingFact`
    as `collect_options`.
    """
    options = collect_options(_wanted(table, held), budget or Budget())
    return options, _left_out(options, alone)


def _wanted(table: SocketTable, held: Mapping[int, Mapping[int, int]]) -> dict[int, list[Held]]:
    """The TCP sockets of this namespace by pid; other sockets are never touched."""
    families = dict(table.families)
    wanted: dict[int, list[Held]] = {}
    for pid in sorted(held):
        mine = [
            Held(fd, inode, family)
            for fd, inode in held[pid].items()
            if (family := families.pop(inode, 0))
        ]
        if mine:
            wanted[pid] = mine
    return wanted


def _left_out(options: OptionTable, alone: int) -> Gap | None:
    """Sockets that were closed meanwhile are not missed."""
    part = f"{options.read} of {options.wanted} sockets were read"
    if options.denied:
        detail = f"{part}; {options.denied} processes may not be looked at"
        return Gap(OPTIONS.name, "permission", detail)
    if alone:
        detail = f"{part}; {alone} more are in the descriptor tables of single threads"
        return Gap(OPTIONS.name, "unsupported", detail)
    if options.cut:
        return Gap(OPTIONS.name, "sampled", f"{part}: the budget of time or number ran out")
    return None
