"""Sockets that pile up: CLOSE_WAIT, TIME_WAIT, FIN_WAIT2, half-open requests; and a clean end."""

from __future__ import annotations

import time

from rstaudit.lab.meet import exchange, pair, part, target
from rstaudit.lab.network import Lab
from rstaudit.lab.packets import SYN, Segment
from rstaudit.lab.parties import CLOSE_WAIT, End
from rstaudit.lab.scenario import ABORT_ON_WIRE, Draw, Named, Scenario, both
from rstaudit.lab.steps import expect, send_raw, talking

#: Enough for the audit to call it a leak (RST301).
_LEAK = 12

#: Ports that the client may use; the kernel takes the even ones first for connect().
_PORTS = 10


def _connections(lab: Lab, draw: Draw, count: int) -> tuple[End, list[tuple[End, End]]]:
    """A listener and so many connections to it: client's and server's end of each."""
    listener = lab.server.listen(draw.family, draw.port, backlog=64)
    found = []
    for _ in range(count):
        client = lab.client.connect(target(lab, draw))
        found.append((client, listener.accept()))
    return listener, found


def _leaked(lab: Lab, draw: Draw) -> None:
    _, ends = _connections(lab, draw, _LEAK)
    for client, server in ends:
        client.send(b"c" * 64)
        server.wait_unread(64)
        client.close()
        server.wait_state(CLOSE_WAIT)
    time.sleep(0.25)  # until each FIN is acknowledged
    lab.audit()
    for _, server in ends:
        server.close()


def _released(lab: Lab, draw: Draw) -> None:
    _, ends = _connections(lab, draw, _LEAK)
    for client, server in ends:
        client.send(b"c" * 64)
        server.read_exactly(64)
        part(client, server)
    lab.audit()


def _used_up(lab: Lab, draw: Draw) -> None:
    """The client closes first each time, so each port waits out its minute."""
    lab.client.set_sysctl("net.ipv4.ip_local_port_range", f"40000 {40000 + _PORTS - 1}")
    lab.client.set_sysctl("net.ipv4.tcp_tw_reuse", 0)
    _, ends = _connections(lab, draw, _PORTS)
    for client, server in ends:
        part(client, server)
    last = lab.client.tcp(draw.family)
    expect(last.connect(target(lab, draw)), "EADDRNOTAVAIL", "the connect without a port")
    lab.audit()


def _one_for_all(lab: Lab, draw: Draw) -> None:
    """One connection carries every request, and the range is the kernel's own."""
    ends = pair(lab, draw)
    for _ in range(_PORTS + 1):
        exchange(ends.client, ends.server, draw.size)
        exchange(ends.server, ends.client, draw.size)
    part(ends.client, ends.server)


def _server_closes_first(lab: Lab, draw: Draw) -> None:
    """Who closes first keeps TIME_WAIT: now the client's ports are free at once."""
    lab.client.set_sysctl("net.ipv4.ip_local_port_range", f"40000 {40000 + _PORTS - 1}")
    listener = lab.server.listen(draw.family, draw.port)
    for _ in range(3 * _PORTS):
        client = lab.client.connect(target(lab, draw))
        part(listener.accept(), client)
    lab.client.set_sysctl("net.ipv4.ip_local_port_range", "32768 60999")


def _no_second_fin(lab: Lab, draw: Draw) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_max_tw_buckets", 20)
    _, ends = _connections(lab, draw, _LEAK)
    for client, server in ends:
        server.close()
        client.wait_peer_closed()
    time.sleep(0.1)
    lab.audit()
    for client, _ in ends:
        client.vanish()


def _second_fin(lab: Lab, draw: Draw) -> None:
    _, ends = _connections(lab, draw, _LEAK)
    for client, server in ends:
        part(server, client)
    lab.audit()


