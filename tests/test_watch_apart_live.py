"""Namespaces with the same addresses and ports, busy at the same time, are told apart."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from rstaudit.model.diagnosis import LiveReset
from rstaudit.watch.session import Session
from support.netns import listener, network_namespace
from support.programs import CLIENT, SERVER, two_addresses
from support.tracing import private_mounts

pytestmark = pytest.mark.live

_LINGER = struct.pack("@ii", 1, 0)
_ROUNDS = 25
_PORT, _CLOSED = 8081, 9
#: One loopback; and two addresses that are on one interface, as the programs' tests use them.
_PLACES = (("127.0.0.1", "127.0.0.1"), (SERVER, CLIENT))

Act = Callable[[str, str, int], None]


@pytest.fixture(autouse=True)
def _mounts() -> Iterator[None]:
    """Mounts of the test's own, with tracefs."""
    with private_mounts():
        yield


def unread(server: str, client: str, port: int) -> None:
    """An accepted connection is closed with data unread."""
    with listener(port=_PORT, address=server) as listening, _from(client, port) as caller:
        caller.connect((server, _PORT))
        accepted, _ = listening.accept()
        with accepted:
            caller.send(b"unread")
            select.select([accepted], [], [], 1)


def lingers(server: str, client: str, port: int) -> None:
    """The client aborts a connection of the same ports."""
    with listener(port=_PORT, address=server) as listening, _from(client, port) as caller:
        caller.connect((server, _PORT))
        accepted, _ = listening.accept()
        with accepted:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            caller.close()
            select.select([accepted], [], [], 1)


def refused(server: str, client: str, port: int) -> None:
    """Nothing listens on the very port that is connected to elsewhere."""
    with _from(client, port) as caller:
        assert caller.connect_ex((server, _PORT)) != 0


def _from(address: str, port: int) -> socket.socket:
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    caller.bind((address, port))
    return caller


class Player:
    """A process in a namespace of its own that acts each time it is told to."""

    def __init__(self, act: Act, server: str, client: str) -> None:
        self._line, its = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self._line.close()
            _play(its, act, server, client)
            os._exit(0)
        its.close()
        self.netns = int.from_bytes(self._line.recv(8), "little")

    def begin(self, number: int) -> None:
        """Let it act once more; it takes the same port as all others do with that number."""
        self._line.send(bytes([number]))

    def wait(self) -> None:
        """Wait until it has acted."""
        assert self._line.recv(4) == b"done"

    def close(self) -> None:
        """End it."""
        self._line.close()
        os.waitpid(self.pid, 0)


def _play(line: socket.socket, act: Act, server: str, client: str) -> None:
    with network_namespace():
        two_addresses()
        line.send(os.stat("/proc/thread-self/ns/net").st_ino.to_bytes(8, "little"))
        while number := line.recv(1):
            act(server, client, 40_000 + number[0])
            line.send(b"done")


def watched(act: Callable[[], None]) -> list[LiveReset]:
    """All resets of the machine during ``act``, which runs in a thread."""
    found: list[LiveReset] = []
    with Session() as session:
        worker = threading.Thread(target=act)
        worker.start()
        session.run(found.append, lambda: not worker.is_alive())
    return found


def _all_at_once(players: list[Player]) -> None:
    for number in range(_ROUNDS):
        for one in players:
            one.begin(number)
        for one in players:
            one.wait()


def told(resets: list[LiveReset], player: Player) -> Counter[tuple[str, str, int | None]]:
    """What was said of a player's namespace: direction, cause, process."""
    return Counter(
        (one.direction, one.diagnosis.cause, one.owner.pid if one.owner is not None else None)
        for one in resets if one.netns == player.netns
    )  # fmt: skip


@pytest.mark.parametrize(("server", "client"), _PLACES)
def test_the_same_ports_at_once_in_several_namespaces(server: str, client: str) -> None:
    """Each reset has the cause, the namespace and the process that it really had."""
    acts = {unread: "close-unread", lingers: "linger-abort", refused: "closed-port"}
    with ExitStack() as stack:
        players = {act: Player(act, server, client) for act in acts}
        for one in players.values():
            stack.callback(one.close)
        resets = watched(lambda: _all_at_once(list(players.values())))
    for act, cause in acts.items():
        one = players[act]
        expected: Counter[tuple[str, str, int | None]] = Counter()
        expected["received", cause, one.pid] = _ROUNDS
        expected["sent", cause, None if act is refused else one.pid] = _ROUNDS
        assert told(resets, one) == expected, act.__name__
