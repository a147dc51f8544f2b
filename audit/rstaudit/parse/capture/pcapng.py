"""The pcapng file format (draft-ietf-opsawg-pcapng): sections, interfaces, packet blocks."""

from __future__ import annotations

import struct

import numpy as np

from rstaudit.parse.capture.hop import LONGEST_PACKET
from rstaudit.parse.capture.interface import Interface, parse_interface
from rstaudit.parse.capture.records import (
    LONGEST_BLOCK,
    Buffer,
    Offsets,
    Records,
    Walked,
    strided,
)
from rstaudit.parse.errors import ParseError

SECTION = b"\x0a\x0d\x0d\x0a"
_SECTION, _INTERFACE, _OBSOLETE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6

#: Packet block -> bytes before the packet; 4 more bytes, the length again, end every block.
_PACKETS = {_OBSOLETE: 28, _SIMPLE: 12, _ENHANCED: 28}

#: Blocks longer than this are damage; nothing in the wild comes near (names, TLS secrets).
_LONGEST_SKIPPED = 16 << 20
_MOST_INTERFACES = 65535


class PcapngWalker:
    """Walks blocks, keeping the byte order and the interfaces of the section it is in."""

    def __init__(self) -> None:
        self._order = "<"
        self._interfaces: list[Interface] = []
        self._seen = 0
        self._last_time = 0

    def walk(self, buffer: Buffer, at: int, end: int, base: int) -> Walked:
        """The whole blocks between ``at`` and ``end``, packets of them as records."""
        records: list[Records] = []
        try:
            while end - at >= 12:
                kind, size = struct.unpack_from(self._order + "II", buffer, at)
                if kind in _PACKETS:
                    found, stop = self._run(buffer, at, end, kind)
                    if found:
                        records.append(self._columns(buffer, np.array(found, np.int64), kind))
                        at = stop
                        continue
                step, skip = self._other(buffer, at, end, kind, size)
                if step == 0:
                    break
                at += step
                if skip:
                    return Walked(records, at, None, skip)
        except _DamagedError as damage:
            if damage.before is not None:
                records.append(damage.before)
            return Walked(records, damage.at, f"offset {base + damage.at}: {damage}")
        return Walked(records, at)

    def _run(self, buffer: Buffer, at: int, end: int, kind: int) -> tuple[list[int], int]:
        """Blocks of one kind that follow each other and are whole, and where they end."""
        found: list[int] = []
        append = found.append
        unpack = struct.Struct(self._order + "II").unpack_from
        least = _PACKETS[kind] + 4
        last = end - 12
        while at <= last:
            this, size = unpack(buffer, at)
            if this != kind or size < least:
                return found, at
            append(at)
            at += size + 3 & ~3
        if at > end:
            at = found.pop()
        return found, at

    def _other(self, buffer: Buffer, at: int, end: int, kind: int, size: int) -> tuple[int, int]:
        """Take a block that is no packet: bytes it covers here (0: wait for more), bytes to skip.

        Raises `_DamagedError`.
        """
        if kind == _SECTION:
            size = self._section_size(buffer, at)
        padded = size + 3 & ~3
        needed = kind in _PACKETS or kind in (_SECTION, _INTERFACE)
        if size < (_PACKETS.get(kind, 8) + 4):
            raise _DamagedError(at, f"block length {size} is too short for any block of its type")
        if size > (LONGEST_BLOCK if needed else _LONGEST_SKIPPED):
            what = "packet" if kind in _PACKETS else "block"
            raise _DamagedError(at, f"block length {size} is longer than any {what}")
        if padded > end - at:
            return (0, 0) if needed else (end - at, padded - (end - at))
        (again,) = struct.unpack_from(self._order + "I", buffer, at + padded - 4)
        if again != size:
            raise _DamagedError(at, f"block length {size} at its start, {again} at its end")
        if kind == _SECTION:
            self._interfaces = []
        elif kind == _INTERFACE:
            self._add(bytes(buffer[at + 8 : at + padded - 4]), at)
        return padded, 0

    def _section_size(self, buffer: Buffer, at: int) -> int:
        mark = bytes(buffer[at + 8 : at + 12])
        if mark not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
            raise _DamagedError(at, f"section header with byte order mark {mark.hex()}")
        self._order = "<" if mark[0] == 0x4D else ">"
        size: int = struct.unpack_from(self._order + "I", buffer, at + 4)[0]
        return size

    def _add(self, body: bytes, at: int) -> None:
        if self._seen >= _MOST_INTERFACES:
            raise _DamagedError(at, f"more than {_MOST_INTERFACES} interfaces")
        try:
            self._interfaces.append(parse_interface(self._order, body, self._seen))
        except ParseError as error:
            raise _DamagedError(at, str(error)) from None
        self._seen += 1

    def _columns(self, buffer: Buffer, starts: Offsets, kind: int) -> Records:
        """Packet blocks of one kind as records; raises `_DamagedError` with those before it."""
        order = self._order
        head = strided(buffer, 28)[starts].view(_layout(order, kind))
        size = head["size"].astype(np.int64)
        if kind == _SIMPLE:
            interface = np.zeros(len(starts), np.int64)
            captured = np.minimum(head["wire"], size - 16)
            if self._interfaces and self._interfaces[0].snaplen:
                captured = np.minimum(captured, self._interfaces[0].snaplen)
        else:
            interface = head["interface"].astype(np.int64)
            captured = head["captured"].astype(np.int64)
        ends = starts + (size + 3 & ~3)
        again = strided(buffer, 4)[ends - 4].view(order + "u4")
        room = size - _PACKETS[kind] - 4
        wrong = (
            (interface >= len(self._interfaces))
            | (captured > np.minimum(room, LONGEST_PACKET))
            | (again != size)
        )
        bad = np.flatnonzero(wrong)
        good = int(bad[0]) if len(bad) else len(starts)
        records = self._records(
            starts[:good] + _PACKETS[kind], captured[:good], head[:good], interface[:good], kind
        )
        if len(bad):
            what = self._what(int(interface[good]), int(captured[good]), int(size[good]), kind)
            raise _DamagedError(
                int(starts[good]),
                what or (f"block length {size[good]} at its start, {again[good]} at its end"),
                records,
            )
        return records

    def _what(self, interface: int, captured: int, size: int, kind: int) -> str | None:
        if interface >= len(self._interfaces):
            return f"packet of interface {interface}, of {len(self._interfaces)} described"
        if captured > LONGEST_PACKET:
            return f"record length {captured} is longer than any packet"
        if captured > size - _PACKETS[kind] - 4:
            return f"packet of {captured} bytes in a block of {size}"
        return None

    def _records(
        self,
        data: Offsets,
        captured: Offsets,
        head: np.ndarray[tuple[int], np.dtype[np.void]],
        interface: Offsets,
        kind: int,
    ) -> Records:
        time = np.full(len(data), self._last_time, np.int64)
        number = np.zeros(len(data), np.uint16)
        link = np.zeros(len(data), np.uint16)
        for index in np.flatnonzero(np.bincount(interface)).tolist():
            mine = self._interfaces[index]
            chosen = (
                slice(None) if len(self._interfaces) == 1 else np.flatnonzero(interface == index)
            )
            number[chosen], link[chosen] = mine.number, mine.link
            if kind != _SIMPLE:
                ticks = head["high"][chosen].astype(np.uint64) << np.uint64(32)
                time[chosen] = mine.times(ticks | head["low"][chosen])
        if len(time):
            self._last_time = int(time[-1])
        wire = np.maximum(head["wire"], captured)
        return Records(data, captured, wire, time, number, link)


def _layout(order: str, kind: int) -> np.dtype[np.void]:
    """The fields of a packet block's first 28 bytes."""
    u4 = order + "u4"
    if kind == _SIMPLE:
        fields = [("size", u4, 4), ("wire", u4, 8)]
    else:
        number = u4 if kind == _ENHANCED else order + "u2"
        fields = [("size", u4, 4), ("interface", number, 8), ("high", u4, 12), ("low", u4, 16)]
        fields += [("captured", u4, 20), ("wire", u4, 24)]
    names, formats, offsets = zip(*fields, strict=True)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": 28})


class _DamagedError(Exception):
    """The file makes no sense from buffer offset ``at`` on; ``before`` holds what came before."""

    def __init__(self, at: int, message: str, before: Records | None = None) -> None:
        super().__init__(message)
        self.at = at
        self.before = before
