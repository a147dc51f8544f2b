"""Connections that a listener's end, an operator or a rare call takes down."""

from __future__ import annotations

import time

from rstaudit.lab.meet import part, talked, target
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import FIN_WAIT2, TCP_LINGER2, End, wait_until
from rstaudit.lab.scenario import ABORT_ON_WIRE, Draw, Scenario, both, from_to

#: Seconds that a socket is in use before it is closed: its options can be seen only while it lives.
_IN_USE = 2.5


def _queued(lab: Lab, draw: Draw, count: int = 3) -> tuple[End, list[End]]:
    """A listener with connections that nobody has accepted."""
    listener = lab.server.listen(draw.family, draw.port)
    clients = [lab.client.connect(target(lab, draw)) for _ in range(count)]
    for client in clients:
        client.send(b"hello")
    time.sleep(draw.delay)
    return listener, clients


def _told(clients: list[End]) -> None:
    for client in clients:
        client.wait_over()
        client.recv()


def _listener_closed(lab: Lab, draw: Draw) -> None:
    listener, clients = _queued(lab, draw)
    listener.close()
    _told(clients)


def _listener_killed(lab: Lab, draw: Draw) -> None:
    listener, clients = _queued(lab, draw)
    lab.server.hand_to_process(listener).kill()
    _told(clients)


def _one_queued(lab: Lab, draw: Draw) -> None:
    """Only one connection waits, and it has sent nothing."""
    listener = lab.server.listen(draw.family, draw.port)
    client = lab.client.connect(target(lab, draw))
    time.sleep(draw.delay)
    listener.close()
    _told([client])


def _drained_queue(lab: Lab, draw: Draw) -> None:
    """Everybody who was queued is accepted and served before the listener closes."""
    listener, clients = _queued(lab, draw)
    servers = [listener.accept() for _ in clients]
    listener.close()
    for server in servers:
        server.read_exactly(5)
    for end in (*servers, *clients):
        end.shutdown()
    for end in (*servers, *clients):
        end.read_to_end()
        end.close()


