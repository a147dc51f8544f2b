"""A NAT host in the middle that has forgotten, or cannot place, what it should translate."""

from __future__ import annotations

import time

from rstaudit.lab.meet import Pair, part
from rstaudit.lab.network import Lab
from rstaudit.lab.packets import ACK, PSH, Segment
from rstaudit.lab.parties import Address, End
from rstaudit.lab.scenario import Draw, Named, Scenario
from rstaudit.lab.steps import expect, send_raw, sequences, speak, talking

_TIMEOUTS = "net.netfilter.nf_conntrack_tcp_timeout_"
_NEEDS = frozenset({"nft", "conntrack"})

#: Further than any window of a socket with default buffers reaches.
_FAR_AHEAD = 900_000

#: A write of several segments meets several resets; those after the first are stragglers.
_STRAGGLERS = ("late-segment",)
_PLACED = Named("nat-invalid", also=_STRAGGLERS)
#: Seen from an end the device's own cause is one of forgetting: which of the two words is used
#: is not told by packets.
_FORGOT = Named("nat-invalid", ("idle-timeout", "half-open"), _STRAGGLERS)

#: The server has seen nothing of this connection but the segments it resets.
_STRANGER = Named("nat-invalid", ("undetermined", "half-open", "unsolicited-segment"), _STRAGGLERS)


def masquerade(lab: Lab) -> None:
    """The middle puts its own address on what it forwards to the server."""
    lab.middle.nft(
        "add table inet nat",
        "add chain inet nat post { type nat hook postrouting priority 100; }",
        "add rule inet nat post oifname right masquerade",
    )


def balance(lab: Lab, draw: Draw, backend: int) -> Address:
    """The middle hands connections to its own port 8080 to a port of the server."""
    protocol = {4: "ip", 6: "ip6"}[draw.family]
    target = lab.server.addresses[draw.family]
    where = f"[{target}]" if draw.family == 6 else target
    lab.middle.nft(
        "table inet nat {}",
        "delete table inet nat",
        "add table inet nat",
        "add chain inet nat pre { type nat hook prerouting priority -100; }",
        f"add rule inet nat pre iifname left tcp dport 8080 dnat {protocol} to {where}:{backend}",
    )
    return lab.middle.addresses[draw.family], 8080


def _through(lab: Lab, draw: Draw, to: Address) -> Pair:
    """A connection that the client makes to the balancer's address."""
    listener = lab.server.listen(draw.family, draw.port)
    client = lab.client.connect(to)
    return Pair(listener, client, listener.accept())


def forget_after(lab: Lab, seconds: int, state: str = "established") -> None:
    """How long connection tracking in the middle remembers quiet connections."""
    lab.middle.set_sysctl(_TIMEOUTS + state, seconds)


def _pause(draw: Draw) -> None:
    """Longer than a timeout of one second, and than the tracker's way of counting it."""
    time.sleep(2.0 + draw.delay)


def _server_speaks(lab: Lab, draw: Draw) -> None:
    masquerade(lab)
    forget_after(lab, 1)
    ends = talking(lab, draw)
    _pause(draw)
    ends.server.send(b"s" * draw.size)
    ends.server.wait_over()
    ends.server.recv()
    ends.server.send(b"s")


def _server_speaks_soon(lab: Lab, draw: Draw) -> None:
    masquerade(lab)
    ends = talking(lab, draw)
    _pause(draw)
    ends.server.send(b"s" * draw.size)
    ends.client.read_exactly(draw.size)
    part(ends.client, ends.server)


def _client_speaks(lab: Lab, draw: Draw) -> None:
    masquerade(lab)
    lab.middle.set_sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
    forget_after(lab, 1)
    ends = talking(lab, draw)
    _pause(draw)
    ends.client.send(b"c" * draw.size)
    ends.client.wait_over()
    ends.client.recv()
    ends.client.send(b"c")


def _client_is_picked_up(lab: Lab, draw: Draw) -> None:
    masquerade(lab)
    forget_after(lab, 1)
    ends = talking(lab, draw)
    _pause(draw)
    ends.client.send(b"c" * draw.size)
    ends.server.read_exactly(draw.size)
    forget_after(lab, 432000)
    speak(ends, draw.size)
    part(ends.client, ends.server)


def _slow_answer(lab: Lab, draw: Draw) -> None:
    masquerade(lab)
    forget_after(lab, 1, "close_wait")
    ends = talking(lab, draw)
    ends.client.shutdown()
    ends.server.wait_peer_closed()
    _pause(draw)
    ends.server.send(b"a" * draw.size)
    ends.server.wait_over()
    ends.server.read_to_end()


def _slow_answer_kept(lab: Lab, draw: Draw) -> None:
    masquerade(lab)
    forget_after(lab, 3600, "close_wait")
    ends = talking(lab, draw)
    ends.client.shutdown()
    ends.server.wait_peer_closed()
    _pause(draw)
    ends.server.send(b"a" * draw.size)
    ends.client.read_exactly(draw.size)
    ends.server.close()
    ends.client.read_to_end()


