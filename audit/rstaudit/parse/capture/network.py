"""IPv4 (RFC 791) and IPv6 (RFC 8200) headers, and what may stand between them and TCP."""

from __future__ import annotations

import numpy as np

from rstaudit.parse.capture.packets import (
    AUTHENTICATION,
    BAD,
    CUT,
    EXTENSION,
    FRAGMENT,
    FRAGMENT6,
    GRE,
    IPV4,
    IPV6,
    MAPPED_MARK,
    MPLS,
    NOT_TCP,
    SECRET,
    TCP,
    UDP,
    Index,
    Kinds,
    Packets,
    layout,
    table,
)
from rstaudit.parse.capture.records import Offsets
from rstaudit.parse.capture.segments import (
    IP_DF,
    IP_EXTRA,
    IP_FRAGMENT,
    IP_MF,
    IP_NO_LENGTH,
    TUNNELS,
)

_IP_IN_IP = TUNNELS.index("IP in IP")

#: Protocol numbers of both versions; IPv6 has its extension headers among them.
_FOUR = {4: IPV4, 6: TCP, 17: UDP, 41: IPV6, 47: GRE, 50: SECRET, 51: AUTHENTICATION, 137: MPLS}
_SIX = {**_FOUR, 0: EXTENSION, 43: EXTENSION, 44: FRAGMENT6, 60: EXTENSION, 135: EXTENSION}
PROTOCOLS4, PROTOCOLS6 = table(256, _FOUR), table(256, _SIX)

_HEADER4 = layout(
    20,
    first=("u1", 0),
    total=(">u2", 2),
    id=(">u2", 4),
    fragment=(">u2", 6),
    ttl=("u1", 8),
    protocol=("u1", 9),
    src=("<u4", 12),
    dst=("<u4", 16),
)
_HEADER6 = layout(
    40,
    first=("u1", 0),
    length=(">u2", 4),
    next=("u1", 6),
    hops=("u1", 7),
    src=("V16", 8),
    dst=("V16", 24),
)
_EXTENSION = layout(8, next=("u1", 0), size=("u1", 1), fragment=(">u2", 2), id=(">u2", 6))


def raw(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """An IP packet of either version."""
    version = packets.bytes[at] >> 4
    kinds = np.where(version == 4, IPV4, np.where(version == 6, IPV6, NOT_TCP)).astype(np.uint8)
    kinds[at >= packets.end[index]] = CUT
    return kinds, at


def ipv4(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """An IPv4 header; what it says goes into the rows."""
    head = packets.header(at, _HEADER4)
    first = head["first"]
    size = (first & 15).astype(np.int64) << 2
    total = head["total"].astype(np.int64)
    fragment = head["fragment"]
    end = packets.end[index]
    stop = at + total
    after = at + size
    kinds = PROTOCOLS4[head["protocol"]]
    plain = bool((first == 0x45).all() and not (fragment & 0x3FFF).any() and (total >= 20).all())
    flags = (fragment >> 14 & IP_DF).astype(np.uint8)
    if not plain:
        flags, stop = _unusual4(packets, index, head, at, flags)
        kinds[(fragment & 0x1FFF) != 0] = FRAGMENT
        after = np.where(kinds == FRAGMENT, at, after)  # what `Fragments` reads is the IP header
        kinds[(first >> 4 != 4) | (size < 20) | (stop < at + size)] = BAD
    kinds[at + np.maximum(size, 20) > end] = CUT
    rows, mapped = packets.rows, packets.mapped
    tunnelled = rows["family"][index] != 0
    if tunnelled.any():
        _note_tunnel(packets, index)
    rows["family"][index] = 4
    rows["ttl"][index] = head["ttl"]
    rows["ip_id"][index] = head["id"]
    rows["ip_flags"][index] = flags
    for name in ("src", "dst"):
        mapped[f"{name}_zero"][index] = 0
        mapped[f"{name}_mark"][index] = MAPPED_MARK
        mapped[name][index] = head[name]
    packets.stop[index] = stop
    return kinds, after


def _unusual4(
    packets: Packets,
    index: Index,
    head: np.ndarray[tuple[int], np.dtype[np.void]],
    at: Offsets,
    flags: Kinds,
) -> tuple[Kinds, Offsets]:
    """Flags and end of packets some of which have options, are fragments, or have no length."""
    fragment, total = head["fragment"], head["total"].astype(np.int64)
    flags = flags | np.where(fragment & 0x2000, IP_MF | IP_FRAGMENT, 0).astype(np.uint8)
    flags |= np.where(total == 0, IP_NO_LENGTH, 0).astype(np.uint8)
    flags |= np.where(head["first"] != 0x45, IP_EXTRA, 0).astype(np.uint8)
    return flags, np.where(total == 0, packets.wire_end[index], at + total)


def ipv6(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """An IPv6 header; a length of 0 is a packet too large for the field (RFC 2675)."""
    head = packets.header(at, _HEADER6)
    kinds = PROTOCOLS6[head["next"]]
    kinds[head["first"] >> 4 != 6] = BAD
    kinds[at + 40 > packets.end[index]] = CUT
    length = head["length"].astype(np.int64)
    rows = packets.rows
    if (rows["family"][index] != 0).any():
        _note_tunnel(packets, index)
    rows["family"][index] = 6
    rows["ttl"][index] = head["hops"]
    rows["ip_id"][index] = 0
    rows["ip_flags"][index] = np.where(length == 0, IP_NO_LENGTH, 0)
    rows["src"][index] = head["src"]
    rows["dst"][index] = head["dst"]
    packets.stop[index] = np.where(length == 0, packets.wire_end[index], at + 40 + length)
    return kinds, at + 40


def _note_tunnel(packets: Packets, index: Index) -> None:
    """Packets that already have an IP header around this one came through a tunnel."""
    rows = packets.rows
    inner = (rows["family"][index] != 0) & (rows["tunnel"][index] == 0)
    rows["tunnel"][index] = np.where(inner, _IP_IN_IP, rows["tunnel"][index])


def extension(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """Hop-by-hop, routing, destination and mobility headers (RFC 8200 section 4)."""
    head = packets.header(at, _EXTENSION)
    return _next(packets, index, at, head["next"], (head["size"].astype(np.int64) + 1) * 8)


def authentication(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """An authentication header, which leaves what it protects readable (RFC 4302)."""
    head = packets.header(at, _EXTENSION)
    return _next(packets, index, at, head["next"], (head["size"].astype(np.int64) + 2) * 4)


def fragment6(packets: Packets, index: Index, at: Offsets) -> tuple[Kinds, Offsets]:
    """An IPv6 fragment header; a packet in one fragment is whole (RFC 6946)."""
    head = packets.header(at, _EXTENSION)
    kinds, after = _next(packets, index, at, head["next"], np.full(len(at), 8, np.int64))
    packets.rows["ip_id"][index] = head["id"]
    more = np.where(head["fragment"] & 1, IP_MF | IP_FRAGMENT, 0).astype(np.uint8)
    packets.rows["ip_flags"][index] |= more
    kinds[(head["fragment"] >> 3 != 0) & (kinds != CUT)] = FRAGMENT
    return kinds, after


def _next(
    packets: Packets, index: Index, at: Offsets, protocol: Kinds, size: Offsets
) -> tuple[Kinds, Offsets]:
    six = packets.rows["family"][index] == 6
    kinds = np.where(six, PROTOCOLS6[protocol], PROTOCOLS4[protocol])
    after = at + size
    kinds[after > packets.end[index]] = CUT
    packets.rows["ip_flags"][index] |= IP_EXTRA
    return kinds, after
