"""Popular claims about TIME_WAIT and ports put to the test.

What the kernel did is noted, and stands in `explain`. A scenario breaks when this kernel does
otherwise than catalogue/data/myths.yaml says.
"""

from __future__ import annotations

import socket
import time

from rstaudit.lab.meet import target
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import End
from rstaudit.lab.quiet import must, part, taken, talked, timer
from rstaudit.lab.scenario import Draw, Scenario
from rstaudit.lab.steps import spare_address

_TCP_TIMESTAMP = 24  # linux/tcp.h: the timestamp that would be sent now
_PORTS = 10
_RANGE = f"40000 {40000 + _PORTS - 1}"
_NEEDS = frozenset({"program:ss"})


def _fin_timeout(lab: Lab, draw: Draw) -> None:
    for value in (1, 60, 180):
        lab.client.set_sysctl("net.ipv4.tcp_fin_timeout", value)
        port = _closed_by_client(lab, draw)
        left = timer(lab.client, "time-wait", port)
        lab.note("client", f"TIME_WAIT, tcp_fin_timeout {value}", f"{left:.0f} s to go")
        must(57 < left < 62, f"TIME_WAIT has {left:g} s to go")
        draw = draw._replace(port=draw.port + 1)
    lab.client.set_sysctl("net.ipv4.tcp_fin_timeout", 5)
    made = talked(lab, draw)
    port = made.client.name[1]
    made.client.sock.close()
    made.server.wait_peer_closed()
    time.sleep(0.25)
    left = timer(lab.client, "fin-wait-2", port)
    lab.note("client", "orphan in FIN_WAIT2, tcp_fin_timeout 5", f"{left:.0f} s to go")
    must(left < 6, f"FIN_WAIT2 has {left:g} s to go")
    made.server.vanish()


def _closed_by_client(lab: Lab, draw: Draw) -> int:
    """The local port of a connection that the client closed first."""
    made = talked(lab, draw)
    port = made.client.name[1]
    part(made.client, made.server)
    return port


def _server_first(lab: Lab, draw: Draw) -> None:
    """What does help: let the other end close first."""
    made = talked(lab, draw)
    port = made.client.name[1]
    part(made.server, made.client)
    gone = not lab.client.run("ss", "-H", "-tan", f"( sport = :{port} )")
    lab.note("client", "sockets left when the server closes first", "none" if gone else "some")
    must(gone, "the client keeps a socket")


def _reuse_on_server(lab: Lab, draw: Draw) -> None:
    listener = lab.server.listen(draw.family, draw.port, backlog=64)
    for value in (0, 1):
        lab.server.set_sysctl("net.ipv4.tcp_tw_reuse", value)
        for _ in range(2):
            began = time.monotonic()
            for port in range(41000, 41020):
                client = _from_port(lab, draw, port)
                part(taken(listener), client)
            took = time.monotonic() - began
        waiting = len(lab.server.run("ss", "-H", "-tan", "state", "time-wait").splitlines())
        lab.note("server", f"TIME_WAIT, tcp_tw_reuse {value}", f"{waiting} sockets")
        lab.note("client", "20 connects from the same ports again", f"ok within {took:.1f} s")
        must(waiting == 20, f"{waiting} in TIME_WAIT")
    for value, soon in ((0, False), (1, True)):
        lab.client.set_sysctl("net.ipv4.tcp_tw_reuse", value)
        _out_of_ports(lab, draw._replace(port=draw.port + 1 + value), soon=soon)


def _from_port(lab: Lab, draw: Draw, port: int) -> End:
    client = lab.client.tcp(draw.family)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.sock.bind((lab.client.addresses[draw.family], port))
    client.sock.connect(target(lab, draw))
    return client


