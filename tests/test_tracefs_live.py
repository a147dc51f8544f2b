from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rstaudit.collect.tracefs import Trace, find, refused
from rstaudit.model.facts import MissingFact
from rstaudit.parse.reset_event import SEND
from rstaudit.parse.trace_decoder import Counts, Decoder
from rstaudit.parse.trace_page import parse_page
from support.cli import environment
from support.netns import network_namespace
from support.tracing import INSTANCES, ours, private_mounts

pytestmark = pytest.mark.live

#: Holds an instance until it is killed.
_HOLDER = "import time; from rstaudit.collect.tracefs import Trace; t = Trace(64); time.sleep(60)"


@pytest.fixture(autouse=True)
def _mounts() -> Iterator[None]:
    """Mounts of the test's own, with tracefs."""
    with private_mounts():
        yield


@pytest.fixture
def trace() -> Iterator[Trace]:
    """An instance for the time of the test."""
    trace = Trace(64)
    trace.start()
    try:
        yield trace
    finally:
        trace.close()


def refuse_connects(count: int) -> None:
    """So many resets from a closed port, in a namespace of their own."""
    import socket

    with network_namespace():
        for _ in range(count):
            with socket.socket() as client:
                client.connect_ex(("127.0.0.1", 9))


def resets(trace: Trace) -> Counts:
    """What is in the buffer."""
    decoder, counts = Decoder(trace.layouts), Counts()
    for chunk in trace.read(100_000):
        decoder.count(chunk.data, parse_page(chunk.data, trace.page).records, counts)
    return counts


def wait_for(condition: Callable[[], object]) -> None:
    """Until it is so; the test's own time is the limit."""
    while not condition():
        time.sleep(0.02)


def test_events_come_at_once_and_none_is_lost(trace: Trace) -> None:
    """A reset wakes the reader, and is in what it reads."""
    refuse_connects(1)
    assert trace.wait(2)
    assert resets(trace)[SEND, "NO_SOCKET"] >= 1
    assert trace.lost() == 0


def test_what_the_buffer_cannot_hold_is_counted(trace: Trace) -> None:
    """Events that overran the buffer are told: those read and those lost make the whole."""
    refuse_connects(3000)
    found = resets(trace)
    assert trace.lost() > 0
    assert found[SEND, "NO_SOCKET"] < 3000


def test_the_instance_goes_with_its_owner() -> None:
    """Closing removes it, once or twice; nothing of ours is left."""
    trace = Trace(64)
    assert ours() == [os.path.basename(trace.path)]
    trace.close()
    trace.close()
    assert ours() == []


def test_two_at_once_do_not_meet() -> None:
    """Each has an instance of its own, and one's end leaves the other's in peace."""
    first = Trace(64)
    first.start()
    try:
        second = Trace(64)
        assert len(ours()) == 2
        second.close()
        refuse_connects(1)
        assert resets(first)[SEND, "NO_SOCKET"] >= 1
    finally:
        first.close()
    assert ours() == []


def test_what_a_killed_owner_left_is_removed_by_the_next() -> None:
    """SIGKILL leaves the instance; the next start takes it away, and only that of the dead."""
    command = [sys.executable, "-c", _HOLDER]
    alive = subprocess.Popen(command, env=environment())
    dead = subprocess.Popen(command, env=environment())
    try:
        wait_for(lambda: ours(alive.pid) and ours(dead.pid))
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert ours(dead.pid)
        Trace(64).close()
        assert not ours(dead.pid)
        assert ours(alive.pid)
    finally:
        for process in (alive, dead):
            process.kill()
            process.wait()
    Trace(64).close()
    assert not ours(alive.pid)


def test_instances_of_others_are_left_alone() -> None:
    """A name that is not ours to give is never touched."""
    other = INSTANCES / f"someone-{os.getpid()}"
    other.mkdir()
    try:
        Trace(64).close()
        assert other.exists()
    finally:
        other.rmdir()


def test_it_says_how_to_mount_tracefs() -> None:
    """Without a mount there is one line with the command; nothing is mounted by us."""
    with private_mounts(tracefs=False):
        with pytest.raises(MissingFact, match="mount -t tracefs nodev /sys/kernel/tracing"):
            find()
        assert "tracefs" not in Path("/proc/thread-self/mountinfo").read_text()


def test_an_unprivileged_user_gets_one_line() -> None:
    """Without root: what is refused, and to run it as root."""
    script = (
        "import os; os.setuid(65534)\n"
        "from rstaudit.collect.tracefs import Trace\n"
        "from rstaudit.model.facts import MissingFact\n"
        "try: Trace(64)\n"
        "except MissingFact as missing: print(missing.gap.detail)"
    )
    preload = "import rstaudit.collect.tracefs\n"  # the checkout may be root's alone to read
    done = subprocess.run(
        [sys.executable, "-c", preload + script],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    assert done.stdout == "tracefs is not ours to use; run as root\n", done.stderr


def test_other_refusals_are_told_as_they_are() -> None:
    """What is no matter of permission keeps the kernel's words."""
    assert "no space left" in refused(OSError(28, "No space left on device")).gap.detail
