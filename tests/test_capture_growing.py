"""Captures that grow while they are read: pipes, and files that are followed."""

from __future__ import annotations

import gzip
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rstaudit.collect.capture import Capture, open_capture
from rstaudit.parse.errors import ParseError
from support.captures import spaced
from support.stacks import ethernet_stacks
from support.wire import pcap, pcapng

PACKETS = spaced(list(ethernet_stacks().values())[:6])
HEADER = pcap([])
RECORDS = [pcap([packet])[24:] for packet in PACKETS]


@pytest.fixture
def pipe() -> Iterator[tuple[str, int]]:
    """A pipe: the path of its reading end, and its writing end."""
    reading, writing = os.pipe()
    yield f"/dev/fd/{reading}", writing
    os.close(reading)


def frames(capture: Capture, count: int, seconds: float = 10) -> list[int]:
    """The frames of the next batches until there are ``count``."""
    found: list[int] = []
    until = time.monotonic() + seconds
    for batch in capture:
        found += batch.rows["frame"].tolist()
        if len(found) >= count or time.monotonic() > until:
            break
    return found


def test_what_a_pipe_brings_is_there_at_once(pipe: tuple[str, int]) -> None:
    """A packet is given as soon as the writer pauses, not when a batch is full."""
    path, writing = pipe
    os.write(writing, HEADER)
    capture = open_capture(path)
    assert capture.live
    assert capture.size is None
    batches = iter(capture)
    for number, record in enumerate(RECORDS, 1):
        started = time.monotonic()
        os.write(writing, record)
        batch = next(batch for batch in batches if len(batch.rows))
        assert batch.rows["frame"].tolist() == [number]
        assert time.monotonic() - started < 0.4
    os.close(writing)
    assert [len(batch.rows) for batch in batches if len(batch.rows)] == []
    assert capture.truncated is None


def test_a_quiet_pipe_gives_empty_batches(pipe: tuple[str, int]) -> None:
    """So that whoever waits for the end of a connection can act."""
    path, writing = pipe
    os.write(writing, HEADER + RECORDS[0])
    batches = iter(open_capture(path))
    started = time.monotonic()
    assert [len(next(batches).rows) for _ in range(3)] == [1, 0, 0]
    assert 0.4 < time.monotonic() - started < 5
    os.close(writing)


def test_a_record_in_two_pieces_waits_for_its_second(pipe: tuple[str, int]) -> None:
    """Wherever the writer's buffer ended."""
    path, writing = pipe
    os.write(writing, HEADER + RECORDS[0] + RECORDS[1][:20])
    batches = iter(open_capture(path))
    assert len(next(batches).rows) == 1
    assert len(next(batches).rows) == 0
    os.write(writing, RECORDS[1][20:])
    assert next(batch for batch in batches if len(batch.rows)).rows["frame"].tolist() == [2]
    os.close(writing)


def test_a_writer_that_dies_within_a_packet_is_told(pipe: tuple[str, int]) -> None:
    """What was whole is there."""
    path, writing = pipe
    os.write(writing, HEADER + RECORDS[0] + RECORDS[1][:20])
    os.close(writing)
    capture = open_capture(path)
    assert sum(len(batch.rows) for batch in capture) == 1
    assert (
        capture.truncated
        == f"offset {24 + len(RECORDS[0])}: the file ends within a packet or block"
    )


def test_a_pipe_that_ends_at_once_is_no_capture(pipe: tuple[str, int]) -> None:
    """Whatever was to write into it has failed."""
    path, writing = pipe
    os.close(writing)
    with pytest.raises(ParseError, match="empty"):
        open_capture(path)


def test_a_busy_pipe_is_read_in_large_pieces(pipe: tuple[str, int]) -> None:
    """200,000 packets through a pipe come in few batches."""
    path, writing = pipe
    data = HEADER + RECORDS[0] * 200_000

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    sizes = [len(batch.rows) for batch in open_capture(path)]
    writer.join()
    assert sum(sizes) == 200_000
    assert len(sizes) < 60


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_followed_file_is_read_as_it_grows(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """Also one that is compressed as it grows, and one that is still empty when opened."""
    path = tmp_path / "growing.pcap"
    path.touch()
    grown = threading.Event()

    def grow() -> None:
        for piece in (HEADER, *RECORDS):
            time.sleep(0.05)
            with path.open("ab") as file:
                file.write(pack(piece))
        grown.set()

    writer = threading.Thread(target=grow)
    writer.start()
    capture = open_capture(path, follow=True)
    assert capture.live
    assert frames(capture, 6) == [1, 2, 3, 4, 5, 6]
    writer.join()
    assert grown.is_set()


def test_a_followed_file_that_shrinks_ends(tmp_path: Path) -> None:
    """It was begun anew by somebody else; what was read of it stands."""
    path = tmp_path / "growing.pcapng"
    path.write_bytes(pcapng(PACKETS))
    batches = iter(open_capture(path, follow=True))
    assert len(next(batches).rows) == 6
    path.write_bytes(b"")
    assert sum(len(batch.rows) for batch in batches) == 0