def _out_of_ports(lab: Lab, draw: Draw, *, soon: bool) -> None:
    """Use up the client's ports, then wait for the first connect that works."""
    lab.client.set_sysctl("net.ipv4.ip_local_port_range", _RANGE)
    listener = lab.server.listen(draw.family, draw.port)
    to = target(lab, draw)
    for _ in range(_PORTS):
        client = lab.client.tcp(draw.family)
        client.sock.connect(to)
        part(client, taken(listener))
    began = time.monotonic()
    result = _first_connect(lab, draw, 6.0 if soon else 2.0)
    took = time.monotonic() - began
    settings = ("tcp_tw_reuse", "tcp_timestamps")
    values = [f"{name} {lab.client.space.get_sysctl(f'net.ipv4.{name}')}" for name in settings]
    what = f"{_PORTS} ports used up, {', '.join(values)}"
    lab.note("client", what, f"{result} after {took:.1f} s")
    must((result == "ok") is soon, f"{what}: {result}")
    must(not soon or took > 0.8, f"{what}: {took:.2f} s")


def _first_connect(lab: Lab, draw: Draw, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while True:
        client = lab.client.tcp(draw.family)
        try:
            client.sock.connect(target(lab, draw))
        except OSError:
            if time.monotonic() > deadline:
                return "EADDRNOTAVAIL"
        else:
            return "ok"
        client.sock.close()
        time.sleep(0.01)


def _timestamps(lab: Lab, draw: Draw) -> None:
    spreads = {}
    for value in (1, 2):
        lab.client.set_sysctl("net.ipv4.tcp_timestamps", value)
        seen = _timestamps_from(lab, draw._replace(port=draw.port + value))
        spreads[value] = max(seen) - min(seen)
        lab.note("client", f"timestamps of 3 addresses, tcp_timestamps {value}", f"{seen}")
    must(spreads[1] > 60_000, "timestamps of different addresses lie close together")
    must(spreads[2] < 1_000, "timestamps have an offset at 2")
    lab.client.set_sysctl("net.ipv4.tcp_tw_reuse", 1)
    for value, soon in ((0, False), (1, True)):
        lab.client.set_sysctl("net.ipv4.tcp_timestamps", value)
        _out_of_ports(lab, draw._replace(port=draw.port + 3 + value), soon=soon)


def _timestamps_from(lab: Lab, draw: Draw) -> list[int]:
    """What the client sends as its timestamp, milliseconds, from three addresses at once."""
    listener = lab.server.listen(draw.family, draw.port)
    ends = []
    for _ in range(3):
        address = spare_address(lab.client, draw.family)
        via = lab.client.addresses[draw.family]
        lab.server.run("ip", "route", "add", address, "via", via)
        end = lab.client.tcp(draw.family)
        end.sock.bind((address, 0))
        end.sock.connect(target(lab, draw))
        taken(listener)
        ends.append(end)
    level = socket.IPPROTO_TCP
    seen = [end.sock.getsockopt(level, _TCP_TIMESTAMP) & 0xFFFFFFFF for end in ends]
    for end in ends:
        end.vanish()
    return seen


SCENARIOS = (
    Scenario(
        "myth-fin-timeout", ("S22",),
        "Claim: lowering tcp_fin_timeout shortens TIME_WAIT",
        "The client closes first with tcp_fin_timeout at 1, 60 and 180, and the kernel's timer of"
        " TIME_WAIT is read each time; then an orphan in FIN_WAIT2 with 5.",
        _fin_timeout, _server_first, needs=_NEEDS, seconds=1.5,
    ),
    Scenario(
        "myth-tw-reuse-server", ("S21", "S22"),
        "Claim: tcp_tw_reuse=1 rids a server of TIME_WAIT",
        "The server closes first, with the setting at 0 and at 1: the number of its sockets in"
        " TIME_WAIT is counted, and clients connect from the same ports again. Then a client with"
        " ten ports closes first, with 0 and with 1.",
        _reuse_on_server, _server_first, needs=_NEEDS, seconds=4.5,
    ),
    Scenario(
        "myth-timestamps-off", ("S22",),
        "Claim: turning tcp_timestamps off hides the uptime and costs nothing",
        "The timestamps that three addresses of one host send at the same time are compared. Then"
        " a client with ten ports closes first, with timestamps and without.",
        _timestamps, _server_first, needs=_NEEDS, seconds=4.5,
    ),
)  # fmt: skip
