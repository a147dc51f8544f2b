"""SO_LINGER: zero seconds is a reset, more is a close() that waits."""

from __future__ import annotations

import time

from rstaudit.lab.meet import exchange, pair, part, talked
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import CLOSE_WAIT, End
from rstaudit.lab.scenario import ABORT_ON_WIRE, Draw, Scenario, both, from_to

_ON_WIRE = both("linger-abort", *ABORT_ON_WIRE)


def _abort(lab: Lab, closer: End, peer: End) -> None:
    """SO_LINGER {1, 0}, an audit, close()."""
    closer.linger(0)
    lab.audit()
    closer.close()
    peer.wait_over()
    peer.recv()
    peer.send(b"x")


def _idle(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    time.sleep(draw.delay)
    _abort(lab, made.server, made.client)


def _by_client(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    _abort(lab, made.client, made.server)


def _unsent(lab: Lab, draw: Draw) -> None:
    """The client does not read, so most of what the server sends waits in its send queue."""
    made = pair(lab, draw)
    made.server.sock.setblocking(False)
    try:
        while made.server.sock.send(bytes(65536)):
            pass
    except BlockingIOError:
        made.server.sock.settimeout(5)
    _abort(lab, made.server, made.client)


def _after_fin(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    made.client.shutdown()
    made.server.wait_state(CLOSE_WAIT)
    made.server.recv()
    _abort(lab, made.server, made.client)


def _at_once(lab: Lab, draw: Draw) -> None:
    """A health check: connect, and abort."""
    listener = lab.server.listen(draw.family, draw.port)
    client = lab.client.connect((lab.server.addresses[draw.family], draw.port))
    _abort(lab, client, listener.accept())


def _closed_politely(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    part(made.server, made.client)


def _waits(lab: Lab, draw: Draw) -> None:
    """A positive time: close() blocks until the data is acknowledged, and there is no reset."""
    made = talked(lab, draw)
    assert lab.wire is not None
    lab.wire.delay("client", 0.2)
    made.server.linger(5)
    made.server.sock.setblocking(True)
    made.server.send(bytes(draw.size))
    lab.audit()
    began = time.monotonic()
    made.server.close()
    lab.note("server", "close blocked for", f"{time.monotonic() - began:.1f} s")
    made.client.read_to_end()
    made.client.close()


def _waits_in_vain(lab: Lab, draw: Draw) -> None:
    """The peer does not acknowledge: close() gives up after its time, still without a reset."""
    made = talked(lab, draw)
    assert lab.wire is not None
    lab.wire.cut("client")
    made.server.linger(1)
    made.server.sock.setblocking(True)
    made.server.send(bytes(draw.size))
    began = time.monotonic()
    made.server.close()
    lab.note("server", "close blocked for", f"{time.monotonic() - began:.1f} s")
    lab.wire.mend()
    made.client.read_to_end()
    made.client.close()


def _left_off(lab: Lab, draw: Draw) -> None:
    """SO_LINGER left alone: close() returns at once, the kernel delivers in the background."""
    made = talked(lab, draw)
    exchange(made.server, made.client, draw.size)
    made.server.send(bytes(draw.size))
    made.server.close()
    made.client.read_to_end()
    made.client.close()


SCENARIOS = (
    Scenario(
        id="linger-idle",
        rows=("S08", "S09", "S10", "S27"),
        title="The server closes an idle connection with SO_LINGER {1, 0}",
        story="Everything was said and read. The server sets SO_LINGER {1, 0} and closes, to be "
        "rid of the socket at once: a reset instead of a FIN, and no TIME_WAIT.",
        stage=_idle,
        twin=_closed_politely,
        live=from_to("server", "linger-abort"),
        pcap=_ON_WIRE,
        audit={"server": ("RST308",)},
    ),
    Scenario(
        id="linger-client",
        rows=("S08", "S10"),
        title="A client closes with SO_LINGER {1, 0} to avoid TIME_WAIT",
        story="An HTTP client that opens many connections sets SO_LINGER {1, 0}, so that its "
        "close() leaves no TIME_WAIT. The server reads a reset where it expected an end of file.",
        stage=_by_client,
        twin=_closed_politely,
        live=from_to("client", "linger-abort"),
        pcap=_ON_WIRE,
        audit={"client": ("RST308",)},
    ),
    Scenario(
        id="linger-unsent",
        rows=("S08", "S10"),
        title="SO_LINGER {1, 0} throws away what was not sent yet",
        story="The server has written more than the client has read. close() with SO_LINGER "
        "{1, 0} discards the rest of the send queue and resets.",
        stage=_unsent,
        twin=_left_off,
        live=from_to("server", "linger-abort"),
        pcap=_ON_WIRE,
        audit={"server": ("RST308",)},
    ),
    Scenario(
        id="linger-after-fin",
        rows=("S08",),
        title="SO_LINGER {1, 0} after the client's FIN",
        story="The client has closed its side; the server, in CLOSE_WAIT with nothing unread, "
        "closes with SO_LINGER {1, 0}.",
        stage=_after_fin,
        twin=_closed_politely,
        live=from_to("server", "linger-abort"),
        pcap=_ON_WIRE,
        audit={"server": ("RST308",)},
    ),
    Scenario(
        id="linger-at-once",
        rows=("S10",),
        title="A check that connects and aborts at once",
        story="A health check connects and, without a byte, closes with SO_LINGER {1, 0}.",
        stage=_at_once,
        twin=_closed_politely,
        live=from_to("client", "linger-abort"),
        pcap=_ON_WIRE,
        audit={"client": ("RST308",)},
    ),
    Scenario(
        id="linger-positive",
        rows=("S09",),
        title="SO_LINGER with a positive time: close() waits, no reset",
        story="The server sets SO_LINGER {1, 5} and closes with data on its way. close() blocks "
        "until the client has acknowledged everything, then returns. No reset.",
        stage=_waits,
        twin=_left_off,
        audit={"server": ("RST308",)},
        network="wire",
    ),
    Scenario(
        id="linger-positive-expires",
        rows=("S09",),
        title="SO_LINGER with a positive time that runs out: close() gives up, no reset",
        story="The client's acknowledgements are lost. close() blocks for the second that "
        "SO_LINGER allows and returns; the kernel goes on delivering in the background.",
        stage=_waits_in_vain,
        twin=_left_off,
        network="wire",
        seconds=3.0,
    ),
)
