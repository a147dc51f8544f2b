"""Limits of the whole machine: run only when it is allowed, one at a time, and put back."""

from __future__ import annotations

import fcntl
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rstaudit.lab.meet import exchange, part, target
from rstaudit.lab.namespaces import spawn
from rstaudit.lab.network import Lab
from rstaudit.lab.parties import End
from rstaudit.lab.scenario import ABORT_ON_WIRE, Draw, Scenario, both, from_to

_ORPHANS = "/proc/sys/net/ipv4/tcp_max_orphans"

#: More orphans of ours than `_ALLOWED`.
_COUNT, _ALLOWED = 12, 4

#: Writes the old value when its input ends, which it does even when this process is killed.
_RESTORER = 'cat >/dev/null; printf %s "$1" >"$2"'


@contextmanager
def limited(path: str, value: int) -> Iterator[None]:
    """A setting of the machine at ``value`` for the time of the block, then as it was."""
    with open(path, encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two draws, or two labs, one after the other
        before = lock.read().strip()
        # the lock is held until the old value is back
        restorer = spawn("sh", "-c", _RESTORER, "sh", before, path, hand_over=(lock.fileno(),))
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(str(value))
            yield
        finally:
            restorer.communicate()


def _orphaned(lab: Lab, draw: Draw) -> None:
    servers = _stuck(lab, draw)
    with limited(_ORPHANS, _ALLOWED):
        for server in servers:
            server.close()
        time.sleep(0.3)


def _stuck(lab: Lab, draw: Draw) -> list[End]:
    """Server ends that have data to send which the client does not read."""
    listener = lab.server.listen(draw.family, draw.port, backlog=64)
    found = []
    for _ in range(_COUNT):
        client = lab.client.tcp(draw.family)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(target(lab, draw))
        server = listener.accept()
        server.sock.settimeout(0.2)
        server.send(bytes(4_000_000))
        found.append(server)
    return found


def _room(lab: Lab, draw: Draw) -> None:
    listener = lab.server.listen(draw.family, draw.port)
    for _ in range(_COUNT):
        client = lab.client.connect(target(lab, draw))
        server = listener.accept()
        exchange(server, client, draw.size)
        part(server, client)


SCENARIOS = (
    Scenario(
        "memory-pressure", ("S25",),
        "More orphans than tcp_max_orphans allows: closing resets",
        "A server closes connections that still have data to send. The kernel keeps such orphans"
        " until their work is done, but only so many in the whole machine; beyond that it resets"
        " them at once.",
        _orphaned, _room, from_to("server", "memory-pressure"),
        both("memory-pressure", *ABORT_ON_WIRE),
        needs=frozenset({"host-settings"}), slow=True, seconds=4.0,
    ),
)  # fmt: skip
