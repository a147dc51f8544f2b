"""One TCP segment under every stack of headers that the reader peels, by link type."""

from __future__ import annotations

import struct

from support.wire import (
    AH,
    DESTINATION,
    FRAGMENT,
    GRE,
    HOP_BY_HOP,
    IPIP,
    IPV4,
    MPLS,
    NOP,
    PPPOE,
    QINQ,
    ROUTING,
    SIXINFOUR,
    UDP,
    VLAN,
    ethernet,
    ip,
    ipv4,
    ipv6,
    linux_data,
    linux_syn,
    mss,
    option,
    sack,
    tcp,
    udp,
)

FOUR = ("192.0.2.10", "198.51.100.20")
SIX = ("2001:db8::10", "2001:db8:1::20")


def segment(number: int = 0, payload: bytes = b"hello, world") -> bytes:
    """A data segment that says which it is in its sequence number."""
    return tcp(40000, 80, "PA", 0xFFFFFF00 + number, 77, payload, options=linux_data(number, 9))


def inner(number: int, six: bool = False) -> bytes:
    """The same in an IP packet."""
    return ip(segment(number), *(SIX if six else FOUR), ttl=61, ip_id=number)


def ethernet_stacks() -> dict[str, bytes]:
    """Ethernet frames by what lies between them and TCP."""
    four, six = inner(1), inner(2, six=True)
    pppoe = struct.pack(">BBHH", 0x11, 0, 7, len(four) + 2) + b"\x00\x21" + four
    label, last = b"\x00\x01\x00\x40", b"\x00\x02\x01\x40"
    vxlan = b"\x08\0\0\0\0\0\x2a\0" + ethernet(four)
    geneve = b"\x02\0\x65\x58\0\0\x2a\0" + bytes(8) + ethernet(six)
    geneve4 = b"\0\0\x08\0\0\0\x2a\0" + four
    gre, gre_key = b"\0\0\x08\0" + four, b"\xb0\0\x86\xdd" + bytes(12) + six
    ether = b"\0\0\x65\x58" + ethernet(four)
    erspan = b"\x10\0\x88\xbe" + bytes(4) + b"\x10\0\0\0\0\0\0\0" + ethernet(four)
    body = segment(3)
    pad = b"\x01\x04\0\0\0\0"
    return {
        "IPv4": ethernet(four),
        "IPv6": ethernet(six),
        "VLAN": ethernet(four, vlans=((VLAN, 5),)),
        "QinQ": ethernet(six, vlans=((QINQ, 5), (VLAN, 6))),
        "three VLANs": ethernet(four, vlans=((QINQ, 5), (VLAN, 6), (VLAN, 7))),
        "LLC and SNAP": ethernet(b"\xaa\xaa\x03\0\0\0\x08\0" + four, len(four) + 8),
        "PPPoE": ethernet(pppoe, PPPOE),
        "MPLS": ethernet(label + last + four, MPLS),
        "Ethernet over MPLS": ethernet(b"\x00\x03\x01\x40" + bytes(4) + ethernet(four), MPLS),
        "IPv4 options": ethernet(ipv4(body, *FOUR, options=option(148, b"\0\0"))),
        "IP in IP": ethernet(ipv4(four, "203.0.113.1", "203.0.113.2", protocol=IPIP)),
        "6in4": ethernet(ipv4(six, "203.0.113.1", "203.0.113.2", protocol=SIXINFOUR)),
        "4in6": ethernet(ipv6(four, *SIX, protocol=IPIP)),
        "GRE": ethernet(ipv4(gre, "203.0.113.1", "203.0.113.2", protocol=GRE)),
        "GRE with all its fields": ethernet(ipv6(gre_key, *SIX, protocol=GRE)),
        "Ethernet over GRE": ethernet(ipv4(ether, "203.0.113.1", "203.0.113.2", protocol=GRE)),
        "ERSPAN": ethernet(ipv4(erspan, "203.0.113.1", "203.0.113.2", protocol=GRE)),
        "VXLAN": ethernet(ipv4(udp(vxlan, 4789), "203.0.113.1", "203.0.113.2", protocol=UDP)),
        "Geneve": ethernet(ipv4(udp(geneve, 6081), "203.0.113.1", "203.0.113.2", protocol=UDP)),
        "IP in Geneve": ethernet(ipv6(udp(geneve4, 6081), *SIX, protocol=UDP)),
        "hop by hop": ethernet(ipv6(body, *SIX, extensions=((HOP_BY_HOP, b"\0" + pad),))),
        "routing and destination": ethernet(
            ipv6(body, *SIX, extensions=((ROUTING, b"\0" + bytes(6)), (DESTINATION, b"\0" + pad)))
        ),
        "one fragment": ethernet(ipv6(body, *SIX, extensions=((FRAGMENT, b"\0\0\0\0\0\x30\x39"),))),
        "authentication": ethernet(ipv6(body, *SIX, extensions=((AH, b"\x04" + bytes(22)),))),
        "authentication over IPv4": ethernet(
            ipv4(b"\x06\x04" + bytes(22) + body, *FOUR, protocol=AH)
        ),
        "padding": ethernet(ip(tcp(40000, 80, "A", 5, 6), *FOUR)) + bytes(6),
        "SYN": ethernet(ip(tcp(40000, 80, "S", 5, options=linux_syn(7)), *FOUR)),
        "SACK": ethernet(
            ip(
                tcp(40000, 80, "A", 5, 6, options=linux_data(1, 2) + NOP + NOP + sack((9, 10))),
                *FOUR,
            )
        ),
        "odd options": ethernet(
            ip(
                tcp(40000, 80, "SEC", 5, options=mss(536) + option(254, b"\xf9\x89") + option(34)),
                *SIX,
            )
        ),
        "reset with a reason": ethernet(
            ip(tcp(80, 40000, "RA", 5, 6, b"go away", window=0), *FOUR)
        ),
        "nine flags": ethernet(ip(tcp(40000, 80, 0x1FF, 5, 6), *FOUR)),
    }


