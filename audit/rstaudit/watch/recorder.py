"""The packets around each reset, kept in a pcap file; the others are forgotten soon."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import deque
from contextlib import suppress

from rstaudit.collect.packet_socket import ANCILLARY, attach_filter, stamp, stamp_packets
from rstaudit.model.diagnosis import LiveReset
from rstaudit.model.reset_filter import split

#: Bytes kept of a packet, from the IP header on.
SNAP = 512
#: Packets kept of a connection, and connections kept, until a reset asks for them.
_PACKETS, _FLOWS = 64, 20_000
#: Seconds after a reset in which the packets of its connection are kept too.
_AFTER = 2.0

_ETH_P_ALL = 3
_OUTGOING = 4  # linux/if_packet.h
_BUFFER = 32 << 20

#: pcap with nanoseconds; LINKTYPE_LINUX_SLL2 (draft-ietf-opsawg-pcaplinktype): any interface.
_FILE_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, SNAP + 20, 276)
_RECORD = struct.Struct("<IIII")
_SLL2 = struct.Struct(">HHIHBB8s")

#: Classic BPF (linux/filter.h): TCP over IPv4, or over IPv6 without extension headers; its
#: offsets count from the IP header. 0xfffff000 is SKF_AD_OFF + SKF_AD_PROTOCOL.
_TCP_ONLY = (
    (0x28, 0, 0, 0xFFFFF000),
    (0x15, 0, 2, 0x0800),
    (0x30, 0, 0, 9),
    (0x15, 3, 4, 6),
    (0x15, 0, 3, 0x86DD),
    (0x30, 0, 0, 6),
    (0x15, 0, 1, 6),
    (0x06, 0, 0, SNAP),
    (0x06, 0, 0, 0),
)

#: Both ends, the smaller first: address and port as the packet has them.
_Flow = tuple[bytes, bytes]


class Recorder:
    """Listens on every interface of this network namespace, from `__init__` to the block's end.

    Packets of other namespaces are not seen. At most 64 packets of 512 bytes are held for each
    of 20,000 connections. Raises OSError where the file or the packet socket is refused.
    """

    def __init__(self, path: str) -> None:
        self._file = open(path, "wb", opener=_private)  # noqa: SIM115 - closed in __exit__
        self._held: dict[_Flow, deque[bytes]] = {}
        self._open: dict[_Flow, float] = {}
        try:
            self._file.write(_FILE_HEADER)
            self._socket = _tap()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.poll()
        self._socket.close()
        self._file.close()

    def poll(self) -> None:
        """Take in what the kernel holds; at most what is there now."""
        for _ in range(50_000):
            try:
                data, ancillary, _, address = self._socket.recvmsg(SNAP, ANCILLARY)
            except BlockingIOError:
                break
            except OSError:  # an interface went down: the others go on
                continue
            # what loops back is seen twice, on its way out and in
            if address[2] == _OUTGOING and address[0] == "lo":
                continue
            self._take(data, stamp(ancillary), address)
        self._file.flush()

    def keep(self, reset: LiveReset) -> None:
        """Write what is held of the connection of ``reset``, and what comes in the next 2 s."""
        self.poll()
        flow = _flow(_packed(reset.src), _packed(reset.dst))
        self._open[flow] = time.monotonic() + _AFTER
        for record in self._held.pop(flow, ()):
            self._file.write(record)
        self._file.flush()

    def _take(self, data: bytes, time_ns: int, address: tuple[str, int, int, int, bytes]) -> None:
        flow = _flow_of(data)
        if flow is None:
            return
        name, protocol, kind, hardware, sender = address
        index = _index(name)
        header = _SLL2.pack(protocol, 0, index, hardware, kind, len(sender), sender.ljust(8, b"\0"))
        seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
        length = len(header) + len(data)
        full = len(header) + max(len(data), _full_length(data))
        record = _RECORD.pack(seconds, nanoseconds, length, full) + header + data
        if flow in self._open:
            if time.monotonic() < self._open[flow]:
                self._file.write(record)
                return
            del self._open[flow]
        self._hold(flow, record)

    def _hold(self, flow: _Flow, record: bytes) -> None:
        held = self._held.pop(flow, None)
        if held is None:
            held = deque(maxlen=_PACKETS)
            if len(self._held) >= _FLOWS:
                del self._held[next(iter(self._held))]
        held.append(record)
        self._held[flow] = held


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _tap() -> socket.socket:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    try:
        attach_filter(tap, _TCP_ONLY)
        stamp_packets(tap, _BUFFER)
        tap.setblocking(False)
        _drain(tap)
    except BaseException:
        tap.close()
        raise
    return tap


def _drain(tap: socket.socket) -> None:
    """Forget what came in before the filter was there."""
    with suppress(BlockingIOError):
        while True:
            tap.recv(1)


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _flow_of(data: bytes) -> _Flow | None:
    """The ends of a packet; None for a later fragment and for what is cut too short."""
    version = data[0] >> 4 if data else 0
    if version == 6 and len(data) >= 44:
        return _flow(data[8:24] + data[40:42], data[24:40] + data[42:44])
    at = 4 * (data[0] & 15) if data else 0
    if version != 4 or len(data) < at + 4 or int.from_bytes(data[6:8], "big") & 0x1FFF:
        return None
    return _flow(data[12:16] + data[at : at + 2], data[16:20] + data[at + 2 : at + 4])


def _full_length(data: bytes) -> int:
    if data[0] >> 4 == 6:
        return 40 + int.from_bytes(data[4:6], "big")
    return int.from_bytes(data[2:4], "big")


def _flow(one: bytes, other: bytes) -> _Flow:
    return (one, other) if one < other else (other, one)


def _packed(endpoint: str) -> bytes:
    address, port = split(endpoint)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address) + port.to_bytes(2, "big")
