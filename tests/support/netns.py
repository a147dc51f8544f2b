"""A network namespace around a block of a test; nothing of the host changes."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def network_namespace() -> Iterator[None]:
    """Run the block in a new namespace with loopback up; it dies with its last socket.

    Only the calling thread moves; in the main thread /proc/net and /proc/sys/net follow.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_LIBC.unshare(CLONE_NEWNET))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            _check(_LIBC.setns(home, CLONE_NEWNET))
    finally:
        os.close(home)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} (live tests need root)")


def write_sysctl(key: str, value: object) -> None:
    """Set a key of the current namespace; refuses where it would reach the host's."""
    assert not in_initial_namespace(), "tests change settings only in namespaces of their own"
    Path("/proc/sys", key.replace(".", "/")).write_text(f"{value}\n")


def in_initial_namespace() -> bool:
    """Whether global keys are visible: they are shown in the initial namespace only."""
    return Path("/proc/sys/net/core/netdev_max_backlog").exists()


def listener(backlog: int = 16, port: int = 0, address: str = "127.0.0.1") -> socket.socket:
    """A listening TCP socket on loopback."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(backlog)
    return server


def connected(server: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A client connected to ``server``, and the accepted other end."""
    client = socket.create_connection(server.getsockname()[:2], timeout=5)
    accepted, _ = server.accept()
    return client, accepted


def settle(seconds: float = 5.0) -> None:
    """Wait until every FIN sent in this namespace is acknowledged: no socket in FIN_WAIT1."""
    deadline = time.monotonic() + seconds
    while _in_state("04"):
        assert time.monotonic() < deadline, "a FIN is still not acknowledged"
        time.sleep(0.01)


def _in_state(state: str) -> bool:
    tables = (Path(f"/proc/thread-self/net/{name}").read_text() for name in ("tcp", "tcp6"))
    return any(line.split()[3] == state for text in tables for line in text.splitlines()[1:])
