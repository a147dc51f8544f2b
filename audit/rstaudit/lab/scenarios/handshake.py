"""Segments that do not fit: rewritten in the handshake, or for a connection that never was."""

from __future__ import annotations

import secrets
import time

from rstaudit.lab.meet import part, target
from rstaudit.lab.network import Lab
from rstaudit.lab.packets import ACK, SYN, Segment
from rstaudit.lab.parties import End, Party
from rstaudit.lab.scenario import Draw, Named, Scenario, both
from rstaudit.lab.steps import forward_filter, send_raw, talking

_NFT = frozenset({"nft"})
_SYN_ACK = "oifname left tcp flags & (syn|ack) == (syn|ack)"
_FINAL_ACK = "oifname right tcp flags & (syn|ack) == ack"


def _listen(lab: Lab, draw: Draw) -> None:
    """A listener on the one address: of one on every address the kernel does not say which."""
    listener = lab.server.tcp(draw.family)
    listener.sock.bind(target(lab, draw))
    listener.sock.listen(16)


def _tries(lab: Lab, draw: Draw, seconds: float) -> End:
    """A client that tries to connect for so long, and has not got anywhere."""
    _listen(lab, draw)
    client = lab.client.tcp(draw.family)
    client.sock.settimeout(seconds)
    client.connect(target(lab, draw))
    return client


def _wrong_echo(lab: Lab, draw: Draw) -> None:
    forward_filter(lab.middle, f"{_SYN_ACK} tcp option timestamp tsecr set 1")
    _tries(lab, draw, 1.5)


def _wrong_acknowledgement(lab: Lab, draw: Draw) -> None:
    number = 1 + secrets.randbelow(100_000)
    forward_filter(lab.middle, f"{_SYN_ACK} tcp ackseq set {number}")
    _tries(lab, draw, 1.5)


def _wrong_final(lab: Lab, draw: Draw) -> None:
    number = 1 + secrets.randbelow(100_000)
    forward_filter(lab.middle, f"{_FINAL_ACK} tcp ackseq set {number}")
    client = _tries(lab, draw, 1.5)
    client.send(b"c" * draw.size)
    time.sleep(0.3)


def _wrong_cookie(lab: Lab, draw: Draw) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 2)
    _wrong_final(lab, draw)


def _rewritten_rightly(lab: Lab, draw: Draw) -> None:
    """A device that changes something harmless: the segment size offered."""
    forward_filter(lab.middle, "tcp flags & syn == syn tcp option maxseg size set 1200")
    ends = talking(lab, draw)
    part(ends.client, ends.server)


def _stray(lab: Lab, draw: Draw, flags: int, ports: tuple[int, int]) -> None:
    """A segment from the client's host that belongs to nothing; ``ports`` are its own."""
    ends = (
        lab.client.addresses[draw.family],
        ports[0],
        lab.server.addresses[draw.family],
        ports[1],
    )
    numbers = (1 + secrets.randbelow(1 << 31), 1 + secrets.randbelow(1 << 31))
    send_raw(lab.client, Segment(*ends, *numbers, flags, 500))
    time.sleep(draw.delay)


def _ephemeral() -> int:
    """A port as connect() chooses them."""
    return 33000 + secrets.randbelow(27000)


def _ack_to_listener(lab: Lab, draw: Draw) -> None:
    _listen(lab, draw)
    _stray(lab, draw, ACK, (_ephemeral(), draw.port))


def _ack_to_nobody(lab: Lab, draw: Draw) -> None:
    _stray(lab, draw, ACK, (draw.port, _ephemeral()))


def _backscatter(lab: Lab, draw: Draw) -> None:
    _stray(lab, draw, SYN | ACK, (draw.port, _ephemeral()))


def _wanted(lab: Lab, draw: Draw) -> None:
    ends = talking(lab, draw)
    part(ends.client, ends.server)


