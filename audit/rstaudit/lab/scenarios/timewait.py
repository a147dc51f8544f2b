"""After the close: TIME_WAIT cut short or met by a new SYN, FIN_WAIT2 that runs out."""

from __future__ import annotations

import socket
import time

from rstaudit.lab.meet import Pair, part, target
from rstaudit.lab.network import Lab
from rstaudit.lab.packets import ACK, PSH, Segment
from rstaudit.lab.parties import End
from rstaudit.lab.scenario import Draw, Named, Scenario, both, from_to
from rstaudit.lab.steps import choose_isn, expect, send_raw, sequences, speak, talking

#: Longer than a FIN may wait for its acknowledgement (delayed by at most 200 ms).
_ACKNOWLEDGED = 0.25


def _no_room(lab: Lab) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_max_tw_buckets", 0)


def _server_closes(ends: Pair) -> None:
    ends.server.close()
    ends.client.wait_peer_closed()
    ends.client.read_to_end()
    time.sleep(_ACKNOWLEDGED)


def _late_data(lab: Lab, draw: Draw) -> None:
    _no_room(lab)
    ends = talking(lab, draw)
    ends.listener.close()
    _server_closes(ends)
    ends.client.send(b"c" * draw.size)
    ends.client.wait_over()
    ends.client.send(b"c")


def _late_fin(lab: Lab, draw: Draw) -> None:
    _no_room(lab)
    ends = talking(lab, draw)
    ends.listener.close()
    _server_closes(ends)
    ends.client.close()
    time.sleep(draw.delay)


def _late_fin_listening(lab: Lab, draw: Draw) -> None:
    _no_room(lab)
    ends = talking(lab, draw)
    _server_closes(ends)
    ends.client.close()
    time.sleep(draw.delay)


