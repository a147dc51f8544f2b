"""Clients that do not wait for the handshake, and scanners that do not want it."""

from __future__ import annotations

import errno
import socket
import struct
import time

from rstaudit.lab.meet import part, talked, target
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import End
from rstaudit.lab.scenario import ABORT_ON_WIRE, Draw, Named, Scenario, both
from rstaudit.lab.wire import Wire

#: Seconds that the SYN-ACK takes where somebody waits for it.
_LATE = 0.35
_PATIENCE = 0.1


def _wire(lab: Lab) -> Wire:
    assert lab.wire is not None
    return lab.wire


def _slow(lab: Lab) -> None:
    _wire(lab).delay("server", _LATE)


def _by_send_timeout(lab: Lab, draw: Draw) -> None:
    """SO_SNDTIMEO bounds connect() too: EINPROGRESS when it runs out."""
    lab.server.listen(draw.family, draw.port)
    _wire(lab).hold("server")
    client = lab.client.tcp(draw.family)
    client.sock.setblocking(True)
    timeout = struct.pack("ll", 0, int(_PATIENCE * 1e6))
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
    client.connect(target(lab, draw))
    lab.audit()
    _give_up(lab, client)


def _by_program(lab: Lab, draw: Draw) -> None:
    """A non-blocking connect that the program stops waiting for."""
    lab.server.listen(draw.family, draw.port)
    _wire(lab).hold("server")
    client = lab.client.tcp(draw.family)
    client.sock.setblocking(False)
    client.connect(target(lab, draw))
    time.sleep(_PATIENCE)
    _give_up(lab, client)


def _give_up(lab: Lab, client: End) -> None:
    """close(), and only then the SYN-ACK arrives."""
    client.close()
    time.sleep(0.05)
    _wire(lab).release("server")
    time.sleep(0.1)


def _patient(lab: Lab, draw: Draw) -> None:
    """The same slow path, and a client that waits."""
    _slow(lab)
    made = talked(lab, draw)
    part(made.client, made.server)


def _port(lab: Lab, draw: Draw) -> str:
    lab.server.listen(draw.family, draw.port)
    return f"{draw.port},{draw.port + 1}-{draw.port + 12}"


def _nmap(lab: Lab, draw: Draw, *kind: str) -> None:
    six = ("-6",) if draw.family == 6 else ()
    address = lab.server.addresses[draw.family]
    fast = ("--max-retries", "0", "--min-rate", "200", "-T5")
    lab.client.run("nmap", *six, *kind, "-n", "-Pn", *fast, "-p", _port(lab, draw), address)
    lab.note("client", f"nmap {' '.join(kind)}", "one port open, 12 closed")


def _syn_scan(lab: Lab, draw: Draw) -> None:
    _nmap(lab, draw, "-sS")


def _connect_scan(lab: Lab, draw: Draw) -> None:
    _nmap(lab, draw, "-sT")


def _raw_scan(lab: Lab, draw: Draw) -> None:
    """Bare SYNs by hand, for where nmap is not installed."""
    from rstaudit.lab import packets

    lab.server.listen(draw.family, draw.port)
    raw = lab.client.raw(draw.family)
    to = target(lab, draw)
    for offset in range(8):
        syn = packets.Segment(
            lab.client.addresses[draw.family], 40000 + offset, to[0], to[1] + offset,
            seq=1_000_000 * (offset + 1), flags=packets.SYN, window=1024, options=b"\2\4\5\xb4",
        )  # fmt: skip
        raw.sendto(packets.write(syn), (to[0], 0))
    time.sleep(0.1)


def _one_by_one(lab: Lab, draw: Draw) -> None:
    """Somebody who asks one open port, and means it."""
    made = talked(lab, draw)
    part(made.client, made.server)


