"""What holding a duplicate of a socket does to the close() of its owner, and how long it is held.

docs/socket-options.md tells users of it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from rstaudit.collect import sockopts
from rstaudit.collect.sockopts import Budget, collect_options
from support import netns as space
from support.held import duplicate, held, tell
from support.processes import python_child

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("netns")]

#: Connects, sets SO_LINGER where told to, sends, and closes on SIGUSR1. Never reads.
OWNER = """
import os, signal, socket, struct, sys, time
port, linger, amount = map(int, sys.argv[1:])
end = socket.create_connection(("127.0.0.1", port))
if linger >= 0:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, linger))
end.setblocking(False)
sent = 0
while sent < amount:
    try:
        sent += end.send(bytes(65536))
    except BlockingIOError:
        break
signal.signal(signal.SIGUSR1, lambda *_: end.close())
"""


class Staged:
    """An owner in a process of its own, our duplicate of its socket, and the peer's end."""

    def __init__(self, child: subprocess.Popen[str], peer: socket.socket) -> None:
        self.child = child
        self.peer = peer
        (listed,) = held(child)
        self._link = f"/proc/{child.pid}/fd/{listed.fd}"
        self.copy = duplicate(child, listed.fd)

    def close_at_owner(self) -> None:
        """Return when the owner's close() has taken the descriptor away."""
        tell(self.child, lambda: not os.path.lexists(self._link))

    def ends_within(self, seconds: float) -> bool:
        """Whether a FIN or a reset reaches the peer in this time."""
        poll = select.poll()
        poll.register(self.peer, select.POLLRDHUP)
        return bool(poll.poll(seconds * 1000))

    def close_duplicate(self) -> float:
        """Close it; how many seconds that took."""
        start = time.monotonic()
        os.close(self.copy)
        return time.monotonic() - start


@contextmanager
def staged(linger: int = -1, amount: int = 0) -> Iterator[Staged]:
    """A connection of a child with ``linger`` (-1: off) that has sent ``amount`` bytes."""
    with space.listener() as server:
        arguments = map(str, (server.getsockname()[1], linger, amount))
        with python_child(OWNER, *arguments) as child, server.accept()[0] as peer:
            yield Staged(child, peer)


def test_without_a_duplicate_the_owners_close_ends_the_connection() -> None:
    """What the next tests are compared with."""
    with staged() as scene:
        scene.close_duplicate()
        scene.close_at_owner()
        assert scene.ends_within(5)


@pytest.mark.parametrize(
    ("linger", "ending"),
    [(-1, b""), (0, ConnectionResetError)],
    ids=["FIN", "reset"],
)
def test_the_end_of_a_connection_waits_for_the_last_duplicate(
    linger: int, ending: bytes | type[OSError]
) -> None:
    """The owner's close() sends nothing while we hold the socket; ours sends the FIN or reset."""
    with staged(linger) as scene:
        scene.close_at_owner()
        assert not scene.ends_within(0.3)
        scene.close_duplicate()
        assert scene.ends_within(5)
        assert outcome(lambda: scene.peer.recv(1)) == ending


def outcome(call: Callable[[], bytes]) -> bytes | type[OSError]:
    """What a call returns, or the kind of its error."""
    try:
        return call()
    except OSError as error:
        return type(error)


def test_a_positive_linger_makes_the_last_close_wait() -> None:
    """With unsent data the owner's close() returns at once and ours waits in its place."""
    with staged(linger=1, amount=1 << 30) as scene:
        start = time.monotonic()
        scene.close_at_owner()
        assert time.monotonic() - start < 0.9
        assert 0.9 < scene.close_duplicate() < 5


def test_nothing_waits_where_the_owner_keeps_its_socket_open() -> None:
    """The same connection, still open at its owner: our close() is not the last."""
    with staged(linger=1, amount=1 << 30) as scene:
        assert scene.close_duplicate() < 0.5
        table = collect_options({scene.child.pid: held(scene.child)}, Budget())
    (options,) = table.by_inode.values()
    assert options.linger == 1
    assert table.seconds < 0.5


def test_a_duplicate_is_held_for_microseconds() -> None:
    """Longer than any hold is the reading of a whole socket, from pidfd_getfd to close()."""
    code = "import socket\nends = [socket.socket() for _ in range(900)]"
    with python_child(code) as child:
        pidfd = os.pidfd_open(child.pid)
        try:
            times = sorted(duration(pidfd, one) for one in held(child))
        finally:
            os.close(pidfd)
    assert times[len(times) // 2] < 200e-6, (
        "ten microseconds here; a slow machine gets twenty times"
    )
    assert times[int(len(times) * 0.9)] < 2e-3, "only the scheduler can make it longer"


def duration(pidfd: int, one: sockopts.Held) -> float:
    """Seconds that one socket takes."""
    start = time.perf_counter()
    assert sockopts._ask(pidfd, one) is not None
    return time.perf_counter() - start


def test_every_connection_ends_as_its_owner_wants_while_options_are_read() -> None:
    """A process closes 300 connections in the midst of the reading; none lingers, none is lost."""
    code = """
import signal, socket, sys
ends = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(300)]
def close(*_):
    for end in ends:
        end.close()
signal.signal(signal.SIGUSR1, close)
"""
    with ExitStack() as stack:
        server = stack.enter_context(space.listener(backlog=512))
        port = str(server.getsockname()[1])
        child = stack.enter_context(python_child(code, port))
        peers = [stack.enter_context(server.accept()[0]) for _ in range(300)]
        sockets = {child.pid: held(child)}
        timer = threading.Timer(0.02, child.send_signal, [signal.SIGUSR1])
        timer.start()
        deadline = time.monotonic() + 10
        while held(child):
            assert time.monotonic() < deadline
            collect_options(sockets, Budget())
        timer.join()
        for peer in peers:
            peer.settimeout(1)
            assert peer.recv(1) == b""
