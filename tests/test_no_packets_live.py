"""An audit sends nothing: what a capture sees around it, against one of the same time without."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support import netns as space
from support.cli import rstaudit
from support.processes import python_child

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("netns")]

ALL_PROTOCOLS = 0x0003


@contextmanager
def capture(interface: str = "lo") -> Iterator[Callable[[], list[bytes]]]:
    """Every frame on an interface from now on; the function returns those seen since last asked."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(ALL_PROTOCOLS)) as tap:
        tap.bind((interface, ALL_PROTOCOLS))
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        tap.setblocking(False)

        def seen() -> list[bytes]:
            frames = []
            while True:
                try:
                    frames.append(tap.recv(65536))
                except BlockingIOError:
                    return frames

        yield seen


#: The other process. Its ends, three of each kind, stay as they are when it says that it is ready:
#: untouched; half-closed by it; closed by it, which we have not answered; closed by our side alone.
OWNER = """
import socket, struct, sys
kinds = ("untouched", "half-closed", "closed", "peer closes")
ends = {}
for kind in kinds:
    for linger in (None, 0, 5):
        end = ends[kind, linger] = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if linger is not None and kind != "closed":
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, linger))
        end.send(kind.encode())
for linger in (None, 0, 5):
    ends["half-closed", linger].shutdown(socket.SHUT_WR)
    ends["closed", linger].close()
"""

CONNECTIONS = 12
#: As /proc/net/tcp writes them: ESTABLISHED, FIN_WAIT2, CLOSE_WAIT, LISTEN.
STATES = {"01": 6, "05": 9, "08": 9, "0A": 1}


@contextmanager
def connections() -> Iterator[list[socket.socket]]:
    """Our ends of connections with another process, in every state that lasts."""
    with ExitStack() as stack:
        server = stack.enter_context(space.listener(backlog=64))
        stack.enter_context(python_child(OWNER, str(server.getsockname()[1])))
        ends = [stack.enter_context(server.accept()[0]) for _ in range(CONNECTIONS)]
        for end in ends:
            if end.recv(100, socket.MSG_PEEK) == b"peer closes":
                end.shutdown(socket.SHUT_WR)
        space.settle()
        yield ends


def in_states() -> dict[str, int]:
    """Sockets of this namespace by state."""
    rows = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    return dict(Counter(row.split()[3] for row in rows))


@pytest.mark.parametrize("interval", ["0", "0.5"])
def test_an_audit_adds_no_packet(interval: str) -> None:
    """Around a whole audit with socket options not one, as in the same time without it.

    Each connection is as it was before, in its state and its data.
    """
    with connections() as ends, capture() as seen:
        before = in_states()
        assert before == STATES
        time.sleep(0.3)  # a delayed ACK may still be on its way
        seen()
        start = time.monotonic()
        done = rstaudit("--format", "json", "--interval", interval)
        around = seen()
        time.sleep(time.monotonic() - start)
        without = seen()
        assert (around, without) == ([], [])
        assert in_states() == before
        kinds = Counter(end.recv(100) for end in ends)
        ends[0].send(b"x")
        assert seen(), "the capture does see what is sent"
    assert kinds == {b"untouched": 3, b"half-closed": 3, b"closed": 3, b"peer closes": 3}
    report = json.loads(done.stdout)["hosts"][0]
    assert {"sockets", "options"}.isdisjoint(gap["fact"] for gap in report["gaps"])
