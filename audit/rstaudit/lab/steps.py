"""Steps that many scenarios share: connections, idle time, filters and forged segments."""

from __future__ import annotations

import secrets
import socket
import time
from typing import NamedTuple

from rstaudit.lab.meet import Pair, exchange, pair
from rstaudit.lab.network import INTERFACE, Lab
from rstaudit.lab.packets import ACK, RST, Segment, write
from rstaudit.lab.parties import TCP_REPAIR, Broken, End, Party
from rstaudit.lab.scenario import Draw

# linux/tcp.h
_TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ = 20, 21
_RECEIVE_QUEUE, _SEND_QUEUE = 1, 2
_REPAIR_ON, _REPAIR_OFF_SILENTLY = 1, -1

MPTCP = 262


class Sequences(NamedTuple):
    """Next sequence number that an end sends, and that it expects."""

    send: int
    receive: int


def speak(ends: Pair, size: int) -> None:
    """A request and an answer, both read to the last byte and acknowledged."""
    exchange(ends.client, ends.server, size)
    exchange(ends.server, ends.client, size)
    time.sleep(0.05)  # the last acknowledgement may be delayed by 40 ms


def talking(lab: Lab, draw: Draw) -> Pair:
    """A connection on which both ends have spoken."""
    ends = pair(lab, draw)
    speak(ends, draw.size)
    return ends


def forward_filter(middle: Party, *rules: str) -> None:
    """Nftables rules on what the middle forwards, for both families; replaces earlier ones."""
    middle.nft(
        "table inet path {}",
        "delete table inet path",
        "add table inet path",
        "add chain inet path forward { type filter hook forward priority 0; }",
        *(f"add rule inet path forward {rule}" for rule in rules),
    )


def cut_towards(middle: Party, interface: str) -> None:
    """The middle drops what goes to its interface ``left`` (client) or ``right`` (server)."""
    forward_filter(middle, f"oifname {interface} drop")


def mend(middle: Party) -> None:
    """Take the forward rules away."""
    middle.nft("delete table inet path")


def sequences(end: End) -> Sequences:
    """Where a live connection stands (TCP_REPAIR, needs root); nothing is sent."""
    tcp, sock = socket.IPPROTO_TCP, end.sock
    found = []
    sock.setsockopt(tcp, TCP_REPAIR, _REPAIR_ON)
    for queue in (_SEND_QUEUE, _RECEIVE_QUEUE):
        sock.setsockopt(tcp, _TCP_REPAIR_QUEUE, queue)
        found.append(sock.getsockopt(tcp, _TCP_QUEUE_SEQ) & 0xFFFFFFFF)
    sock.setsockopt(tcp, TCP_REPAIR, _REPAIR_OFF_SILENTLY)
    return Sequences(*found)


def choose_isn(end: End, sequence: int) -> None:
    """Make an end that is not connected begin at ``sequence``, as a stack of another kind may."""
    tcp, sock = socket.IPPROTO_TCP, end.sock
    sock.setsockopt(tcp, TCP_REPAIR, _REPAIR_ON)
    sock.setsockopt(tcp, _TCP_REPAIR_QUEUE, _SEND_QUEUE)
    sock.setsockopt(tcp, _TCP_QUEUE_SEQ, _signed(sequence))
    sock.setsockopt(tcp, TCP_REPAIR, _REPAIR_OFF_SILENTLY)


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number


def send_raw(party: Party, segment: Segment) -> None:
    """Send a segment from a host, whoever it names as its source."""
    raw = party.raw(segment.family)
    raw.sendto(write(segment), (segment.dst, 0))
    raw.close()


def forged_reset(to: End, offset: int = 0, ttl: int = 118, acknowledge: bool = False) -> Segment:
    """A reset to ``to`` in its peer's name, as a box on the path makes one.

    ``offset`` is added to the sequence number that ``to`` expects. The IP ID is the box's own.
    """
    src, dst, numbers = to.peer, to.name, sequences(to)
    flags, ack = (RST | ACK, numbers.send) if acknowledge else (RST, 0)
    return Segment(
        *(*src, *dst, (numbers.receive + offset) & 0xFFFFFFFF, ack, flags),
        ttl=ttl,
        ip_id=1 + secrets.randbelow(65535),
        dont_fragment=False,
    )


def keepalive(end: End, idle: int = 1, interval: int = 1, probes: int = 3) -> None:
    """Turn keepalive on; times in seconds."""
    end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, idle),
        (socket.TCP_KEEPINTVL, interval),
        (socket.TCP_KEEPCNT, probes),
    ):
        end.sock.setsockopt(socket.IPPROTO_TCP, option, value)


def user_timeout(end: End, seconds: float) -> None:
    """Give unacknowledged data this long (TCP_USER_TIMEOUT)."""
    end.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def spare_address(party: Party, family: int) -> str:
    """Give a host one more address, that no other run has; its peer reaches it by a route."""
    if family == 6:
        address = f"{party.addresses[6].rpartition(':')[0]}:{2 + secrets.randbelow(60000):x}"
        words = [f"{address}/128", "dev", INTERFACE, "nodad"]
    else:
        rest = (192 + secrets.randbelow(64), secrets.randbelow(256), secrets.randbelow(256))
        address = "10.{}.{}.{}".format(*rest)
        words = [f"{address}/32", "dev", INTERFACE]
    party.run("ip", "addr", "add", *words)
    party.aliases.append(address)
    return address


def expect(result: str, wanted: str, what: str) -> None:
    """Raise `Broken` when a call did not return what the scenario needs to go on."""
    if result != wanted:
        raise Broken(f"{what}: {result} instead of {wanted}")
