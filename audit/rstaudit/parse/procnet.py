"""`/proc/net/tcp` and `tcp6` (net/ipv4/tcp_ipv4.c, get_tcp4_sock): the fallback socket table."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator

from rstaudit.model.sockets import LISTEN, ROW, ROW_SIZE, TIME_WAIT, SocketTable, by_state
from rstaudit.parse.errors import ParseError
from rstaudit.parse.inet_diag import gather

#: Times in these files are in USER_HZ, 100 a second on every architecture that runs Linux today.
_MS_PER_TICK = 10

_NO_COOKIE = b"\xff" * 8


def parse_tables(ipv4: str, ipv6: str) -> SocketTable:
    """Both files as one `SocketTable` with source ``procfs``; raises `ParseError`.

    Such a table knows no listener limits (``wqueue`` of a listener is 0), no tcp_info, no memory.
    """
    waiting: list[bytes] = []
    others: list[bytes] = []
    for family, text in ((socket.AF_INET, ipv4), (socket.AF_INET6, ipv6)):
        for row in _rows(family, text):
            (waiting if row[1] == TIME_WAIT else others).append(row)
    blob = b"".join(others)
    spans = [(start, start + ROW_SIZE) for start in range(0, len(blob), ROW_SIZE)]
    return SocketTable(gather(waiting), blob, by_state(blob, spans), source="procfs")


def _rows(family: int, text: str) -> Iterator[bytes]:
    for number, line in enumerate(text.splitlines()[1:], start=2):
        if not line.strip():
            continue
        try:
            yield _row(family, line.split())
        except (ValueError, IndexError, OverflowError, struct.error) as error:
            raise ParseError(f"/proc/net/tcp: line {number}: {error}") from None


def _row(family: int, words: list[str]) -> bytes:
    source, sport = _address(family, words[1])
    destination, dport = _address(family, words[2])
    state = int(words[3], 16)
    wqueue, rqueue = (int(part, 16) for part in words[4].split(":"))
    timer, ticks = (int(part, 16) for part in words[5].split(":"))
    return ROW.pack(
        family, state, timer, min(int(words[6], 16), 255), sport, dport, source, destination, 0,
        _NO_COOKIE, min(ticks * _MS_PER_TICK, 0xFFFFFFFF), rqueue,
        0 if state == LISTEN else wqueue, int(words[7]), int(words[9]),
    )  # fmt: skip


def _address(family: int, word: str) -> tuple[bytes, bytes]:
    """Address (16 bytes, padded) and port (big-endian) of ``0100007F:1F90``.

    The address is printed as 32-bit words of the host's byte order.
    """
    digits, _, port = word.partition(":")
    if len(digits) != (8 if family == socket.AF_INET else 32):
        raise ValueError(f"address {digits!r} has the wrong length")
    packed = b"".join(
        int(digits[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(digits), 8)
    )
    return packed.ljust(16, b"\0"), int(port, 16).to_bytes(2, "big")
