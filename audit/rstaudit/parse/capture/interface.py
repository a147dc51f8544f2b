"""Interfaces of a pcapng section, and the clocks their packets are stamped with."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.records import Offsets
from rstaudit.parse.errors import ParseError

_END, _TSRESOL, _TSOFFSET = 0, 9, 14
_MICROSECONDS = 6
_SECOND = 10**9
_LATEST = 2**63 - 1
_LATEST_SECOND = _LATEST // _SECOND


class Interface(NamedTuple):
    """What an interface description says: LINKTYPE, snap length (0: none), clock.

    ``resolution`` is if_tsresol: 10**-n seconds, or 2**-n where the top bit is set.
    ``offset`` is if_tsoffset, in seconds. ``number`` counts the capture's interfaces from 0.
    """

    number: int
    link: int
    snaplen: int
    resolution: int = _MICROSECONDS
    offset: int = 0

    def times(self, ticks: NDArray[np.uint64]) -> Offsets:
        """Timestamps as nanoseconds since the epoch, kept within what 63 bits hold."""
        exponent = self.resolution & 0x7F
        if self.resolution & 0x80:
            seconds, rest = _binary(ticks, exponent)
        else:
            seconds, rest = _decimal(ticks, exponent)
        offset = max(-_LATEST_SECOND, min(self.offset, _LATEST_SECOND))
        shifted = np.clip(seconds.astype(np.int64) + offset, 0, _LATEST_SECOND - 1)
        result: Offsets = shifted * _SECOND + rest.astype(np.int64)
        return result


def _decimal(
    ticks: NDArray[np.uint64], exponent: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Seconds (as far as they fit 33 bits) and nanoseconds of ticks of 10**-exponent seconds."""
    if exponent > 19:
        return np.zeros_like(ticks), np.zeros_like(ticks)
    unit = np.uint64(10**exponent)
    seconds, rest = ticks // unit, ticks % unit
    if exponent <= 9:
        rest = rest * np.uint64(10 ** (9 - exponent))
    else:
        rest = rest // np.uint64(10 ** (exponent - 9))
    return np.minimum(seconds, np.uint64(_LATEST_SECOND)), rest


def _binary(
    ticks: NDArray[np.uint64], exponent: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The same for ticks of 2**-exponent seconds."""
    if exponent > 63:
        return np.zeros_like(ticks), np.zeros_like(ticks)
    seconds = ticks >> np.uint64(exponent)
    rest = ticks - (seconds << np.uint64(exponent))
    if exponent > 34:  # 10**9 times more would not fit
        rest, exponent = rest >> np.uint64(exponent - 34), 34
    rest = (rest * np.uint64(_SECOND)) >> np.uint64(exponent)
    return np.minimum(seconds, np.uint64(_LATEST_SECOND)), rest


def parse_interface(order: str, body: bytes, number: int) -> Interface:
    """The interface of a description block's ``body``; raises `ParseError`."""
    if len(body) < 8:
        raise ParseError(f"interface description of {len(body)} bytes")
    link, _, snaplen = struct.unpack_from(order + "HHI", body)
    resolution, offset = _MICROSECONDS, 0
    at = 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, at)
        value = body[at + 4 : at + 4 + length]
        if code == _END or len(value) < length:
            break
        if code == _TSRESOL and length == 1:
            resolution = value[0]
        elif code == _TSOFFSET and length == 8:
            (offset,) = struct.unpack(order + "q", value)
        at += 4 + (length + 3 & ~3)
    return Interface(number, link, snaplen, resolution, offset)
