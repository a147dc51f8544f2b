"""The network of one run: two or three namespaces joined, each with IPv4 and IPv6 addresses."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from rstaudit.lab.capture import ETHERNET, RAW_IP, Tap
from rstaudit.lab.namespaces import Namespace
from rstaudit.lab.parties import Call, Party, wait_until
from rstaudit.lab.wire import Wire

#: The interface of client and server; the middle has ``left`` (client's side) and ``right``.
INTERFACE = "eth0"

_EVERYWHERE = ("0.0.0.0/0", "::/0")

#: ETH_P_802_EX1 (linux/if_ether.h), for experiments; PACKET_OUTGOING (linux/if_packet.h).
_EXPERIMENTAL, _OUTGOING = 0x88B5, 4

_SYSCTLS = {
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    # On a busy machine a FIN is acknowledged late. A tail loss probe sends it again then, is
    # acknowledged again, and a socket that is gone by then answers with a reset.
    "net.ipv4.tcp_early_retrans": 0,
}


class _Link(NamedTuple):
    """The addresses of a link's two ends, by family, with prefix length."""

    near: dict[int, str]
    far: dict[int, str]


class Lab:
    """Client, server and, where there is one, middle and wire of one run.

    ``calls`` are what the ends' calls returned, in order. Closing it ends all of it; so does the
    end of this process.
    """

    def __init__(self, network: str) -> None:
        self.calls: list[Call] = []
        self.on_audit: Callable[[Lab], None] = _nothing
        self.began = time.monotonic()
        self._stack = ExitStack()
        self.wire: Wire | None = None
        self.middle_or_none: Party | None = None
        #: the middle's addresses on the server's side, by family
        self.right: dict[int, str] = {}
        self.link_type = RAW_IP if network == "wire" else ETHERNET
        try:
            self.client = self.add("client")
            self.server = self.add("server")
            _JOINERS[network](self)
            self.taps = {party.name: self._tap(party) for party in (self.client, self.server)}
        except BaseException:
            self.close()
            raise

    @property
    def middle(self) -> Party:
        """The router between the two; only of a ``middle`` network."""
        assert self.middle_or_none is not None, "this network has no middle"
        return self.middle_or_none

    @property
    def parties(self) -> tuple[Party, ...]:
        """All of them, the client first."""
        found = (self.client, self.middle_or_none, self.server)
        return tuple(party for party in found if party is not None)

    def audit(self) -> None:
        """Audit the ends now: what stands open at this moment is what the rules shall see."""
        self.on_audit(self)

    def names(self) -> dict[str, str]:
        """Address -> the end that has it."""
        found = {text: party.name for party in self.parties for text in party.known_as()}
        return found | dict.fromkeys(self.right.values(), "middle")

    def note(self, end: str, call: str, result: str) -> None:
        """Record something that is not a call of an `End`."""
        self.calls.append(Call(end, call, result, time.monotonic() - self.began))

    def on_close(self, action: Callable[[], None]) -> None:
        """Have something done when the lab ends, before what was made earlier ends."""
        self._stack.callback(action)

    def close(self) -> None:
        """End it all: sockets, children, wire, namespaces."""
        self._stack.close()

    def add(self, name: str) -> Party:
        """A new host that nothing is joined to yet."""
        space = Namespace()
        self._stack.callback(space.close)
        party = Party(name, space, self.note)
        self._stack.callback(party.close)
        for key, value in _SYSCTLS.items():
            space.set_sysctl(key, value)
        return party

    def _tap(self, party: Party) -> Tap:
        tap = Tap(party.space, INTERFACE, self.link_type)
        self._stack.callback(tap.close)
        return tap


def _join_directly(lab: Lab) -> None:
    _veth(lab.client, INTERFACE, lab.server, INTERFACE, _link())
    _await_traffic((lab.client, INTERFACE), (lab.server, INTERFACE))


def _join_by_wire(lab: Lab) -> None:
    lab.wire = Wire(lab.client.space, lab.server.space, INTERFACE)
    lab.on_close(lab.wire.close)
    link = _link()
    for party, addresses in ((lab.client, link.near), (lab.server, link.far)):
        _address(party, INTERFACE, addresses)
        _ip(party, [f"route add {every} dev {INTERFACE}" for every in _EVERYWHERE])


