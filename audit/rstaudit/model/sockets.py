"""The socket table, kept as the packed rows the kernel sent; decoded only where looked at."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

# include/net/tcp_states.h
ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT = 1, 2, 3, 4, 5, 6
CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING, NEW_SYN_RECV = 7, 8, 9, 10, 11, 12

STATE_NAMES: Mapping[int, str] = {
    ESTABLISHED: "ESTABLISHED", SYN_SENT: "SYN_SENT", SYN_RECV: "SYN_RECV",
    FIN_WAIT1: "FIN_WAIT1", FIN_WAIT2: "FIN_WAIT2", TIME_WAIT: "TIME_WAIT", CLOSE: "CLOSE",
    CLOSE_WAIT: "CLOSE_WAIT", LAST_ACK: "LAST_ACK", LISTEN: "LISTEN", CLOSING: "CLOSING",
    NEW_SYN_RECV: "SYN_RECV",
}  # fmt: skip

# idiag_timer of struct inet_diag_msg (net/ipv4/inet_diag.c)
TIMER_NONE, TIMER_RETRANSMIT, TIMER_KEEPALIVE, TIMER_TIME_WAIT, TIMER_PROBE0 = 0, 1, 2, 3, 4

#: struct inet_diag_msg (include/uapi/linux/inet_diag.h): 72 bytes, ports and addresses big-endian.
ROW = struct.Struct("=BBBB2s2s16s16sI8sIIIII")
ROW_SIZE = ROW.size

# attributes of an inet_diag response (include/uapi/linux/inet_diag.h)
ATTR_INFO, ATTR_SKMEMINFO, ATTR_CGROUP_ID, ATTR_SOCKOPT = 2, 7, 21, 22


class TcpInfo(NamedTuple):
    """The part of struct tcp_info (include/uapi/linux/tcp.h) that rules look at.

    Times in milliseconds unless the name says otherwise.
    """

    state: int
    retransmits: int
    probes: int
    backoff: int
    timestamps: bool
    rto_us: int
    unacked: int
    last_data_sent: int
    last_data_recv: int
    last_ack_recv: int
    rtt_us: int
    total_retrans: int


class Memory(NamedTuple):
    """Socket memory in bytes (include/uapi/linux/sock_diag.h, SK_MEMINFO_*); drops is a count."""

    rmem_alloc: int
    rcvbuf: int
    wmem_queued: int
    sndbuf: int
    drops: int


class Socket(NamedTuple):
    """One decoded row. ``rqueue``/``wqueue`` are bytes, or for LISTEN queue length and limit.

    ``expires_ms`` belongs to ``timer``. ``cgroup``, ``info`` and ``memory`` are None unless asked
    for, and for minisockets, old kernels and `/proc/net/tcp`; so is ``bind_address_no_port``, the
    one socket option that sock_diag tells (kernels from 5.10).
    """

    family: int
    state: int
    timer: int
    retransmits: int
    sport: int
    dport: int
    src: str
    dst: str
    interface: int
    expires_ms: int
    rqueue: int
    wqueue: int
    uid: int
    inode: int
    cookie: int
    cgroup: int | None
    info: TcpInfo | None
    memory: Memory | None
    bind_address_no_port: bool | None = None

    @property
    def local(self) -> str:
        """``192.0.2.1:80`` or ``[2001:db8::1]:80``."""
        return endpoint(self.src, self.sport)

    @property
    def peer(self) -> str:
        """As `local`, of the other end."""
        return endpoint(self.dst, self.dport)


class Owner(NamedTuple):
    """A process that holds a socket. ``user`` is the name in /etc/passwd, else the number.

    ``exe`` is None where it may not be read, ``cmdline`` unless it was asked for: command lines
    carry secrets. ``unit`` is systemd's name, ``container`` is ``kind:id``
    (`rstaudit.parse.cgroup`).
    """

    pid: int
    comm: str
    user: str
    exe: str | None = None
    cmdline: str | None = None
    unit: str | None = None
    container: str | None = None


class Chunk(NamedTuple):
    """Rows of equal length: row ``i`` is ``data[i*stride + offset:][:72]``."""

    data: bytes
    stride: int
    offset: int


class Run(NamedTuple):
    """Rows of one state in a blob: where they begin, and how long each message goes on."""

    starts: range
    length: int


class SocketTable:
    """All TCP sockets of a network namespace.

    ``time_wait`` are chunks of rows in state TIME_WAIT, which come by the hundred thousand and
    carry nothing beyond their row. Every other socket is a whole message in ``blob``, found by
    its state in ``runs``. ``source`` is ``sock_diag`` or ``procfs``; the latter knows no
    listener limits, no tcp_info.
    """

    def __init__(
        self,
        time_wait: Iterable[Chunk] = (),
        blob: bytes = b"",
        runs: Mapping[int, Sequence[Run]] | None = None,
        source: str = "sock_diag",
    ) -> None:
        self.time_wait = tuple(time_wait)
        self.blob = blob
        self._runs = runs or {}
        self.source = source

    def __len__(self) -> int:
        return self.time_wait_count + sum(map(self.count, self._runs))

    @property
    def time_wait_count(self) -> int:
        """How many sockets are in TIME_WAIT."""
        return sum(len(chunk.data) // chunk.stride for chunk in self.time_wait)

    def count(self, state: int) -> int:
        """How many sockets are in ``state`` (not TIME_WAIT)."""
        return sum(len(run.starts) for run in self._runs.get(state, ()))

    def count_by_state(self) -> dict[str, int]:
        """Sockets by state name; states with none are left out."""
        counts = {"TIME_WAIT": self.time_wait_count} if self.time_wait_count else {}
        for state in self._runs:
            name = STATE_NAMES.get(state, f"state {state}")
            counts[name] = counts.get(name, 0) + self.count(state)
        return counts

    def places(self, *states: int) -> Iterator[tuple[int, int]]:
        """Where in ``blob`` the rows in ``states`` (never TIME_WAIT) begin and their messages end.

        For rules that look at a byte or two of every row before they decode any.
        """
        for state in states:
            for starts, length in self._runs.get(state, ()):
                for start in starts:
                    yield start, start + length

    @cached_property
    def families(self) -> Mapping[int, int]:
        """Address family by inode, of every socket that a descriptor may point to."""
        blob = self.blob
        found: dict[int, int] = {}
        for starts, _ in (run for runs in self._runs.values() for run in runs):
            step = starts.step if len(starts) > 1 else ROW_SIZE
            rows = blob[starts[0] : starts[-1] + ROW_SIZE]
            inodes = memoryview(rows).cast("I")[_INODE_WORD :: step // 4]
            found.update(zip(inodes.tolist(), rows[::step], strict=True))
        found.pop(0, None)  # in nobody's hands
        return found

    def select(self, *states: int, details: bool = False) -> Iterator[Socket]:
        """Decode the sockets in ``states`` (never TIME_WAIT); ``details`` adds their attributes."""
        for start, end in self.places(*states):
            yield decode(self.blob, start, end, details=details)


def by_state(blob: bytes, spans: Iterable[tuple[int, int]]) -> dict[int, list[Run]]:
    """Single rows, given by begin and end of their messages, as runs by the state they hold."""
    runs: dict[int, list[Run]] = {}
    for start, end in spans:
        run = Run(range(start, start + 1), end - start)
        runs.setdefault(blob[start + 1], []).append(run)
    return runs


def endpoint(address: str, port: int) -> str:
    """``192.0.2.1:80`` or ``[2001:db8::1]:80``."""
    return f"{bracket(address)}:{port}"


def bracket(address: str) -> str:
    """An IPv6 address in brackets, an IPv4 one as it is."""
    return f"[{address}]" if ":" in address else address


def address_text(family: int, packed: bytes) -> str:
    """The address in the first 4 (AF_INET) or 16 bytes of ``packed``."""
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, packed[:4])
    return socket.inet_ntop(socket.AF_INET6, packed[:16])


def attributes(blob: bytes, start: int, end: int) -> dict[int, bytes]:
    """The netlink attributes of ``blob[start:end]`` by type; stops at the first absurd length."""
    found: dict[int, bytes] = {}
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(blob, start)
        if length < 4 or start + length > end:
            break
        found[kind & 0x3FFF] = blob[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def idle_ms(blob: bytes, start: int, end: int) -> int:
    """Milliseconds without data in either direction, of the row at ``start``; 0 without tcp_info.

    A short cut for rules that ask this of every connection: decoding costs ten times as much.
    """
    at = start + ROW_SIZE
    while at + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(blob, at)
        if kind == ATTR_INFO and length >= 108 and at + length <= end:
            sent: int
            received: int
            sent, received = _LAST_DATA.unpack_from(blob, at + 4)
            return min(sent, received)
        if length < 4:
            break
        at += (length + 3) & ~3
    return 0


def is_loopback(address: str) -> bool:
    """Whether an address as `address_text` writes it never leaves the host."""
    return address.startswith(("127.", "::ffff:127.")) or address == "::1"


def decode(blob: bytes, offset: int, end: int, *, details: bool = False) -> Socket:
    """The row at ``offset``; with ``details`` its attributes up to ``end`` as well."""
    (
        family, state, timer, retransmits, sport, dport, src, dst, interface, cookie,
        expires, rqueue, wqueue, uid, inode,
    ) = ROW.unpack_from(blob, offset)  # fmt: skip
    found = attributes(blob, offset + ROW_SIZE, end) if details else {}
    return Socket(
        family, state, timer, retransmits,
        int.from_bytes(sport, "big"), int.from_bytes(dport, "big"),
        address_text(family, src), address_text(family, dst), interface,
        expires, rqueue, wqueue, uid, inode, int.from_bytes(cookie, sys.byteorder),
        _number(found.get(ATTR_CGROUP_ID)), _tcp_info(found.get(ATTR_INFO)),
        _memory(found.get(ATTR_SKMEMINFO)), _bind_no_port(found.get(ATTR_SOCKOPT)),
    )  # fmt: skip


_ATTRIBUTE = struct.Struct("=HH")
_LAST_DATA = struct.Struct("=44xI4xI")  # tcpi_last_data_sent, tcpi_last_data_recv
_SKMEMINFO = struct.Struct("=9I")
_INODE_WORD = 17  # of the eighteen 32-bit words of a row, the last
_FIRST_BIT = 1 if sys.byteorder == "little" else 0x80


def _number(raw: bytes | None) -> int | None:
    return int.from_bytes(raw, sys.byteorder) if raw else None


def _bind_no_port(raw: bytes | None) -> bool | None:
    """The first bit of the second byte of struct inet_diag_sockopt, as the compiler lays it."""
    return bool(raw[1] & _FIRST_BIT) if raw and len(raw) > 1 else None


def _tcp_info(raw: bytes | None) -> TcpInfo | None:
    if raw is None or len(raw) < 104:
        return None
    state, _, retransmits, probes, backoff, options = raw[:6]
    words = struct.unpack_from("=24I", raw, 8)
    return TcpInfo(
        state, retransmits, probes, backoff, bool(options & 1), words[0], words[4],
        words[9], words[11], words[12], words[15], words[23],
    )  # fmt: skip


def _memory(raw: bytes | None) -> Memory | None:
    if raw is None or len(raw) < _SKMEMINFO.size:
        return None
    rmem, rcvbuf, _, sndbuf, _, wmem_queued, _, _, drops = _SKMEMINFO.unpack_from(raw)
    return Memory(rmem, rcvbuf, wmem_queued, sndbuf, drops)
