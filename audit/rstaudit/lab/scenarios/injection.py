"""Resets by a box that is neither end: forged, or with a reason written in them."""

from __future__ import annotations

import secrets
import time

from rstaudit.lab.meet import Pair, part, target
from rstaudit.lab.network import Lab
from rstaudit.lab.packets import ACK, RST, Segment
from rstaudit.lab.parties import SYN_SENT, End
from rstaudit.lab.scenario import Draw, Named, Scenario, both
from rstaudit.lab.steps import forged_reset, send_raw, sequences, speak, talking

#: As tcpkill does: several guesses, each further on in the window.
_LADDER = (0, 63, 189)

_INJECTED, _LATE = Named("injected"), Named("late-segment")


def _ladder(lab: Lab, *victims: End) -> None:
    ttl = secrets.choice((44, 97, 118, 201, 250))
    forged = [forged_reset(end, offset, ttl) for end in victims for offset in _LADDER]
    for segment in forged:
        send_raw(lab.middle, segment)


def _to_both(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    _ladder(lab, ends.client, ends.server)
    _look(ends.client, ends.server)


def _to_client(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    _ladder(lab, ends.client)
    _look(ends.client)
    _goes_on(ends.server, draw)


def _to_server(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    _ladder(lab, ends.server)
    _look(ends.server)
    _goes_on(ends.client, draw)


def _with_ack(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    send_raw(lab.middle, forged_reset(ends.client, acknowledge=True))
    _look(ends.client)
    _goes_on(ends.server, draw)


def _look(*ends: End) -> None:
    for end in ends:
        end.wait_over()
        end.recv()
        end.send(b"x")


def _goes_on(end: End, draw: Draw) -> None:
    """The other end knows nothing of it, and speaks."""
    end.send(b"more" * 4)
    end.wait_over()
    end.recv()
    time.sleep(draw.delay)


def _in_handshake(lab: Lab, draw: Draw) -> None:
    lab.server.listen(draw.family, draw.port)
    lab.server.run("ip", "route", "add", "blackhole", lab.client.addresses[draw.family])
    client = lab.client.tcp(draw.family)
    client.sock.setblocking(False)
    to = target(lab, draw)
    client.connect(to)
    client.wait_state(SYN_SENT)
    acknowledged = sequences(client).send
    forged = Segment(*to, *client.name, 0, acknowledged, RST | ACK, 512, ttl=117, ip_id=4711)
    send_raw(lab.middle, forged._replace(dont_fragment=False))
    client.wait_over()
    client.connect(to)


def _left_alone(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    time.sleep(draw.delay)
    speak(ends, draw.size)
    part(ends.client, ends.server)


def _with_payload(lab: Lab, ends: Pair, payload: bytes) -> None:
    forged = forged_reset(ends.client)
    send_raw(lab.middle, forged._replace(payload=payload))
    _look(ends.client)
    ends.server.vanish()


def _says_why(lab: Lab, draw: Draw) -> None:
    _with_payload(lab, talking(lab, draw), b"Closed by policy %d" % (1000 + draw.number))


def _code(lab: Lab, draw: Draw) -> None:
    """Eight bytes: magic, code, private enterprise number."""
    code = 8 + draw.number
    payload = bytes((0x33, 0xAA)) + code.to_bytes(2, "big") + (32473).to_bytes(4, "big")
    _with_payload(lab, talking(lab, draw), payload)


#: The other end of a connection that was cut at one end only: its packets show no forgery.
_UNTOLD = Named("late-segment", equals=("half-open",))

SCENARIOS = (
    Scenario(
        "injected-both", ("S19",),
        "A box on the path resets both ends",
        "A box that is neither end sees the connection and sends each end resets in the other's"
        " name, as tcpkill does: several, with growing sequence numbers. No kernel sent them.",
        _to_both, _left_alone,
        live={"client received": _INJECTED, "server received": _INJECTED},
        pcap=both("injected"), network="middle",
    ),
    Scenario(
        "injected-client", ("S19",),
        "A box on the path resets the client only",
        "The client is told that the server reset the connection. The server knows nothing of it,"
        " goes on sending, and is reset by the client's kernel, which has no such connection any"
        " more.",
        _to_client, _left_alone,
        live={
            "client received": _INJECTED,
            "client sent": _LATE,
            "server received": _LATE,
        },
        pcap={
            "client": Named("injected", also=("late-segment",)),
            "server": _UNTOLD,
        },
        network="middle",
    ),
    Scenario(
        "injected-server", ("S19",),
        "A box on the path resets the server only",
        "The server is told that the client reset the connection. The client goes on sending, and"
        " is reset by the server's kernel, which has no such connection any more.",
        _to_server, _left_alone,
        live={
            "server received": _INJECTED,
            "server sent": _LATE,
            "client received": _LATE,
        },
        pcap={
            "client": _UNTOLD,
            "server": Named("injected", also=("late-segment",)),
        },
        network="middle",
    ),
    Scenario(
        "injected-ack", ("S19",),
        "A box on the path sends one reset that is complete to the last number",
        "The forged reset carries the right sequence and acknowledgement numbers; only its TTL, its"
        " IP ID and what the server goes on to say give it away.",
        _with_ack, _left_alone,
        live={
            "client received": _INJECTED,
            "client sent": _LATE,
            "server received": _LATE,
        },
        pcap={
            "client": Named("injected", also=("late-segment",)),
            "server": _UNTOLD,
        },
        network="middle",
    ),
    Scenario(
        "injected-handshake", ("S19",),
        "A box on the path refuses the connection in the server's name",
        "The service runs, but its SYN-ACK does not get out; a forged reset answers the SYN"
        " instead. connect() fails as if the port were closed.",
        _in_handshake, _left_alone,
        live={"client received": _INJECTED},
        pcap={"client": Named("injected", equals=("closed-port", "firewall-reject"))},
        network="middle",
    ),
    Scenario(
        "told-by-text", ("S19",),
        "A device writes into the reset why it resets",
        "The reset has a payload of text. RFC 9293 allows it; programs never see it.",
        _says_why, _left_alone,
        live={"client received": _INJECTED},
        pcap={"client": Named("proxied-reset")}, network="middle",
    ),
    Scenario(
        "told-by-code", ("S19",),
        "A device writes a diagnostic code into the reset",
        "The reset has a payload of eight bytes: a magic number, a code and the vendor's number.",
        _code, _left_alone,
        live={"client received": _INJECTED},
        pcap={"client": Named("proxied-reset")}, network="middle",
    ),
)  # fmt: skip
