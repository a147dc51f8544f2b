"""How many local ports each destination uses: what decides when connect() fails."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

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

#: From the row's local port on: the port as it lies there, for a look-up in `port_flags`; the 34
#: bytes a connection counts against (destination port, source[16], destination[16]).
_KEY_FORMAT = "4xH34s32x"

#: The same, and the milliseconds left on the timer.
_AGE_FORMAT = "4xH34s12xI16x"

_PORT = struct.Struct("=H")

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
    """Local ports in use towards one peer: in TIME_WAIT, and in other states."""

    time_wait: int
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


def use_by_peer(table: SocketTable, usable: bytes, at_least: int = 1) -> dict[Peer, Use]:
    """Count the ``usable`` (`port_flags`) local ports in use, per peer.

    Peers with fewer than ``at_least`` ports in use are left out.
    """
    waiting: Counter[_Key] = Counter()
    for family, chunks in _by_family(table).items():
        counts: Counter[bytes] = Counter()
        for chunk in chunks:
            counts.update([key for port, key in _rows(chunk, _KEY_FORMAT) if usable[port]])
        waiting.update({(family, key): count for key, count in counts.items()})
    other = _other_states(table, usable)
    return {
        _peer(key): Use(waiting[key], other[key])
        for key in waiting.keys() | other.keys()
        if waiting[key] + other[key] >= at_least
    }


def older_than(table: SocketTable, usable: bytes, age_ms: int, peer: Peer) -> int:
    """How many usable ports towards ``peer`` have been in TIME_WAIT for more than ``age_ms``."""
    limit, wanted = TIME_WAIT_MS - age_ms, _key_of(peer)
    return sum(
        usable[port] and left < limit and key == wanted
        for chunk in table.time_wait
        if chunk.family == peer.family
        for port, key, left in _rows(chunk, _AGE_FORMAT)
    )


def _by_family(table: SocketTable) -> dict[int, list[Chunk]]:
    families: dict[int, list[Chunk]] = {}
    for chunk in table.time_wait:
        families.setdefault(chunk.family, []).append(chunk)
    return families


def _rows(chunk: Chunk, form: str) -> Iterator[Any]:
    tail = chunk.stride - chunk.offset - ROW_SIZE
    return struct.iter_unpack(f"={chunk.offset}x{form}{tail}x", chunk.data)


def _key_of(peer: Peer) -> bytes:
    """The 34 bytes of a row that name ``peer``."""
    addresses = (
        socket.inet_pton(peer.family, text).ljust(16, b"\0") for text in (peer.src, peer.dst)
    )
    return peer.dport.to_bytes(2, "big") + b"".join(addresses)


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
