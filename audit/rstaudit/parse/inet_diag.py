"""Answers of NETLINK_SOCK_DIAG (include/uapi/linux/inet_diag.h) split into rows."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from typing import NamedTuple

from rstaudit.model.sockets import ROW_SIZE, TIME_WAIT, Chunk
from rstaudit.parse.errors import ParseError

SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_DUMP_INTR = 0x10

_NLM_F_REQUEST_DUMP = 0x301
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48x")
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


def request(family: int, states: int, extensions: int, sequence: int) -> bytes:
    """A dump request for the TCP sockets of ``family`` whose state is a bit of ``states``."""
    body = _REQUEST.pack(family, _IPPROTO_TCP, extensions, states)
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, sequence, 0) + body


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
        if kind == SOCK_DIAG_BY_FAMILY:
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
    if kind != SOCK_DIAG_BY_FAMILY or flags & NLM_F_DUMP_INTR or stride % 4:
        return None
    if stride < _HEADER.size + ROW_SIZE or len(data) % stride:
        return None
    rows = len(data) // stride
    same = (*range(8), _HEADER.size)  # length, type, flags; the row's family
    if all(data[i::stride] == data[i : i + 1] * rows for i in same):
        return Chunk(data[_HEADER.size], data, stride, _HEADER.size)
    return None


def gather(rows: Iterable[bytes]) -> list[Chunk]:
    """Bare 72-byte rows as chunks, one a family."""
    families: dict[int, list[bytes]] = {}
    for row in rows:
        families.setdefault(row[0], []).append(row)
    return [Chunk(family, b"".join(rows), ROW_SIZE, 0) for family, rows in families.items()]


def _refuse(data: bytes, start: int, end: int) -> None:
    """Raise the errno that an ending message carries; a clean end carries 0 or nothing."""
    if end - start >= 4:
        number = int.from_bytes(data[start : start + 4], sys.byteorder, signed=True)
        if number < 0:
            raise KernelRefusal(-number)