def _still_connecting(lab: Lab, draw: Draw) -> None:
    """SO_RCVTIMEO does not bound connect(): the late handshake succeeds, and nothing is reset."""
    listener = lab.server.listen(draw.family, draw.port)
    _slow(lab)
    client = lab.client.tcp(draw.family)
    client.sock.setblocking(True)
    timeout = struct.pack("ll", 0, int(_PATIENCE * 1e6))
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    began = time.monotonic()
    result = client.connect(target(lab, draw))
    lab.note("client", "connect took", f"{time.monotonic() - began:.1f} s")
    assert result == "ok", errno.errorcode.get(0, result)
    server = listener.accept()
    client.sock.settimeout(5)
    part(client, server)


#: The server has only a request, not a socket, so its kernel does not report the reset.
_GAVE_UP = {"client sent": Named("connect-abort")}
_ON_WIRE = both("connect-abort", "syn-scan")

_SCANNED = {
    "client sent": Named("syn-scan"),
    "server sent": Named("closed-port"),
}

SCENARIOS = (
    Scenario(
        id="connect-abort-sndtimeo",
        rows=("S11", "S12"),
        title="SO_SNDTIMEO is shorter than the handshake",
        story="The SYN-ACK is late, and the client allows 100 ms by SO_SNDTIMEO. connect() "
        "returns EINPROGRESS, the client closes, and its kernel answers the late SYN-ACK with a "
        "reset.",
        stage=_by_send_timeout,
        twin=_patient,
        live=_GAVE_UP,
        pcap=_ON_WIRE,
        audit={"client": ("RST406",)},
        network="wire",
    ),
    Scenario(
        id="connect-abort-nonblocking",
        rows=("S11",),
        title="A program gives up a non-blocking connect",
        story="The program connects without blocking, waits 100 ms and closes the socket. The "
        "SYN-ACK comes after that and is answered with a reset.",
        stage=_by_program,
        twin=_patient,
        live=_GAVE_UP,
        pcap=_ON_WIRE,
        audit={"client": ("RST306",)},
        network="wire",
    ),
    Scenario(
        id="connect-rcvtimeo",
        rows=("S12",),
        title="SO_RCVTIMEO shorter than the handshake: no reset",
        story="The same slow path, with 100 ms in SO_RCVTIMEO instead. On Linux it does not bound "
        "connect(): the connection is made when the SYN-ACK comes.",
        stage=_still_connecting,
        twin=_patient,
        network="wire",
    ),
    Scenario(
        id="syn-scan-nmap",
        rows=("S28",),
        title="A half-open scan with nmap",
        story="nmap -sS sends SYNs without a socket. The closed ports answer with a reset; the "
        "open one with a SYN-ACK, to which the scanner's kernel, knowing of no connection, "
        "answers with a reset.",
        stage=_syn_scan,
        twin=_one_by_one,
        live=_SCANNED,
        pcap=both("syn-scan", "connect-abort", also=("closed-port", "firewall-reject")),
        audit={"server": ("RST306",)},
        needs=frozenset({"program:nmap"}),
        seconds=2.0,
    ),
    Scenario(
        id="syn-scan",
        rows=("S28",),
        title="A half-open scan with SYNs made by hand",
        story="Eight SYNs go out through a raw socket, one of them to an open port.",
        stage=_raw_scan,
        twin=_one_by_one,
        live=_SCANNED,
        pcap=both("syn-scan", "connect-abort", also=("closed-port", "firewall-reject")),
        audit={"server": ("RST306",)},
    ),
    Scenario(
        id="connect-scan-nmap",
        rows=("S10",),
        title="A connect scan with nmap",
        story="nmap -sT connects to each port and closes what it gets with SO_LINGER {1, 0}.",
        stage=_connect_scan,
        twin=_one_by_one,
        live={
            "client sent": Named("linger-abort"),
            "server received": Named("linger-abort"),
            "server sent": Named("closed-port"),
            "client received": Named("closed-port"),
        },
        pcap=both("linger-abort", *ABORT_ON_WIRE, also=("closed-port",)),
        needs=frozenset({"program:nmap"}),
        seconds=2.0,
    ),
)