def _room(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    _server_closes(ends)
    ends.client.close()
    time.sleep(draw.delay)


def _expired(lab: Lab, draw: Draw, *, listening: bool) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_fin_timeout", 1)
    ends = talking(lab, draw)
    if not listening:
        ends.listener.close()
    _server_closes(ends)
    time.sleep(1.8 + draw.delay)
    ends.client.send(b"c" * draw.size)
    ends.client.wait_over()
    ends.client.send(b"c")


def _after_expiry(lab: Lab, draw: Draw) -> None:
    _expired(lab, draw, listening=False)


def _after_expiry_listening(lab: Lab, draw: Draw) -> None:
    _expired(lab, draw, listening=True)


def _second_fin_never_comes(lab: Lab, draw: Draw) -> None:
    """Beyond 60 s the kernel keeps the whole socket; lowering the limit then ends it."""
    lab.server.set_sysctl("net.ipv4.tcp_fin_timeout", 61)
    ends = talking(lab, draw)
    _server_closes(ends)
    lab.server.set_sysctl("net.ipv4.tcp_fin_timeout", 60)
    ends.client.wait_over()
    ends.client.recv()
    ends.client.send(b"c")


def _in_time_wait(lab: Lab, draw: Draw) -> None:
    """No timestamps, and a sequence number below the old connection's."""
    for party in (lab.client, lab.server):
        party.set_sysctl("net.ipv4.tcp_timestamps", 0)
    listener, _ = _again(lab, draw)
    listener.accept()


def _again(lab: Lab, draw: Draw) -> tuple[End, End]:
    """The listener, and a client that has connected twice from a port that TIME_WAIT holds."""
    first = 2_000_000_000 + draw.size
    listener = lab.server.listen(draw.family, draw.port)
    old = _from(lab, draw, first)
    expect(old.connect(target(lab, draw)), "ok", "the first connect")
    ends = Pair(listener, old, listener.accept())
    speak(ends, draw.size)
    port = old.name[1]
    part(ends.server, ends.client)
    time.sleep(draw.delay)
    again = _from(lab, draw, first - 500_000, port)
    expect(again.connect(target(lab, draw)), "ok", "the second connect")
    return listener, again


def _newer_timestamp(lab: Lab, draw: Draw) -> None:
    """A newer timestamp lets TIME_WAIT take the new connection, whatever its number."""
    listener, again = _again(lab, draw)
    part(again, listener.accept())


def _from(lab: Lab, draw: Draw, isn: int, port: int = 0) -> End:
    end = lab.client.tcp(draw.family)
    end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    end.bind((lab.client.addresses[draw.family], port))
    choose_isn(end, isn)
    return end


def _restarted(lab: Lab, draw: Draw, *, reuse: bool) -> str:
    """What bind() says when a server starts again over its own TIME_WAIT."""
    for _ in range(2):
        listener = lab.server.tcp(draw.family)
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        result = listener.bind((lab.server.addresses[draw.family], draw.port))
        if result != "ok":
            return result
        listener.sock.listen(16)
        client = lab.client.connect(target(lab, draw))
        part(listener.accept(), client)
        lab.audit()
        listener.close()
    return "ok"


def _cannot_restart(lab: Lab, draw: Draw) -> None:
    expect(_restarted(lab, draw, reuse=False), "EADDRINUSE", "the second bind")


def _can_restart(lab: Lab, draw: Draw) -> None:
    expect(_restarted(lab, draw, reuse=True), "ok", "the second bind")


def _stray_duplicate(lab: Lab, draw: Draw) -> None:
    """A segment of the closed connection comes out of the network again."""
    ends = talking(lab, draw)
    ends.listener.close()
    numbers = sequences(ends.client)
    client, server = ends.client.name, ends.server.name
    part(ends.client, ends.server)
    old = Segment(*client, *server, numbers.send - 10, numbers.receive, ACK | PSH, 500)
    send_raw(lab.client, old._replace(payload=b"d" * 10, ttl=63))
    time.sleep(draw.delay)


def _crossing(lab: Lab, draw: Draw) -> None:
    """What the client sent before it heard of the abort arrives when the socket is gone."""
    ends = talking(lab, draw)
    assert lab.wire is not None
    lab.wire.delay("client", 0.2)
    lab.wire.delay("server", 0.2)
    ends.listener.close()
    ends.client.send(b"c" * draw.size)
    ends.server.abort()
    ends.client.wait_over()
    ends.client.recv()
    time.sleep(0.3)


def _no_crossing(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    assert lab.wire is not None
    lab.wire.delay("client", 0.05)
    speak(ends, draw.size)
    part(ends.client, ends.server)
    time.sleep(0.1)


#: A write of several segments meets several resets; those after the first are stragglers.
_STRAGGLERS = ("late-segment",)
_OVERFLOW = Named("timewait-overflow")
#: Packets cannot tell why the socket was gone.
_OVERFLOW_WIRE = Named("timewait-overflow", ("data-to-closed", "late-segment"), _STRAGGLERS)

SCENARIOS = (
    Scenario(
        "timewait-overflow-data", ("S23",),
        "TIME_WAIT overflows, and late data meets no socket",
        "tcp_max_tw_buckets is used up, so the server's close leaves nothing behind that could"
        " answer. The client, which had not closed yet, sends and is reset.",
        _late_data, _room, from_to("server", "timewait-overflow", also=_STRAGGLERS),
        {"client": _OVERFLOW_WIRE, "server": _OVERFLOW_WIRE},
        audit={"server": ("RST104", "RST105")},
    ),
    Scenario(
        "timewait-overflow-fin", ("S23",),
        "TIME_WAIT overflows, and even the peer's FIN is reset",
        "As before, but the client only closes: its FIN, which should end the connection in order,"
        " is answered with a reset. No program notices.",
        _late_fin, _room, {"server sent": _OVERFLOW, "client received": _OVERFLOW},
        {"client": _OVERFLOW_WIRE, "server": _OVERFLOW_WIRE},
        audit={"server": ("RST104", "RST105")},
    ),
    Scenario(
        "timewait-overflow-listening", ("S23",),
        "TIME_WAIT overflows on a server that goes on listening",
        "The late FIN reaches the listener instead of no socket at all; the listener resets it.",
        _late_fin_listening, _room, {"server sent": _OVERFLOW, "client received": _OVERFLOW},
        {"client": _OVERFLOW_WIRE, "server": _OVERFLOW_WIRE},
        audit={"server": ("RST104", "RST105")},
    ),
    Scenario(
        "fin-timeout-data", ("S25", "S07"),
        "tcp_fin_timeout runs out, and the peer sends after it",
        "The server closed, the client did not. After tcp_fin_timeout the server's kernel forgets"
        " FIN_WAIT2; what the client then sends is reset.",
        _after_expiry, _room, from_to("server", "data-to-closed", also=_STRAGGLERS),
        both("data-to-closed", also=_STRAGGLERS),
        audit={"server": ("RST307",)}, seconds=3.0,
    ),
    Scenario(
        "fin-timeout-data-listening", ("S25", "S07"),
        "tcp_fin_timeout runs out, and late data reaches the listener",
        "As before, on a server that goes on listening: the late data meets the listener.",
        _after_expiry_listening, _room, from_to("server", "data-to-closed", also=_STRAGGLERS),
        both("data-to-closed", also=_STRAGGLERS), audit={"server": ("RST307",)}, seconds=3.0,
    ),
    Scenario(
        "finwait2-timeout", ("S25",),
        "FIN_WAIT2 runs out beyond 60 seconds, and the kernel resets the peer",
        "tcp_fin_timeout is above 60 s, so the kernel keeps the whole socket for the part beyond"
        " it. The peer never closes. The limit is lowered while the timer runs, which ends the"
        " wait at once: the kernel sends a reset by itself.",
        _second_fin_never_comes, _room,
        from_to("server", "finwait2-timeout"),
        both("finwait2-timeout", "app-abort"), seconds=3.0,
    ),
    Scenario(
        "timewait-syn", ("S30", "S23"),
        "A new connection meets the TIME_WAIT of the last one from the same port",
        "Without timestamps only sequence numbers tell a new SYN from an old one. The new one is"
        " lower, so TIME_WAIT acknowledges the old connection; the client resets that, TIME_WAIT"
        " is gone, and the next SYN gets through.",
        _in_time_wait, _newer_timestamp,
        {"client sent": Named("stale-connection")}, both("stale-connection"),
        audit={"server": ("RST110",), "client": ("RST110",)}, seconds=2.0,
    ),
    Scenario(
        "timewait-restart", ("S30",),
        "A server cannot start again while its port holds TIME_WAIT",
        "The server closed first, so its port is in TIME_WAIT. Without SO_REUSEADDR on the old and"
        " on the new listener bind() fails with EADDRINUSE for a minute. No reset is sent.",
        _cannot_restart, _can_restart, audit={"server": ("RST113",)}, seconds=2.0,
    ),
    Scenario(
        "late-duplicate", ("S23", "S28"),
        "A segment of a connection that is long closed comes out of the network",
        "Both ends have closed; the client, which closed first, keeps TIME_WAIT, the server"
        " nothing. A copy of one of the client's segments arrives at the server, which has no such"
        " connection any more.",
        _stray_duplicate, _room, {"server sent": Named("late-segment")}, both("late-segment"),
    ),
    Scenario(
        "late-after-reset", ("S28",),
        "Data was on its way when the other end aborted",
        "The server aborts while the client's data is still in the network. The data arrives after"
        " the socket is gone and is reset too; nobody hears that second reset.",
        _crossing, _no_crossing,
        {
            "server sent": Named("linger-abort", also=("late-segment",)),
            "client received": Named("linger-abort"),
        },
        {
            "client": Named("linger-abort", ("app-abort",), also=("late-segment",)),
            "server": Named("linger-abort", ("app-abort",), also=("late-segment",)),
        },
        network="wire",
    ),
)  # fmt: skip
