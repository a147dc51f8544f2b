"""close() with unread data in the receive queue, and processes that are killed."""

from __future__ import annotations

import time

from rstaudit.lab.meet import Pair, exchange, pair, part
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import CLOSE_WAIT, End
from rstaudit.lab.scenario import ABORT_ON_WIRE, Draw, Scenario, both, from_to

_ON_WIRE = both("close-unread", *ABORT_ON_WIRE)


def _leave_unread(sender: End, closer: End, draw: Draw) -> None:
    """``sender`` sends, ``closer`` reads half of it and closes."""
    sender.send(bytes(draw.size))
    closer.wait_unread(draw.size)
    closer.recv(draw.size // 2)
    closer.close()
    sender.wait_over()


def _by_server(lab: Lab, draw: Draw) -> None:
    made = pair(lab, draw)
    _leave_unread(made.client, made.server, draw)
    made.client.recv()
    made.client.send(b"x")


def _by_client(lab: Lab, draw: Draw) -> None:
    made = pair(lab, draw)
    exchange(made.client, made.server, draw.size)
    _leave_unread(made.server, made.client, draw)
    made.server.send(b"x")
    made.server.send(b"x")


def _answered(lab: Lab, draw: Draw) -> None:
    """The server answers before it has read the whole request, and closes."""
    made = pair(lab, draw)
    made.client.send(bytes(draw.size))
    made.server.wait_unread(draw.size)
    made.server.recv(draw.size // 2)
    made.server.send(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n")
    made.server.close()
    made.client.wait_over()
    made.client.recv()
    made.client.recv()


def _pipelined(lab: Lab, draw: Draw) -> None:
    made = pair(lab, draw)
    request = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
    made.client.send(request)
    made.client.send(request)
    made.server.wait_unread(2 * len(request))
    made.server.recv(len(request))
    made.server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    made.server.close()
    made.client.wait_over()
    made.client.recv()
    made.client.recv()


def _half_closed(lab: Lab, draw: Draw) -> Pair:
    """The client has sent everything and its FIN; the server has read nothing."""
    made = pair(lab, draw)
    made.client.send(bytes(draw.size))
    made.client.shutdown()
    made.server.wait_state(CLOSE_WAIT)
    made.server.wait_unread(draw.size)
    return made


def _after_fin(lab: Lab, draw: Draw) -> None:
    made = _half_closed(lab, draw)
    lab.audit()
    made.server.close()
    made.client.wait_over()
    made.client.recv()


def _after_fin_by_client(lab: Lab, draw: Draw) -> None:
    made = pair(lab, draw)
    made.server.send(bytes(draw.size))
    made.server.shutdown()
    made.client.wait_state(CLOSE_WAIT)
    made.client.wait_unread(draw.size)
    lab.audit()
    made.client.close()
    made.server.wait_over()
    made.server.recv()


def _killed(lab: Lab, draw: Draw) -> None:
    made = pair(lab, draw)
    made.client.send(bytes(draw.size))
    made.server.wait_unread(draw.size)
    lab.server.hand_to_process(made.server).kill()
    made.client.wait_over()
    made.client.recv()


def _killed_client(lab: Lab, draw: Draw) -> None:
    made = pair(lab, draw)
    exchange(made.client, made.server, draw.size)
    made.server.send(bytes(draw.size))
    made.client.wait_unread(draw.size)
    lab.client.hand_to_process(made.client).kill()
    made.server.wait_over()
    made.server.recv()


def _killed_clean(lab: Lab, draw: Draw) -> None:
    made = pair(lab, draw)
    exchange(made.client, made.server, draw.size)
    exchange(made.server, made.client, draw.size)
    lab.server.hand_to_process(made.server).kill()
    made.client.wait_peer_closed()
    made.client.read_to_end()
    made.client.close()


def _drained(lab: Lab, draw: Draw) -> None:
    """The server reads the request to its end before it closes."""
    made = pair(lab, draw)
    made.client.send(bytes(draw.size))
    made.client.shutdown()
    made.server.read_exactly(draw.size)
    made.server.read_to_end()
    exchange(made.server, made.client, draw.size)
    time.sleep(draw.delay)
    made.server.close()
    made.client.read_to_end()
    made.client.close()


def _both_requests_read(lab: Lab, draw: Draw) -> None:
    made = pair(lab, draw)
    for _ in range(2):
        exchange(made.client, made.server, draw.size)
        exchange(made.server, made.client, draw.size)
    part(made.client, made.server)


SCENARIOS = (
    Scenario(
        id="close-unread-server",
        rows=("S05", "S27"),
        title="The server reads a part of a request and closes",
        story="The client sends a request, the server reads half of it and calls close(). The "
        "kernel still holds the rest, so it resets instead of sending a FIN.",
        stage=_by_server,
        twin=_drained,
        live=from_to("server", "close-unread"),
        pcap=_ON_WIRE,
    ),
    Scenario(
        id="close-unread-client",
        rows=("S05",),
        title="The client closes before it has read the whole answer",
        story="The server answers, the client reads half of the answer and calls close(): a "
        "download broken off. The client's kernel resets.",
        stage=_by_client,
        twin=_drained,
        live=from_to("client", "close-unread"),
        pcap=_ON_WIRE,
    ),
    Scenario(
        id="close-unread-answered",
        rows=("S05", "S27"),
        title="The server answers, but has not read the whole request when it closes",
        story="The server refuses a large body: it reads a part, answers and closes. The reset "
        "follows the answer at once; on Linux the client can still read what arrived before it, "
        "other systems may throw it away.",
        stage=_answered,
        twin=_drained,
        live=from_to("server", "close-unread"),
        pcap=_ON_WIRE,
    ),
    Scenario(
        id="close-unread-pipelined",
        rows=("S06",),
        title="Two requests in a row, the server reads one and closes",
        story="The client sends two requests without waiting. The server reads the first, answers "
        "and closes; the second is still unread.",
        stage=_pipelined,
        twin=_both_requests_read,
        live=from_to("server", "close-unread"),
        pcap=_ON_WIRE,
    ),
    Scenario(
        id="close-unread-after-fin",
        rows=("S05", "S24"),
        title="The server closes with unread data after the client's FIN",
        story="The client sends a request and its FIN and waits. The server, in CLOSE_WAIT, closes "
        "without reading: a reset.",
        stage=_after_fin,
        twin=_drained,
        live=from_to("server", "close-unread"),
        pcap=_ON_WIRE,
        audit={"server": ("RST302",)},
    ),
    Scenario(
        id="close-unread-after-fin-client",
        rows=("S05",),
        title="The client closes with unread data after the server's FIN",
        story="The server answers and closes its sending side; the client, in CLOSE_WAIT, closes "
        "without having read the answer.",
        stage=_after_fin_by_client,
        twin=_drained,
        live=from_to("client", "close-unread"),
        pcap=_ON_WIRE,
        audit={"client": ("RST302",)},
    ),
    Scenario(
        id="killed-unread",
        rows=("S26",),
        title="A server process is killed with a request unread",
        story="The process that holds the connection gets SIGKILL. The kernel closes its sockets, "
        "and one of them has unread data: a reset.",
        stage=_killed,
        twin=_killed_clean,
        live=from_to("server", "close-unread"),
        pcap=_ON_WIRE,
    ),
    Scenario(
        id="killed-unread-client",
        rows=("S26",),
        title="A client process is killed with an answer unread",
        story="The client's process gets SIGKILL while an answer waits in its receive queue.",
        stage=_killed_client,
        twin=_killed_clean,
        live=from_to("client", "close-unread"),
        pcap=_ON_WIRE,
    ),
    Scenario(
        id="killed-clean",
        rows=("S26",),
        title="A server process is killed with nothing unread",
        story="The process gets SIGKILL, everything was read. The kernel closes the socket with "
        "an ordinary FIN; the client reads the end of file. No reset.",
        stage=_killed_clean,
        twin=_drained,
    ),
)