def _destroyed_at_server(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    time.sleep(draw.delay)
    lab.server.run("ss", "-K", "-t", "state", "established", f"sport = :{draw.port}")
    lab.note("server", "ss -K", "ok")
    _after_destroy(made.client, made.server)


def _destroyed_at_client(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    lab.client.run("ss", "-K", "-t", f"dport = :{draw.port}")
    lab.note("client", "ss -K", "ok")
    _after_destroy(made.server, made.client)


def _after_destroy(peer: End, destroyed: End) -> None:
    peer.wait_over()
    peer.recv()
    destroyed.recv()


def _listed(lab: Lab, draw: Draw) -> None:
    """The same command without -K looks and does no harm."""
    made = talked(lab, draw)
    lab.server.run("ss", "-t", f"sport = :{draw.port}")
    part(made.client, made.server)


def _disconnected(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    made.client.disconnect()
    made.server.wait_over()
    made.server.recv()


def _disconnected_server(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    made.server.disconnect()
    made.client.wait_over()
    made.client.recv()


def _linger2_after_ack(lab: Lab, draw: Draw) -> None:
    """The FIN is acknowledged when close() comes: FIN_WAIT2 is refused."""
    made = talked(lab, draw)
    made.server.option(TCP_LINGER2, -1)
    made.server.shutdown()
    made.server.wait_state(FIN_WAIT2)
    lab.audit()
    made.server.close()
    made.client.wait_over()
    made.client.recv()


def _linger2_before_ack(lab: Lab, draw: Draw) -> None:
    """close() at once: the reset follows when the client acknowledges the FIN."""
    made = talked(lab, draw)
    made.server.option(TCP_LINGER2, -1)
    lab.audit()
    time.sleep(_IN_USE)
    made.server.close()
    made.client.wait_over()
    made.client.recv()


def _half_closed_peer(lab: Lab, draw: Draw) -> None:
    """A client that takes its time to close, and a server that lets FIN_WAIT2 be."""
    made = talked(lab, draw)
    made.server.close()
    made.client.wait_peer_closed()
    time.sleep(draw.delay)
    made.client.read_to_end()
    made.client.close()
    wait_until(lambda: made.client.sock.fileno() < 0, "the client closed")


_LISTENER = from_to("server", "listener-closed")
_LISTENER_ON_WIRE = both("listener-closed", *ABORT_ON_WIRE)

SCENARIOS = (
    Scenario(
        id="listener-closed",
        rows=("S26", "S27"),
        title="A server closes its listener with connections in the accept queue",
        story="Three clients are connected and have sent a request, but the program has not "
        "accepted them when it closes its listener: a restart. The kernel resets all three.",
        stage=_listener_closed,
        twin=_drained_queue,
        live=_LISTENER,
        pcap=_LISTENER_ON_WIRE,
        audit={"server": ("RST306",)},
    ),
    Scenario(
        id="listener-closed-killed",
        rows=("S26",),
        title="A server is killed with connections in the accept queue",
        story="As a listener that is closed, by SIGKILL.",
        stage=_listener_killed,
        twin=_drained_queue,
        live=_LISTENER,
        pcap=_LISTENER_ON_WIRE,
        audit={"server": ("RST306",)},
    ),
    Scenario(
        id="listener-closed-one",
        rows=("S26",),
        title="A listener closes on a single idle connection in its queue",
        story="One client is connected, has sent nothing and was not accepted.",
        stage=_one_queued,
        twin=_drained_queue,
        live=_LISTENER,
        pcap=_LISTENER_ON_WIRE,
        audit={"server": ("RST306",)},
    ),
    Scenario(
        id="admin-destroy-server",
        rows=("S27",),
        title="An operator destroys a connection on the server",
        story="ss -K on the server ends an established connection. The client is reset; the "
        "server's own program is told ECONNABORTED.",
        stage=_destroyed_at_server,
        twin=_listed,
        live=from_to("server", "admin-destroy"),
        pcap=both("admin-destroy", *ABORT_ON_WIRE),
    ),
    Scenario(
        id="admin-destroy-client",
        rows=("S27",),
        title="An operator destroys a connection on the client",
        story="ss -K on the client's host.",
        stage=_destroyed_at_client,
        twin=_listed,
        live=from_to("client", "admin-destroy"),
        pcap=both("admin-destroy", *ABORT_ON_WIRE),
    ),
    Scenario(
        id="disconnect-client",
        rows=("S27",),
        title="A client disconnects its socket with AF_UNSPEC",
        story="The client calls connect() with the address family AF_UNSPEC on a connected "
        "socket, to use it again. The connection is reset.",
        stage=_disconnected,
        twin=_half_closed_peer,
        live=from_to("client", "disconnect"),
        pcap=both("disconnect", *ABORT_ON_WIRE),
    ),
    Scenario(
        id="disconnect-server",
        rows=("S27",),
        title="A server disconnects an accepted socket with AF_UNSPEC",
        story="The same call on the accepted end.",
        stage=_disconnected_server,
        twin=_half_closed_peer,
        live=from_to("server", "disconnect"),
        pcap=both("disconnect", *ABORT_ON_WIRE),
    ),
    Scenario(
        id="linger2-after-ack",
        rows=("S25",),
        title="TCP_LINGER2 below zero, the FIN acknowledged before close()",
        story="The server shuts its sending side down, the client acknowledges, then the server "
        "closes. TCP_LINGER2 of -1 refuses to wait in FIN_WAIT2: a reset.",
        stage=_linger2_after_ack,
        twin=_half_closed_peer,
        live=from_to("server", "linger2-abort"),
        pcap=both("linger2-abort", *ABORT_ON_WIRE),
        audit={"server": ("RST309",)},
    ),
    Scenario(
        id="linger2-before-ack",
        rows=("S25",),
        title="TCP_LINGER2 below zero, closed at once",
        story="The server closes with TCP_LINGER2 of -1. The client's acknowledgement of the FIN "
        "is answered with a reset.",
        stage=_linger2_before_ack,
        twin=_half_closed_peer,
        live=from_to("server", "linger2-abort"),
        pcap=both("linger2-abort", *ABORT_ON_WIRE),
        audit={"server": ("RST309",)},
        seconds=_IN_USE + 1,
    ),
)
