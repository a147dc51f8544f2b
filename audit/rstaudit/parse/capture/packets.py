"""Packets being peeled, many at once: what each layer's code works on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.records import Buffer, Offsets, Records, strided
from rstaudit.parse.capture.segments import SEGMENT, Rows, place

#: Which packets: all of them, or those at the indices.
Index = slice | NDArray[np.intp]
Kinds = NDArray[np.uint8]

#: Why a packet gives no segment; `SKIPPED` says it in words.
NOT_TCP, CUT, BAD, FRAGMENT, NO_LINK, SECRET, DEEP = range(7)
SKIPPED = (
    "not TCP",
    "cut before the TCP header",
    "malformed",
    "later fragment",
    "unsupported link type",
    "encrypted",
    "nested too deeply",
)

#: What may stand at an offset. TCP ends the peeling; the rest have code of their own.
TCP, ETHERNET, IPV4, IPV6, RAW, EXTENSION, FRAGMENT6, AUTHENTICATION = range(7, 15)
VLAN, LLC, COOKED, COOKED2, LOOPBACK, WIFI, RADIOTAP, NFLOG, ATTRIBUTE = range(15, 24)
PPP, PPPOE, HDLC, MPLS, GRE, UDP, VXLAN, GENEVE, ERSPAN, ERSPAN3 = range(24, 34)
KINDS = 34

#: Peeled layers per packet: enough for VLANs and extension headers around a tunnel or two.
DEEPEST = 24

#: A row whose IPv4 addresses can be written as numbers into IPv6 ones.
MAPPED = np.dtype(
    {
        "names": ["src_zero", "src_mark", "src", "dst_zero", "dst_mark", "dst"],
        "formats": ["<u8", "<u4", "<u4", "<u8", "<u4", "<u4"],
        "offsets": [place(name) + at for name in ("src", "dst") for at in (0, 8, 12)],
        "itemsize": SEGMENT.itemsize,
    }
)
MAPPED_MARK = 0xFFFF0000


class Packets:
    """The packets of some records: offsets into their buffer, and the rows they become.

    ``end`` is where the captured bytes end, ``wire_end`` where the packet ended on the wire,
    ``stop`` where the IP packet around the innermost layer ends, as its header says.
    """

    def __init__(self, buffer: Buffer, records: Records, rows: Rows) -> None:
        self.buffer = buffer
        self.bytes = np.frombuffer(buffer, np.uint8)
        self.rows = rows
        self.mapped = rows.view(MAPPED)
        self.end = records.data + records.captured
        self.wire_end = records.data + records.wire
        self.stop = self.wire_end.copy()

    def header(self, at: Offsets, layout: np.dtype[np.void]) -> Rows:
        """The headers at some offsets, which lie within the buffer's data, as fields."""
        return strided(self.buffer, layout.itemsize)[at].view(layout)

    def number(self, at: Offsets, kind: str = ">u2") -> Offsets:
        """A number at each offset."""
        size = np.dtype(kind).itemsize
        return strided(self.buffer, size)[at].view(kind).astype(np.int64)

    def peeled(self, index: Index, tunnel: int) -> None:
        """Note what kind of tunnel the packets came through."""
        self.rows["tunnel"][index] = tunnel


def layout(length: int, /, **fields: tuple[str, int]) -> np.dtype[np.void]:
    """A header of ``length`` bytes with the fields named, each (format, offset)."""
    return np.dtype(
        {
            "names": list(fields),
            "formats": [form for form, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": length,
        }
    )


def table(size: int, known: dict[int, int]) -> Kinds:
    """A lookup table from a protocol's number to a kind, `NOT_TCP` where it is not known."""
    kinds = np.full(size, NOT_TCP, np.uint8)
    for number, kind in known.items():
        kinds[number] = kind
    return kinds
