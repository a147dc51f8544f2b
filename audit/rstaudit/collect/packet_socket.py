"""Packet sockets: stamps in nanoseconds, and filters that run in the kernel."""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Sequence

_SO_TIMESTAMPNS, _SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 35, 33, 26  # asm-generic/socket.h

#: Room for what `recvmsg` tells beside a packet: its stamp.
ANCILLARY = 64

#: Ancillary data as `socket.recvmsg` gives it: level, kind, bytes.
Ancillary = Sequence[tuple[int, int, bytes]]

#: One instruction of classic BPF (linux/filter.h): code, jump if true, jump if false, operand.
Instruction = tuple[int, int, int, int]


def stamp_packets(tap: socket.socket, buffer_bytes: int) -> None:
    """Let the kernel stamp each packet, and keep up to ``buffer_bytes`` of them (needs root)."""
    tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
    tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def stamp(ancillary: Ancillary) -> int:
    """When a packet passed, in nanoseconds since the epoch; now, where the kernel does not say."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()


def attach_filter(tap: socket.socket, program: Sequence[Instruction]) -> None:
    """From now on the kernel hands over only packets that ``program`` accepts."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    head = struct.pack("@HP", len(program), ctypes.addressof(code))
    tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
