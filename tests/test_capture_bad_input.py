"""Captures that are cut off, damaged, or none at all."""

from __future__ import annotations

import gzip
import io
import random
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from rstaudit.collect.capture import open_capture
from rstaudit.parse.capture.reader import BATCH_ROWS
from rstaudit.parse.errors import ParseError
from support.captures import read, spaced
from support.checkout import PROJECT
from support.stacks import ethernet_stacks
from support.wire import Packet, Pcapng, pcap, pcapng

PACKETS = spaced(list(ethernet_stacks().values())[:6])
PLAIN, SECTION = pcap(PACKETS), pcapng(PACKETS)


@pytest.mark.parametrize(
    ("data", "headers", "after", "align"),
    [(PLAIN, [24], 0, 1), (SECTION, [0, 28, 48], 4, 4)],
    ids=["pcap", "pcapng"],
)
def test_cut_anywhere_all_that_is_whole_is_delivered(
    data: bytes, headers: list[int], after: int, align: int
) -> None:
    """Every packet before the cut is there, and the cut is said with its offset."""
    whole, _ = read(data)
    ends = [data.index(packet.data) + len(packet.data) for packet in PACKETS]
    ends = [end + -end % align + after for end in ends]
    for cut in range(24, len(data)):
        rows, capture = read(data[:cut])
        last = max(end for end in (*headers, *ends) if end <= cut)
        assert np.array_equal(rows, whole[: sum(end <= cut for end in ends)])
        words = f"offset {last}: the file ends within a packet or block"
        assert capture.truncated == (None if last == cut else words)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (PLAIN[:10], "cut off at byte 10"),
        (b"snoop\0\0\0" + bytes(40), "a snoop file"),
        (b"\x04\x22\x4d\x18" + bytes(40), "lz4"),
        (b"BZh91AY" + bytes(40), "bzip2"),
        (b"\xfd7zXZ\0" + bytes(40), "compressed with xz"),
        (b"GMBU" + bytes(40), "Network Monitor"),
        (b"12:00:00.000000 IP 192.0.2.1.80 > 192.0.2.2.4000: Flags [R]", "this is text"),
        (bytes(range(200, 240)), "c8 c9 ca cb"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 9, 4, 0, 0, 0, 1), "version 9"),
        (gzip.compress(b""), "empty"),
        (gzip.compress(b"some text that is no capture at all"), "this is text"),
        (b"\x1f\x8b\x08\x00garbage that is no deflate stream", "damaged gzip data"),
        (zstandard.compress(b"some text that is no capture at all"), "this is text"),
    ],
)
def test_what_is_no_capture_is_named(data: bytes, words: str) -> None:
    """One line that says what the file is, where that is known."""
    with pytest.raises(ParseError, match=words) as caught:
        open_capture(io.BytesIO(data))
    assert "\n" not in str(caught.value)


def test_without_the_zstd_library_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is an extra."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ParseError, match=r"rstaudit\[zstd\]"):
        open_capture(io.BytesIO(zstandard.compress(PLAIN)))


def test_a_file_that_cannot_be_opened_is_an_oserror(tmp_path: Path) -> None:
    """No file, and a directory."""
    with pytest.raises(FileNotFoundError):
        open_capture(tmp_path / "nothing.pcap")
    with pytest.raises(IsADirectoryError):
        open_capture(tmp_path)


def test_a_disk_that_fails_is_told() -> None:
    """What was read before stands, and the system's word for the failure is given."""

    class Failing(io.BytesIO):
        def read(self, count: int | None = -1, /) -> bytes:
            if self.tell() == len(PLAIN):
                raise OSError(5, "Input/output error")
            return super().read(count)

    capture = open_capture(Failing(PLAIN))
    assert sum(len(batch.rows) for batch in capture) == 6
    assert capture.truncated == f"offset {len(PLAIN)}: reading failed: Input/output error"


def damaged(after: bytes, words: str, data: bytes = PLAIN) -> None:
    """What follows good packets is told with its offset, and the packets are there."""
    rows, capture = read(data + after)
    assert rows["frame"].tolist() == [1, 2, 3, 4, 5, 6]
    assert capture.truncated == f"offset {len(data)}: {words}"


@pytest.mark.parametrize("length", [262145, 2**31, 2**32 - 1])
def test_a_record_longer_than_any_packet_ends_a_pcap(length: int) -> None:
    """Whether the rest of the file could hold it or not."""
    words = f"record length {length} is longer than any packet"
    for rest in (b"", bytes(300000)):
        damaged(struct.pack("<IIII", 0, 0, length, length) + rest, words)