def _phantom(lab: Lab, draw: Draw) -> None:
    """Cookies keep no request, so a full accept queue cannot say no to the last ACK."""
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 2)
    lab.server.set_sysctl("net.ipv4.tcp_abort_on_overflow", 1)
    listener = lab.server.listen(draw.family, draw.port, backlog=1)
    to = target(lab, draw)
    clients = [_begun(lab.client, draw) for _ in range(4)]
    for client in clients:
        client.sock.setblocking(False)
        client.connect(to)
    time.sleep(0.3)
    lab.audit()
    for client in clients:
        client.send(b"GET")
    time.sleep(0.6)
    for end in clients:
        end.vanish()
    for _ in range(2):
        listener.accept().vanish()


def _begun(client: Party, draw: Draw) -> End:
    return client.tcp(draw.family)


def _all_taken(lab: Lab, draw: Draw) -> None:
    """Room in the queue: four clients at a time are all taken."""
    listener = lab.server.listen(draw.family, draw.port, backlog=16)
    clients = [lab.client.connect(target(lab, draw)) for _ in range(4)]
    for client in clients:
        part(client, listener.accept())


_INVALID = Named("invalid-segment")
_STRAY = Named("unsolicited-segment")

SCENARIOS = (
    Scenario(
        "invalid-timestamp", ("S28",),
        "A device on the path spoils the timestamp of the SYN-ACK",
        "The echoed timestamp is not one that the client sent. The client takes the SYN-ACK for"
        " one of another connection and resets it, each time its SYN is answered.",
        _wrong_echo, _rewritten_rightly,
        {"client sent": _INVALID}, both("invalid-segment"),
        network="middle", needs=_NFT, seconds=1.6,
    ),
    Scenario(
        "invalid-synack", ("S28",),
        "A device on the path spoils the acknowledgement number of the SYN-ACK",
        "The SYN-ACK acknowledges something that the client never sent. The client resets it and"
        " tries again.",
        _wrong_acknowledgement, _rewritten_rightly,
        {"client sent": _INVALID}, both("invalid-segment"),
        network="middle", needs=_NFT, seconds=1.6,
    ),
    Scenario(
        "invalid-final-ack", ("S28",),
        "A device on the path spoils the last ACK of the handshake",
        "The client believes it is connected. The server cannot match its segments to the request"
        " and resets each, with a sequence number that the client must ignore.",
        _wrong_final, _rewritten_rightly,
        {"server sent": _INVALID}, {"client": _INVALID, "server": _INVALID},
        network="middle", needs=_NFT,
    ),
    Scenario(
        "invalid-cookie", ("S04", "S28"),
        "A SYN cookie comes back changed",
        "The server keeps no request but a cookie in its sequence number. A device changed the"
        " acknowledgement that should bring it back; the server resets it.",
        _wrong_cookie, _rewritten_rightly,
        {"server sent": _INVALID}, {"client": _INVALID, "server": _INVALID},
        audit={"server": ("RST206",)}, network="middle", needs=_NFT,
    ),
    Scenario(
        "stray-ack-listener", ("S28",),
        "An ACK for a connection that never was reaches a listener",
        "Somebody sends a lone ACK to an open port. The listener has no request for it and answers"
        " with a reset.",
        _ack_to_listener, _wanted, {"server sent": _STRAY}, both("unsolicited-segment"),
    ),
    Scenario(
        "stray-ack", ("S28",),
        "An ACK for a connection that never was reaches a port nobody listens on",
        "Somebody sends a lone ACK. No socket takes it, and the kernel answers with a reset.",
        _ack_to_nobody, _wanted, {"server sent": _STRAY}, both("unsolicited-segment"),
    ),
    Scenario(
        "backscatter", ("S28",),
        "A SYN-ACK answers a SYN that somebody else sent in our name",
        "A spoofed SYN with this host's address went to somebody else, whose SYN-ACK comes here."
        " The kernel never asked for it and resets it.",
        _backscatter, _wanted, {"server sent": _STRAY}, both("unsolicited-segment"),
    ),
    Scenario(
        "syncookie-phantom", ("S03", "S04"),
        "A full accept queue behind SYN cookies: connected, and nobody there",
        "With SYN cookies the server keeps nothing until the last ACK, and when the accept queue"
        " is full then, that ACK is dropped. The client is connected to nobody and sends in vain;"
        " there is no reset, not even with tcp_abort_on_overflow.",
        _phantom, _all_taken, audit={"server": ("RST206", "RST208")}, seconds=2.0,
    ),
)  # fmt: skip
