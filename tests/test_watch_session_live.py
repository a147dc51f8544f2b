from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from rstaudit.model.diagnosis import LiveReset
from rstaudit.model.facts import MissingFact
from rstaudit.watch.session import Options, Session
from support.netns import connected, listener, network_namespace
from support.tracing import ours, private_mounts

pytestmark = pytest.mark.live

_LINGER = struct.pack("@ii", 1, 0)


@pytest.fixture(autouse=True)
def _space(request: pytest.FixtureRequest) -> Iterator[None]:
    """Mounts and a network namespace of the test's own."""
    alone = request.node.get_closest_marker("alone") is not None
    with private_mounts(alone=alone), network_namespace():
        yield


def here() -> int:
    """The namespace that the test is in."""
    return os.stat("/proc/thread-self/ns/net").st_ino


def watched(act: Callable[[], None], options: Options | None = None) -> list[LiveReset]:
    """The resets of this namespace during ``act``; the whole machine is watched."""
    found: list[LiveReset] = []
    with Session(options or Options()) as session:
        act()
        end = time.monotonic() + 0.2
        session.run(found.append, lambda: time.monotonic() > end)
    assert ours() == []
    return [reset for reset in found if reset.netns == here()]


def leave_unread() -> None:
    """An accepted connection is closed with data unread."""
    with listener() as server:
        client, accepted = connected(server)
        client.send(b"unread")
        time.sleep(0.02)
        accepted.close()
        client.close()


def test_both_ends_are_told_with_process_and_namespace() -> None:
    """One reset between two sockets of one process: sent and received, cause and owner."""
    received, sent = sorted(watched(leave_unread))
    assert (received.direction, sent.direction) == ("received", "sent")
    assert (received.src, received.dst) == (sent.src, sent.dst)
    for reset in (received, sent):
        assert reset.diagnosis.cause == "close-unread"
        assert reset.owner is not None
        assert reset.owner.pid == os.getpid()
        assert reset.owner.user == "root"
        assert abs(reset.time_ns - time.time_ns()) < 5e9
    assert (received.kernel_reason, sent.kernel_reason) == (None, "TCP_ABORT_ON_CLOSE")


def test_a_process_that_has_ended_is_still_named() -> None:
    """A program that aborts its connection by exiting is named though it is long gone."""
    script = (
        "import socket, struct, sys\n"
        "c = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('@ii', 1, 0))\n"
    )
    pids: list[int] = []

    def act() -> None:
        with listener() as server:
            port = str(server.getsockname()[1])
            child = subprocess.Popen([sys.executable, "-c", script, port])
            accepted, _ = server.accept()
            child.wait()
            pids.append(child.pid)
            accepted.close()

    found: list[LiveReset] = []
    with Session() as session:
        import threading

        worker = threading.Thread(target=act)
        worker.start()
        session.run(found.append, lambda: not worker.is_alive())
    mine = [reset for reset in found if reset.owner is not None and reset.owner.pid == pids[0]]
    (sent,) = (reset for reset in mine if reset.direction == "sent")
    assert sent.netns == here()
    assert sent.diagnosis.cause == "linger-abort"
    assert sent.owner is not None
    assert sent.owner.pid == pids[0]
    assert sent.owner.comm.startswith("python")


def test_namespaces_with_the_same_addresses_are_kept_apart() -> None:
    """Loopback is in every namespace: each reset is told of the one it happened in."""
    seen: list[LiveReset] = []
    with Session() as session, ExitStack() as stack:
        spaces = [stack.enter_context(elsewhere()) for _ in range(3)]
        end = time.monotonic() + 0.5
        session.run(seen.append, lambda: time.monotonic() > end)
    for inode in spaces:
        assert sorted(r.direction for r in seen if r.netns == inode) == ["received", "sent"]


