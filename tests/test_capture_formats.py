"""File formats: the same packets whatever they are wrapped in."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import zstandard

from rstaudit.collect.capture import open_capture
from support.captures import START_NS, read, spaced
from support.stacks import ethernet_stacks, other_links
from support.tshark import ours, tshark
from support.wire import Packet, Pcapng, pcap, pcapng

FRAMES = list(ethernet_stacks().values())[:6]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_of_either_byte_order_and_clock(big: bool, nano: bool, tmp_path: Path) -> None:
    """Four magics, one answer; nanoseconds are kept where the file has them."""
    packets = [Packet(packet.time_ns + 789 * nano, packet.data) for packet in spaced(FRAMES)]
    file = tmp_path / "file.pcap"
    file.write_bytes(pcap(packets, big=big, nano=nano))
    segments = ours(open_capture(file))
    assert segments == tshark(file)
    assert [seen.time_ns for seen in segments] == [packet.time_ns for packet in packets]


def test_pcap_with_the_longer_records_of_a_patched_libpcap(tmp_path: Path) -> None:
    """The modified magic has eight more bytes in every record."""
    file = tmp_path / "file.pcap"
    file.write_bytes(pcap(spaced(FRAMES), modified=True))
    segments = ours(open_capture(file))
    assert segments == tshark(file)
    assert len(segments) == len(FRAMES)


def test_a_frame_check_sequence_noted_in_the_link_type_is_no_other_link_type() -> None:
    """The upper half of pcap's link type field says how long the FCS is."""
    data = bytearray(pcap(spaced(FRAMES)))
    data[20:24] = struct.pack("<I", 1 | 0x5 << 28 | 1 << 26)
    rows, capture = read(bytes(data))
    assert len(rows) == len(FRAMES)
    assert capture.links == {"Ethernet": len(FRAMES)}


