"""Resets as fast as they come: `rstaudit watch` neither grows nor falls over, and can be ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from support.cli import COMMAND, environment
from support.netns import listener, network_namespace
from support.tracing import ours, private_mounts
from support.watching import begun

pytestmark = pytest.mark.live

_SECONDS = 600
_LINGER = struct.pack("ii", 1, 0)


@pytest.fixture(autouse=True)
def _space() -> Iterator[None]:
    """A network namespace of the test's own, and mounts with tracefs."""
    with network_namespace(), private_mounts(alone=True):
        yield


def resident_kib(pid: int) -> int:
    """Memory of a process, from its status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def storm(until: float) -> int:
    """Resets of three kinds, one after the other; how many connections it made."""
    made = 0
    with listener(backlog=1024) as server:
        address = server.getsockname()
        while time.monotonic() < until:
            with socket.create_connection(address) as client:
                accepted, _ = server.accept()
                if made % 3 == 0:
                    client.sendall(b"unread")
                elif made % 3 == 1:
                    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
                accepted.close()
                if made % 3 == 2:
                    client.sendall(b"too late")
            made += 1
    return made


@contextmanager
def watching(out: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """A watch that sees events, while the block lasts at most."""
    with subprocess.Popen(
        [*COMMAND, "watch", "--format", "json"], stdout=out, stderr=subprocess.PIPE, text=True,
        env=environment(),
    ) as process:  # fmt: skip
        try:
            begun(process)
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], out: IO[bytes]) -> dict[str, Any]:
    """The summary of a watch that is ended by Ctrl-C."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (errors, process.returncode) == ("", 0)
    out.seek(max(0, out.seek(0, os.SEEK_END) - 4096))
    summary: dict[str, Any] = json.loads(out.read().splitlines()[-1])["summary"]
    return summary


def test_a_watch_ends_soon_though_much_is_waiting() -> None:
    """Ctrl-C after five seconds of storm: what there is no time to diagnose is counted."""
    with tempfile.TemporaryFile() as out, watching(out) as process:
        made = storm(time.monotonic() + 5)
        start = time.monotonic()
        summary = ended(process, out)
        took = time.monotonic() - start
    assert took < 4, f"{took:.1f} s"
    assert summary["undiagnosed"], "the storm was too small for this test"
    seen = summary["sent"] + summary["received"]
    assert summary["lost"] or seen >= 2 * made, f"{seen} of {2 * made}"


@pytest.mark.slow
@pytest.mark.timeout(_SECONDS + 120)
def test_a_storm_of_ten_minutes_leaks_nothing() -> None:
    """Memory stays where it was after the first minute; every reset is diagnosed or counted."""
    with tempfile.TemporaryFile() as out, watching(out) as process:
        start = time.monotonic()
        made = storm(start + _SECONDS / 10)
        early = resident_kib(process.pid)
        descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))
        made += storm(start + _SECONDS)
        late, now = resident_kib(process.pid), len(os.listdir(f"/proc/{process.pid}/fd"))
        summary = ended(process, out)
    assert late < 1.25 * early + 8192, f"{early} KiB after a minute, {late} KiB at the end"
    assert now <= descriptors + 8
    seen = summary["sent"] + summary["received"]
    # both ends are on this host: each connection's reset shows twice
    assert summary["lost"] or seen >= 2 * made, f"{seen} of {2 * made}"
    assert ours(process.pid) == []
