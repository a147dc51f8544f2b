"""Connections that are turned away: a port nobody listens on, a packet filter, silence."""

from __future__ import annotations

import socket

from rstaudit.lab.meet import exchange, pair, part, talked, target
from rstaudit.lab.network import Lab
from rstaudit.lab.scenario import Draw, Named, Scenario, both, from_to

#: What a refusal may be taken for, from the packets alone.
_REFUSED = both("closed-port", "firewall-reject")


def _connect(lab: Lab, draw: Draw) -> str:
    return lab.client.tcp(draw.family).connect(target(lab, draw))


def _served(lab: Lab, draw: Draw) -> None:
    """Somebody listens, and is left politely."""
    made = talked(lab, draw)
    part(made.client, made.server)


def _closed_port(lab: Lab, draw: Draw) -> None:
    _connect(lab, draw)


def _crashed(lab: Lab, draw: Draw) -> None:
    listener = lab.server.listen(draw.family, draw.port)
    lab.server.hand_to_process(listener).kill()
    _connect(lab, draw)


def _restarted(lab: Lab, draw: Draw) -> None:
    listener = lab.server.listen(draw.family, draw.port)
    lab.server.hand_to_process(listener).kill()
    _served(lab, draw)


def _bound_to_loopback(lab: Lab, draw: Draw) -> None:
    listener = lab.server.tcp(draw.family)
    listener.bind(("::1" if draw.family == 6 else "127.0.0.1", draw.port))
    listener.sock.listen()
    _connect(lab, draw)


def _udp(lab: Lab, draw: Draw) -> None:
    """A datagram to a closed port: ICMP says so, TCP has no part in it."""
    kind = socket.AF_INET6 if draw.family == 6 else socket.AF_INET
    with lab.client.space.inside():
        end = lab.client.adopt(socket.socket(kind, socket.SOCK_DGRAM))
    end.connect(target(lab, draw))
    end.send(bytes(draw.size % 1000 + 1))
    end.recv()


def _filter(hook: str, draw: Draw, verdict: str) -> tuple[str, ...]:
    """Rules of nftables that give TCP segments to the server's port this verdict."""
    return (
        "table inet lab {",
        f"chain {hook} {{",
        f"type filter hook {hook} priority 0;",
        f"tcp dport {draw.port} {verdict}",
        "}",
        "}",
    )


def _reject_at_host(lab: Lab, draw: Draw) -> None:
    lab.server.nft(*_filter("input", draw, "reject with tcp reset"))
    lab.server.listen(draw.family, draw.port)
    _connect(lab, draw)


def _reject_in_middle(lab: Lab, draw: Draw) -> None:
    lab.middle.nft(*_filter("forward", draw, "reject with tcp reset"))
    lab.server.listen(draw.family, draw.port)
    _connect(lab, draw)


def _reject_icmp(lab: Lab, draw: Draw) -> None:
    lab.server.nft(*_filter("input", draw, "reject with icmpx type port-unreachable"))
    lab.server.listen(draw.family, draw.port)
    _connect(lab, draw)


def _dropped(lab: Lab, draw: Draw) -> None:
    lab.server.nft(*_filter("input", draw, "drop"))
    lab.server.listen(draw.family, draw.port)
    end = lab.client.tcp(draw.family)
    end.sock.settimeout(0.6)
    end.connect(target(lab, draw))


