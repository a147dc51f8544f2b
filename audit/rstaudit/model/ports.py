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
    STATE_NAMES,
    TIME_WAIT,
    Chunk,
    SocketTable,
    address_text,
    bracket,
    endpoint,
)

#: TCP_TIMEWAIT_LEN (include/net/tcp.h) in milliseconds, the same in every kernel.
TIME_WAIT_MS = 60_000

#: Of a row: its family; its local port as it lies there, for a look-up in `port_flags`; the 34
#: bytes a connection counts against (destination port, source[16], destination[16]).
_KEY_FORMAT = "B3xH34s32x"

#: The same, and the milliseconds left on the timer.
_AGE_FORMAT = "B3xH34s12xI16x"

_PORT = struct.Struct("=H")

#: Where in a row the last byte of the destination address is: IPv4, IPv6.
_LAST_BYTE_4, _LAST_BYTE_6 = 27, 39

#: States in which a socket holds its local port towards a peer, TIME_WAIT apart.
_HOLDING = tuple(state for state in STATE_NAMES if state not in (LISTEN, CLOSE, TIME_WAIT))

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
    plain = bytearray(65536)
    plain[low : high + 1] = bytes([1]) * (high + 1 - low)
    for port in reserved:
        plain[port] = 0
    if socket.htons(1) == 1:
        return bytes(plain)
    flags = bytearray(65536)
    for upper in range(256):  # port 0x1234 lies in the row as 0x3412
        flags[upper::256] = plain[upper * 256 : upper * 256 + 256]
    return bytes(flags)


def use_by_peer(table: SocketTable, usable: bytes, at_least: int = 1) -> dict[Peer, Use]:
    """Count the ``usable`` (`port_flags`) local ports in use, per peer.

    Peers with fewer than ``at_least`` ports in use are left out; with fewer sockets than that
    there is nothing to count.
    """
    if len(table) < at_least:
        return {}
    other = _other_states(table, usable)
    enough = at_least - sum(other.values())
    waiting = _time_wait(table, usable) if _may_reach(table, enough) else Counter()
    return {
        _peer(key): Use(waiting[key], other[key])
        for key in waiting.keys() | other.keys()
        if waiting[key] + other[key] >= at_least
    }


def older_than(table: SocketTable, usable: bytes, age_ms: int, peer: Peer) -> int:
    """How many usable ports towards ``peer`` have been in TIME_WAIT for more than ``age_ms``."""
    limit, wanted = TIME_WAIT_MS - age_ms, _key_of(peer)
    return sum(
        usable[port] and left < limit and (family, key) == wanted
        for chunk in table.time_wait
        for family, port, key, left in _rows(chunk, _AGE_FORMAT)
    )


def time_wait_on(table: SocketTable, src: str, port: int) -> int:
    """How many sockets in TIME_WAIT have the local ``port`` and ``src``, or any for a wildcard."""
    high, low = port.to_bytes(2, "big")
    counts: Counter[tuple[int, bytes]] = Counter()
    for data, stride, offset in table.time_wait:
        columns = zip(data[offset + 4 :: stride], data[offset + 5 :: stride], strict=True)
        found = (row for row, pair in enumerate(columns) if pair == (high, low))
        starts = (row * stride + offset for row in found)
        counts.update((data[start], data[start + 8 : start + 24]) for start in starts)
    sources = {address_text(*key): count for key, count in counts.items()}
    return sum(sources.values()) if src in ("0.0.0.0", "::") else sources.get(src, 0)


def _may_reach(table: SocketTable, enough: int) -> bool:
    """Whether any peer can have ``enough`` sockets in TIME_WAIT.

    The peers whose address ends in the same byte have at least as many as each one of them, and
    counting bytes costs a twentieth of counting peers.
    """
    if table.time_wait_count < enough:
        return False
    last_bytes: dict[int, list[bytes]] = {}
    for chunk in table.time_wait:
        if not _one_family(chunk):
            return True
        family = chunk.data[chunk.offset]
        last = chunk.offset + (_LAST_BYTE_4 if family == socket.AF_INET else _LAST_BYTE_6)
        last_bytes.setdefault(family, []).append(chunk.data[last :: chunk.stride])
    counts = [Counter(b"".join(parts)) for parts in last_bytes.values()]
    return any(most >= enough for counter in counts for most in counter.values())


def _one_family(chunk: Chunk) -> bool:
    families = chunk.data[chunk.offset :: chunk.stride]
    return families.count(families[0]) == len(families)


def _time_wait(table: SocketTable, usable: bytes) -> Counter[_Key]:
    """Usable ports in TIME_WAIT; a chunk of one family is counted without looking at it again."""
    plain: dict[int, Counter[bytes]] = {}
    mixed: Counter[_Key] = Counter()
    for chunk in table.time_wait:
        rows = _rows(chunk, _KEY_FORMAT)
        if _one_family(chunk):
            counts = plain.setdefault(chunk.data[chunk.offset], Counter())
            counts.update([key for _, port, key in rows if usable[port]])
        else:
            mixed.update([(family, key) for family, port, key in rows if usable[port]])
    for family, counts in plain.items():
        mixed.update({(family, key): count for key, count in counts.items()})
    return mixed


def _rows(chunk: Chunk, form: str) -> Iterator[Any]:
    tail = chunk.stride - chunk.offset - ROW_SIZE
    return struct.iter_unpack(f"={chunk.offset}x{form}{tail}x", chunk.data)


def _key_of(peer: Peer) -> _Key:
    """What `_peer` makes ``peer`` from."""
    addresses = (
        socket.inet_pton(peer.family, text).ljust(16, b"\0") for text in (peer.src, peer.dst)
    )
    return peer.family, peer.dport.to_bytes(2, "big") + b"".join(addresses)


def _other_states(table: SocketTable, usable: bytes) -> Counter[_Key]:
    blob = table.blob
    counts: Counter[_Key] = Counter()
    for offset, _ in table.places(*_HOLDING):
        port = _PORT.unpack_from(blob, offset + 4)[0]
        if usable[port]:
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
