"""The ends: real sockets in a namespace, their calls recorded with what they returned."""

from __future__ import annotations

import ctypes
import errno
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple, TypeVar

from rstaudit.lab.namespaces import FORKING, Namespace, dismiss, spawn

# linux/tcp.h; Python's socket module has no names for these
TCP_LINGER2, TCP_REPAIR = 8, 19
#: include/net/tcp.h
CLOSED, ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT = 7, 1, 2, 4, 5, 8

#: Seconds that a call may take before the scenario counts as broken.
PATIENCE = 15.0

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_LIBC = ctypes.CDLL(None, use_errno=True)

Address = tuple[str, int]
T = TypeVar("T")


class Call(NamedTuple):
    """A call and what it returned: ``ok``, an errno name, ``12 bytes`` or ``0 (end of file)``.

    ``end`` is ``client``, ``server`` or ``middle``; ``time`` seconds since the run began.
    """

    end: str
    call: str
    result: str
    time: float


Note = Callable[[str, str, str], None]


class Broken(Exception):  # noqa: N818 - reads as what happened
    """Something that a scenario waits for did not happen: it stages nothing."""


class Party:
    """One of the hosts: makes sockets and processes in its namespace.

    All its calls are made by one thread that lives in the namespace, as a program of that host
    would. ``addresses`` are its own by family; of the middle those that the client sees.
    """

    def __init__(self, name: str, space: Namespace, note: Note) -> None:
        self.name = name
        self.space = space
        self.note = note
        self.addresses: dict[int, str] = {}
        #: further addresses by which its resets are known as its own
        self.aliases: list[str] = []
        self._ends: list[End] = []
        self._children: list[Child] = []
        self._thread = ThreadPoolExecutor(1, f"lab {name}", space.enter)

    def act(self, action: Callable[[], T]) -> T:
        """What ``action`` returns, done by this party's thread in its namespace."""
        return self._thread.submit(action).result()

    def tcp(self, family: int, protocol: int = 0) -> End:
        """A TCP socket (or MPTCP, protocol 262), neither bound nor connected."""
        kind = _FAMILIES[family], socket.SOCK_STREAM, protocol
        return self._kept(self.act(lambda: socket.socket(*kind)))

    def known_as(self) -> list[str]:
        """All its addresses."""
        return [*self.addresses.values(), *self.aliases]

    def raw(self, family: int) -> socket.socket:
        """A raw socket that sends whole IP packets as they are, whatever their source."""
        kind = _FAMILIES[family], socket.SOCK_RAW, socket.IPPROTO_RAW
        made = self.act(lambda: socket.socket(*kind))
        self._kept(made)
        return made

    def listen(self, family: int, port: int, backlog: int = 16, protocol: int = 0) -> End:
        """A listener on every address of a family, SO_REUSEADDR set."""
        end = self.tcp(family, protocol)
        end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        end.sock.bind(("::" if family == 6 else "0.0.0.0", port))
        self.act(lambda: end.sock.listen(backlog))
        return end

    def connect(self, to: Address, protocol: int = 0) -> End:
        """A socket connected to an address; raises `Broken` when that fails."""
        end = self.tcp(6 if ":" in to[0] else 4, protocol)
        if (result := end.connect(to)) != "ok":
            raise Broken(f"connect to {to[0]} port {to[1]}: {result}")
        return end

    def set_sysctl(self, key: str, value: object) -> None:
        """Set a kernel setting of this host."""
        self.space.set_sysctl(key, value)

    def run(self, *command: str, stdin: str | None = None) -> str:
        """The output of a command on this host; raises `namespaces.CommandFailed`."""
        return self.space.run(*command, stdin=stdin)

    def nft(self, *lines: str) -> None:
        """Run nftables commands on this host."""
        self.run("nft", "-f", "-", stdin="\n".join(lines) + "\n")

    def counter(self, name: str) -> int:
        """A counter of this host by the name nstat gives it (``TcpExtListenOverflows``)."""
        return self.counters()[name]

    def counters(self, joint: str = "") -> dict[str, int]:
        """Every counter of snmp and netstat by table, ``joint`` and name; nstat's is empty."""
        found: dict[str, int] = {}
        with self.space.inside():
            for table in ("snmp", "netstat"):
                with open(f"/proc/thread-self/net/{table}", encoding="ascii") as file:
                    lines = [line.split() for line in file]
                for names, values in zip(lines[::2], lines[1::2], strict=True):
                    prefix = names[0].rstrip(":") + joint
                    pairs = zip(names[1:], values[1:], strict=True)
                    found.update((prefix + name, int(value)) for name, value in pairs)
        return found

    def hand_to_process(self, *ends: End) -> Child:
        """A process that holds these sockets; ours are closed, the connections stay open."""
        numbers = [end.sock.fileno() for end in ends]

        def hand_over() -> subprocess.Popen[bytes]:
            with FORKING:
                process = spawn("cat", hand_over=numbers)
                for end in ends:
                    end.sock.close()
                return process

        child = Child(self, self.act(hand_over))
        self._children.append(child)
        return child

    def close(self) -> None:
        """End its processes and close its sockets."""
        for child in self._children:
            child.end()
        for end in self._ends:
            end.sock.close()
        self._thread.shutdown()

    def adopt(self, sock: socket.socket) -> End:
        """An `End` for a socket that was made elsewhere."""
        return self._kept(sock)

    def _kept(self, sock: socket.socket) -> End:
        sock.settimeout(PATIENCE)
        end = End(self, sock)
        self._ends.append(end)
        return end