@contextmanager
def elsewhere() -> Iterator[int]:
    """A process that leaves data unread in a namespace of its own, whose inode is told."""
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        with network_namespace():
            os.write(done, here().to_bytes(8, "little"))
            leave_unread()
            time.sleep(10)
        os._exit(0)
    try:
        yield int.from_bytes(os.read(ready, 8), "little")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(done)


def test_what_was_open_before_has_an_owner() -> None:
    """A connection from before the watch is attributed to the process that holds it."""
    with listener() as server:
        client, accepted = connected(server)

        def act() -> None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            client.close()

        resets = watched(act)
        accepted.close()
    (received,) = (reset for reset in resets if reset.direction == "received")
    assert received.owner is not None
    assert received.owner.pid == os.getpid()


def test_counting_only_says_how_many() -> None:
    """Without diagnosis each reset is counted as such."""
    with Session(Options(diagnose=False)) as session:
        leave_unread()
        time.sleep(0.05)
        assert session.step(0.1) == session.flush() == []
        summary = session.summary()
    assert summary.sent >= 1
    assert summary.undiagnosed == summary.sent + summary.received


def test_without_events_counters_have_to_do() -> None:
    """The fallback names causes from counters, says so, and knows no ends."""
    found = watched(leave_unread, Options(events=False))
    sent = [reset for reset in found if reset.direction == "sent"]
    assert [reset.diagnosis.cause for reset in sent] == ["close-unread"]
    assert sent[0].diagnosis.evidence["source"] == "counters"
    assert sent[0].owner is None


def test_tracefs_that_could_be_mounted_is_asked_for() -> None:
    """Who may mount tracefs is told to, rather than given less."""
    with private_mounts(tracefs=False), pytest.raises(MissingFact, match="mount -t tracefs"):
        Session().__enter__()


def test_two_sessions_see_the_same() -> None:
    """A second watch in the same process does not disturb the first."""
    with Session() as first:
        resets = watched_beside(leave_unread)
        mine = [reset for reset in first.flush() if reset.netns == here()]
    assert [r.diagnosis.cause for r in resets] == [r.diagnosis.cause for r in mine]
    assert len(mine) == 2


def watched_beside(act: Callable[[], None]) -> list[LiveReset]:
    """As `watched`, where another session is open."""
    with Session() as session:
        act()
        return [reset for reset in session.flush() if reset.netns == here()]


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_a_burst_loses_nothing() -> None:
    """Thousands of resets at the rate one core makes: all told, all named."""
    count = 5000

    def act() -> None:
        for _ in range(count):
            with socket.socket() as client:
                client.connect_ex(("127.0.0.1", 9))

    found: dict[str, int] = {}

    def note(reset: LiveReset) -> None:
        if reset.netns == space:
            key = f"{reset.direction} {reset.diagnosis.cause}"
            found[key] = found.get(key, 0) + 1

    def ended(child: int) -> bool:
        if not ends and os.waitpid(child, os.WNOHANG)[0]:
            ends.append(time.time_ns())
        return bool(ends)

    space, ends = here(), list[int]()
    with Session() as session:
        child = os.fork()
        if child == 0:
            act()
            os._exit(0)
        session.run(note, lambda: ended(child) and session.known_until_ns() >= ends[0])
        lost = session.summary().lost
    assert lost == 0
    assert found == {"sent closed-port": count, "received closed-port": count}


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_overload_degrades_to_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no time to judge is counted, none twice and none left out."""
    monkeypatch.setattr("rstaudit.watch.session._MOST_WAITING", 40)
    judged = 0

    def note(_: LiveReset) -> None:
        nonlocal judged
        judged += 1

    with Session() as session:
        for _ in range(3000):
            with socket.socket() as client:
                client.connect_ex(("127.0.0.1", 9))
        for reset in session.flush():
            note(reset)
        summary = session.summary()
    assert summary.undiagnosed > 0
    assert summary.lost == 0
    assert summary.sent + summary.received == summary.undiagnosed + judged
    assert summary.sent >= 3000
    assert summary.received >= 3000