def everything(big: bool) -> bytes:
    """A pcapng file with every block that carries packets, several clocks, and what to skip."""
    packets = spaced(FRAMES)
    file = Pcapng(big=big).interface(name="eth0")
    file.enhanced(packets[0]).block(0x1234, b"for somebody else" * 40)
    file.interface(101, resolution=9, name="tun0").interface(resolution=0x80 | 20, offset=1000)
    file.enhanced(Packet(0, other_links()[101][0]), 1, ticks=START_NS + 789)
    file.enhanced(packets[1], 2, ticks=1_699_999_000 << 20 | 0x81234)
    file.simple(packets[2]).obsolete(packets[3]).enhanced(packets[4], options=b"\0\0\0\0")
    file.section(big=not big).interface(resolution=3).interface(113)
    file.block(5, bytes(12)).block(4, struct.pack(file.order + "HH", 0, 0))
    file.enhanced(packets[5], 0, ticks=START_NS // 10**6)
    return file.enhanced(Packet(START_NS, other_links()[113][0]), 1).data


@pytest.mark.parametrize("big", [False, True])
def test_pcapng_with_every_block_that_carries_packets(big: bool, tmp_path: Path) -> None:
    """Sections of either byte order, clocks of either base, offsets, unknown blocks."""
    file = tmp_path / "file.pcapng"
    file.write_bytes(everything(big))
    segments, expected = ours(open_capture(file)), tshark(file)
    simple = segments[3]
    assert simple.time_ns == segments[2].time_ns  # such a block has no time: that of the one before
    assert [seen._replace(time_ns=0) for seen in segments] == [
        seen._replace(time_ns=0) for seen in expected
    ]
    times = [seen.time_ns for seen in segments if seen is not simple]
    assert times == [seen.time_ns for seen in expected if seen.frame != simple.frame]
    rows, capture = read(file)
    assert rows["interface"].tolist() == [0, 1, 2, 0, 0, 0, 3, 4]
    assert capture.truncated is None


@pytest.mark.parametrize(
    ("resolution", "ticks", "expected"),
    [
        (0, 1_700_000_000, 1_700_000_000_000_000_000),
        (9, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (12, 1_700_000_123_456_789_999, 1_700_000_123_456_789),
        (0x80, 5, 5_000_000_000),
        (0x80 | 32, 5 << 32 | 1 << 31, 5_500_000_000),
        (0x80 | 50, 5 << 50 | 1 << 49, 5_500_000_000),
        (0x80 | 63, 1 << 63, 1_000_000_000),
        (0x7F, 2**64 - 1, 0),
        (0xFF, 2**64 - 1, 0),
    ],
)
def test_every_resolution_gives_nanoseconds(resolution: int, ticks: int, expected: int) -> None:
    """Powers of ten and of two, down to what no clock has."""
    file = Pcapng().interface(resolution=resolution).enhanced(Packet(0, FRAMES[0]), ticks=ticks)
    rows, _ = read(file.data)
    assert rows["time"].tolist() == [expected]


@pytest.mark.parametrize("resolution", [0, 6, 9, 0x80, 0x80 | 10])
@pytest.mark.parametrize("offset", [-(2**63), -5, 2**62, 2**63 - 1])
def test_times_that_no_calendar_has_stay_within_what_a_row_holds(
    resolution: int, offset: int
) -> None:
    """Absurd ticks and offsets give the nearest time that can be told, without overflow."""
    for ticks in (0, 2**63, 2**64 - 1):
        file = Pcapng().interface(resolution=resolution, offset=offset)
        rows, _ = read(file.enhanced(Packet(0, FRAMES[0]), ticks=ticks).data)
        assert 0 <= int(rows["time"][0]) < 2**63


def test_a_simple_packet_is_cut_at_the_snap_length() -> None:
    """Its block says only how long the packet was; the interface says where it was cut."""
    packet = Packet(0, FRAMES[0][:68], len(FRAMES[0]))
    rows, _ = read(Pcapng().interface(snaplen=68).simple(packet).data)
    assert (rows["length"].tolist(), rows["captured"].tolist()) == ([12], [2])


@pytest.mark.parametrize("kind", ["gzip", "members", "padded", "zstd", "frames"])
def test_compressed_captures_are_unpacked(kind: str, tmp_path: Path) -> None:
    """One or several members of gzip, padded with zeros or not, and zstd."""
    plain = pcap(spaced(FRAMES))
    half = len(plain) // 2
    pack = zstandard.compress if kind in ("zstd", "frames") else gzip.compress
    parts = [plain[:half], plain[half:]] if kind in ("members", "frames") else [plain]
    file = tmp_path / "file.pcap.gz"
    file.write_bytes(b"".join(map(pack, parts)) + bytes(512 * (kind == "padded")))
    rows, capture = read(file)
    expected, _ = read(plain)
    assert np.array_equal(rows, expected)
    assert capture.truncated is None
    assert capture.position == capture.size == file.stat().st_size


def test_a_long_capture_is_the_same_in_every_format(tmp_path: Path) -> None:
    """Pieces of file, blocks and batches leave no seams: 60,000 packets, 9 MB."""
    packets = spaced(FRAMES * 10000, gap_ns=1000)
    packets = [
        Packet(packet.time_ns, packet.data + bytes(index % 97))
        for index, packet in enumerate(packets)
    ]
    plain, _ = read(pcap(packets))
    section, _ = read(pcapng(packets))
    swapped, _ = read(pcap(packets, big=True))
    assert plain["frame"].tolist() == list(range(1, 60001))
    assert np.array_equal(plain, section)
    assert np.array_equal(plain, swapped)
    file = tmp_path / "file.pcap.gz"
    file.write_bytes(gzip.compress(pcap(packets), 1))
    assert np.array_equal(read(file)[0], plain)


def test_a_file_object_can_be_read() -> None:
    """Anything that has read() is enough."""
    rows, capture = read(pcap(spaced(FRAMES)))
    assert len(rows) == len(FRAMES)
    assert (capture.packets, capture.tcp_packets) == (6, 6)
    assert (capture.first_ns, capture.last_ns) == (START_NS, START_NS + 5_000_000)
