"""Devices between the ends that give up on a quiet connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from rstaudit.lab.meet import Pair, exchange, part, target
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import Address, End
from rstaudit.lab.scenario import ABORT_ON_WIRE, Draw, Named, Scenario, Stage, both
from rstaudit.lab.steps import (
    forged_reset,
    forward_filter,
    keepalive,
    send_raw,
    speak,
    talking,
    user_timeout,
)

_NEEDS = frozenset({"nft", "conntrack"})
_TIMEOUT = "net.netfilter.nf_conntrack_tcp_timeout_established"

#: A silence that every kind of device allows, and one that many do not (seconds).
_SHORT, _MINUTE = 2.0, 60.0


def _guarded(lab: Lab, draw: Draw, seconds: float, otherwise: str) -> Pair:
    """A connection through a firewall that will forget it after so long a silence.

    It passes what it knows, and new connections, and does ``otherwise`` with the rest.
    """
    lab.middle.set_sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
    lab.middle.set_sysctl(_TIMEOUT, 600)
    forward_filter(
        lab.middle,
        "meta l4proto icmpv6 accept",
        "ct state established accept",
        "tcp flags & (fin|syn|rst|ack) == syn accept",
        otherwise,
    )
    ends = talking(lab, draw)
    lab.audit()
    lab.middle.set_sysctl(_TIMEOUT, max(1, int(seconds) - 1))
    speak(ends, draw.size)
    return ends


def _client_speaks(lab: Lab, draw: Draw, seconds: float) -> None:
    ends = _guarded(lab, draw, seconds, "reject with tcp reset")
    time.sleep(seconds + draw.delay)
    _first_write(ends.client, draw)


def _server_speaks(lab: Lab, draw: Draw, seconds: float) -> None:
    ends = _guarded(lab, draw, seconds, "reject with tcp reset")
    time.sleep(seconds + draw.delay)
    _first_write(ends.server, draw)


def _first_write(end: End, draw: Draw) -> None:
    """It succeeds and is lost; the next calls say so."""
    end.send(b"x" * draw.size)
    end.wait_over()
    end.recv()
    end.send(b"x")


def _dropped(lab: Lab, draw: Draw) -> None:
    ends = _guarded(lab, draw, _SHORT, "drop")
    user_timeout(ends.client, 1.0)
    time.sleep(_SHORT + draw.delay)
    ends.client.send(b"x" * draw.size)
    ends.client.wait_over()
    ends.client.recv()
    ends.server.vanish()


def _told_both(lab: Lab, draw: Draw, seconds: float) -> None:
    """The device itself ends both halves when the time is up."""
    ends = talking(lab, draw)
    time.sleep(seconds + draw.delay)
    forged = [forged_reset(end, ttl=255, acknowledge=True) for end in (ends.client, ends.server)]
    for segment in forged:
        send_raw(lab.middle, segment._replace(dont_fragment=True))
    for end in (ends.client, ends.server):
        end.wait_over()
        end.recv()


def _heartbeats(lab: Lab, draw: Draw, seconds: float = _SHORT) -> None:
    """The same firewall, and keepalive more often than it forgets."""
    ends = _guarded(lab, draw, seconds + 1, "reject with tcp reset")
    keepalive(ends.client, idle=max(1, int(seconds / 3)))
    time.sleep(seconds + 1 + draw.delay)
    lab.middle.set_sysctl(_TIMEOUT, 432000)
    speak(ends, draw.size)
    part(ends.client, ends.server)


def _balanced(lab: Lab, draw: Draw) -> tuple[End, End, End, End]:
    """Client, the balancer's two ends, server: a request and its answer have passed."""
    listener = lab.server.listen(draw.family, draw.port)
    balancer = lab.middle.listen(draw.family, 8080)
    client = lab.client.connect(_balancer(lab, draw))
    front = balancer.accept()
    back = lab.middle.connect(target(lab, draw))
    server = listener.accept()
    for sender, reader in ((client, front), (back, server), (server, back), (front, client)):
        exchange(sender, reader, draw.size)
    time.sleep(0.05)
    return client, front, back, server


def _balancer(lab: Lab, draw: Draw) -> Address:
    return lab.middle.addresses[draw.family], 8080


def _balancer_closes(lab: Lab, draw: Draw) -> None:
    """With a FIN to both ends, as HAProxy does; then the client sends its next request."""
    client, front, back, server = _balanced(lab, draw)
    time.sleep(1.0 + draw.delay)
    front.close()
    part(back, server)
    client.wait_peer_closed()
    time.sleep(draw.delay)
    client.send(b"c" * draw.size)
    client.wait_over()
    client.recv()
    client.send(b"c")


def _balancer_aborts(lab: Lab, draw: Draw) -> None:
    """With SO_LINGER {1, 0} on both sides."""
    client, front, back, server = _balanced(lab, draw)
    time.sleep(1.0 + draw.delay)
    front.abort()
    back.abort()
    for end in (client, server):
        end.wait_over()
        end.recv()


