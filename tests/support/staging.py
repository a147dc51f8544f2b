"""Ends of real connections, and the ways to end them, for tests in a namespace of their own."""

from __future__ import annotations

import array
import ctypes
import errno
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support import netns

# linux/tcp.h; Python's socket module has no names for these
TCP_LINGER2, TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 8, 19, 20, 21
REPAIR_ON, REPAIR_OFF_SILENTLY = 1, -1
RECEIVE_QUEUE, SEND_QUEUE = 1, 2
MPTCP = 262

_LIBC = ctypes.CDLL(None, use_errno=True)

#: A call and what it returned: errno name, ``ok``, ``data`` or ``0 (end of file)``.
Call = tuple[str, str]


_OPEN: list[socket.socket] = []


def kept(end: socket.socket) -> socket.socket:
    """``end``, closed by `close_all` if nothing closes it before."""
    _OPEN.append(end)
    return end


def close_all() -> None:
    """Close every socket made here; for the end of a test, however it ended."""
    while _OPEN:
        _OPEN.pop().close()


def tcp(protocol: int = 0) -> socket.socket:
    """A TCP (or MPTCP) socket that is not connected."""
    return kept(socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol))


def listener(backlog: int = 16) -> socket.socket:
    """A listener on loopback."""
    return kept(netns.listener(backlog))


def accepted() -> tuple[socket.socket, socket.socket, socket.socket]:
    """A listener that stays, a client and the accepted end."""
    server = listener()
    client, end = netns.connected(server)
    return server, kept(client), kept(end)


def pair(protocol: int = 0) -> tuple[socket.socket, socket.socket]:
    """A client and the accepted end of its connection; nobody listens any more."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client = tcp(protocol)
        client.connect(server.getsockname())
        return client, kept(server.accept()[0])


def name(error: OSError) -> str:
    """The errno name of an error; a timeout of the test's own is a failure of the test."""
    assert error.errno is not None, "nothing happened in time"
    return errno.errorcode[error.errno]


def read(end: socket.socket, seconds: float = 10.0) -> str:
    """What a read on ``end`` returns."""
    end.settimeout(seconds)
    try:
        return "data" if end.recv(65536) else "0 (end of file)"
    except OSError as error:
        return name(error)


def write(end: socket.socket) -> str:
    """What a write on ``end`` returns."""
    end.settimeout(10.0)
    try:
        end.send(b"x")
    except OSError as error:
        return name(error)
    return "ok"


def connect(end: socket.socket, address: tuple[str, int]) -> str:
    """What a connect of ``end`` returns."""
    try:
        end.connect(address)
    except OSError as error:
        return name(error)
    return "ok"


def calls(end: socket.socket, *kinds: str) -> list[Call]:
    """Make these calls (``read`` or ``write``) one after the other on a connection that is over."""
    over(end)
    return [(kind, read(end) if kind == "read" else write(end)) for kind in kinds]


def over(end: socket.socket) -> None:
    """Wait until ``end`` knows that the connection is gone; takes no error from it."""
    poll = select.poll()
    poll.register(end, 0)
    assert poll.poll(10_000), "the connection did not end"


def closing(end: socket.socket) -> None:
    """Wait until the peer's FIN is here."""
    poll = select.poll()
    poll.register(end, select.POLLRDHUP)
    assert poll.poll(10_000), "no FIN came"


def abort(end: socket.socket) -> None:
    """Close with SO_LINGER {1, 0}."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def vanish(end: socket.socket) -> None:
    """Make the socket disappear without a packet, as a crash of its host does."""
    end.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
    end.close()


def disconnect(end: socket.socket) -> None:
    """connect(2) with AF_UNSPEC, which Python's own connect cannot say."""
    unspecified = struct.pack("H14x", socket.AF_UNSPEC)
    assert _LIBC.connect(end.fileno(), unspecified, len(unspecified)) == 0


@contextmanager
def packet_filter(*rules: str) -> Iterator[None]:
    """These nftables rules on input, for the time of the block."""
    run("nft", "add table ip staged")
    try:
        run("nft", "add chain ip staged input { type filter hook input priority 0; }")
        for rule in rules:
            run("nft", f"add rule ip staged input {rule}")
        yield
    finally:
        run("nft", "delete table ip staged")


def run(*command: str) -> None:
    """Run a command to its end; its words on failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def port(end: socket.socket) -> int:
    """The local port of ``end``."""
    number: int = end.getsockname()[1]
    return number


def forge(end: socket.socket, payload: bytes = b"") -> None:
    """Send ``end`` a reset in the name of its peer, as a box on the path would."""
    sequence = _sequence(end, RECEIVE_QUEUE)
    _send_reset(end.getpeername(), end.getsockname(), sequence, None, payload)


def forge_refusal(end: socket.socket, target: tuple[str, int]) -> None:
    """Answer the SYN that ``end`` has sent to ``target`` with a forged reset."""
    _send_reset(target, end.getsockname(), 0, _sequence(end, SEND_QUEUE), b"")


def _sequence(end: socket.socket, which: int) -> int:
    """The next sequence number of one direction (TCP_REPAIR, needs root)."""
    tcp = socket.IPPROTO_TCP
    end.setsockopt(tcp, TCP_REPAIR, REPAIR_ON)
    end.setsockopt(tcp, TCP_REPAIR_QUEUE, which)
    number = end.getsockopt(tcp, TCP_QUEUE_SEQ)
    end.setsockopt(tcp, TCP_REPAIR, REPAIR_OFF_SILENTLY)
    return number & 0xFFFFFFFF


def _send_reset(
    source: tuple[str, int],
    target: tuple[str, int],
    sequence: int,
    acknowledge: int | None,
    payload: bytes,
) -> None:
    flags = 0x04 if acknowledge is None else 0x14
    ports = (source[1], target[1])
    fields = (*ports, sequence, acknowledge or 0, 5 << 4, flags, 0, 0, 0)
    segment = struct.pack("!HHIIBBHHH", *fields) + payload
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    pseudo = addresses + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(segment))
    checksum = struct.pack("=H", _checksum(pseudo + segment))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.bind((source[0], 0))
        raw.sendto(segment[:16] + checksum + segment[18:], (target[0], 0))


def _checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    total = sum(array.array("H", data + b"\0" * (len(data) % 2)))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def sockets_in(state: str) -> list[str]:
    """The rows of /proc/net/tcp in a state (hexadecimal)."""
    rows = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    return [row for row in rows if row.split()[3] == state]


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that the kernel's timers bring about."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
