"""Which process a socket belongs to, in the words of a finding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.names import OWNERS
from rstaudit.model.sockets import Owner, Socket
from rstaudit.rules.context import Context


def by_owner(ctx: Context, sockets: Iterable[Socket]) -> dict[Owner | None, list[Socket]]:
    """Sockets grouped by the first process that holds them; None: no process that we can see.

    A socket that several processes share (a parent and its workers) counts once, for the
    process with the lowest pid.
    """
    owners = _owners(ctx)
    groups: dict[Owner | None, list[Socket]] = {}
    for sock in sockets:
        holders = owners.get(sock.inode, ()) if sock.inode else ()
        groups.setdefault(min(holders, default=None), []).append(sock)
    return groups


def owner_of(ctx: Context, sock: Socket) -> Owner | None:
    """The process with the lowest pid that holds ``sock``."""
    return min(_owners(ctx).get(sock.inode, ()), default=None) if sock.inode else None


def who(ctx: Context, owner: Owner | None) -> str:
    """``nginx (pid 12, user www-data, unit nginx.service)``, or why no process can be named."""
    if owner is not None:
        unit = f", unit {owner.unit}" if owner.unit else ""
        container = f", container {owner.container}" if owner.container else ""
        return f"{owner.comm} (pid {owner.pid}, user {owner.user}{unit}{container})"
    try:
        ctx.host.need(OWNERS)
    except MissingFact:
        return "a process that was not recorded"
    if gap := ctx.host.gaps.get(OWNERS.name):
        only_root = gap.reason == "permission"
        return f"a process that {'only root may see' if only_root else 'cannot be seen from here'}"
    return "no process"


def owners_gap(ctx: Context) -> Gap | None:
    """Why a socket without a known owner may have one all the same; None if it has none."""
    if OWNERS.name in ctx.host.facts:
        return ctx.host.gaps.get(OWNERS.name)
    try:
        ctx.host.need(OWNERS)
    except MissingFact as missing:
        return missing.gap
    return None


def named(owner: Owner | None) -> dict[str, str | int]:
    """The evidence that names a process; empty when there is none."""
    if owner is None:
        return {}
    facts: dict[str, str | int] = {"pid": owner.pid, "comm": owner.comm, "user": owner.user}
    if owner.exe:
        facts["exe"] = owner.exe
    if owner.unit:
        facts["unit"] = owner.unit
    if owner.container:
        facts["container"] = owner.container
    if owner.cmdline:
        facts["cmdline"] = owner.cmdline
    return facts


def _owners(ctx: Context) -> Mapping[int, tuple[Owner, ...]]:
    try:
        return ctx.host.need(OWNERS)
    except MissingFact:
        return {}
