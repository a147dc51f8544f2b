"""Connections that are not worth a note, and timers as `ss` shows them: for measurements."""

from __future__ import annotations

import re
import socket

from rstaudit.lab.meet import Pair, target
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import Broken, End, Party
from rstaudit.lab.scenario import Draw

_UNITS = {"ms": 0.001, "sec": 1.0, "min": 60.0}


def must(true: bool, what: str) -> None:
    """The kernel did what we say it does, or the scenario is broken."""
    if not true:
        raise Broken(f"this kernel does otherwise: {what}")


def timer(party: Party, state: str, port: int) -> float:
    """Seconds that the timer of a socket with this local port has left, as `ss -o` prints them."""
    words = party.run("ss", "-H", "-tano", "state", state, f"( sport = :{port} )")
    found = re.search(r"timer:\(\w+,([^,]+),", words)
    if found is None:
        raise Broken(f"ss shows no timer for port {port} in {state}")
    return sum(_seconds(*parts) for parts in re.findall(r"(\d+\.)?(\d+)(ms|sec|min)", found[1]))


def _seconds(whole: str, number: str, unit: str) -> float:
    """``4.912ms`` is how `ss` writes 4.912 seconds."""
    return float(whole or 0) + int(number) * _UNITS[unit]


def talked(lab: Lab, draw: Draw) -> Pair:
    """A connection that is not worth a note."""
    listener = lab.server.listen(draw.family, draw.port, backlog=64)
    client = lab.client.tcp(draw.family)
    client.sock.connect(target(lab, draw))
    return Pair(listener, client, taken(listener))


def taken(listener: End) -> End:
    """The next connection of a listener."""
    return listener.party.adopt(listener.sock.accept()[0])


def part(first: End, second: End) -> None:
    """A clean end, ``first`` first."""
    first.sock.shutdown(socket.SHUT_WR)
    _drain(second)
    second.sock.close()
    _drain(first)
    first.sock.close()


def _drain(end: End) -> None:
    while end.sock.recv(65536):
        pass
