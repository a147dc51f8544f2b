"""The pcap file format (draft-ietf-opsawg-pcap), both byte orders, micro- and nanoseconds."""

from __future__ import annotations

import struct
import sys

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.hop import HEADER_SIZE, LONGEST_PACKET, hop
from rstaudit.parse.capture.records import Buffer, Records, Walked, strided
from rstaudit.parse.errors import ParseError

#: Magic -> (nanoseconds a tick, bytes of a record header). The second is libpcap as patched by
#: Alexey Kuznetsov, with eight more bytes in each record.
MAGICS = {0xA1B2C3D4: (1000, 16), 0xA1B2CD34: (1000, 24), 0xA1B23C4D: (1, 16)}


def is_pcap(head: bytes) -> bool:
    """Whether a file that begins so is a pcap file."""
    return len(head) >= 4 and _order(head) is not None


def _order(head: bytes) -> str | None:
    for order in "<>":
        if struct.unpack_from(order + "I", head)[0] in MAGICS:
            return order
    return None


class PcapWalker:
    """Walks records; made from the 24 bytes of the file header.

    Raises `ParseError` where they are no such header.
    """

    def __init__(self, header: bytes) -> None:
        order = _order(header) if len(header) >= HEADER_SIZE else None
        if order is None:
            raise ParseError(f"pcap file header cut off at byte {len(header)}")
        magic, major, _, _, _, _, link = struct.unpack(order + "IHHiIII", header[:HEADER_SIZE])
        if major != 2:
            raise ParseError(f"pcap version {major}, where only version 2 exists")
        self._tick, self._record = MAGICS[magic]
        self._link = link & 0xFFFF  # above lie the length of a frame check sequence and its flag
        self._native = (order == "<") == (sys.byteorder == "little")
        self._length = struct.Struct(order + "I")
        self._header = np.dtype(
            {
                "names": ["seconds", "ticks", "captured", "wire"],
                "formats": [order + "u4"] * 4,
            }
        )

    def walk(self, buffer: Buffer, at: int, end: int, base: int) -> Walked:
        """The whole records between ``at`` and ``end``."""
        if self._native:
            found, stop = hop(buffer, at, end, self._record)
        else:
            found, stop = self._find_swapped(buffer, at, end)
        return self.located(buffer, np.array(found, np.int64), stop, end, base)

    def located(
        self, buffer: Buffer, found: NDArray[np.int64], stop: int, end: int, base: int
    ) -> Walked:
        """The same where it is known already what `hop` gives."""
        fault = None
        if len(found) and stop > end:
            stop, found = int(found[-1]) - 8, found[:-1]
            (length,) = self._length.unpack_from(buffer, stop + 8)
            fault = _too_long(base + stop, length) if length > LONGEST_PACKET else None
        if not len(found):
            return Walked([], stop, fault)
        records = self._columns(buffer, found - 8)
        long = np.flatnonzero(records.captured > LONGEST_PACKET)
        if len(long):
            first = int(long[0])
            stop = int(found[first]) - 8
            fault = _too_long(base + stop, int(records.captured[first]))
            records = records.pick(slice(first))
        return Walked([records], stop, fault)

    def _find_swapped(self, buffer: Buffer, at: int, end: int) -> tuple[list[int], int]:
        """As `hop`, for a file of the other byte order."""
        found: list[int] = []
        append = found.append
        unpack = self._length.unpack_from
        size = self._record
        at += 8
        end += 8 - size
        while at <= end:
            append(at)
            at += unpack(buffer, at)[0] + size
        return found, at - 8

    def _columns(
        self, buffer: Buffer, starts: np.ndarray[tuple[int], np.dtype[np.int64]]
    ) -> Records:
        header = strided(buffer, 16)[starts].view(self._header)
        seconds = header["seconds"].astype(np.int64)
        captured = header["captured"].astype(np.int64)
        return Records(
            data=starts + self._record,
            captured=captured,
            wire=np.maximum(header["wire"], captured),
            time=seconds * 10**9 + header["ticks"].astype(np.int64) * self._tick,
            interface=np.zeros(len(starts), np.uint16),
            link=np.full(len(starts), self._link, np.uint16),
        )


def _too_long(offset: int, length: int) -> str:
    return f"offset {offset}: record length {length} is longer than any packet"
