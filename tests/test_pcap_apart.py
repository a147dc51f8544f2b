"""Two processes share the work on flows; what they find is what one finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import PROJECT

START = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import captures
from pathlib import Path
from rstaudit.cli import pcap_apart
from rstaudit.cli.pcap_apart import Apart
from rstaudit.collect.capture import open_capture
from rstaudit.resets.wire.tracker import Tracker

pcap_apart.possible = lambda: True
captures.write("hard", Path(sys.argv[2]), 3000)

def children():
    return open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()

def found(apart, between=lambda: None):
    tracker = Tracker(spread=apart.spread)
    each = []
    for batch in open_capture(sys.argv[2], seed=bytes(16)):
        for start in range(0, len(batch.rows), 20000):
            each += tracker.feed(batch._replace(rows=batch.rows[start : start + 20000]))
            between()
    each += tracker.finish()
    return [
        (one.frame, one.src, one.case, one.numbers, one.diagnosis, one.whole, one.steps())
        for one in each
    ]
"""


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    """What runs `START` with more after it, in a process without threads."""
    return [sys.executable, "-W", "error", "-c", "", str(PROJECT / "benchmarks"),
            str(tmp_path / "hard.pcap")]  # fmt: skip


def run(script: list[str], more: str) -> str:
    """What it prints."""
    command = [*script[:4], START + more, *script[5:]]
    done = subprocess.run(
        command,
        env={"PYTHONPATH": str(PROJECT / "audit")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_find_what_one_finds(script: list[str]) -> None:
    """Facts, figures, sentences and the flows that are kept; the child ends when it is closed."""
    more = """
apart = Apart(True)
one, two = found(Apart(False)), found(apart)
running = len(children())
apart.close()
print(one == two, len(one) >= 3000, running, children())
"""
    assert run(script, more) == "True True 1 []\n"


def test_a_child_that_dies_is_done_without(script: list[str]) -> None:
    """Its work is done by this process, whenever it dies."""
    more = """
killed = []
def kill():
    if children() and len(killed) < 1:
        killed.append(os.kill(int(children()[0]), signal.SIGKILL))
apart = Apart(True)
one, two = found(Apart(False)), found(apart, kill)
apart.close()
print(one == two, len(killed), children())
"""
    assert run(script, more) == "True 1 []\n"


def test_work_without_room_is_done_here(script: list[str]) -> None:
    """A flow larger than the shared memory is no reason to fail."""
    more = """
pcap_apart._ROOM = 4096
apart = Apart(True)
one, two = found(Apart(False)), found(apart)
apart.close()
print(one == two, children())
"""
    assert run(script, more) == "True []\n"
