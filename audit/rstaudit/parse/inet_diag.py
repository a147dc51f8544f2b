"""Answers of NETLINK_SOCK_DIAG (include/uapi/linux/inet_diag.h) split into rows."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable
from typing import NamedTuple

from rstaudit.model.sockets import ROW_SIZE, TIME_WAIT, Chunk
from rstaudit.parse.errors import ParseError

TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY = 18, 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_DUMP_INTR = 0x10

_NLM_F_REQUEST_DUMP = 0x301
_HEADER = struct.Struct("=IHHII")
_REQUEST_V2 = struct.Struct("=BBBxI48x")  # struct inet_diag_req_v2
_REQUEST = struct.Struct("=BxxB48xI4x")  # struct inet_diag_req
_ANSWERS = (TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY)
_IPPROTO_TCP = 6

# bits of idiag_ext: INET_DIAG_INFO and INET_DIAG_SKMEMINFO, each shifted by one
WITH_INFO_AND_MEMORY = 1 << 1 | 1 << 6

ONLY_TIME_WAIT = 1 << TIME_WAIT
ALL_BUT_TIME_WAIT = 0xFFF & ~ONLY_TIME_WAIT | 1 << 12


class KernelRefusal(Exception):  # noqa: N818 - what the kernel said, not a fault of ours
    """The kernel answered with an errno, in NLMSG_ERROR or in the NLMSG_DONE that ends a dump."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number


class Datagram(NamedTuple):
    """What one datagram held: ``(row offset, end)`` pairs, and whether the dump ends here."""

    spans: list[tuple[int, int]]
    done: bool
    interrupted: bool


def request(states: int, extensions: int) -> list[bytes]:
    """The dump request for the TCP sockets of every family whose state is a bit of ``states``.

    The older of the two requests: it alone covers IPv4 and IPv6 in one walk over the kernel's
    hash table (net/ipv4/inet_diag.c, inet_diag_dump_compat), and a walk past 300,000 sockets
    costs 40 ms even where none of them is wanted (measured on 6.18).
    """
    return [_message(TCPDIAG_GETSOCK, _REQUEST.pack(socket.AF_UNSPEC, extensions, states))]


def request_by_family(states: int, extensions: int) -> list[bytes]:
    """As `request`, one message an address family: what every sock_diag server knows."""
    return [
        _message(SOCK_DIAG_BY_FAMILY, _REQUEST_V2.pack(family, _IPPROTO_TCP, extensions, states))
        for family in (socket.AF_INET, socket.AF_INET6)
    ]


def _message(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST_DUMP, 1, 0) + body


def split(data: bytes) -> Datagram:
    """The rows of one datagram; raises `KernelRefusal`, or `ParseError` with the offset."""
    spans: list[tuple[int, int]] = []
    interrupted = False
    at, size = 0, len(data)
    while at < size:
        if size - at < _HEADER.size:
            raise ParseError(f"sock_diag answer cut off at byte {at}")
        length, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > size:
            raise ParseError(f"sock_diag answer: message of {length} bytes at byte {at}")
        interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
        if kind in (NLMSG_DONE, NLMSG_ERROR):
            _refuse(data, at + _HEADER.size, at + length)
            return Datagram(spans, True, interrupted)
        if kind in _ANSWERS:
            if length < _HEADER.size + ROW_SIZE:
                raise ParseError(f"sock_diag answer: short row at byte {at}")
            spans.append((at + _HEADER.size, at + length))
        at += (length + 3) & ~3
    return Datagram(spans, False, interrupted)


def uniform(data: bytes) -> Chunk | None:
    """The datagram as one chunk if all its messages are rows of one length, else None.

    Dumps of TIME_WAIT sockets come like that: comparing columns costs a few slices a datagram
    where walking the messages costs a loop over hundreds of thousands.
    """
    if len(data) < _HEADER.size + ROW_SIZE:
        return None
    stride, kind, flags, _, _ = _HEADER.unpack_from(data)
    if kind not in _ANSWERS or flags & NLM_F_DUMP_INTR or stride % 4:
        return None
    if stride < _HEADER.size + ROW_SIZE or len(data) % stride:
        return None
    rows = len(data) // stride
    if all(data[i::stride] == data[i : i + 1] * rows for i in range(8)):
        return Chunk(data, stride, _HEADER.size)
    return None


def gather(rows: Iterable[bytes]) -> list[Chunk]:
    """Bare 72-byte rows as a chunk; none where there are no rows."""
    data = b"".join(rows)
    return [Chunk(data, ROW_SIZE, 0)] if data else []


def _refuse(data: bytes, start: int, end: int) -> None:
    """Raise the errno that an ending message carries; a clean end carries 0 or nothing."""
    if end - start >= 4:
        number = int.from_bytes(data[start : start + 4], sys.byteorder, signed=True)
        if number < 0:
            raise KernelRefusal(-number)