class Child:
    """A process of a party that holds sockets."""

    def __init__(self, party: Party, process: subprocess.Popen[bytes]) -> None:
        self._party = party
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._party.note(self._party.name, "process", "killed (SIGKILL)")

    def end(self) -> None:
        """Be gone, whatever it did before."""
        if self._process.poll() is None:
            self._process.kill()
        dismiss(self._process)


class End:
    """A socket; every call here is recorded, and returns what the kernel said in words.

    What `Call.result` holds: ``ok``, an errno name, ``12 bytes``, ``0 (end of file)``.
    """

    def __init__(self, party: Party, sock: socket.socket) -> None:
        self.party = party
        self.sock = sock

    @property
    def name(self) -> Address:
        """Its own address and port."""
        found: Address = self.sock.getsockname()[:2]
        return found

    @property
    def peer(self) -> Address:
        """The address and port it is connected to."""
        found: Address = self.sock.getpeername()[:2]
        return found

    def bind(self, address: Address) -> str:
        """Give it an address of its own."""
        return self._said("bind", lambda: self.sock.bind(address))

    def connect(self, to: Address) -> str:
        """Connect to an address."""
        return self._said("connect", lambda: self.sock.connect(to))

    def accept(self) -> End:
        """Take the next connection; raises `Broken` when nobody comes."""
        try:
            taken, _ = self.party.act(self.sock.accept)
        except TimeoutError:
            raise Broken("nobody connected") from None
        self._note("accept", "ok")
        return self.party.adopt(taken)

    def send(self, data: bytes) -> str:
        """Write all of it."""
        return self._said(f"send {len(data)} bytes", lambda: self.sock.sendall(data))

    def recv(self, size: int = 65536) -> str:
        """Read once: ``12 bytes``, ``0 (end of file)`` or an errno name."""
        return self._said("recv", lambda: self.sock.recv(size))

    def read_exactly(self, size: int) -> None:
        """Read ``size`` bytes; raises `Broken` when fewer come."""
        left = size
        while left:
            try:
                data = self.party.act(lambda: self.sock.recv(left))  # noqa: B023 - called at once
            except OSError as error:
                raise Broken(f"{self.party.name} recv: {_name(error)}") from None
            if not data:
                raise Broken(f"{self.party.name} recv: end of file after {size - left} bytes")
            left -= len(data)
        self._note("recv", f"{size} bytes")

    def read_to_end(self) -> str:
        """Read until the end of file or an error; returns the last result."""
        while (result := self.recv()).endswith("bytes"):
            pass
        return result

    def shutdown(self, how: int = socket.SHUT_WR) -> str:
        """End one direction, that of sending unless told otherwise."""
        names = {
            socket.SHUT_RD: "SHUT_RD",
            socket.SHUT_WR: "SHUT_WR",
            socket.SHUT_RDWR: "SHUT_RDWR",
        }
        return self._said(f"shutdown {names[how]}", lambda: self.sock.shutdown(how))

    def close(self) -> str:
        """Let go of it."""
        return self._said("close", self._close)

    def linger(self, seconds: int) -> None:
        """Set SO_LINGER {1, seconds}."""
        value = struct.pack("ii", 1, seconds)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)
        self._note(f"setsockopt SO_LINGER {{1, {seconds}}}", "ok")

    def _close(self) -> None:
        with FORKING:  # or a process that is just being started keeps the socket for a moment
            self.sock.close()

    def abort(self) -> str:
        """Let go of it with SO_LINGER {1, 0}."""
        self.linger(0)
        return self.close()

    def option(self, name: int, value: int) -> None:
        """Set a TCP option by its number."""
        self.sock.setsockopt(socket.IPPROTO_TCP, name, value)

    def disconnect(self) -> str:
        """Connect to AF_UNSPEC, which Python's own connect cannot say."""

        def call() -> None:
            unspecified = struct.pack("H14x", socket.AF_UNSPEC)
            if _LIBC.connect(self.sock.fileno(), unspecified, len(unspecified)) != 0:
                number = ctypes.get_errno()
                raise OSError(number, "connect")

        return self._said("connect AF_UNSPEC", call)

    def vanish(self) -> None:
        """Lose the connection without a packet, as a host that loses power does."""
        self.sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        self.party.act(self.sock.close)

    def state(self) -> int:
        """The TCP state (TCP_INFO), 7 when there is none any more."""
        return int(self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])

    def wait_state(self, *states: int, seconds: float = PATIENCE) -> None:
        """Wait until it is in one of ``states``; raises `Broken`."""
        wait_until(lambda: self.state() in states, f"{self.party.name} in state {states}", seconds)

    def wait_over(self, seconds: float = PATIENCE) -> None:
        """Wait until the connection is gone (reset or timed out), and take no error."""
        self._poll(0, seconds)

    def wait_peer_closed(self, seconds: float = PATIENCE) -> None:
        """Wait for the peer's FIN (or the end)."""
        self._poll(select.POLLRDHUP, seconds)

    def unread(self) -> int:
        """Bytes that can be read now."""
        import fcntl
        import termios

        return int.from_bytes(fcntl.ioctl(self.sock, termios.FIONREAD, bytes(4)), "little")

    def wait_unread(self, size: int, seconds: float = PATIENCE) -> None:
        """Wait until at least ``size`` bytes can be read; raises `Broken`."""
        wait_until(lambda: self.unread() >= size, f"{size} bytes at {self.party.name}", seconds)

    def _poll(self, events: int, seconds: float) -> None:
        poll = select.poll()
        poll.register(self.sock, events)
        if not poll.poll(seconds * 1000):
            raise Broken(f"{self.party.name}: nothing came in {seconds:g} s")

    def _said(self, call: str, action: Callable[[], object]) -> str:
        try:
            value = self.party.act(action)
        except OSError as error:
            result = _name(error)
        else:
            result = _words(value)
        self._note(call, result)
        return result

    def _note(self, call: str, result: str) -> None:
        self.party.note(self.party.name, call, result)


def wait_until(true: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for something to become true; raises `Broken` with ``what``."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise Broken(f"{what}: not within {seconds:g} s")
        time.sleep(0.002)


def _words(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes" if value else "0 (end of file)"
    return "ok"


def _name(error: OSError) -> str:
    if error.errno is None:  # Python's own timeout: the kernel has said nothing yet
        return "no answer"
    with suppress(KeyError):
        return errno.errorcode[error.errno]
    return str(error.errno)
