"""Socket options for rules: by socket, and what to say when some were not read."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rstaudit.model.facts import MissingFact
from rstaudit.model.names import OPTIONS, SOCKETS
from rstaudit.model.options import SocketOptions
from rstaudit.model.sockets import LISTEN, STATE_NAMES, TIME_WAIT, Owner, Socket, decode
from rstaudit.rules.context import Context
from rstaudit.rules.processes import by_owner, owners_gap

#: The inode of a row.
_INODE = struct.Struct("=68xI")

#: States of sockets that are, were or will be connected.
CONNECTED = tuple(state for state in STATE_NAMES if state not in (LISTEN, TIME_WAIT))


class Asked(NamedTuple):
    """A socket and its options."""

    socket: Socket
    options: SocketOptions


def asked(
    ctx: Context, inodes: Iterable[int], *states: int, details: bool = False
) -> dict[Owner | None, list[Asked]]:
    """The sockets in ``states`` whose inode is in ``inodes``, with their options, by process.

    Raises `MissingFact` where options were not read.
    """
    options = all_options(ctx)
    wanted = set(inodes)
    if not wanted:
        return {}
    table = ctx.host.need(SOCKETS)
    blob = table.blob
    sockets = [
        decode(blob, start, end, details=details)
        for start, end in table.places(*states)
        if _INODE.unpack_from(blob, start)[0] in wanted
    ]
    return {
        owner: [Asked(sock, options[sock.inode]) for sock in group]
        for owner, group in by_owner(ctx, sockets).items()
    }


def options_of(ctx: Context, sock: Socket) -> SocketOptions | None:
    """The options of a socket; None where they were not read, for whatever reason."""
    try:
        return ctx.host.need(OPTIONS).by_inode.get(sock.inode)
    except MissingFact:
        return None


def all_options(ctx: Context) -> Mapping[int, SocketOptions]:
    """Options by inode; raises `MissingFact` where they were not read."""
    return ctx.host.need(OPTIONS).by_inode


def admit_gaps(ctx: Context) -> None:
    """Raise `MissingFact` where sockets or processes were left out: silence proves nothing then.

    For the end of a rule, after what it did find.
    """
    gap = ctx.host.gaps.get(OPTIONS.name) or owners_gap(ctx)
    if gap is not None:
        raise MissingFact(gap)
