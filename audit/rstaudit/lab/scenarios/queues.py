"""Accept queues and SYN queues that are full."""

from __future__ import annotations

import secrets
import time

from rstaudit.lab import packets
from rstaudit.lab.meet import part, talked, target
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import End, wait_until
from rstaudit.lab.scenario import Draw, Scenario, both, from_to

_BACKLOG = 4
_ROOM = _BACKLOG + 1  # net/core: full means more than the backlog
_AT_ONCE = 4


def _fill(lab: Lab, draw: Draw, count: int, backlog: int = _BACKLOG) -> End:
    """A listener with ``count`` connections that nobody accepts."""
    listener = lab.server.listen(draw.family, draw.port, backlog)
    for _ in range(count):
        lab.client.connect(target(lab, draw))
    return listener


def _rush(lab: Lab, draw: Draw) -> list[End]:
    """Several connects at once over a slow path: all SYNs find room, not all final ACKs do."""
    assert lab.wire is not None
    lab.wire.delay("server", 0.1)
    ends = [lab.client.tcp(draw.family) for _ in range(_AT_ONCE)]
    for end in ends:
        end.sock.setblocking(False)
        end.connect(target(lab, draw))
    time.sleep(0.15)
    return ends


def _overflow(lab: Lab, draw: Draw) -> None:
    """tcp_abort_on_overflow: who finds no room at its final ACK is reset."""
    lab.server.set_sysctl("net.ipv4.tcp_abort_on_overflow", 1)
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    _fill(lab, draw, _ROOM - 2)
    _rush(lab, draw)
    time.sleep(0.3)


def _overflow_default(lab: Lab, draw: Draw) -> None:
    """Without it the final ACK is dropped: the client thinks it is connected, and waits."""
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    _fill(lab, draw, _ROOM - 2)
    ends = _rush(lab, draw)
    for end in ends:
        end.send(b"hello")
    wait_until(lambda: lab.server.counter("TcpExtListenOverflows") > 0, "an overflow")
    lab.audit()


def _overflow_cookies(lab: Lab, draw: Draw) -> None:
    """SYN cookies: nothing is sent when the queue is full, whatever tcp_abort_on_overflow says."""
    lab.server.set_sysctl("net.ipv4.tcp_abort_on_overflow", 1)
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 2)
    _fill(lab, draw, _ROOM - 2)
    ends = _rush(lab, draw)
    for end in ends:
        end.send(b"hello")
    wait_until(lambda: lab.server.counter("TcpExtListenOverflows") > 0, "an overflow")
    time.sleep(0.3)


def _syn_dropped(lab: Lab, draw: Draw) -> None:
    """The accept queue is full when the SYN comes: no answer."""
    _fill(lab, draw, 2, backlog=1)
    late = lab.client.tcp(draw.family)
    late.sock.settimeout(0.6)
    late.connect(target(lab, draw))
    lab.audit()


def _flood(lab: Lab, draw: Draw) -> None:
    """SYNs from addresses that do not answer: cookies keep the door open."""
    listener = lab.server.listen(draw.family, draw.port, _BACKLOG)
    assert lab.wire is not None
    for _ in range(40):
        lab.wire.inject("server", packets.write(_stray_syn(lab, draw)))
    wait_until(lambda: lab.server.counter("TcpExtSyncookiesSent") > 0, "a SYN cookie")
    client = lab.client.connect(target(lab, draw))
    client.send(b"hello")
    listener.accept().read_exactly(5)
    lab.audit()


def _stray_syn(lab: Lab, draw: Draw) -> packets.Segment:
    """A SYN of a client that does not exist (RFC 5737, RFC 3849)."""
    tail = 1 + secrets.randbelow(250)
    src = f"2001:db8::{tail:x}" if draw.family == 6 else f"198.51.100.{tail}"
    to = target(lab, draw)
    seq, port = secrets.randbits(32), 1024 + secrets.randbelow(60000)
    return packets.Segment(
        src, port, *to, seq=seq, flags=packets.SYN, window=64240, options=b"\2\4\5\xb4"
    )


def _room_for_all(lab: Lab, draw: Draw) -> None:
    """The same rush, and a queue that has room for it."""
    listener = lab.server.listen(draw.family, draw.port, 64)
    if lab.wire is not None:
        for end in _rush(lab, draw):
            server = listener.accept()
            end.sock.settimeout(5)
            server.sock.settimeout(5)
            part(end, server)


def _accepted(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    part(made.client, made.server)


SCENARIOS = (
    Scenario(
        id="listen-overflow-abort",
        rows=("S03", "S27"),
        title="The accept queue is full and tcp_abort_on_overflow is 1",
        story="Four clients connect at once to a queue with room for two more. All SYNs are "
        "answered; of the final ACKs two find no room, and tcp_abort_on_overflow resets those "
        "clients although their connect() has succeeded.",
        stage=_overflow,
        twin=_room_for_all,
        live=from_to("server", "listen-overflow"),
        pcap=both("listen-overflow"),
        audit={"server": ("RST208",)},
        network="wire",
    ),
    Scenario(
        id="listen-overflow-default",
        rows=("S03",),
        title="The accept queue is full and tcp_abort_on_overflow is 0",
        story="The same rush with the default. The final ACKs that find no room are dropped; the "
        "clients believe that they are connected and repeat their data. No reset.",
        stage=_overflow_default,
        twin=_room_for_all,
        audit={"server": ("RST201", "RST205")},
        network="wire",
    ),
    Scenario(
        id="listen-overflow-cookies",
        rows=("S03", "S04"),
        title="The accept queue is full and SYN cookies answer",
        story="The same rush with cookies and with tcp_abort_on_overflow at 1. On the cookie "
        "path nothing is sent at all: the clients hold connections that the server has never "
        "had. No reset.",
        stage=_overflow_cookies,
        twin=_room_for_all,
        network="wire",
    ),
    Scenario(
        id="syn-dropped",
        rows=("S03",),
        title="The accept queue is full when the SYN arrives",
        story="Nobody accepts, the queue of a listener with backlog 1 is full. A new SYN is "
        "dropped without a word and the client waits. No reset.",
        stage=_syn_dropped,
        twin=_accepted,
        audit={"server": ("RST201", "RST205")},
    ),
    Scenario(
        id="syn-flood",
        rows=("S04",),
        title="A flood of SYNs, and SYN cookies",
        story="Forty SYNs come from addresses that do not answer. The SYN queue is full, the "
        "kernel answers with cookies, and a real client is served all the same. No reset.",
        stage=_flood,
        twin=_accepted,
        audit={"server": ("RST207",)},
        network="wire",
    ),
)
