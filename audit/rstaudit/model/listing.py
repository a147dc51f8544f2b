"""Sockets as `rstaudit sockets` shows them: chosen, grouped, with what each of them will do."""

from __future__ import annotations

import socket
from typing import NamedTuple

from rstaudit.model.facts import Gap
from rstaudit.model.options import SocketOptions
from rstaudit.model.sockets import Owner, Socket

#: Who a socket belongs to: a process; a program that has yet to accept() it; a program that has
#: closed it; somebody who may not be seen from here.
PROCESS, UNACCEPTED, ORPHAN, UNSEEN = "process", "unaccepted", "orphan", "unseen"

_MAPPED = 0xFFFF << 32  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2


class PeerFilter(NamedTuple):
    """Peers whose first ``bits`` bits are those of ``network``; any port where it is None.

    ``network`` is an IPv6 address as a number; IPv4 is mapped into it, so that a connection over
    IPv4 matches whether the program holds it in an IPv4 or an IPv6 socket.
    """

    network: int
    bits: int
    port: int | None

    def accepts(self, address: int, port: int) -> bool:
        """Whether a peer (its address as `address_number` gives it) is one of those."""
        shift = 128 - self.bits
        return address >> shift == self.network >> shift and self.port in (None, port)


class Chosen(NamedTuple):
    """Which sockets to show. Each field that is empty leaves everything in."""

    pids: frozenset[int] = frozenset()
    units: tuple[str, ...] = ()
    states: frozenset[int] = frozenset()
    ports: tuple[range, ...] = ()
    peers: tuple[PeerFilter, ...] = ()

    @property
    def by_process(self) -> bool:
        """Whether only sockets of certain processes are wanted."""
        return bool(self.pids or self.units)

    def accepts_row(self, data: bytes, at: int) -> bool:
        """Whether the packed row at ``at`` has a chosen port and peer."""
        if not (self.ports or self.peers):
            return True
        dport = int.from_bytes(data[at + 6 : at + 8], "big")
        if self.ports:
            sport = int.from_bytes(data[at + 4 : at + 6], "big")
            if not any(sport in ports or dport in ports for ports in self.ports):
                return False
        if not self.peers:
            return True
        address = address_number(data[at], data[at + 24 : at + 40])
        return any(peer.accepts(address, dport) for peer in self.peers)


class Entry(NamedTuple):
    """One socket: its descriptors in the process of its group, the pids of others that hold it.

    ``idle_ms`` is the time without data in either direction, None where the kernel does not tell.
    ``will`` says in words what it is going to do.
    """

    sock: Socket
    fds: tuple[int, ...]
    others: tuple[int, ...]
    options: SocketOptions | None
    idle_ms: int | None
    will: tuple[str, ...]


class Group(NamedTuple):
    """Sockets of one process in one state. ``owner`` of unaccepted ones is who has to accept."""

    holder: str
    owner: Owner | None
    state: str
    entries: tuple[Entry, ...]


class Waiting(NamedTuple):
    """Sockets in TIME_WAIT counted together.

    Of connections that this host opened, by local address and destination. Of those that it
    accepted (``peer`` is None), by local address and port.
    """

    local: str
    peer: str | None
    sockets: int


class Listing(NamedTuple):
    """The answer: groups in order, TIME_WAIT by destination (most first), and what is missing.

    ``total`` counts all sockets of the namespace, chosen or not; ``gaps`` bear on what is shown.
    """

    host: str
    netns: str
    source: str
    kernel: str
    total: int
    groups: tuple[Group, ...]
    time_wait: tuple[Waiting, ...]
    gaps: tuple[Gap, ...]

    @property
    def shown(self) -> int:
        """How many sockets were chosen."""
        waiting = sum(entry.sockets for entry in self.time_wait)
        return waiting + sum(len(group.entries) for group in self.groups)


def address_number(family: int, packed: bytes) -> int:
    """The address in the first 4 (AF_INET) or 16 bytes of ``packed``, as one of IPv6."""
    if family == socket.AF_INET:
        return _MAPPED | int.from_bytes(packed[:4], "big")
    return int.from_bytes(packed[:16], "big")
