"""Link layers: from the first byte of a packet to its IP header, a layer at a time."""

from __future__ import annotations

import numpy as np

from rstaudit.parse.capture.packets import (
    ATTRIBUTE,
    BAD,
    COOKED,
    COOKED2,
    CUT,
    ETHERNET,
    HDLC,
    IPV4,
    IPV6,
    LLC,
    LOOPBACK,
    MPLS,
    NFLOG,
    NO_LINK,
    NOT_TCP,
    PPP,
    PPPOE,
    RADIOTAP,
    RAW,
    SECRET,
    VLAN,
    WIFI,
    Index,
    Kinds,
    Packets,
    layout,
    table,
)
from rstaudit.parse.capture.records import Offsets

#: LINKTYPE number -> (what its packets begin with, what people call it); https://www.tcpdump.org/linktypes.html
LINKS = {
    0: (LOOPBACK, "null"),
    1: (ETHERNET, "Ethernet"),
    9: (PPP, "PPP"),
    12: (RAW, "raw IP"),
    14: (RAW, "raw IP"),
    50: (PPP, "PPP"),
    51: (PPPOE, "PPPoE"),
    101: (RAW, "raw IP"),
    104: (HDLC, "Cisco HDLC"),
    105: (WIFI, "802.11"),
    108: (LOOPBACK, "loopback"),
    113: (COOKED, "Linux cooked"),
    127: (RADIOTAP, "802.11 with radiotap"),
    228: (IPV4, "raw IPv4"),
    229: (IPV6, "raw IPv6"),
    239: (NFLOG, "NFLOG"),
    276: (COOKED2, "Linux cooked v2"),
}
LINK_KINDS = np.full(65536, NO_LINK, np.uint8)
LINK_KINDS[list(LINKS)] = [kind for kind, _ in LINKS.values()]

ETHERTYPES = table(
    65536,
    {
        **dict.fromkeys(range(1501), LLC),
        0x0800: IPV4,
        0x86DD: IPV6,
        0x8100: VLAN,
        0x88A8: VLAN,
        0x9100: VLAN,
        0x9200: VLAN,
        0x8847: MPLS,
        0x8848: MPLS,
        0x8864: PPPOE,
        0x6558: ETHERNET,
    },
)
#: Address families of BSD's loopback header, as the systems that write it number them.
_FAMILIES = {2: IPV4, 10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}

_LLC = layout(8, sap=(">u2", 0), code=("u1", 2), kind=(">u2", 6))
_WIFI = layout(2, control=("u1", 0), flags=("u1", 1))
_RADIOTAP = layout(4, size=("<u2", 2))
_ATTRIBUTE = layout(4, size=("<u2", 0), kind=("<u2", 2))


def _typed(
    packets: Packets, index: Index, at: Offsets, header: int, where: int
) -> tuple[Kinds, Offsets]:
    """Past a header of that size, to what the EtherType at ``where`` in it announces."""
    kinds = ETHERTYPES[packets.number(at + where)]
    after = at + header
    kinds[after > packets.end[index]] = CUT
    return kinds, after


def ethernet(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """An Ethernet header; what is no EtherType is the length of an LLC packet."""
    return _typed(packets, index, at, 14, 12)


def vlan(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """What follows a VLAN's EtherType: its tag, and the next EtherType."""
    return _typed(packets, index, at, 4, 2)


def cooked(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """The header of captures on `any` (LINKTYPE_LINUX_SLL)."""
    return _typed(packets, index, at, 16, 14)


def cooked2(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """Its second version (LINKTYPE_LINUX_SLL2)."""
    return _typed(packets, index, at, 20, 0)


def hdlc(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """Cisco's HDLC: address, control, EtherType."""
    return _typed(packets, index, at, 4, 2)


def llc(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """An 802.2 header with SNAP, the only one that carries IP."""
    head = packets.header(at, _LLC)
    snap = (head["sap"] == 0xAAAA) & (head["code"] == 3)
    kinds = np.where(snap, ETHERTYPES[head["kind"]], np.uint8(NOT_TCP))
    kinds[at + 8 > packets.end[index]] = CUT
    return kinds, at + 8


def loopback(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """BSD's loopback: an address family, in the byte order of whoever wrote it."""
    little, big = packets.number(at, "<u4"), packets.number(at, ">u4")
    family = np.minimum(np.minimum(little, big), 255)
    kinds = table(256, _FAMILIES)[family]
    kinds[at + 4 > packets.end[index]] = CUT
    return kinds, at + 4


def radiotap(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """What a Wi-Fi driver knew of the packet: a header that gives its own length."""
    head = packets.header(at, _RADIOTAP)
    size = head["size"].astype(np.int64)
    kinds = np.full(len(at), WIFI, np.uint8)
    kinds[size < 8] = BAD
    kinds[at + size > packets.end[index]] = CUT
    return kinds, at + size


def wifi(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """An 802.11 data frame in the clear, one packet in it."""
    head = packets.header(at, _WIFI)
    control, flags = head["control"], head["flags"]
    data = (control & 0x0F == 8) & (control & 0x40 == 0)
    quality = control & 0x80 != 0
    size = 24 + 6 * (flags & 3 == 3) + 2 * quality + 4 * (quality & (flags & 0x80 != 0))
    kinds = np.where(data, LLC, NOT_TCP).astype(np.uint8)
    kinds[data & (flags & 0x40 != 0)] = SECRET
    after = at + size.astype(np.int64)
    kinds[data & (after > packets.end[index])] = CUT
    return kinds, after


def nflog(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """The family, version and group that begin a packet of netfilter's log."""
    kinds = np.full(len(at), ATTRIBUTE, np.uint8)
    kinds[at + 4 > packets.end[index]] = CUT
    return kinds, at + 4


def attribute(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """One of the attributes after it; the packet is the one of type 9 (NFULA_PAYLOAD)."""
    head = packets.header(at, _ATTRIBUTE)
    size = head["size"].astype(np.int64)
    payload = head["kind"] == 9
    kinds = np.where(payload, RAW, ATTRIBUTE).astype(np.uint8)
    kinds[size < 4] = BAD
    kinds[at + 4 > packets.end[index]] = CUT
    return kinds, at + np.where(payload, 4, size + 3 & ~3)
