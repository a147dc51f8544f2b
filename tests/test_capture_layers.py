"""Headers of every kind, read as tshark reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstaudit.collect.capture import open_capture
from rstaudit.parse.capture.segments import OPT_CUT, TUNNELS, SegmentBatch
from support.captures import read, spaced
from support.stacks import ethernet_stacks, not_tcp, other_links
from support.tshark import ours, tshark
from support.wire import pcap, pcapng

#: tshark asks to be told which label carries Ethernet.
MPLS_HINT = ("-d", "mpls.label==48,pwethcw")


def test_ethernet_is_peeled_as_tshark_peels_it(tmp_path: Path) -> None:
    """VLANs, tunnels, extension headers: same addresses, ports, numbers, lengths, options."""
    file = tmp_path / "stacks.pcap"
    file.write_bytes(pcap(spaced(list(ethernet_stacks().values()))))
    segments = ours(open_capture(file))
    assert segments == tshark(file, *MPLS_HINT)
    assert len(segments) == len(ethernet_stacks())


@pytest.mark.parametrize("link", sorted(other_links()))
def test_other_link_types_are_peeled_as_tshark_peels_them(link: int, tmp_path: Path) -> None:
    """Each link type that the reader knows gives the segments that tshark finds."""
    frames = other_links()[link]
    file = tmp_path / "link.pcapng"
    file.write_bytes(pcapng(spaced(frames), link=link))
    segments = ours(open_capture(file))
    assert segments == tshark(file)
    assert len(segments) == len(frames)


@pytest.mark.parametrize("snaplen", [34, 54, 60, 64, 68, 72, 80, 96, 128, 160])
def test_a_snap_length_cuts_only_what_it_cuts(snaplen: int, tmp_path: Path) -> None:
    """Lengths come from the IP header; whoever has 20 bytes of TCP header in view is a row."""
    frames = list(ethernet_stacks().values())
    file = tmp_path / "cut.pcap"
    file.write_bytes(pcap([packet.cut(snaplen) for packet in spaced(frames)], snaplen=snaplen))
    rows, _ = read(file)
    expected = {seen.frame: seen for seen in tshark(file, *MPLS_HINT)}
    headers = {frame: _header_of(data) for frame, data in enumerate(frames, 1)}
    assert rows["frame"].tolist() == [at for at, head in headers.items() if head + 20 <= snaplen]
    for row, got in zip(rows, ours([SegmentBatch(rows)]), strict=True):
        cut = headers[got.frame] + 4 * int(row["words"]) > snaplen
        assert bool(row["options"] & OPT_CUT) == cut
        if cut:
            assert got[:13] == expected[got.frame][:13]
        else:
            assert got == expected[got.frame]


def _header_of(frame: bytes) -> int:
    return max(frame.rfind(ports) for ports in (b"\x9c\x40\0\x50", b"\0\x50\x9c\x40"))


@pytest.mark.parametrize("name", ["IP in IP", "GRE", "VXLAN", "Geneve", "MPLS", "PPPoE"])
def test_a_row_says_which_tunnel_it_came_through(name: str) -> None:
    """`tunnel` names what was peeled, and 0 means nothing was."""
    stacks = ethernet_stacks()
    rows, _ = read(pcap(spaced([stacks[name], stacks["IPv4"]])))
    assert [TUNNELS[tunnel] for tunnel in rows["tunnel"]] == [name, "none"]


def test_what_is_no_segment_is_counted_by_its_reason() -> None:
    """Every packet is either a row or counted, under the reason why it is none."""
    frames = [*not_tcp(), ethernet_stacks()["IPv4"]]
    rows, capture = read(pcap(spaced(frames)))
    assert rows["frame"].tolist() == [len(frames)]
    assert capture.packets == len(frames)
    assert capture.skipped == {
        "not TCP": 4,
        "later fragment": 1,
        "encrypted": 1,
        "malformed": 2,
        "cut before the TCP header": 2,
    }


def test_an_unknown_link_type_is_counted_by_its_number() -> None:
    """Packets of a link type that nobody here knows are no error."""
    rows, capture = read(pcap(spaced([b"\0" * 60]), link=147))
    assert not len(rows)
    assert capture.links == {"link type 147": 1}
    assert capture.skipped == {"unsupported link type": 1}


def test_headers_within_headers_end_somewhere() -> None:
    """A packet of nothing but labels is given up on, not followed to its end."""
    rows, capture = read(pcap(spaced([b"\0" * 12 + b"\x88\x47" + b"\0\0\0\x40" * 500])))
    assert not len(rows)
    assert capture.skipped == {"nested too deeply": 1}