def _out_of_window(lab: Lab, draw: Draw) -> None:
    masquerade(lab)
    ends = talking(lab, draw)
    _send_ahead(lab, draw, ends.server)
    ends.server.wait_over()
    ends.server.recv()


def _out_of_window_liberal(lab: Lab, draw: Draw) -> None:
    masquerade(lab)
    lab.middle.set_sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", 1)
    ends = talking(lab, draw)
    _send_ahead(lab, draw, ends.server)
    time.sleep(draw.delay)
    speak(ends, draw.size)
    part(ends.client, ends.server)


def _send_ahead(lab: Lab, draw: Draw, server: End) -> None:
    """A segment of the server's connection, far beyond the window, as a broken offload makes."""
    numbers = sequences(server)
    sequence = (numbers.send + _FAR_AHEAD) & 0xFFFFFFFF
    payload = b"x" * min(draw.size, 500)
    ahead = Segment(*server.name, *server.peer, sequence, numbers.receive, ACK | PSH, 500)
    send_raw(lab.server, ahead._replace(payload=payload))


def _rebalanced(lab: Lab, draw: Draw) -> None:
    forget_after(lab, 1)
    ends = _through(lab, draw, balance(lab, draw, draw.port))
    speak(ends, draw.size)
    lab.server.listen(draw.family, draw.port + 1)
    balance(lab, draw, draw.port + 1)
    _pause(draw)
    ends.client.send(b"c" * draw.size)
    ends.client.wait_over()
    ends.client.recv()
    expect(ends.client.send(b"c"), "EPIPE", "the second send")


def _same_backend(lab: Lab, draw: Draw) -> None:
    ends = _through(lab, draw, balance(lab, draw, draw.port))
    speak(ends, draw.size)
    _pause(draw)
    speak(ends, draw.size)
    part(ends.client, ends.server)


SCENARIOS = (
    Scenario(
        "nat-expiry-server-first", ("S16",),
        "A NAT host forgets a quiet connection, and the server speaks first",
        "The NAT host drops its entry after a second of silence. The server's next segment is"
        " addressed to the NAT host, whose own TCP knows no such connection and resets it. The"
        " client hears nothing of it.",
        _server_speaks, _server_speaks_soon,
        live={"middle sent": _PLACED, "server received": _PLACED},
        pcap={"server": _FORGOT},
        audit={"middle": ("RST502",)}, network="middle", needs=_NEEDS, seconds=3.0,
    ),
    Scenario(
        "nat-expiry-client-first", ("S16",),
        "A NAT host forgets a quiet connection and refuses to pick it up again",
        "The entry is gone after a second of silence, and nf_conntrack_tcp_loose is 0. The"
        " client's next segment is forwarded with the client's own address on it; the server has"
        " no connection with that address and resets it.",
        _client_speaks, _client_is_picked_up,
        live={"server sent": _PLACED, "client received": _PLACED},
        pcap={"client": _FORGOT, "server": _STRANGER},
        audit={"middle": ("RST502", "RST505")}, network="middle", needs=_NEEDS, seconds=3.0,
    ),
    Scenario(
        "nat-half-closed", ("S16",),
        "A NAT host forgets a half-closed connection before the answer is ready",
        "The client has sent its request and shut down its sending side. The server takes longer"
        " than the NAT host remembers connections in CLOSE_WAIT; the answer meets the NAT host's"
        " own TCP and is reset. The client waits for ever.",
        _slow_answer, _slow_answer_kept,
        live={"middle sent": _PLACED, "server received": _PLACED},
        pcap={"server": _FORGOT},
        audit={"middle": ("RST503",)}, network="middle", needs=_NEEDS, seconds=3.0,
    ),
    Scenario(
        "nat-out-of-window", ("S28",),
        "Connection tracking calls a segment INVALID, and the NAT host resets it",
        "A segment of the server lies outside the window that connection tracking believes in."
        " It is not translated back, reaches the NAT host's own TCP, and the reset that answers it"
        " ends the server's good connection.",
        _out_of_window, _out_of_window_liberal,
        live={"middle sent": _PLACED, "server received": _PLACED},
        pcap={"server": _PLACED},
        audit={"middle": ("RST504",)}, network="middle", needs=_NEEDS,
    ),
    Scenario(
        "nat-rebalanced", ("S16",),
        "A balancer forgets a connection and sends its next segment to another backend",
        "The balancer translates addresses and forgot the quiet connection. Its rules now name"
        " another backend, which has never heard of the connection and resets it.",
        _rebalanced, _same_backend,
        live={"server sent": _PLACED, "client received": _PLACED},
        pcap={"client": _FORGOT, "server": _STRANGER},
        audit={"middle": ("RST502",)}, network="middle", needs=_NEEDS, seconds=3.0,
    ),
)  # fmt: skip