def other_links() -> dict[int, list[bytes]]:
    """Packets by LINKTYPE."""
    four, six = inner(1), inner(2, six=True)
    snap = b"\xaa\xaa\x03\0\0\0\x08\0"
    addresses = bytes(22)
    cooked = struct.pack(">HHH8sH", 0, 1, 6, bytes(8), IPV4)
    tagged = struct.pack(">HHH8sHHH", 0, 1, 6, bytes(8), VLAN, 5, IPV4)
    cooked2 = struct.pack(">HHIHBB8s", IPV4, 0, 2, 1, 0, 6, bytes(8))
    attribute = struct.pack("<HHI", 8, 3, 1)
    log = b"\x02\0\0\1" + attribute + struct.pack("<HH", 4 + len(four), 9) + four
    return {
        0: [b"\2\0\0\0" + four, b"\0\0\0\x1e" + six, b"\x18\0\0\0" + six],
        9: [b"\xff\x03\0\x21" + four, b"\0\x57" + six, b"\x21" + four],
        12: [four, six],
        50: [b"\xff\x03\0\x21" + four, b"\x0f\0\x08\0" + four],
        51: [struct.pack(">BBHH", 0x11, 0, 7, len(four) + 2) + b"\0\x21" + four],
        101: [four, six],
        104: [b"\x0f\0\x08\0" + four],
        105: [
            b"\x08\x01" + addresses + snap + four,
            b"\x88\x02" + addresses + b"\0\0" + snap + four,
            b"\x08\x03" + addresses + bytes(6) + snap + four,
        ],
        108: [b"\0\0\0\2" + four],
        113: [cooked + four, tagged + four],
        127: [b"\0\0\x0a\0\0\0\0\0\0\0" + b"\x08\x01" + addresses + snap + four],
        228: [four],
        229: [six],
        239: [log],
        276: [cooked2 + four],
    }


def not_tcp() -> list[bytes]:
    """Frames that hold no segment a reader could use."""
    return [
        ethernet(bytes(28), 0x0806),
        ethernet(ipv4(udp(b"question", 53), *FOUR, protocol=UDP)),
        ethernet(ipv4(bytes(8), *FOUR, protocol=1)),
        ethernet(ipv6(bytes(8), *SIX, protocol=58)),
        ethernet(ipv4(segment()[:30], *FOUR, offset=3)),
        ethernet(ipv4(bytes(40), *FOUR, protocol=50)),
        ethernet(ipv4(tcp(1, 2, "S", offset=3), *FOUR)),
        ethernet(ipv4(tcp(1, 2, "S", offset=15), *FOUR)),
        ethernet(b"\x45"),
        b"",
    ]