def _join_by_router(lab: Lab) -> None:
    middle = lab.middle_or_none = lab.add("middle")
    left, right = _link(), _link()
    _veth(lab.client, INTERFACE, middle, "left", left)
    _veth(lab.server, INTERFACE, middle, "right", right)
    middle.space.set_sysctl("net.ipv4.ip_forward", 1)
    middle.space.set_sysctl("net.ipv6.conf.all.forwarding", 1)
    lab.right = middle.addresses
    middle.addresses = {family: _bare(text) for family, text in left.far.items()}
    for party, link in ((lab.client, left), (lab.server, right)):
        gateways = (_bare(link.far[4]), _bare(link.far[6]))
        pairs = zip(_EVERYWHERE, gateways, strict=True)
        _ip(party, [f"route add {every} via {gateway}" for every, gateway in pairs])
    _await_traffic((lab.client, INTERFACE), (middle, "left"))
    _await_traffic((lab.server, INTERFACE), (middle, "right"))


_JOINERS: dict[str, Callable[[Lab], None]] = {
    "direct": _join_directly,
    "wire": _join_by_wire,
    "middle": _join_by_router,
}


def _nothing(_: Lab) -> None:
    """Nobody audits."""


def _link() -> _Link:
    """Addresses that no other run has: of 2**21 IPv4 and 2**40 IPv6 networks one at random."""
    a, b, c = 64 + secrets.randbelow(64), secrets.randbelow(256), secrets.randbelow(64) * 4
    block = ":".join(f"{secrets.randbelow(1 << 16):x}" for _ in range(3))
    four = (f"10.{a}.{b}.{c + 1}/30", f"10.{a}.{b}.{c + 2}/30")
    six = tuple(f"{_canonical(f'fd52:{block}::{end}')}/64" for end in (1, 2))
    return _Link({4: four[0], 6: six[0]}, {4: four[1], 6: six[1]})


def _veth(near: Party, near_name: str, far: Party, far_name: str, link: _Link) -> None:
    pair = f"link add {near_name} type veth peer name {far_name} netns {far.space.pid}"
    _ip(near, [pair])
    _address(far, far_name, link.far)
    _address(near, near_name, link.near)


def _address(party: Party, interface: str, addresses: dict[int, str]) -> None:
    """Give an interface its addresses and raise it."""
    party.addresses = {family: _bare(text) for family, text in addresses.items()}
    _ip(
        party,
        [
            f"addr add {addresses[4]} dev {interface}",
            f"addr add {addresses[6]} dev {interface} nodad",
            f"link set {interface} gso_max_segs 1 up",
        ],
    )


def _ip(party: Party, lines: list[str]) -> None:
    party.space.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")


def _canonical(address: str) -> str:
    """As everybody else prints it: of two ways to shorten zeros always the same."""
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))


def _await_traffic(near: tuple[Party, str], far: tuple[Party, str]) -> None:
    """Wait until frames pass both ways.

    An interface that was raised before its other end drops what it is given until the kernel has
    seen the carrier, up to a second later; a first SYN would be repeated.
    """
    with _probe(*near) as one, _probe(*far) as other:
        for sender, receiver in ((one, other), (other, one)):
            wait_until(lambda a=sender, b=receiver: _passes(a, b), "frames pass")  # type: ignore[misc]  # the pair of this round


def _probe(party: Party, interface: str) -> socket.socket:
    with party.space.inside():
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EXPERIMENTAL))
    made.bind((interface, _EXPERIMENTAL))
    made.setblocking(False)
    return made


def _passes(sender: socket.socket, receiver: socket.socket) -> bool:
    sender.send(b"\xff" * 6 + bytes(6) + struct.pack("!H", _EXPERIMENTAL) + bytes(46))
    try:
        while receiver.recvfrom(64)[1][2] == _OUTGOING:
            pass
    except BlockingIOError:
        return False
    return True


def _bare(address: str) -> str:
    return address.partition("/")[0]
