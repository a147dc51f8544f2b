"""Data for a socket that its owner has already closed."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable

from rstaudit.lab import packets
from rstaudit.lab.meet import exchange, pair, part, talked
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import FIN_WAIT2, End, wait_until
from rstaudit.lab.scenario import Draw, Named, Scenario, both, from_to
from rstaudit.lab.wire import Delivery, Wire, carry

#: A TLS 1.3 close_notify as it is sent: record type 23 would be encrypted data, 21 is an alert.
_CLOSE_NOTIFY = bytes.fromhex("1503030013") + bytes(19)

#: Several segments may be on their way; those behind the first meet a connection that is gone.
_STRAGGLERS = ("late-segment",)
_ON_WIRE = both("data-to-closed", "timewait-overflow", also=_STRAGGLERS)
_FAREWELL = Named("data-to-closed", ("timewait-overflow",), _STRAGGLERS, benign=True)
_BY_SERVER = from_to("server", "data-to-closed", also=_STRAGGLERS)
_BY_CLIENT = from_to("client", "data-to-closed", also=_STRAGGLERS)


def _wire(lab: Lab) -> Wire:
    assert lab.wire is not None
    return lab.wire


def _read_the_news(end: End) -> None:
    """What the writer is told: the reset came after the end of file."""
    end.wait_over()
    end.recv()
    end.send(b"x")


def _to_closed(writer: End, closer: End, draw: Draw) -> None:
    """``closer`` closes, its FIN arrives, ``writer`` writes all the same."""
    closer.close()
    writer.wait_peer_closed()
    time.sleep(draw.delay)
    writer.send(bytes(draw.size))
    _read_the_news(writer)


def _server_closed(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    _to_closed(made.client, made.server, draw)


def _client_closed(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    _to_closed(made.server, made.client, draw)


def _fin_on_its_way(lab: Lab, draw: Draw) -> None:
    """The data is sent before the FIN has arrived: the closer is still in FIN_WAIT1."""
    made = talked(lab, draw)
    _wire(lab).delay("server", 0.2)
    made.server.close()
    made.client.send(bytes(draw.size))
    _read_the_news(made.client)


def _acknowledging_data(lab: Lab, draw: Draw) -> None:
    """The bare acknowledgement of the FIN is lost, and the data carries it."""
    made = talked(lab, draw)

    def lose_bare_acks(sender: str, packet: bytes) -> Iterable[Delivery]:
        segment = packets.read(packet)
        bare = segment is not None and segment.flags == packets.ACK and not segment.payload
        return () if sender == "client" and bare else carry(sender, packet)

    _wire(lab).rule = lose_bare_acks
    made.server.close()
    made.client.wait_peer_closed()
    made.client.send(bytes(draw.size))
    _read_the_news(made.client)


def _burst(lab: Lab, draw: Draw) -> None:
    """Several segments are on their way before the first reset is back."""
    made = talked(lab, draw)
    made.client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire = _wire(lab)
    wire.delay("client", 0.05)
    wire.delay("server", 0.05)
    made.server.close()
    made.client.wait_peer_closed()
    for _ in range(3):
        made.client.send(bytes(draw.size % 1000 + 1))
    _read_the_news(made.client)


def _streaming(lab: Lab, draw: Draw) -> None:
    """The server streams and the client closes in the middle of it, everything so far read."""
    made = pair(lab, draw)
    exchange(made.server, made.client, draw.size)
    exchange(made.server, made.client, draw.size)
    made.client.close()
    for _ in range(200):
        if made.server.send(bytes(1000)) != "ok":
            return
        time.sleep(0.005)


def _shut_both_ways(lab: Lab, draw: Draw) -> None:
    """shutdown(SHUT_RDWR) keeps the socket, and data for it is reset all the same."""
    made = talked(lab, draw)
    made.server.shutdown(socket.SHUT_RDWR)
    made.client.wait_peer_closed()
    made.server.wait_state(FIN_WAIT2)
    made.client.send(bytes(draw.size))
    _read_the_news(made.client)


def _close_notify(lab: Lab, draw: Draw) -> None:
    """A TLS client says goodbye to a server that has already closed, and closes too."""
    made = talked(lab, draw)
    wire = _wire(lab)
    wire.delay("client", 0.03)
    wire.delay("server", 0.03)
    made.server.close()
    made.client.wait_peer_closed()
    made.client.send(_CLOSE_NOTIFY)
    made.client.close()
    time.sleep(0.15)


def _drained(lab: Lab, draw: Draw) -> None:
    """The closer ends its sending side only, and reads what still comes."""
    made = talked(lab, draw)
    made.server.shutdown()
    made.client.wait_peer_closed()
    exchange(made.client, made.server, draw.size)
    part(made.client, made.server)


def _told_to_stop(lab: Lab, draw: Draw) -> None:
    """The reader says that it has enough, and the writer stops before either closes."""
    made = talked(lab, draw)
    exchange(made.client, made.server, 4)
    part(made.server, made.client)
    wait_until(lambda: made.client.sock.fileno() < 0, "the client closed")


SCENARIOS = (
    Scenario(
        id="data-to-closed-server",
        rows=("S07", "S27"),
        title="The client writes to a connection that the server has closed",
        story="The server closes a kept-alive connection; its FIN is there and acknowledged. The "
        "client writes its next request all the same: the write succeeds, the server's kernel "
        "answers with a reset, and the next write fails.",
        stage=_server_closed,
        twin=_drained,
        live=_BY_SERVER,
        pcap=_ON_WIRE,
        audit={"server": ("RST306",)},
    ),
    Scenario(
        id="data-to-closed-client",
        rows=("S07",),
        title="The server writes to a connection that the client has closed",
        story="The client closes, the server writes once more.",
        stage=_client_closed,
        twin=_told_to_stop,
        live=_BY_CLIENT,
        pcap=_ON_WIRE,
        audit={"client": ("RST306",)},
    ),
    Scenario(
        id="data-to-closed-fin-wait1",
        rows=("S07",),
        title="Data meets a close whose FIN is still on its way",
        story="The server closes while the path is slow. The client's data arrives before its "
        "acknowledgement of the FIN can: the socket, in FIN_WAIT1, belongs to nobody any more.",
        stage=_fin_on_its_way,
        twin=_drained,
        live=_BY_SERVER,
        pcap=_ON_WIRE,
        audit={"server": ("RST306",)},
        network="wire",
    ),
    Scenario(
        id="data-to-closed-fin-acked",
        rows=("S07",),
        title="The data itself acknowledges the FIN",
        story="The server closes; the client's bare acknowledgement is lost on the way, and the "
        "data that follows carries it.",
        stage=_acknowledging_data,
        twin=_drained,
        live=_BY_SERVER,
        pcap=_ON_WIRE,
        audit={"server": ("RST306",)},
        network="wire",
    ),
    Scenario(
        id="data-to-closed-burst",
        rows=("S07",),
        title="Several segments for a closed socket",
        story="The client sends three segments before it can know of the reset. Each of them is "
        "answered; the first reset ends what was left of the socket.",
        stage=_burst,
        twin=_drained,
        live=_BY_SERVER,
        pcap=_ON_WIRE,
        audit={"server": ("RST306",)},
        network="wire",
    ),
    Scenario(
        id="data-to-closed-streaming",
        rows=("S07",),
        title="The client closes while the server is streaming",
        story="The server sends a stream in small pieces; the client has read everything so far "
        "and closes. The next piece is answered with a reset.",
        stage=_streaming,
        twin=_told_to_stop,
        live=_BY_CLIENT,
        pcap=_ON_WIRE,
        audit={"client": ("RST306",)},
    ),
    Scenario(
        id="data-to-closed-shutdown",
        rows=("S07",),
        title="Data for a socket that is shut down both ways",
        story="The server calls shutdown(SHUT_RDWR) and keeps the socket. Data that arrives then "
        "is answered with a reset, as after close().",
        stage=_shut_both_ways,
        twin=_drained,
        live=_BY_SERVER,
        pcap=_ON_WIRE,
        audit={"server": ("RST306",)},
    ),
    Scenario(
        id="tls-close-notify",
        rows=("S07",),
        title="A TLS goodbye after the other end has closed",
        story="The server has closed; the client closes too and, as TLS asks, sends a "
        "close_notify alert first. It is answered with a reset that harms nobody.",
        stage=_close_notify,
        twin=_told_to_stop,
        live=dict.fromkeys(("server sent", "client received"), _FAREWELL),
        pcap=dict.fromkeys(("client", "server"), _FAREWELL),
        network="wire",
    ),
)
