"""Popular claims about waiting put to the test: timeouts, queues, keepalive.

What the kernel did is noted, and stands in `explain`. A scenario breaks when this kernel does
otherwise than catalogue/data/myths.yaml says.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable

from rstaudit.lab.meet import target
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import ESTABLISHED, End, wait_until
from rstaudit.lab.quiet import must, part, taken, talked, timer
from rstaudit.lab.scenario import Draw, Named, Scenario, both

#: Below the second after which the server would send its SYN-ACK again.
_LATE, _ALLOWED = 0.8, 0.3

_NEEDS = frozenset({"program:ss"})


def _late_answers(lab: Lab) -> None:
    assert lab.wire is not None
    lab.wire.delay("server", _LATE)


def _bounded(lab: Lab, draw: Draw, option: int) -> tuple[End, str, float]:
    """A blocking connect with a timeout option: the socket, the result, the seconds it took."""
    client = lab.client.tcp(draw.family)
    client.sock.setblocking(True)
    client.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 0, int(_ALLOWED * 1e6)))
    began = time.monotonic()
    number = client.sock.connect_ex(target(lab, draw))
    result = errno.errorcode[number] if number else "ok"
    return client, result, time.monotonic() - began


def _receive_timeout(lab: Lab, draw: Draw) -> None:
    listener = lab.server.listen(draw.family, draw.port)
    _late_answers(lab)
    client, result, took = _bounded(lab, draw, socket.SO_RCVTIMEO)
    lab.note("client", f"connect with SO_RCVTIMEO {_ALLOWED} s", f"{result} after {took:.1f} s")
    must(result == "ok" and took >= _LATE, f"connect returned {result} after {took:.1f} s")
    taken(listener).vanish()
    client.vanish()
    other, result, took = _bounded(lab, draw, socket.SO_SNDTIMEO)
    lab.note("client", f"connect with SO_SNDTIMEO {_ALLOWED} s", f"{result} after {took:.1f} s")
    must(result == "EINPROGRESS", f"connect returned {result}")
    other.sock.close()
    time.sleep(_LATE)


def _enough_time(lab: Lab, draw: Draw) -> None:
    _late_answers(lab)
    made = talked(lab, draw)
    part(made.client, made.server)


def _backlogs(lab: Lab, draw: Draw) -> None:
    cases = ((8, 128, 4096, 9), (8, 65535, 4096, 9), (64, 65535, 8, 9), (64, 65535, 64, 65))
    for backlog, syn_backlog, limit, wanted in cases:
        lab.server.set_sysctl("net.ipv4.tcp_max_syn_backlog", syn_backlog)
        lab.server.set_sysctl("net.core.somaxconn", limit)
        count = _queue(lab, draw, backlog)
        what = f"listen({backlog}), tcp_max_syn_backlog {syn_backlog}, somaxconn {limit}"
        lab.note("server", what, f"{count} connections in the accept queue")
        must(count == wanted, f"{what}: {count}")
        draw = draw._replace(port=draw.port + 1)


def _queue(lab: Lab, draw: Draw, backlog: int) -> int:
    """How many connections the accept queue of a listener takes."""
    listener = lab.server.listen(draw.family, draw.port, backlog)
    clients = [lab.client.tcp(draw.family) for _ in range(backlog + 6)]
    for client in clients:
        client.sock.setblocking(False)
        client.sock.connect_ex(target(lab, draw))
    time.sleep(0.2)
    words = lab.server.run("ss", "-H", "-tln", f"( sport = :{draw.port} )").split()
    for client in clients:
        client.vanish()
    _accept_all(listener)
    return int(words[1])


def _accept_all(listener: End) -> None:
    """Take what is queued, without a packet, so that closing the listener resets nobody."""
    listener.sock.setblocking(False)
    while True:
        try:
            taken(listener).vanish()
        except BlockingIOError:
            return


def _enough_room(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    part(made.client, made.server)


def _keepalive_time(lab: Lab, draw: Draw) -> None:
    listener = lab.server.listen(draw.family, draw.port)
    key = "net.ipv4.tcp_keepalive_time"
    old, without = _kept(lab, draw, listener), lab.client.tcp(draw.family)
    without.sock.connect(target(lab, draw))
    taken(listener)
    lab.client.set_sysctl(key, 1)
    left = timer(lab.client, "established", old.name[1])
    lab.note("client", "timer started at 7200, setting now 1", f"{left / 60:.0f} min to go")
    must(left > 7000, f"the running timer has {left:g} s to go")
    before = lab.client.counter("TcpExtTCPKeepAlive")
    began = time.monotonic()
    new = _kept(lab, draw, listener)
    _wait(lambda: lab.client.counter("TcpExtTCPKeepAlive") > before, 5.0)
    lab.note("client", "first probe of a new timer", f"after {time.monotonic() - began:.1f} s")
    must(old.state() == new.state() == without.state() == ESTABLISHED, "a connection ended")
    shown = lab.client.run("ss", "-H", "-tno", f"( sport = :{without.name[1]} )")
    must("timer:" not in shown, "a connection without SO_KEEPALIVE has a timer")
    lab.note("client", "a connection without SO_KEEPALIVE", "no timer")


def _wait(true: Callable[[], bool], seconds: float) -> None:
    wait_until(true, "a keepalive probe", seconds)


def _kept(lab: Lab, draw: Draw, listener: End) -> End:
    """A connection with SO_KEEPALIVE and no times of its own."""
    client = lab.client.tcp(draw.family)
    client.sock.connect(target(lab, draw))
    taken(listener)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return client


def _own_time(lab: Lab, draw: Draw) -> None:
    """What changes a running connection: the program's own TCP_KEEPIDLE."""
    made = talked(lab, draw)
    made.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    left = timer(lab.client, "established", made.client.name[1])
    lab.note("client", "TCP_KEEPIDLE set to 5 while the timer runs", f"{left:.0f} s to go")
    must(left < 6, f"the timer has {left:g} s to go")
    part(made.client, made.server)


SCENARIOS = (
    Scenario(
        "myth-rcvtimeo", ("S12",),
        "Claim: a short SO_RCVTIMEO makes connect() give up and reset the late SYN-ACK",
        "The SYN-ACK comes after 0.8 seconds. A client waits with SO_RCVTIMEO at 0.3 seconds,"
        " another with SO_SNDTIMEO at 0.3 seconds.",
        _receive_timeout, _enough_time,
        {"client sent": Named("connect-abort")}, both("connect-abort", "syn-scan"),
        network="wire", seconds=4.0,
    ),
    Scenario(
        "myth-max-syn-backlog", ("S03",),
        "Claim: raising tcp_max_syn_backlog helps a full accept queue",
        "Nobody accepts. Connections in the accept queue are counted for different values of"
        " listen()'s backlog, tcp_max_syn_backlog and somaxconn.",
        _backlogs, _enough_room, needs=_NEEDS, seconds=2.0,
    ),
    Scenario(
        "myth-keepalive-sysctl", ("S15",),
        "Claim: a new tcp_keepalive_time changes connections that are already there",
        "A connection turns keepalive on, then tcp_keepalive_time is lowered from 7200 to 1. Its"
        " timer is read, and a second connection turns keepalive on.",
        _keepalive_time, _own_time, needs=_NEEDS, seconds=2.0,
    ),
)  # fmt: skip