@pytest.mark.parametrize("length", [262145, 2**31, 2**32 - 1])
def test_a_record_longer_than_any_packet_ends_a_pcapng(length: int) -> None:
    """The block around it may be as long as it likes."""
    long = Pcapng().interface().enhanced(Packet(0, bytes(300000))).data[28 + 20 :]
    body = long[:20] + struct.pack("<II", length, length) + long[28:]
    damaged(body, f"record length {length} is longer than any packet", SECTION)


def block(kind: int, size: int, *words: int) -> bytes:
    """A block that begins with that type and length, whatever follows, and 20 bytes more."""
    return struct.pack(f"<II{len(words)}I", kind, size, *words) + bytes(20)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (block(6, 2**32 - 4), "block length 4294967292 is longer than any packet"),
        (block(99, 2**32 - 4), "block length 4294967292 is longer than any block"),
        (block(6, 8), "block length 8 is too short for any block of its type"),
        (block(99, 0), "block length 0 is too short for any block of its type"),
        (block(99, 16, 0, 17), "block length 16 at its start, 17 at its end"),
        (block(6, 36, 0, 0, 0, 0, 0, 0, 9), "block length 36 at its start, 9 at its end"),
        (block(6, 32, 7, 0, 0, 0, 0, 32), "packet of interface 7, of 1 described"),
        (block(6, 32, 0, 0, 0, 9, 9, 32), "packet of 9 bytes in a block of 32"),
        (b"\x0a\x0d\x0d\x0a" + bytes(24), "section header with byte order mark 00000000"),
        (block(1, 16, 1, 16), "interface description of 4 bytes"),
    ],
)
def test_blocks_that_cannot_be_end_a_pcapng(data: bytes, words: str) -> None:
    """Absurd lengths, ends that do not match, packets of nowhere."""
    damaged(data, words, SECTION)


def test_a_long_block_that_nobody_needs_is_passed_over() -> None:
    """Name resolution, secrets: up to 16 MiB, however far it reaches beyond what is in memory."""
    long = Pcapng().block(0x0A, bytes(10 << 20)).data[28:]
    packets = SECTION[28:]
    rows, capture = read(SECTION + long + long + packets[20:])
    assert len(rows) == 12
    assert capture.truncated is None
    rows, capture = read(SECTION + long[:-5])
    assert capture.truncated is not None
    assert "ends within" in capture.truncated


def test_interfaces_without_end_are_refused() -> None:
    """A file of nothing but interface descriptions does not fill the memory."""
    one = Pcapng().interface().data
    data = one[:28] + one[28:] * 70000
    _, capture = read(data)
    assert capture.truncated == f"offset {28 + 20 * 65535}: more than 65535 interfaces"