def _balancer_waits(lab: Lab, draw: Draw) -> None:
    """The client gives up first, as it should be arranged."""
    client, front, back, server = _balanced(lab, draw)
    time.sleep(1.0 + draw.delay)
    part(client, front)
    part(back, server)


def _after(stage: Callable[..., None], seconds: float) -> Stage:
    return partial(stage, seconds=seconds)


_DEVICE = Named("idle-timeout")
#: After two seconds packets do not tell a device that forgot from one that began to refuse.
_REFUSED = Named("idle-timeout", equals=("firewall-reject", "nat-invalid", "half-open", "injected"))
_ABORTED = Named("linger-abort")

SCENARIOS = (
    Scenario(
        "idle-firewall-client-first", ("S16", "S17", "S18", "S27"),
        "A firewall forgets a quiet connection and resets the client's next segment",
        "The firewall's entry runs out while nobody speaks. The client's first write succeeds and"
        " is answered by the firewall with a reset; the next calls report it. The server never"
        " learns of it.",
        _after(_client_speaks, _SHORT), _heartbeats,
        {"client received": _DEVICE}, {"client": _REFUSED},
        audit={"middle": ("RST502", "RST506")}, network="middle", needs=_NEEDS, seconds=3.5,
    ),
    Scenario(
        "idle-firewall-server-first", ("S16", "S18"),
        "A firewall forgets a quiet connection and resets the server's next segment",
        "As before, but the server speaks first, as push services do. What it sent is lost, and"
        " the client goes on waiting.",
        _after(_server_speaks, _SHORT), _heartbeats,
        {"server received": _DEVICE}, {"server": _REFUSED},
        audit={"middle": ("RST502", "RST506")}, network="middle", needs=_NEEDS, seconds=3.5,
    ),
    Scenario(
        "idle-firewall-drop", ("S16", "S14"),
        "A firewall forgets a quiet connection and drops the next segment",
        "The firewall says nothing. The client sends again and again until TCP_USER_TIMEOUT; there"
        " is no reset.",
        _dropped, _heartbeats,
        audit={"middle": ("RST502",)}, network="middle", needs=_NEEDS, seconds=4.5,
    ),
    Scenario(
        "idle-device-both", ("S16",),
        "A load balancer resets both ends when a connection has been quiet too long",
        "The device sits between the ends without ending the connection itself. After the idle"
        " timeout it sends each end a reset in the other's name.",
        _after(_told_both, _SHORT), _heartbeats,
        {"client received": _DEVICE, "server received": _DEVICE},
        both("idle-timeout", "injected"), network="middle", needs=_NEEDS, seconds=3.5,
    ),
    Scenario(
        "idle-balancer-closes", ("S16", "S18"),
        "A load balancer closes a quiet connection, and the client's next request meets a reset",
        "The balancer ends the connection in order after its idle timeout. The client has not"
        " looked; its next request is answered with a reset.",
        _balancer_closes, _balancer_waits,
        {"middle sent": Named("data-to-closed"), "client received": Named("data-to-closed")},
        {"client": Named("data-to-closed", equals=("idle-timeout",))},
        network="middle", seconds=2.0,
    ),
    Scenario(
        "idle-balancer-aborts", ("S10", "S16"),
        "A load balancer aborts both sides of a quiet connection",
        "The balancer saves itself TIME_WAIT: after its idle timeout it closes both of its"
        " connections with SO_LINGER {1, 0}.",
        _balancer_aborts, _balancer_waits,
        {"middle sent": _ABORTED, "client received": _ABORTED, "server received": _ABORTED},
        both("linger-abort", *ABORT_ON_WIRE), network="middle", seconds=2.0,
    ),
    Scenario(
        "idle-minute-client-first", ("S16", "S17", "S18"),
        "A firewall forgets after a minute, and resets the client's next segment",
        "As idle-firewall-client-first, with a timeout as devices really have it.",
        _after(_client_speaks, _MINUTE), _heartbeats,
        {"client received": _DEVICE}, {"client": _DEVICE},
        audit={"middle": ("RST502", "RST506")}, network="middle", needs=_NEEDS, slow=True,
        seconds=61.0,
    ),
    Scenario(
        "idle-minute-server-first", ("S16", "S18"),
        "A firewall forgets after a minute, and resets the server's next segment",
        "As idle-firewall-server-first, with a timeout as devices really have it.",
        _after(_server_speaks, _MINUTE), _heartbeats,
        {"server received": _DEVICE}, {"server": _DEVICE},
        audit={"middle": ("RST502", "RST506")}, network="middle", needs=_NEEDS, slow=True,
        seconds=61.0,
    ),
    Scenario(
        "idle-minute-both", ("S16",),
        "A load balancer resets both ends after a minute of silence",
        "As idle-device-both, with a timeout as devices really have it.",
        _after(_told_both, _MINUTE), _heartbeats,
        {"client received": _DEVICE, "server received": _DEVICE}, both("idle-timeout"),
        network="middle", needs=_NEEDS, slow=True, seconds=61.0,
    ),
)  # fmt: skip
