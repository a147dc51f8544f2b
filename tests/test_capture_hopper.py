"""A process that finds the records of a large file before numpy is there; nobody notices."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import PROJECT
from support.stacks import ethernet_stacks
from support.wire import Packet, pcap

#: What is printed is the same for both ways, and says that both were gone.
SCRIPT = """
import os, signal, sys
from rstaudit.collect import hopper
hopper.LARGE = 1
hopper.possible = lambda: True
early = hopper.hopper(sys.argv[1])
print("numpy" in sys.modules, early is not None)
import numpy as np
from rstaudit.collect import capture
capture.LARGE = 1

def children():
    return open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()

for possible in (False, True):
    capture.ahead.possible = lambda: possible
    one = capture.open_capture(sys.argv[1], seed=bytes(16))
    two = capture.open_capture(sys.argv[1], seed=bytes(16), hopper=early or hopper.hopper(sys.argv[1]))
    early = None
    rows = [b"".join(batch.rows.tobytes() for batch in each) for each in (one, two)]
    names = ("packets", "tcp_packets", "truncated", "links", "skipped", "first_ns", "last_ns")
    same = [getattr(one, name) == getattr(two, name) for name in (*names, "size")]
    print(rows[0] == rows[1], all(same), one.packets, one.truncated, children())
"""  # noqa: E501 - a script of its own


def many(count: int) -> bytes:
    """A capture of so many packets, 12 MB where they are 100,000: several pieces."""
    frames = list(ethernet_stacks().values())[:5]
    return pcap([Packet(at, frames[at % 5] + bytes(at % 31)) for at in range(count)])


@pytest.fixture(scope="module")
def whole() -> bytes:
    """Such a capture."""
    return many(100_000)


def run(data: bytes, tmp_path: Path, script: str = SCRIPT) -> list[str]:
    """What the script prints of a file that holds ``data``."""
    file = tmp_path / "file.pcap"
    file.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(file)],
        env={"PYTHONPATH": str(PROJECT / "audit")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("cut", [0, 3, 20])
def test_a_file_is_read_as_without_it(cut: int, whole: bytes, tmp_path: Path) -> None:
    """The same rows and counts, and the place where the file ends within a packet."""
    first, *rest = run(whole[: len(whole) - cut], tmp_path)
    assert first == "False True"
    count = 100_000 - bool(cut)
    for line in rest:
        assert line.startswith(f"True True {count} ")
        assert line.endswith(" []")
        assert ("the file ends within" in line) == bool(cut)


@pytest.mark.parametrize("length", [2**32 - 1, 300_000, 262_144])
def test_damage_is_told_as_without_it(length: int, whole: bytes, tmp_path: Path) -> None:
    """A length that no record has, in the middle of the file, ends the reading there."""
    at = len(whole) // 2
    damage = struct.pack("<IIII", 1, 1, length, length)
    data = many(50_000) + damage + whole[24:at]
    _, *rest = run(data, tmp_path)
    for line in rest:
        assert line.startswith("True True ")
        assert length == 262_144 or "record length" in line


def test_only_large_files_of_the_common_format_have_one(tmp_path: Path) -> None:
    """Others give none: small, of the other byte order, missing, a folder."""
    script = """
import sys
from rstaudit.collect.hopper import hopper
from rstaudit.collect import hopper as module
print(hopper(sys.argv[1]))
module.LARGE = 1
print(hopper(sys.argv[1]), hopper(sys.argv[1] + "-missing"), hopper("/tmp"))
"""
    swapped = b"\xa1\xb2\xc3\xd4\0\2\0\4" + bytes(11) + b"\1" + bytes(200)
    assert run(swapped, tmp_path, script) == ["None", "None None None"]
    small = pcap([Packet(0, b"x" * 60)])
    assert run(small, tmp_path, script.split("module.LARGE")[0]) == ["None"]


def test_a_process_that_dies_is_told(whole: bytes, tmp_path: Path) -> None:
    """What it gave stands; that there should be more is said. Closing leaves no process."""
    script = (
        SCRIPT.split("for possible in")[0].replace("LARGE = 1", "LARGE = hopper._SLOTS = 1", 1)
        + """
capture.ahead.possible = lambda: False
one = capture.open_capture(sys.argv[1], seed=bytes(16), hopper=early)
os.kill(int(children()[0]), signal.SIGKILL)
count = sum(len(batch.rows) for batch in one)
print(count == one.tcp_packets, count < 100_000, one.truncated, children())
two = capture.open_capture(sys.argv[1], seed=bytes(16), hopper=hopper.hopper(sys.argv[1]))
running = len(children())
two.close()
print(running, children())
"""
    )
    _, told, closed = run(whole, tmp_path, script)
    assert told.startswith("True True offset ")
    assert "the process that reads it ended" in told
    assert closed == "1 []"


def test_another_file_at_the_same_path_is_not_mixed_with_it(whole: bytes, tmp_path: Path) -> None:
    """A log that is rotated in between: only the file that is open in the end is read."""
    script = (
        SCRIPT.split("for possible in")[0]
        + """
os.rename(sys.argv[1], sys.argv[1] + ".1")
data = open(sys.argv[1] + ".1", "rb").read()
open(sys.argv[1], "wb").write(data[:-3])
one = capture.open_capture(sys.argv[1], seed=bytes(16), hopper=early)
print(sum(len(batch.rows) for batch in one) > 0, one.packets, children())
"""
    )
    _, told = run(whole, tmp_path, script)
    assert told == "True 99999 []"


def test_a_named_pipe_is_not_touched(tmp_path: Path) -> None:
    """Whoever opens it to write goes on waiting for the one who reads in earnest."""
    script = """
import os, sys
from rstaudit.collect import hopper
hopper.LARGE = 0
os.unlink(sys.argv[1])
os.mkfifo(sys.argv[1])
print(hopper.hopper(sys.argv[1]))
try:
    os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)
except OSError as error:
    print(error.strerror)
"""
    assert run(b"", tmp_path, script) == ["None", "No such device or address"]


def test_without_processes_to_fork_it_is_done_without(whole: bytes, tmp_path: Path) -> None:
    """A user may have no more of them; the file is read all the same."""
    script = """
import os, sys
def fork():
    raise BlockingIOError(11, "Resource temporarily unavailable")
os.fork = fork
from rstaudit.collect import hopper
from rstaudit.cli.main import main
hopper.LARGE = 1
print(hopper.hopper(sys.argv[1]), main(["pcap", sys.argv[1]]))
"""
    out = run(whole, tmp_path, script)
    assert "100,000 packets" in " ".join(out)
    assert out[-1] == "None 0"
