"""Large captures are decoded by a process of their own; nobody notices, except the clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import PROJECT
from support.stacks import ethernet_stacks
from support.wire import Packet, pcap

#: Each runs in a process without threads, as `rstaudit pcap` does.
START = """
import os, signal, sys, time
from rstaudit.collect import ahead, capture
from rstaudit.collect.capture import open_capture
import numpy as np

def children():
    return open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()

def read(path, large):
    capture.LARGE = large
    return open_capture(path, seed=bytes(16))

path = sys.argv[1]
capture.ahead.possible = lambda: True
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of 300,000 packets, several batches, that ends within a packet."""
    frames = list(ethernet_stacks().values())[:5]
    packets = [Packet(at, frames[at % 5] + bytes(at % 7)) for at in range(300_000)]
    file = tmp_path_factory.mktemp("large") / "large.pcap"
    file.write_bytes(pcap(packets)[:-3])
    return file


def run(script: str, path: Path) -> str:
    """What a script prints that begins with `START`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", START + script, str(path)],
        env={"PYTHONPATH": str(PROJECT / "audit")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_read_what_one_reads(large: Path) -> None:
    """Rows, payloads, counts, the place where the file was cut: all the same."""
    script = """
one, two = read(path, 1 << 60), read(path, 1)
first, second = list(one), list(two)
for mine, other in zip(first, second, strict=True):
    assert np.array_equal(mine.rows, other.rows) and mine.payloads == other.payloads
names = ("packets", "tcp_packets", "truncated", "links", "skipped", "first_ns", "last_ns")
for name in (*names, "size", "position", "live"):
    assert getattr(one, name) == getattr(two, name), name
print(len(first) > 2, one.packets, one.truncated is not None, children())
"""
    assert run(script, large) == "True 299999 True []\n"


def test_the_second_process_is_really_one(large: Path) -> None:
    """It runs while batches are made, and is gone when the reader is closed."""
    script = """
batches = iter(read(path, 1))
next(batches)
running = children()
batches.close()
print(len(running), children())
"""
    assert run(script, large) == "1 []\n"


def test_a_second_process_that_dies_is_told(large: Path) -> None:
    """What it gave stands; the rest is missing, and that is said."""
    script = """
source = read(path, 1)
batches = iter(source)
first = next(batches)
for child in children():
    os.kill(int(child), signal.SIGKILL)
rest = list(batches)
print(len(first.rows) + sum(len(batch.rows) for batch in rest) <= source.packets, source.truncated)
"""
    out = run(script, large)
    assert "True offset " in out
    assert "the process that reads it ended" in out or "the file ends within" in out


def test_an_error_of_ours_in_the_second_process_is_raised(large: Path) -> None:
    """It is not taken for the end of the file."""
    script = """
def broken(*_):
    raise ZeroDivisionError("of ours")
capture.Capture._fill, fill = broken, capture.Capture._fill
def begun(self, begin=capture.Capture._begin):
    capture.Capture._fill = fill
    try:
        return begin(self)
    finally:
        capture.Capture._fill = broken
capture.Capture._begin = begun
source = read(path, 1)
try:
    list(source)
except RuntimeError as error:
    print(error, children())
"""
    assert run(script, large) == "while reading ahead: ZeroDivisionError('of ours') []\n"


def test_small_files_and_busy_processes_are_read_by_one(large: Path) -> None:
    """A fork is not worth it for a small file, and not safe beside other threads."""
    script = """
import threading
del capture.ahead.possible
from importlib import reload
reload(ahead)
alone = ahead.possible()
stop = threading.Event()
threading.Thread(target=stop.wait).start()
print(alone == (len(os.sched_getaffinity(0)) > 1), ahead.possible())
stop.set()
"""
    assert run(script, large) == "True False\n"
