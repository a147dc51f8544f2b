"""What every capture format boils down to: where packets lie in a buffer, and when they came."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.int64]

#: What bytes of a file are in.
Buffer = bytearray | memoryview

#: A walker needs a whole packet in the buffer; this holds the longest with its block around it.
LONGEST_BLOCK = 1 << 20


class Records(NamedTuple):
    """Packets in a buffer, in the file's order; all arrays have one entry a packet.

    ``data`` is the offset of the first captured byte, ``captured`` and ``wire`` are lengths in
    bytes, ``time`` is nanoseconds since the epoch, ``interface`` counts the capture's interfaces
    from 0, and ``link`` is the LINKTYPE number.
    """

    data: Offsets
    captured: Offsets
    wire: Offsets
    time: Offsets
    interface: NDArray[np.uint16]
    link: NDArray[np.uint16]

    def pick(self, chosen: NDArray[np.intp] | slice) -> Records:
        """Some of the packets."""
        return Records(
            self.data[chosen],
            self.captured[chosen],
            self.wire[chosen],
            self.time[chosen],
            self.interface[chosen],
            self.link[chosen],
        )


class Walked(NamedTuple):
    """What one walk found: packets, where it stopped, and why it cannot go on (None: it can).

    ``skip`` bytes after the buffer's end belong to something that nobody needs.
    """

    records: list[Records]
    at: int
    fault: str | None = None
    skip: int = 0


class Walker(Protocol):
    """Finds the records of one capture format."""

    def walk(self, buffer: Buffer, at: int, end: int, base: int) -> Walked:
        """The records between ``at`` and ``end``; ``base`` is the file offset of the buffer."""


def strided(buffer: Buffer, size: int) -> NDArray[np.void]:
    """Every ``size`` bytes of the buffer that begin at an offset, indexed by that offset.

    Nothing is copied; a fancy index gathers headers at 6 ns each (measured), whatever their size.
    """
    return np.ndarray((len(buffer) - size + 1,), f"V{size}", buffer, strides=(1,))
