"""Who held which connection when it was last looked: the kernel's events do not tell.

An accepted connection has no event in its process until that process closes it. So the socket
tables and descriptors are read now and then, and as seldom as their size demands.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from rstaudit.collect.owners import Owners, collect_owners
from rstaudit.collect.sockdiag import collect_states
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import MissingFact
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LAST_ACK,
    LISTEN,
    ROW,
    SYN_SENT,
    Owner,
    SocketTable,
    idle_ms,
)
from rstaudit.resets.live.crossings import Ends
from rstaudit.watch.spaces import Space

_STATES = (ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, LISTEN)
#: Seconds between two looks at the least, the share of the time that looking may take, and how
#: many sockets are kept.
_PAUSE, _SHARE, _MOST = 2.0, 0.02, 50_000
_INET = 2


class Held(NamedTuple):
    """A socket as it was found at ``at_ns`` of the monotonic clock.

    ``idle_ms`` had neither end sent data then.
    """

    inode: int
    at_ns: int
    idle_ms: int


class Standing:
    """The sockets of all namespaces and their holders at the last look."""

    def __init__(self) -> None:
        self._next = 0.0
        self._sockets: dict[tuple[int, Ends], Held] = {}
        self._owners: Owners | None = None

    def refresh(self, spaces: Iterable[Space]) -> None:
        """Look again, unless that was done a moment ago."""
        start = time.monotonic()
        if start < self._next:
            return
        found: dict[tuple[int, Ends], Held] = {}
        for space in spaces:
            with suppress(MissingFact):
                table = space.inside(_table)
                if table is not None:
                    found.update(_rows(space.inode, table, _MOST - len(found)))
        self._sockets = found
        with suppress(MissingFact):
            self._owners = collect_owners(Tree())
        took = time.monotonic() - start
        self._next = start + max(_PAUSE, took / _SHARE)

    def held(self, space: int, ends: Ends) -> Held | None:
        """The socket with these ends in a namespace."""
        return self._sockets.get((space, ends))

    def owners(self, space: int, ends: Ends) -> tuple[Owner, ...]:
        """Who held the connection, or else who held its listener."""
        src, sport, dst, _ = ends
        nobody = bytes(len(dst))
        for known in (ends, (src, sport, nobody, 0), (bytes(len(src)), sport, nobody, 0),
                      (bytes(16), sport, bytes(16), 0)):  # fmt: skip
            held = self._sockets.get((space, known))
            if held is not None and self._owners is not None:
                found = self._owners.by_inode.get(held.inode, ())
                if found:
                    return found
        return ()


def _table() -> SocketTable:
    return collect_states(*_STATES, details=True)


def _rows(space: int, table: SocketTable, most: int) -> dict[tuple[int, Ends], Held]:
    found: dict[tuple[int, Ends], Held] = {}
    now = time.monotonic_ns()
    # listeners first: they answer for all of theirs
    for start, end in (*table.places(LISTEN), *table.places(*_STATES[:-1])):
        if len(found) >= most:
            break
        family, _, _, _, sport, dport, src, dst, *_, inode = ROW.unpack_from(table.blob, start)
        if inode:
            size = 4 if family == _INET else 16
            ends = (_plain(src[:size]), int.from_bytes(sport, "big"),
                    _plain(dst[:size]), int.from_bytes(dport, "big"))  # fmt: skip
            found[space, ends] = Held(inode, now, idle_ms(table.blob, start, end))
    return found


def _plain(address: bytes) -> bytes:
    """IPv4 in IPv6 as the 4 bytes that it stands for."""
    return address[12:] if address[:12] == bytes(10) + b"\xff\xff" else address
