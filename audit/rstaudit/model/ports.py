"""How many local ports each destination uses: what decides when connect() fails."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from typing import NamedTuple

from rstaudit.model.sockets import (
    CLOSE,
    LISTEN,
    ROW_SIZE,
    Chunk,
    SocketTable,
    address_text,
    bracket,
    endpoint,
)

#: TCP_TIMEWAIT_LEN (include/net/tcp.h) in milliseconds, the same in every kernel.
TIME_WAIT_MS = 60_000

#: Of a row: family, local port, the 34 bytes a connection counts against (destination port,
#: source[16], destination[16]), and the milliseconds left on its timer.
_KEY_FORMAT = "B3xH34s12xI16x"

_PORT = struct.Struct("=H")  # as it lies in the row, for a look-up in `port_flags`

_Key = tuple[int, bytes]


class Peer(NamedTuple):
    """What an ephemeral port counts against: our address, their address and port."""

    family: int
    src: str
    dst: str
    dport: int

    @property
    def label(self) -> str:
        """``192.0.2.1 -> 198.51.100.7:443``."""
        return f"{bracket(self.src)} -> {endpoint(self.dst, self.dport)}"


class Use(NamedTuple):
    """Local ports in use towards one peer: in TIME_WAIT, of those ``old`` ones, in other states."""

    time_wait: int
    old: int
    other: int


def port_flags(low: int, high: int, reserved: frozenset[int] = frozenset()) -> bytes:
    """65536 flags indexed by a port as it lies in a row: 1 where connect() may choose it.

    That is every port of low..high that is not ``reserved``.
    """
    flags = bytearray(65536)
    for port in range(low, high + 1):
        if port not in reserved:
            flags[socket.htons(port)] = 1
    return bytes(flags)


def use_by_peer(
    table: SocketTable, usable: bytes, old_after_ms: int | None, at_least: int = 1
) -> dict[Peer, Use]:
    """Count the ``usable`` (`port_flags`) local ports in use, per peer.

    TIME_WAIT sockets older than ``old_after_ms`` are counted as ``old`` too (None: none are).
    Peers with fewer than ``at_least`` ports in use are left out.
    """
    waiting: Counter[_Key] = Counter()
    old: Counter[_Key] = Counter()
    limit = TIME_WAIT_MS - old_after_ms if old_after_ms is not None else -1
    for chunk in table.time_wait:
        rows = _usable_rows(chunk, usable)
        waiting.update([(family, key) for family, key, _ in rows])
        if limit >= 0:
            old.update([(family, key) for family, key, left in rows if left < limit])
    other = _other_states(table, usable)
    return {
        _peer(key): Use(waiting[key], old[key], other[key])
        for key in waiting.keys() | other.keys()
        if waiting[key] + other[key] >= at_least
    }


def _usable_rows(chunk: Chunk, usable: bytes) -> list[tuple[int, bytes, int]]:
    """Family, peer key and milliseconds left of the rows on a usable local port."""
    tail = chunk.stride - chunk.offset - ROW_SIZE
    rows = struct.iter_unpack(f"={chunk.offset}x{_KEY_FORMAT}{tail}x", chunk.data)
    return [(family, key, left) for family, port, key, left in rows if usable[port]]


def _other_states(table: SocketTable, usable: bytes) -> Counter[_Key]:
    blob = table.blob
    counts: Counter[_Key] = Counter()
    for offset in table.offsets:
        port = _PORT.unpack_from(blob, offset + 4)[0]
        if usable[port] and blob[offset + 1] not in (LISTEN, CLOSE):
            counts[(blob[offset], blob[offset + 6 : offset + 40])] += 1
    return counts


def _peer(key: _Key) -> Peer:
    family, packed = key
    return Peer(
        family,
        address_text(family, packed[2:18]),
        address_text(family, packed[18:34]),
        int.from_bytes(packed[:2], "big"),
    )
