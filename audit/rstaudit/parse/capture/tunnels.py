"""What carries packets within packets: PPP, MPLS, GRE, and the tunnels over UDP."""

from __future__ import annotations

import numpy as np

from rstaudit.parse.capture.links import ETHERTYPES
from rstaudit.parse.capture.packets import (
    BAD,
    CUT,
    ERSPAN,
    ERSPAN3,
    ETHERNET,
    GENEVE,
    HDLC,
    IPV4,
    IPV6,
    MPLS,
    NOT_TCP,
    PPP,
    RAW,
    VXLAN,
    Index,
    Kinds,
    Packets,
    layout,
    table,
)
from rstaudit.parse.capture.records import Offsets
from rstaudit.parse.capture.segments import TUNNELS

_GRE, _VXLAN, _GENEVE, _MPLS, _PPPOE = map(
    TUNNELS.index, ("GRE", "VXLAN", "Geneve", "MPLS", "PPPoE")
)

#: Protocol field of PPP (RFC 1661), also in its one-byte form.
_PPP = table(65536, {0x21: IPV4, 0x57: IPV6, 0x281: MPLS, 0x283: MPLS})
#: Ports of tunnels over UDP: VXLAN's own and the one that Linux used first, Geneve's.
_PORTS = table(65536, {4789: VXLAN, 8472: VXLAN, 6081: GENEVE})
_GRE_KINDS = ETHERTYPES.copy()
_GRE_KINDS[:1501] = NOT_TCP
_GRE_KINDS[[0x88BE, 0x22EB, 0x880B]] = ERSPAN, ERSPAN3, PPP

_PPPOE_HEAD = layout(2, version=("u1", 0), code=("u1", 1))
_GRE_HEAD = layout(4, flags=(">u2", 0), kind=(">u2", 2))
_VXLAN_HEAD = layout(8, flags=("u1", 0))
_GENEVE_HEAD = layout(8, first=("u1", 0), kind=(">u2", 2))
_ERSPAN3_HEAD = layout(12, flags=("u1", 11))


def pppoe(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """A PPPoE session packet (RFC 2516 section 4); discovery has another EtherType."""
    head = packets.header(at, _PPPOE_HEAD)
    session = (head["version"] == 0x11) & (head["code"] == 0)
    kinds = np.where(session, PPP, NOT_TCP).astype(np.uint8)
    kinds[at + 6 > packets.end[index]] = CUT
    packets.peeled(index, _PPPOE)
    return kinds, at + 6


def ppp(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """PPP with or without address and control, or what Cisco puts in their place."""
    first = packets.number(at)
    start = at + 2 * (first == 0xFF03)
    protocol = packets.number(start)
    short = protocol >> 8 & 1
    kinds = _PPP[np.where(short, protocol >> 8, protocol)]
    after = start + 2 - short
    cisco = (first == 0x0F00) | (first == 0x8F00)
    kinds[cisco] = HDLC
    after[cisco] = at[cisco]
    kinds[after > packets.end[index]] = CUT
    return kinds, after


def mpls(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """One label of a stack (RFC 3032); what follows the last shows in its first bits only."""
    last = packets.bytes[at + 2] & 1 != 0
    after = at + 4
    bits = packets.bytes[after] >> 4
    version = (bits == 4) | (bits == 6)
    kinds = np.where(last, np.where(version, RAW, np.where(bits == 0, ETHERNET, NOT_TCP)), MPLS)
    kinds = kinds.astype(np.uint8)
    after = after + 4 * (kinds == ETHERNET)  # the control word of RFC 4448
    kinds[after >= packets.end[index]] = CUT
    packets.peeled(index, _MPLS)
    return kinds, after


def gre(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """GRE (RFC 2784, 2890), and the version of it that PPTP uses (RFC 2637)."""
    head = packets.header(at, _GRE_HEAD)
    flags = head["flags"].astype(np.int64)
    version = flags & 7
    checksum, key, sequence, ack = (flags >> bit & 1 for bit in (15, 13, 12, 7))
    kinds = _GRE_KINDS[head["kind"]]
    kinds[(kinds == ERSPAN) & (sequence == 0)] = ETHERNET  # its first version has no header
    kinds[(version > 1) | (flags & 0x4000 != 0)] = NOT_TCP
    after = at + 4 + 4 * (np.where(version == 0, checksum, ack) + key + sequence)
    kinds[after > packets.end[index]] = CUT
    packets.peeled(index, _GRE)
    return kinds, after


def erspan(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """A mirrored Ethernet frame behind eight bytes about the mirror."""
    return _ethernet_after(packets, index, at + 8)


def erspan3(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """The third version: twelve bytes, and eight more where a bit says so."""
    more = packets.header(at, _ERSPAN3_HEAD)["flags"] & 1
    return _ethernet_after(packets, index, at + 12 + 8 * more.astype(np.int64))


def _ethernet_after(packets: Packets, index: Index, after: Offsets) -> tuple[Kinds, Offsets]:
    kinds = np.full(len(after), ETHERNET, np.uint8)
    kinds[after > packets.end[index]] = CUT
    return kinds, after


def udp(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """A UDP header, where its destination port is that of a tunnel."""
    kinds = _PORTS[packets.number(at + 2)]
    kinds[(at + 8 > packets.end[index]) & (kinds != NOT_TCP)] = CUT
    return kinds, at + 8


def vxlan(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """VXLAN (RFC 7348): a network's number, then an Ethernet frame."""
    valid = packets.header(at, _VXLAN_HEAD)["flags"] & 8 != 0
    kinds = np.where(valid, ETHERNET, NOT_TCP).astype(np.uint8)
    kinds[at + 8 > packets.end[index]] = CUT
    packets.rows["tunnel"][index] = np.where(valid, _VXLAN, 0)
    return kinds, at + 8


def geneve(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """Geneve (RFC 8926): options, then whatever its EtherType says."""
    head = packets.header(at, _GENEVE_HEAD)
    kinds = _GRE_KINDS[head["kind"]]
    kinds[head["first"] >> 6 != 0] = BAD
    after = at + 8 + (head["first"] & 0x3F).astype(np.int64) * 4
    kinds[after > packets.end[index]] = CUT
    packets.peeled(index, _GENEVE)
    return kinds, after