def _flood(lab: Lab, draw: Draw, cookies: int, room: int) -> End:
    """SYNs from addresses that do not answer, to a listener with so much room."""
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", cookies)
    lab.middle.run("ip", "route", "add", "blackhole", "198.51.100.0/24")
    lab.middle.run("ip", "-6", "route", "add", "blackhole", "2001:db8:bad::/48")
    listener = lab.server.listen(draw.family, draw.port, backlog=room)
    to = target(lab, draw)
    for number in range(1, 40):
        source = f"198.51.100.{number}" if draw.family == 4 else f"2001:db8:bad::{number}"
        options = bytes((2, 4, 5, 180))
        send_raw(lab.client, Segment(source, 1024 + number, *to, number, 0, SYN, 1024, options))
    time.sleep(0.05)
    return listener


def _without_cookies(lab: Lab, draw: Draw) -> None:
    _flood(lab, draw, cookies=0, room=4)
    lab.audit()
    client = lab.client.tcp(draw.family)
    client.sock.settimeout(1.5)
    client.connect(target(lab, draw))


def _with_room(lab: Lab, draw: Draw) -> None:
    listener = _flood(lab, draw, cookies=1, room=256)
    client = lab.client.connect(target(lab, draw))
    server = listener.accept()
    exchange(client, server, draw.size)
    part(client, server)
    listener.close()


def _clean(lab: Lab, draw: Draw) -> None:
    """Three segments to begin with, four to end with, and nothing else."""
    ends = talking(lab, draw)
    ends.client.shutdown()
    ends.server.read_to_end()
    time.sleep(0.06)
    ends.server.close()
    ends.client.read_to_end()
    ends.client.close()


def _clean_by_server(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    ends.server.shutdown()
    ends.client.read_to_end()
    ends.client.close()
    ends.server.read_to_end()


_UNREAD = Named("close-unread")

SCENARIOS = (
    Scenario(
        "close-wait-leak", ("S24",),
        "A program does not close what its clients have closed, and then closes over unread data",
        "Clients send something and close. The server neither reads nor closes, so connections"
        " pile up in CLOSE_WAIT. When it closes at last, the unread bytes turn every close into a"
        " reset.",
        _leaked, _released, {"server sent": _UNREAD}, both("close-unread", *ABORT_ON_WIRE),
        audit={"server": ("RST301", "RST302")}, seconds=2.0,
    ),
    Scenario(
        "time-wait-ports", ("S21", "S22"),
        "A client that closes first runs out of ports",
        "Every connection leaves its port in TIME_WAIT for a minute. With ten ports the eleventh"
        " connect() to the same server fails with EADDRNOTAVAIL. No reset is sent.",
        _used_up, _one_for_all, audit={"client": ("RST101",)}, seconds=2.0,
    ),
    Scenario(
        "server-closes-first", ("S21",),
        "Who closes first keeps TIME_WAIT",
        "The server closes first, thirty times, and the client connects each time with one of ten"
        " ports: its ports are free at once, and the server takes them although they are in its"
        " TIME_WAIT. No reset is sent.",
        _server_closes_first, _one_for_all, seconds=2.0,
    ),
    Scenario(
        "fin-wait2-pile", ("S25",),
        "Peers that never close leave a server full of FIN_WAIT2",
        "The server closes, the clients acknowledge and do nothing. The orphans wait in FIN_WAIT2"
        " and take up room among the TIME_WAIT sockets.",
        _no_second_fin, _second_fin, audit={"server": ("RST303",)}, seconds=2.0,
    ),
    Scenario(
        "syn-flood-no-cookies", ("S04",),
        "A SYN flood fills the queue, and without SYN cookies honest clients time out",
        "Forged SYNs fill the queue of half-open requests. tcp_syncookies is 0, so the SYN of an"
        " honest client is dropped without a word; no reset is sent.",
        _without_cookies, _with_room, audit={"server": ("RST206",)}, network="middle",
        seconds=2.5,
    ),
    Scenario(
        "clean-close", ("S29",),
        "A connection begins with three segments and ends with four",
        "The handshake and the close as they should be, and the state at both ends at each step."
        " No reset is sent.",
        _clean, _clean_by_server,
    ),
)  # fmt: skip