def _reject_established_at_host(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    lab.server.nft(*_filter("input", draw, "reject with tcp reset"))
    made.client.send(bytes(draw.size))
    made.client.wait_over()
    made.client.recv()


def _reject_established_in_middle(lab: Lab, draw: Draw) -> None:
    made = talked(lab, draw)
    lab.middle.nft(*_filter("forward", draw, "reject with tcp reset"))
    made.client.send(bytes(draw.size))
    made.client.wait_over()
    made.client.recv()


def _reject_new_only(lab: Lab, draw: Draw) -> None:
    """The rule matches new connections: what is established goes on."""
    made = talked(lab, draw)
    box = lab.middle_or_none or lab.server
    hook = "forward" if lab.middle_or_none else "input"
    box.nft(*_filter(hook, draw, "tcp flags & (syn | ack) == syn drop"))
    exchange(made.client, made.server, draw.size)
    part(made.client, made.server)


def _allowed(lab: Lab, draw: Draw) -> None:
    """The same filter, with the port allowed before it rejects."""
    box = lab.middle_or_none or lab.server
    hook = "forward" if lab.middle_or_none else "input"
    box.nft(*_filter(hook, draw, "accept"))
    _served(lab, draw)


def _quietly_served(lab: Lab, draw: Draw) -> None:
    made = pair(lab, draw)
    part(made.server, made.client)


_REJECTED_MIDSTREAM = ("half-open", "injected", "idle-timeout", "undetermined")

SCENARIOS = (
    Scenario(
        id="closed-port",
        rows=("S01", "S02", "S27"),
        title="A connection to a port that nobody listens on",
        story="The client connects to a port of the server on which no program listens. The "
        "server's kernel answers the SYN with a reset; connect() returns ECONNREFUSED.",
        stage=_closed_port,
        twin=_served,
        live=from_to("server", "closed-port"),
        pcap=_REFUSED,
        audit={"server": ("RST306",)},
    ),
    Scenario(
        id="closed-port-crash",
        rows=("S01",),
        title="A connection after the service crashed and before it is started again",
        story="The program that listened is killed, and the listener goes with it. Whoever "
        "connects before the restart is refused by the kernel.",
        stage=_crashed,
        twin=_restarted,
        live=from_to("server", "closed-port"),
        pcap=_REFUSED,
        audit={"server": ("RST306",)},
    ),
    Scenario(
        id="closed-port-loopback",
        rows=("S01",),
        title="The service listens on loopback only",
        story="The program listens on the loopback address. A client on another host is refused, "
        "although ss shows the port.",
        stage=_bound_to_loopback,
        twin=_quietly_served,
        live=from_to("server", "closed-port"),
        pcap=_REFUSED,
        audit={"server": ("RST306",)},
    ),
    Scenario(
        id="closed-port-udp",
        rows=("S01",),
        title="A datagram to a port that nobody listens on",
        story="For UDP the kernel answers with ICMP port unreachable: the next call on the "
        "connected socket returns ECONNREFUSED. No TCP, no reset.",
        stage=_udp,
        twin=_served,
    ),
    Scenario(
        id="reject-host",
        rows=("S02",),
        title="A packet filter on the server rejects with a TCP reset",
        story="A service listens, but a rule of nftables on the same host rejects its port with "
        "tcp reset. The client sees the same as on a closed port. The kernel's TCP knows nothing "
        "of this reset: no event, no counter.",
        stage=_reject_at_host,
        twin=_allowed,
        live={"client received": Named("firewall-reject")},
        pcap=both("firewall-reject", "closed-port"),
        audit={"server": ("RST506",)},
        needs=frozenset({"nft"}),
    ),
    Scenario(
        id="reject-middle",
        rows=("S02",),
        title="A firewall on the way rejects with a TCP reset",
        story="A router between client and server rejects the port with tcp reset. The server "
        "never sees the SYN; the reset carries the server's address all the same.",
        stage=_reject_in_middle,
        twin=_allowed,
        live={"client received": Named("firewall-reject")},
        pcap={"client": Named("firewall-reject", ("closed-port",))},
        audit={"middle": ("RST506",)},
        network="middle",
        needs=frozenset({"nft"}),
    ),
    Scenario(
        id="reject-icmp",
        rows=("S02",),
        title="A packet filter rejects with ICMP",
        story="The rule rejects with ICMP port unreachable. connect() returns ECONNREFUSED, and "
        "there is no reset on the wire.",
        stage=_reject_icmp,
        twin=_allowed,
        needs=frozenset({"nft"}),
    ),
    Scenario(
        id="drop-host",
        rows=("S02", "S03"),
        title="A packet filter drops the SYN without a word",
        story="The rule drops. Nothing comes back: the client repeats its SYN until it gives up. "
        "There is no reset.",
        stage=_dropped,
        twin=_allowed,
        needs=frozenset({"nft"}),
    ),
    Scenario(
        id="reject-host-established",
        rows=("S02",),
        title="A new rule on the server rejects an established connection",
        story="A rule that rejects with tcp reset is loaded while a connection is open. The next "
        "segment of the client meets it. The server's socket stays open and knows nothing.",
        stage=_reject_established_at_host,
        twin=_reject_new_only,
        live={"client received": Named("firewall-reject")},
        pcap=both("firewall-reject", *_REJECTED_MIDSTREAM),
        audit={"server": ("RST506",)},
        needs=frozenset({"nft"}),
    ),
    Scenario(
        id="reject-middle-established",
        rows=("S02",),
        title="A new rule on a firewall on the way rejects an established connection",
        story="The router's rules are reloaded and now reject the port with tcp reset. The next "
        "segment of the client is answered by the router in the server's name.",
        stage=_reject_established_in_middle,
        twin=_reject_new_only,
        live={"client received": Named("firewall-reject")},
        pcap={"client": Named("firewall-reject", _REJECTED_MIDSTREAM)},
        audit={"middle": ("RST506",)},
        network="middle",
        needs=frozenset({"nft"}),
    ),
)
