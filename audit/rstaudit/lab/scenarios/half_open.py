"""One end has lost the connection without a word, and the other still believes in it."""

from __future__ import annotations

import socket
import time

from rstaudit.lab.meet import Pair, part, target
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import FIN_WAIT2, End
from rstaudit.lab.scenario import Draw, Scenario, both, from_to
from rstaudit.lab.steps import expect, keepalive, speak, talking


def _met(end: End) -> None:
    """What the end that still believes is told."""
    end.wait_over()
    end.recv()
    end.send(b"x")


def _server_lost(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    ends.listener.close()
    ends.server.vanish()
    time.sleep(draw.delay)
    ends.client.send(b"c" * draw.size)
    _met(ends.client)


def _server_back(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    ends.server.vanish()
    time.sleep(draw.delay)
    ends.client.send(b"c" * draw.size)
    _met(ends.client)


def _client_lost(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    ends.client.vanish()
    time.sleep(draw.delay)
    ends.server.send(b"s" * draw.size)
    _met(ends.server)


def _probed(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    ends.listener.close()
    keepalive(ends.client)
    ends.server.vanish()
    _met(ends.client)


def _probed_back(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    keepalive(ends.client)
    ends.server.vanish()
    _met(ends.client)


def _both_there(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    time.sleep(draw.delay)
    speak(ends, draw.size)
    part(ends.client, ends.server)


def _probes_answered(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    keepalive(ends.client)
    time.sleep(1.5 + draw.delay)
    speak(ends, draw.size)
    part(ends.client, ends.server)


def _from_port_of(lab: Lab, draw: Draw, port: int) -> End:
    """A client socket bound to a port that was used before."""
    again = lab.client.tcp(draw.family)
    again.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    again.bind((lab.client.addresses[draw.family], port))
    return again


def _new_syn(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    port = ends.client.name[1]
    ends.client.vanish()
    time.sleep(draw.delay)
    _reconnect(lab, draw, ends, port)
    _met(ends.server)


def _new_syn_to_close_wait(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    port = ends.client.name[1]
    ends.client.shutdown()
    ends.client.wait_state(FIN_WAIT2)
    ends.client.vanish()
    time.sleep(draw.delay)
    _reconnect(lab, draw, ends, port)
    ends.server.recv()
    ends.server.send(b"s")


def _reconnect(lab: Lab, draw: Draw, ends: Pair, port: int) -> None:
    again = _from_port_of(lab, draw, port)
    expect(again.connect(target(lab, draw)), "ok", "the second connect")
    ends.listener.accept()


def _another_port(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    ends.client.vanish()
    time.sleep(draw.delay)
    lab.client.connect(target(lab, draw))
    ends.listener.accept()
    ends.server.vanish()


_LOST = "half-open"
#: A write of several segments meets several resets; those after the first are stragglers.
_STRAGGLERS = ("late-segment",)
_ON_WIRE = both(_LOST, also=_STRAGGLERS)

SCENARIOS = (
    Scenario(
        "half-open-data", ("S13", "S26", "S27"),
        "Data meets a host that lost the connection and does not run the service any more",
        "The server's host lost power and is back, the service is not. The client sends, and the"
        " kernel that knows no such connection resets it.",
        _server_lost, _both_there, from_to("server", _LOST, also=_STRAGGLERS), _ON_WIRE,
    ),
    Scenario(
        "half-open-data-listening", ("S13", "S26"),
        "Data meets a host that lost the connection and runs the service again",
        "The server's host lost power, and the service is back. The client's segment reaches the"
        " listener, which knows no such connection and resets it.",
        _server_back, _both_there, from_to("server", _LOST, also=_STRAGGLERS), _ON_WIRE,
    ),
    Scenario(
        "half-open-client-lost", ("S13",),
        "The client's host lost the connection, and the server sends",
        "The client's host lost power and is back. What the server sends, a push or the rest of a"
        " response, is reset.",
        _client_lost, _both_there, from_to("client", _LOST, also=_STRAGGLERS), _ON_WIRE,
    ),
    Scenario(
        "half-open-keepalive", ("S13", "S15"),
        "A keepalive probe finds that the other end lost the connection",
        "The server's host lost power and is back, without the service. The client is idle, and"
        " its first keepalive probe is answered with a reset.",
        _probed, _probes_answered, from_to("server", _LOST, also=_STRAGGLERS), _ON_WIRE,
        seconds=2.0,
    ),
    Scenario(
        "half-open-keepalive-listening", ("S13", "S15"),
        "A keepalive probe finds a listener where the connection was",
        "The server's host lost power, and the service is back. The client's first keepalive probe"
        " reaches the listener and is answered with a reset.",
        _probed_back, _probes_answered, from_to("server", _LOST, also=_STRAGGLERS), _ON_WIRE,
        seconds=2.0,
    ),
    Scenario(
        "half-open-syn", ("S23", "S28"),
        "A new connection comes from the port of one that the server still holds",
        "The client's host lost the connection and connects again from the same port. The server"
        " answers the SYN with an acknowledgement of the old connection, the client resets that,"
        " and its second SYN gets through a second later.",
        _new_syn, _another_port,
        from_to("client", "stale-connection"), both("stale-connection"), seconds=2.0,
    ),
    Scenario(
        "close-wait-syn", ("S24", "S28"),
        "A new connection comes from the port of one that the server never closed",
        "The server program never closes, so its socket sits in CLOSE_WAIT. The client's FIN_WAIT2"
        " is long over when the port comes round again: the server acknowledges the old"
        " connection, and the client resets it.",
        _new_syn_to_close_wait, _another_port,
        from_to("client", "stale-connection"), both("stale-connection"), seconds=2.0,
    ),
)  # fmt: skip
