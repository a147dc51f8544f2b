"""Nobody answers: probes, retransmissions and handshakes that run out."""

from __future__ import annotations

import time

from rstaudit.lab.meet import Pair, part, target
from rstaudit.lab.network import Lab
from rstaudit.lab.scenario import Draw, Named, Scenario, both, from_to
from rstaudit.lab.steps import (
    cut_towards,
    expect,
    forward_filter,
    keepalive,
    mend,
    speak,
    talking,
    user_timeout,
)

_NFT = frozenset({"nft"})


def _unheard(lab: Lab, draw: Draw) -> None:
    """The probes arrive; their answers do not."""
    ends = talking(lab, draw)
    cut_towards(lab.middle, "left")
    keepalive(ends.client, probes=2)
    ends.client.wait_over()
    ends.client.recv()
    ends.client.send(b"x")
    ends.server.wait_over()
    ends.server.recv()


def _unheard_both_ways(lab: Lab, draw: Draw) -> None:
    """Neither probes nor the reset arrive."""
    ends = talking(lab, draw)
    forward_filter(lab.middle, "drop")
    keepalive(ends.client, probes=2)
    ends.client.wait_over()
    ends.client.recv()
    ends.server.vanish()


def _idle_with_user_timeout(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    cut_towards(lab.middle, "left")
    user_timeout(ends.client, 2.6)
    keepalive(ends.client, probes=9)
    ends.client.wait_over()
    ends.client.recv()
    ends.server.wait_over()
    ends.server.recv()


def _server_probes(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    cut_towards(lab.middle, "right")
    keepalive(ends.server, probes=2)
    ends.server.wait_over()
    ends.server.recv()
    ends.client.wait_over()
    ends.client.recv()


def _heard(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    keepalive(ends.client, probes=2)
    keepalive(ends.server, probes=2)
    time.sleep(2.2 + draw.delay)
    part(ends.client, ends.server)


def _gives_up(lab: Lab, draw: Draw, ends: Pair) -> None:
    """The client sends into a cut until it gives up; then the path is mended."""
    cut_towards(lab.middle, "right")
    ends.client.send(b"c" * draw.size)
    ends.client.wait_over()
    expect(ends.client.recv(), "ETIMEDOUT", "the read")
    mend(lab.middle)
    time.sleep(draw.delay)


def _retransmissions(lab: Lab, draw: Draw) -> None:
    lab.client.set_sysctl("net.ipv4.tcp_retries2", 2)
    ends = talking(lab, draw)
    _gives_up(lab, draw, ends)
    ends.server.send(b"s" * draw.size)
    ends.server.wait_over()
    ends.server.recv()
    ends.server.send(b"s")


def _user_timeout(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    user_timeout(ends.client, 1.6)
    _gives_up(lab, draw, ends)
    ends.server.send(b"s" * draw.size)
    ends.server.wait_over()
    ends.server.recv()
    ends.server.send(b"s")


def _nobody_speaks(lab: Lab, draw: Draw) -> None:
    """The audit looks while the client sends again and again."""
    ends = talking(lab, draw)
    user_timeout(ends.client, 6.0)
    cut_towards(lab.middle, "right")
    ends.client.send(b"c" * draw.size)
    time.sleep(2.0)
    lab.audit()
    ends.client.wait_over()
    expect(ends.client.recv(), "ETIMEDOUT", "the read")
    mend(lab.middle)
    ends.server.vanish()


def _short_outage(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    cut_towards(lab.middle, "right")
    ends.client.send(b"c" * draw.size)
    time.sleep(0.3 + draw.delay)
    mend(lab.middle)
    ends.server.read_exactly(draw.size)
    speak(ends, draw.size)
    part(ends.client, ends.server)


def _no_answer(lab: Lab, draw: Draw) -> None:
    lab.client.set_sysctl("net.ipv4.tcp_syn_retries", 1)
    lab.server.listen(draw.family, draw.port)
    cut_towards(lab.middle, "right")
    client = lab.client.tcp(draw.family)
    expect(client.connect(target(lab, draw)), "ETIMEDOUT", "connect")


def _forgotten_request(lab: Lab, draw: Draw) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 1)
    lab.server.listen(draw.family, draw.port)
    forward_filter(lab.middle, "oifname right tcp flags & (syn|ack) == ack drop")
    client = lab.client.connect(target(lab, draw))
    time.sleep(4.2 + draw.delay)
    mend(lab.middle)
    client.send(b"c" * draw.size)
    client.wait_over()
    client.recv()
    client.send(b"x")


def _late_ack(lab: Lab, draw: Draw) -> None:
    listener = lab.server.listen(draw.family, draw.port)
    forward_filter(lab.middle, "oifname right tcp flags & (syn|ack) == ack drop")
    client = lab.client.connect(target(lab, draw))
    time.sleep(draw.delay)
    mend(lab.middle)
    client.send(b"c" * draw.size)
    server = listener.accept()
    server.read_exactly(draw.size)
    part(client, server)


#: A write of several segments meets several resets; those after the first are stragglers.
_STRAGGLERS = ("late-segment",)
_GAVE_UP = Named("retransmit-timeout", also=_STRAGGLERS)
#: The server's packets show none of the attempts, only that the client lost the connection.
_UNHEARD = Named("retransmit-timeout", equals=("half-open",), also=_STRAGGLERS)

SCENARIOS = (
    Scenario(
        "keepalive-expiry", ("S15",),
        "Keepalive probes go unanswered, and the prober resets",
        "The connection is idle. The client probes; the answers are lost on the way back. After"
        " the last probe the client gives up with ETIMEDOUT and sends a reset, which arrives: the"
        " server's healthy end dies of it.",
        _unheard, _heard, from_to("client", "keepalive-timeout"), both("keepalive-timeout"),
        network="middle", needs=_NFT, seconds=4.5,
    ),
    Scenario(
        "keepalive-expiry-server", ("S15",),
        "The server's keepalive probes go unanswered, and it resets the client",
        "The server probes an idle client whose answers are lost. It gives up and resets.",
        _server_probes, _heard, from_to("server", "keepalive-timeout"), both("keepalive-timeout"),
        network="middle", needs=_NFT, seconds=4.5,
    ),
    Scenario(
        "keepalive-expiry-alone", ("S15",),
        "Keepalive probes vanish, and so does the reset",
        "Nothing arrives any more in either direction. The client sends its reset all the same;"
        " the server never learns of it.",
        _unheard_both_ways, _heard, {"client sent": Named("keepalive-timeout")},
        {"client": Named("keepalive-timeout")},
        network="middle", needs=_NFT, seconds=4.5,
    ),
    Scenario(
        "keepalive-user-timeout", ("S15",),
        "TCP_USER_TIMEOUT ends an idle connection while keepalive probes",
        "Keepalive would probe nine times, but TCP_USER_TIMEOUT is shorter, and it counts for"
        " probes too. The client resets.",
        _idle_with_user_timeout, _heard,
        from_to("client", "keepalive-timeout"), both("keepalive-timeout"),
        network="middle", needs=_NFT, seconds=4.5,
    ),
    Scenario(
        "retransmit-timeout", ("S14",),
        "Retransmissions run out, and the other end speaks later",
        "The path to the server is cut for a while. The client sends again until tcp_retries2 is"
        " used up, and gives up without a word. When the path is back the server sends, and the"
        " client's kernel, which has forgotten, resets it.",
        _retransmissions, _short_outage,
        from_to("client", "retransmit-timeout", also=_STRAGGLERS),
        {"client": _GAVE_UP, "server": _UNHEARD},
        audit={"client": ("RST405",)}, network="middle", needs=_NFT, seconds=3.0,
    ),
    Scenario(
        "user-timeout", ("S14",),
        "TCP_USER_TIMEOUT ends a connection with unacknowledged data",
        "The program allowed less time than the outage lasts. No reset is sent at expiry; the"
        " server's next segment meets one.",
        _user_timeout, _short_outage,
        from_to("client", "retransmit-timeout", also=_STRAGGLERS),
        {"client": _GAVE_UP, "server": _UNHEARD},
        network="middle", needs=_NFT, seconds=2.0,
    ),
    Scenario(
        "user-timeout-silent", ("S14",),
        "TCP_USER_TIMEOUT runs out, and no reset follows",
        "As before, but the server has nothing to say: the client reports ETIMEDOUT, and not one"
        " reset is sent.",
        _nobody_speaks, _short_outage, audit={"client": ("RST404",)}, network="middle", needs=_NFT,
        seconds=8.0,
    ),
    Scenario(
        "connect-timeout", ("S03",),
        "Nobody answers the SYN, and Linux gives up without a reset",
        "Every SYN is dropped on the way. connect() returns ETIMEDOUT when tcp_syn_retries are used"
        " up; no reset is sent.",
        _no_answer, _short_outage, audit={"client": ("RST212",)},
        network="middle", needs=_NFT, seconds=4.0,
    ),
    Scenario(
        "handshake-timeout", ("S03",),
        "The server forgets a half-open request, and the client does not know",
        "The client's last ACK of the handshake is lost on the way, so the server repeats its"
        " SYN-ACK and then forgets the request. The client believes it is connected; what it sends"
        " is reset.",
        _forgotten_request, _late_ack,
        from_to("server", "handshake-timeout", also=_STRAGGLERS),
        both("handshake-timeout", also=_STRAGGLERS),
        audit={"server": ("RST212",)}, network="middle", needs=_NFT, seconds=6.0,
    ),
)  # fmt: skip
