"""TLS alerts that peers send, so that a close_notify after close is not taken for lost data.

The kernel's events do not tell what a segment held. A filter in the kernel lets through TLS alerts
alone, which is about one packet a connection; nothing else is ever seen or kept.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections import OrderedDict
from contextlib import suppress

from rstaudit.collect.packet_socket import Instruction, attach_filter
from rstaudit.resets.live.crossings import Ends, within

_MOST = 4096
_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD

# Classic BPF (linux/filter.h) over packets from the IP header on: those whose TCP payload begins
# with a record of type alert (21), or, where TLS 1.3 hides the type, with one of type
# application_data (23) as long as an alert is then: 2 bytes, the type and 16 of tag
# (RFC 8446 sections 5.2 and 6).
_RECORD = (
    (0x50, 0, 0, 12), (0x54, 0, 0, 0xF0), (0x74, 0, 0, 2), (0x0C, 0, 0, 0), (0x07, 0, 0, 0),
    (0x50, 0, 0, 1), (0x15, 0, 6, 3),
    (0x50, 0, 0, 0), (0x15, 3, 0, 21), (0x15, 0, 3, 23),
    (0x48, 0, 0, 3), (0x15, 0, 1, 19),
    (0x06, 0, 0, 64), (0x06, 0, 0, 0),
)  # fmt: skip
_IPV4 = (
    (0x30, 0, 0, 9), (0x15, 1, 0, 6), (0x06, 0, 0, 0),
    (0x28, 0, 0, 6), (0x45, 0, 1, 0x1FFF), (0x06, 0, 0, 0),
    (0xB1, 0, 0, 0), *_RECORD,
)  # fmt: skip
_IPV6 = ((0x30, 0, 0, 6), (0x15, 1, 0, 6), (0x06, 0, 0, 0), (0x01, 0, 0, 40), *_RECORD)


class Alerts:
    """Listens from `__init__` to `close`, in the network namespace it is made in.

    Where packet sockets are refused it hears nothing, and `heard` is always False.
    """

    def __init__(self) -> None:
        self._home = os.stat("/proc/thread-self/ns/net").st_ino
        self._sockets: list[socket.socket] = []
        self._heard: OrderedDict[Ends, None] = OrderedDict()
        with suppress(OSError):
            for protocol, program in ((_ETH_P_IP, _IPV4), (_ETH_P_IPV6, _IPV6)):
                self._sockets.append(_tap(protocol, program))

    def heard(self, ends: Ends, netns: int) -> bool:
        """Whether the peer has lately sent a TLS alert to our end, in the namespace ``netns``.

        What stays within another namespace is not heard here; the same ends are others then.
        """
        if netns != self._home and within(ends[0], ends[2]):
            return False
        self.poll()
        return ends in self._heard

    def close(self) -> None:
        """Listen no more."""
        while self._sockets:
            self._sockets.pop().close()

    def poll(self) -> None:
        """Take in what came; to be called often enough, since little of it is held for us."""
        for tap in self._sockets:
            with suppress(BlockingIOError, InterruptedError):
                for _ in range(_MOST):
                    self._take(tap.recv(64))

    def _take(self, data: bytes) -> None:
        if len(data) < 44:
            return
        if data[0] >> 4 == 6:
            src, dst, at = data[8:24], data[24:40], 40
        else:
            src, dst, at = data[12:16], data[16:20], 4 * (data[0] & 15)
        sport, dport = struct.unpack_from(">HH", data, at)
        self._heard[dst, dport, src, sport] = None
        self._heard.move_to_end((dst, dport, src, sport))
        if len(self._heard) > _MOST:
            self._heard.popitem(last=False)


def _tap(protocol: int, program: tuple[Instruction, ...]) -> socket.socket:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    try:
        attach_filter(tap, program)
        tap.setblocking(False)
        _bind(tap, protocol)
    except BaseException:
        tap.close()
        raise
    return tap


def _bind(tap: socket.socket, protocol: int) -> None:
    """Bind to every interface, which Python's bind() has no word for (linux/if_packet.h)."""
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(protocol), 0, 0, 0, 0, b"")
    if ctypes.CDLL(None, use_errno=True).bind(tap.fileno(), address, len(address)) != 0:
        raise OSError(ctypes.get_errno(), "bind")
