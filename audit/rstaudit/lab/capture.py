"""Packets of an interface into a pcap file: a tap of AF_PACKET and a writer of records."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from rstaudit.collect.packet_socket import ANCILLARY, stamp, stamp_packets
from rstaudit.lab.namespaces import Namespace

#: pcap's link types (draft-ietf-opsawg-pcaplinktype)
ETHERNET, RAW_IP = 1, 101

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_BUFFER = 16 << 20
_LARGEST = 1 << 18
_NANOSECOND_MAGIC = 0xA1B23C4D


class Packet(NamedTuple):
    """A captured packet: nanoseconds since the epoch, and its bytes from the link layer on."""

    time_ns: int
    data: bytes


class Tap:
    """Everything an interface of a namespace sends and receives, from now until `close`.

    The kernel keeps the packets (up to 16 MiB) until `drain` takes them.
    """

    def __init__(self, space: Namespace, interface: str, link_type: int) -> None:
        self.link_type = link_type
        with space.inside():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        stamp_packets(self._socket, _BUFFER)
        self._socket.bind((interface, _ETH_P_ALL))
        self._socket.setblocking(False)

    def drain(self) -> list[Packet]:
        """The packets since the last time, in the order they passed."""
        found: list[Packet] = []
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(_LARGEST, ANCILLARY)
            except BlockingIOError:
                return found
            except OSError:  # the interface went down: said once, what was kept stays readable
                continue
            found.append(Packet(stamp(ancillary), data))

    def dropped(self) -> int:
        """Packets that did not fit into the buffer since the last time."""
        raw = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("II", raw)[1])

    def close(self) -> None:
        """No more packets."""
        self._socket.close()


def pcap(packets: list[Packet], link_type: int) -> bytes:
    """A pcap file of these packets, times in nanoseconds."""
    parts = [struct.pack("<IHHiIII", _NANOSECOND_MAGIC, 2, 4, 0, 0, _LARGEST, link_type)]
    for time_ns, data in packets:
        seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
        parts += (struct.pack("<IIII", seconds, nanoseconds, len(data), len(data)), data)
    return b"".join(parts)
