"""TCP segments made and read by hand: what the wire and forgers in the middle need."""

from __future__ import annotations

import array
import socket
import struct
from typing import NamedTuple

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10


class Segment(NamedTuple):
    """A TCP segment and the IP header around it; addresses as text, options as they are sent."""

    src: str
    sport: int
    dst: str
    dport: int
    seq: int = 0
    ack: int = 0
    flags: int = 0
    window: int = 0
    options: bytes = b""
    payload: bytes = b""
    ttl: int = 64
    ip_id: int = 0
    dont_fragment: bool = True

    @property
    def length(self) -> int:
        """Sequence numbers it takes: payload, SYN and FIN."""
        return len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)

    @property
    def end(self) -> int:
        """The sequence number after it."""
        return (self.seq + self.length) & 0xFFFFFFFF

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.src else 4


def read(packet: bytes) -> Segment | None:
    """The TCP segment of a raw IP packet without extension headers; None for all else."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 40 and packet[9] == socket.IPPROTO_TCP:
        start = (packet[0] & 15) * 4
        src, dst = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
        ip_id, fragment = struct.unpack_from("!HH", packet, 4)
        return _tcp(packet[start:], (src, dst), (packet[8], ip_id, bool(fragment & 0x4000)))
    if version == 6 and len(packet) >= 60 and packet[6] == socket.IPPROTO_TCP:
        src = socket.inet_ntop(socket.AF_INET6, packet[8:24])
        dst = socket.inet_ntop(socket.AF_INET6, packet[24:40])
        return _tcp(packet[40:], (src, dst), (packet[7], 0, True))
    return None


def _tcp(data: bytes, ends: tuple[str, str], ip: tuple[int, int, bool]) -> Segment:
    sport, dport, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", data)
    start = (offset >> 4) * 4
    return Segment(
        ends[0], sport, ends[1], dport, seq, ack, flags, window, data[20:start], data[start:], *ip
    )


def write(segment: Segment) -> bytes:
    """The raw IP packet of a segment, checksums right."""
    addresses = _packed(segment.src) + _packed(segment.dst)
    tcp = _tcp_bytes(segment, addresses)
    if segment.family == 6:
        return struct.pack("!IHBB", 6 << 28, len(tcp), 6, segment.ttl) + addresses + tcp
    fragment = 0x4000 if segment.dont_fragment else 0
    fields = (0x45, 0, 20 + len(tcp), segment.ip_id, fragment, segment.ttl, 6)
    header = struct.pack("!BBHHHBBH", *fields, 0) + addresses
    return struct.pack("!BBHHHBBH", *fields, _checksum(header)) + addresses + tcp


def _tcp_bytes(segment: Segment, addresses: bytes) -> bytes:
    options = segment.options + bytes(-len(segment.options) % 4)
    offset = (5 + len(options) // 4) << 4
    fields = (segment.sport, segment.dport, segment.seq, segment.ack, offset, segment.flags)
    body = options + segment.payload
    bare = struct.pack("!HHIIBBHHH", *fields, segment.window, 0, 0) + body
    pseudo = addresses + struct.pack("!II", len(bare), socket.IPPROTO_TCP)
    checksum = _checksum(pseudo + bare)
    return bare[:16] + struct.pack("!H", checksum) + bare[18:]


def _packed(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address)


def _checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071), in network byte order."""
    words = array.array("H", data + bytes(len(data) % 2))
    total = sum(words)
    total = (total >> 16) + (total & 0xFFFF)
    return socket.htons(~(total + (total >> 16)) & 0xFFFF)
