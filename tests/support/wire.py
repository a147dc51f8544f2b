"""Packets made by hand: TCP and what lies around it, from the bytes up.

Checksums are left 0: nothing here reads them. Addresses are text, IPv6 where they hold a colon.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import NamedTuple

FLAGS = {name: 1 << bit for bit, name in enumerate("FSRPAUECN")}

NOP = b"\x01"
END = b"\x00"
SACK_PERMITTED = b"\x04\x02"
TCP, UDP, GRE, IPIP, SIXINFOUR, FRAGMENT, AH = 6, 17, 47, 4, 41, 44, 51
HOP_BY_HOP, ROUTING, DESTINATION = 0, 43, 60
IPV4, IPV6, VLAN, QINQ, MPLS, PPPOE = 0x0800, 0x86DD, 0x8100, 0x88A8, 0x8847, 0x8864


def mss(size: int) -> bytes:
    """The option of a SYN that says how large a segment may be."""
    return struct.pack(">BBH", 2, 4, size)


def wscale(shift: int) -> bytes:
    """The window scale option."""
    return struct.pack(">BBB", 3, 3, shift)


def timestamps(value: int, echo: int) -> bytes:
    """The timestamps option, without padding."""
    return struct.pack(">BBII", 8, 10, value & 0xFFFFFFFF, echo & 0xFFFFFFFF)


def sack(*blocks: tuple[int, int]) -> bytes:
    """The SACK option with its (left, right) edges."""
    return struct.pack(">BB", 5, 2 + 8 * len(blocks)) + b"".join(
        struct.pack(">II", *block) for block in blocks
    )


def option(kind: int, body: bytes = b"") -> bytes:
    """Any other option."""
    return bytes([kind, 2 + len(body)]) + body


def linux_syn(value: int = 1, echo: int = 0) -> bytes:
    """The options of a Linux SYN or SYN-ACK, in its order."""
    return mss(1460) + SACK_PERMITTED + timestamps(value, echo) + NOP + wscale(7)


def linux_data(value: int, echo: int) -> bytes:
    """The options of every later Linux segment, as it pads them."""
    return NOP + NOP + timestamps(value, echo)


def flag_bits(flags: str | int) -> int:
    """``"SA"`` as a number; F S R P A U E(CE) C(WR) N(S)."""
    return flags if isinstance(flags, int) else sum(FLAGS[name] for name in flags)


def tcp(
    sport: int,
    dport: int,
    flags: str | int,
    seq: int = 0,
    ack: int = 0,
    payload: bytes = b"",
    *,
    window: int = 64240,
    options: bytes = b"",
    offset: int | None = None,
) -> bytes:
    """A TCP header and its payload; ``offset`` is the data offset in words where it is to lie."""
    options += END * (-len(options) % 4)
    words = 5 + len(options) // 4 if offset is None else offset
    bits = words << 12 | flag_bits(flags)
    seq, ack = seq & 0xFFFFFFFF, ack & 0xFFFFFFFF
    return struct.pack(">HHIIHHHH", sport, dport, seq, ack, bits, window, 0, 0) + options + payload


def ipv4(
    body: bytes,
    src: str,
    dst: str,
    *,
    protocol: int = TCP,
    ttl: int = 64,
    ip_id: int = 0,
    df: bool = True,
    mf: bool = False,
    offset: int = 0,
    options: bytes = b"",
    total: int | None = None,
) -> bytes:
    """An IPv4 packet; ``offset`` in units of 8 bytes, ``total`` where the length is to lie."""
    options += END * (-len(options) % 4)
    header = 20 + len(options)
    fragment = df << 14 | mf << 13 | offset
    size = header + len(body) if total is None else total
    fields = (0x40 | header // 4, 0, size, ip_id, fragment, ttl, protocol, 0)
    addresses = ip_address(src).packed + ip_address(dst).packed
    return struct.pack(">BBHHHBBH", *fields) + addresses + options + body


def ipv6(
    body: bytes,
    src: str,
    dst: str,
    *,
    protocol: int = TCP,
    ttl: int = 64,
    extensions: tuple[tuple[int, bytes], ...] = (),
    length: int | None = None,
) -> bytes:
    """An IPv6 packet; ``extensions`` are (type, bytes after the next-header field)."""
    kinds = [kind for kind, _ in extensions] + [protocol]
    chain = b"".join(
        bytes([following]) + rest
        for (_, rest), following in zip(extensions, kinds[1:], strict=True)
    )
    size = len(chain) + len(body) if length is None else length
    header = struct.pack(">IHBB", 6 << 28, size, kinds[0], ttl)
    return header + ip_address(src).packed + ip_address(dst).packed + chain + body


def ip(body: bytes, src: str, dst: str, *, ttl: int = 64, ip_id: int = 0, df: bool = True) -> bytes:
    """An IPv4 or IPv6 packet, as the addresses say."""
    if ":" in src:
        return ipv6(body, src, dst, ttl=ttl)
    return ipv4(body, src, dst, ttl=ttl, ip_id=ip_id, df=df)


def ethertype(packet: bytes) -> int:
    """The EtherType of an IP packet."""
    return IPV6 if packet[0] >> 4 == 6 else IPV4


def ethernet(
    packet: bytes, kind: int | None = None, vlans: tuple[tuple[int, int], ...] = ()
) -> bytes:
    """An Ethernet frame; ``vlans`` are (tag protocol, vlan id), outermost first."""
    kind = ethertype(packet) if kind is None else kind
    tags = b"".join(struct.pack(">HH", *vlan) for vlan in vlans)
    return bytes.fromhex("020000000002020000000001") + tags + struct.pack(">H", kind) + packet


def udp(body: bytes, dport: int, sport: int = 50000) -> bytes:
    """A UDP datagram."""
    return struct.pack(">HHHH", sport, dport, 8 + len(body), 0) + body


class Packet(NamedTuple):
    """One packet of a capture: when, its link-layer bytes, its length before any cutting."""

    time_ns: int
    data: bytes
    wire: int | None = None

    def cut(self, snaplen: int) -> Packet:
        """The packet as a capture with that snap length holds it."""
        return Packet(self.time_ns, self.data[:snaplen], self.wire or len(self.data))


def pcap(
    packets: list[Packet],
    *,
    link: int = 1,
    big: bool = False,
    nano: bool = False,
    modified: bool = False,
    snaplen: int = 262144,
) -> bytes:
    """A pcap file; ``modified`` has the longer record headers of an old patched libpcap."""
    order = ">" if big else "<"
    magic = 0xA1B2CD34 if modified else 0xA1B23C4D if nano else 0xA1B2C3D4
    unit = 1 if nano else 1000
    parts = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, link)]
    for time_ns, data, wire in packets:
        seconds, rest = divmod(time_ns, 10**9)
        size = len(data) if wire is None else wire
        parts.append(struct.pack(order + "IIII", seconds, rest // unit, len(data), size))
        parts.append(struct.pack(order + "IHBx", 0, 0, 0) if modified else b"")
        parts.append(data)
    return b"".join(parts)


class Pcapng:
    """A pcapng file, block by block; each method adds one and returns the writer."""

    def __init__(self, *, big: bool = False) -> None:
        """Start with a section header of that byte order."""
        self._blocks: list[bytes] = []
        self.section(big=big)

    @property
    def data(self) -> bytes:
        """The file so far."""
        return b"".join(self._blocks)

    def block(self, kind: int, body: bytes) -> Pcapng:
        """Any block; the body is padded."""
        body += b"\0" * (-len(body) % 4)
        size = struct.pack(self.order + "I", 12 + len(body))
        self._blocks.append(struct.pack(self.order + "I", kind) + size + body + size)
        return self

    def section(self, *, big: bool = False) -> Pcapng:
        """A section header: interfaces are numbered anew from here."""
        self.order = ">" if big else "<"
        return self.block(0x0A0D0D0A, struct.pack(self.order + "IHHq", 0x1A2B3C4D, 1, 0, -1))

    def option(self, code: int, body: bytes) -> bytes:
        """One option of a block, padded."""
        head = struct.pack(self.order + "HH", code, len(body))
        return head + body + b"\0" * (-len(body) % 4)

    def interface(
        self,
        link: int = 1,
        *,
        snaplen: int = 0,
        resolution: int | None = None,
        offset: int | None = None,
        name: str = "",
    ) -> Pcapng:
        """An interface; ``resolution`` is the if_tsresol byte, ``offset`` if_tsoffset's seconds."""
        options = self.option(2, name.encode()) if name else b""
        if resolution is not None:
            options += self.option(9, bytes([resolution]))
        if offset is not None:
            options += self.option(14, struct.pack(self.order + "q", offset))
        options += self.option(0, b"") if options else b""
        return self.block(1, struct.pack(self.order + "HHI", link, 0, snaplen) + options)

    def enhanced(
        self, packet: Packet, interface: int = 0, *, ticks: int | None = None, options: bytes = b""
    ) -> Pcapng:
        """An enhanced packet; ``ticks`` (default: microseconds) in the interface's resolution."""
        ticks = packet.time_ns // 1000 if ticks is None else ticks
        size = len(packet.data) if packet.wire is None else packet.wire
        head = (interface, ticks >> 32, ticks & 0xFFFFFFFF, len(packet.data), size)
        padded = packet.data + b"\0" * (-len(packet.data) % 4)
        return self.block(6, struct.pack(self.order + "IIIII", *head) + padded + options)

    def simple(self, packet: Packet) -> Pcapng:
        """A simple packet: no time, first interface."""
        size = len(packet.data) if packet.wire is None else packet.wire
        return self.block(3, struct.pack(self.order + "I", size) + packet.data)

    def obsolete(self, packet: Packet, interface: int = 0) -> Pcapng:
        """The packet block of old files."""
        ticks = packet.time_ns // 1000
        size = len(packet.data) if packet.wire is None else packet.wire
        head = (interface, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(packet.data), size)
        return self.block(2, struct.pack(self.order + "HHIIII", *head) + packet.data)


def pcapng(packets: list[Packet], *, link: int = 1, big: bool = False) -> bytes:
    """A plain pcapng file: one section, one interface, enhanced packets."""
    file = Pcapng(big=big).interface(link)
    for packet in packets:
        file.enhanced(packet)
    return file.data
