"""Socket tables made by hand, from packed rows as the kernel sends them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from itertools import accumulate

from rstaudit.model.options import OptionTable, SocketOptions
from rstaudit.model.sockets import ATTR_INFO, LISTEN, ROW, TIME_WAIT, SocketTable, by_state
from rstaudit.parse.inet_diag import gather


def row(
    state: int,
    src: str,
    sport: int,
    dst: str,
    dport: int,
    *,
    timer: tuple[int, int, int] = (0, 0, 0),
    queues: tuple[int, int] = (0, 0),
    inode: int = 0,
    idle_ms: int | None = None,
    rtt_ms: int = 0,
) -> bytes:
    """One inet_diag_msg. ``timer`` is kind, milliseconds left, retransmits; queues as in ss.

    ``idle_ms`` adds a tcp_info whose last data and last ACK are that long ago, ``rtt_ms`` one
    with that round trip.
    """
    family = socket.AF_INET6 if ":" in src else socket.AF_INET
    kind, left, retransmits = timer
    packed = ROW.pack(
        family, state, kind, retransmits, sport.to_bytes(2, "big"), dport.to_bytes(2, "big"),
        socket.inet_pton(family, src).ljust(16, b"\0"),
        socket.inet_pton(family, dst).ljust(16, b"\0"),
        0, bytes(8), left, *queues, 0, inode,
    )  # fmt: skip
    if idle_ms is None and not rtt_ms:
        return packed
    return packed + _tcp_info(state, idle_ms or 0, rtt_ms)


def _tcp_info(state: int, idle_ms: int, rtt_ms: int) -> bytes:
    """An INET_DIAG_INFO attribute: the first 104 bytes of struct tcp_info (uapi/linux/tcp.h)."""
    words = [0] * 24
    words[9] = words[11] = words[12] = idle_ms  # last_data_sent, last_data_recv, last_ack_recv
    words[15] = rtt_ms * 1000
    info = bytes([state, 0, 0, 0, 0, 1, 0, 0]) + struct.pack("=24I", *words)
    return struct.pack("=HH", 4 + len(info), ATTR_INFO) + info


def listen_row(port: int, *, queue: int = 0, limit: int = 128, inode: int = 0) -> bytes:
    """A listener on every IPv4 address."""
    return row(LISTEN, "0.0.0.0", port, "0.0.0.0", 0, queues=(queue, limit), inode=inode)


def table_of(*rows: bytes, source: str = "sock_diag") -> SocketTable:
    """A table of the given rows, those in TIME_WAIT apart as in a real one."""
    waiting = [row for row in rows if row[1] == TIME_WAIT]
    others = [row for row in rows if row[1] != TIME_WAIT]
    ends = list(accumulate(len(row) for row in others))
    starts = [end - len(row) for end, row in zip(ends, others, strict=True)]
    blob = b"".join(others)
    places = by_state(blob, zip(starts, ends, strict=True))
    return SocketTable(gather(waiting), blob, places, source)


#: A socket on which its program has set nothing.
PLAIN = SocketOptions(
    linger=None, keepalive=False, keepidle=7200, keepintvl=75, keepcnt=9, user_timeout_ms=0,
    linger2=60, send_timeout_ms=0, receive_timeout_ms=0, reuse_address=True, reuse_port=False,
    defer_accept=0, fastopen=0, bind_address_no_port=False,
)  # fmt: skip


def option_table(by_inode: Mapping[int, Mapping[str, object]]) -> OptionTable:
    """What differs from `PLAIN`, by inode, as if all had been read."""
    found = {inode: PLAIN._replace(**changes) for inode, changes in by_inode.items()}  # type: ignore[arg-type] # names and types are SocketOptions'
    return OptionTable(found, len(found), len(found), 0, 0.001)
