"""Peeling packets down to their TCP headers, all packets of a kind at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rstaudit.parse.capture import links, network, tunnels
from rstaudit.parse.capture.packets import (
    ATTRIBUTE,
    AUTHENTICATION,
    COOKED,
    COOKED2,
    CUT,
    DEEP,
    DEEPEST,
    ERSPAN,
    ERSPAN3,
    ETHERNET,
    EXTENSION,
    FRAGMENT6,
    GENEVE,
    GRE,
    HDLC,
    IPV4,
    IPV6,
    LLC,
    LOOPBACK,
    MPLS,
    NFLOG,
    PPP,
    PPPOE,
    RADIOTAP,
    RAW,
    TCP,
    UDP,
    VLAN,
    VXLAN,
    WIFI,
    Index,
    Kinds,
    Packets,
)
from rstaudit.parse.capture.records import Offsets, Records

Peeler = Callable[[Packets, Index, Offsets], tuple[Kinds, Offsets]]

_PEELERS: dict[int, Peeler] = {
    ETHERNET: links.ethernet,
    VLAN: links.vlan,
    LLC: links.llc,
    COOKED: links.cooked,
    COOKED2: links.cooked2,
    LOOPBACK: links.loopback,
    HDLC: links.hdlc,
    WIFI: links.wifi,
    RADIOTAP: links.radiotap,
    NFLOG: links.nflog,
    ATTRIBUTE: links.attribute,
    RAW: network.raw,
    IPV4: network.ipv4,
    IPV6: network.ipv6,
    EXTENSION: network.extension,
    AUTHENTICATION: network.authentication,
    FRAGMENT6: network.fragment6,
    PPP: tunnels.ppp,
    PPPOE: tunnels.pppoe,
    MPLS: tunnels.mpls,
    GRE: tunnels.gre,
    ERSPAN: tunnels.erspan,
    ERSPAN3: tunnels.erspan3,
    UDP: tunnels.udp,
    VXLAN: tunnels.vxlan,
    GENEVE: tunnels.geneve,
}


def peel(packets: Packets, records: Records) -> tuple[Kinds, Offsets]:
    """For each packet `TCP` or why not, and the offset of its TCP header (or of what it has)."""
    kinds = links.LINK_KINDS[records.link]
    places = records.data.copy()
    kinds[records.captured <= 0] = CUT
    pending: list[tuple[int, Index]] = _split(kinds, slice(None))
    for _ in range(DEEPEST):
        if not pending:
            return kinds, places
        pending = [
            part for kind, index in pending for part in _step(packets, kind, index, kinds, places)
        ]
    for _, index in pending:
        kinds[index] = DEEP
    return kinds, places


def _step(
    packets: Packets, kind: int, index: Index, kinds: Kinds, places: Offsets
) -> list[tuple[int, Index]]:
    """Peel one layer; what is left to peel comes back by kind."""
    found, after = _PEELERS[kind](packets, index, places[index])
    over = after > packets.end[index]
    if over.any():
        found[over & (found >= TCP)] = CUT
        after = np.minimum(after, packets.end[index])
    kinds[index], places[index] = found, after
    return _split(found, index)


def _split(found: Kinds, index: Index) -> list[tuple[int, Index]]:
    """The packets still to be peeled, by what they show now."""
    if not len(found):
        return []
    first = int(found[0])
    if (found == first).all():
        return [(first, index)] if first > TCP else []
    parts: list[tuple[int, Index]] = []
    for kind in np.flatnonzero(np.bincount(found)).tolist():
        if kind > TCP:
            chosen = np.flatnonzero(found == kind)
            parts.append((kind, chosen if isinstance(index, slice) else index[chosen]))
    return parts