@pytest.mark.parametrize("at", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("harm", ["cut", "flip", "tail"])
def test_damaged_gzip_gives_what_came_before(at: float, harm: str) -> None:
    """Cut off, bits turned, something else behind it: said with the offset in the unpacked data."""
    packets = PACKETS * 2000
    noise = random.Random(1)
    packets = [Packet(packet.time_ns, packet.data + noise.randbytes(200)) for packet in packets]
    plain = pcap(packets)
    packed = gzip.compress(plain, 1)
    place = int(len(packed) * at)
    if harm == "cut":
        packed = packed[:place]
    elif harm == "flip":
        packed = (
            packed[:place]
            + bytes(byte ^ 0xFF for byte in packed[place : place + 64])
            + packed[place + 64 :]
        )
    else:
        packed = packed + b"something else"
    rows, capture = read(packed)
    assert capture.truncated is not None
    if harm == "tail":
        assert len(rows) == len(packets)
        assert "not gzip follow" in capture.truncated
    else:
        assert 0 < len(rows) < len(packets)
        whole, _ = read(plain)
        assert np.array_equal(rows[:3000], whole[:3000])


def test_damaged_zstd_gives_what_came_before() -> None:
    """A frame that is none after one that is; and a frame cut off."""
    packed = zstandard.compress(PLAIN)
    rows, capture = read(packed + b"something else")
    assert len(rows) == 6
    assert capture.truncated is not None
    assert f"offset {len(PLAIN)}: damaged zstd data" in capture.truncated
    noise = random.Random(1)
    packets = [
        Packet(packet.time_ns, packet.data + noise.randbytes(200)) for packet in PACKETS * 2000
    ]
    packed = zstandard.compress(pcap(packets), 1)
    rows, capture = read(packed[: len(packed) // 2])
    assert 0 < len(rows) < 12000
    assert capture.truncated is not None
    assert "ends within" in capture.truncated


class Endless(io.RawIOBase):
    """A gzip file that never ends: one packet again and again."""

    def __init__(self) -> None:
        self._pack = zlib.compressobj(1, zlib.DEFLATED, 31)
        self._next = self._pack.compress(PLAIN) + self._pack.flush(zlib.Z_SYNC_FLUSH)

    def read(self, count: int = -1) -> bytes:
        """As any file; more is made when all is read."""
        if not self._next:
            self._next = self._pack.compress(PLAIN[24:] * 5000)
            self._next += self._pack.flush(zlib.Z_SYNC_FLUSH)
        data, self._next = self._next[:count], self._next[count:]
        return data


def test_endless_gzip_is_read_in_bounded_memory() -> None:
    """A million packets of it go by; the batches are all that is held."""
    capture = open_capture(Endless())  # type: ignore[arg-type] # it has read()
    before = 0
    for batch in capture:
        assert len(batch.rows) <= BATCH_ROWS
        if capture.packets > 1_000_000:
            break
        before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_gzip_bomb_of_zeros_is_read_in_bounded_memory() -> None:
    """Records without a byte in them: many packets, little memory, no row."""
    script = """if True:
        import io, zlib
        from rstaudit.collect.capture import open_capture
        pack = zlib.compressobj(9, zlib.DEFLATED, 31)
        head = b"\\xd4\\xc3\\xb2\\xa1\\x02\\0\\x04\\0" + bytes(12) + b"\\1\\0\\0\\0"
        data = pack.compress(head) + b"".join(pack.compress(bytes(1 << 20)) for _ in range(64))
        data += pack.flush()
        capture = open_capture(io.BytesIO(data))
        assert sum(len(batch.rows) for batch in capture) == 0
        assert capture.packets == 64 << 16, capture.packets
        assert len(data) < 100_000
        print(next(line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line))
    """
    environment = {"PYTHONPATH": str(PROJECT / "audit"), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 200 << 10


HEADS = [b"", PLAIN[:24], SECTION[:28], SECTION[:48], pcap([], big=True)]


def total(data: bytes) -> None:
    """Read it all: nothing but ParseError comes out, and every packet is accounted for."""
    try:
        rows, capture = read(data)
    except ParseError:
        return
    assert len(rows) == capture.tcp_packets
    assert capture.packets == capture.tcp_packets + sum(capture.skipped.values())
    assert capture.packets == sum(capture.links.values())
    assert (np.diff(rows["frame"]) > 0).all()
    assert len(data) >= 12 * capture.packets


@settings(max_examples=150)
@given(st.sampled_from(range(len(HEADS))), st.binary(max_size=600))
def test_random_bytes_are_read_or_refused(head: int, data: bytes) -> None:
    """Behind every kind of header."""
    total(HEADS[head] + data)


BASE = [
    pcap(spaced(list(ethernet_stacks().values()))),
    pcapng(spaced(list(ethernet_stacks().values()))),
    Pcapng(big=True).interface(113).simple(PACKETS[0]).obsolete(PACKETS[1]).data,
]


@settings(max_examples=200)
@given(
    st.sampled_from(range(3)),
    st.lists(
        st.tuples(st.integers(0, 5000), st.sampled_from([0, 1, 0x40, 0x7F, 0x80, 0xFF])),
        min_size=1,
        max_size=12,
    ),
)
def test_mutated_captures_are_read_or_refused(base: int, harm: list[tuple[int, int]]) -> None:
    """Any byte may be any other."""
    changed = bytearray(BASE[base])
    for place, value in harm:
        changed[place % len(changed)] = value
    total(bytes(changed))


@pytest.mark.parametrize("base", range(len(BASE)))
@pytest.mark.parametrize("size", [1, 3, 16, 25, 97, 1000])
def test_pieces_of_any_size_give_the_same(size: int, base: int) -> None:
    """However the bytes arrive, the rows are the same."""
    data = BASE[base]

    class Pieces(io.BytesIO):
        def read(self, count: int | None = -1, /) -> bytes:
            return super().read(min(size, count) if count and count > 0 else size)

    whole, _ = read(data)
    capture = open_capture(Pieces(data), seed=bytes(range(16)))
    rows = [batch.rows for batch in capture]
    assert np.array_equal(np.concatenate([whole[:0], *rows]), whole)
