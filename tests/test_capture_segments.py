"""What a row holds: lengths, options, keys, sides, payloads."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.parse.capture.segments import (
    IP_DF,
    IP_EXTRA,
    IP_FRAGMENT,
    IP_MF,
    IP_NO_LENGTH,
    NO_REASON,
    NO_WSCALE,
    OPT_AUTH,
    OPT_BAD,
    OPT_MP_FASTCLOSE,
    OPT_MP_TCPRST,
    OPT_MPTCP,
    OPT_MSS,
    OPT_OTHER,
    OPT_SACK,
    OPT_SACK_PERMITTED,
    OPT_TFO,
    OPT_TS,
    OPT_WSCALE,
)
from support.captures import read, spaced
from support.stacks import FOUR, SIX
from support.wire import (
    NOP,
    SACK_PERMITTED,
    Packet,
    ethernet,
    ip,
    ipv4,
    ipv6,
    linux_syn,
    mss,
    option,
    pcap,
    sack,
    tcp,
    timestamps,
    wscale,
)

PORTS = (40000, 80)


def row(options: bytes = b"", flags: str = "A", payload: bytes = b"") -> np.void:
    """The row of one segment."""
    frame = ethernet(ip(tcp(*PORTS, flags, 5, 6, payload, options=options), *FOUR))
    rows, _ = read(pcap(spaced([frame])))
    assert len(rows) == 1
    value: np.void = rows[0]
    return value


@pytest.mark.parametrize(
    ("options", "bits"),
    [
        (b"", 0),
        (NOP * 40, 0),
        (linux_syn(), OPT_MSS | OPT_SACK_PERMITTED | OPT_TS | OPT_WSCALE),
        (timestamps(1, 2) + NOP * 2, OPT_TS),
        (NOP * 2 + sack((1, 2), (3, 4)), OPT_SACK),
        (option(30, b"\x70\0" + bytes(8)), OPT_MPTCP | OPT_MP_FASTCLOSE),
        (option(30, b"\x80\x05"), OPT_MPTCP | OPT_MP_TCPRST),
        (option(30, b"\x00\x81"), OPT_MPTCP),
        (option(34, bytes(8)), OPT_TFO),
        (option(19, bytes(16)), OPT_AUTH),
        (option(29, bytes(14)), OPT_AUTH),
        (option(253, b"x"), OPT_OTHER),
        (b"\0" + mss(1460), 0),
        (b"\x02\x00\0\0", OPT_BAD),
        (b"\x02\x05\0\0\0", OPT_BAD),
        (SACK_PERMITTED + b"\x08\x0a\0\0", OPT_SACK_PERMITTED | OPT_BAD),
        (NOP * 3 + b"\x05", OPT_BAD),
    ],
)
def test_options_are_named_by_their_bits(options: bytes, bits: int) -> None:
    """Each kind has its bit; a length that cannot be ends the list and is said."""
    assert row(options)["options"] == bits


def test_values_of_options() -> None:
    """MSS, window scale, timestamps and the reason of MP_TCPRST, with their blanks."""
    syn = row(linux_syn(7, 8), "S")
    names = ("mss", "wscale", "tsval", "tsecr", "mptcp_reason")
    assert [syn[name] for name in names] == [1460, 7, 7, 8, NO_REASON]
    assert [row()[name] for name in names] == [0, NO_WSCALE, 0, 0, NO_REASON]
    assert row(option(30, b"\x80\x05"), "R")["mptcp_reason"] == 5
    assert row(wscale(14) + NOP, "S")["wscale"] == 14


def test_the_order_of_a_syns_options_has_a_fingerprint() -> None:
    """Same kinds in the same order, same number; values do not matter; only SYNs have one."""
    linux = row(linux_syn(7), "S")["order"]
    assert linux == row(linux_syn(8, 9), "SA")["order"] != 0
    other = mss(1460) + NOP + wscale(7) + SACK_PERMITTED + timestamps(7, 0)
    assert linux != row(other, "S")["order"] != 0
    assert row(linux_syn(7), "A")["order"] == 0


@pytest.mark.parametrize("payload", [b"", b"a", b"1234567", b"12345678", b"x" * 1000])
def test_the_head_of_a_payload_is_kept(payload: bytes) -> None:
    """Eight bytes, zeros where there are fewer, nothing of what pads the frame."""
    frame = ethernet(ip(tcp(*PORTS, "PA", 5, 6, payload), *FOUR)) + b"\xee" * 20
    rows, _ = read(pcap(spaced([frame])))
    assert rows["head"][0].tobytes() == payload[:8].ljust(8, b"\0")
    assert rows["captured"][0] == rows["length"][0] == len(payload)


def test_the_payload_of_a_reset_is_kept() -> None:
    """Up to 256 bytes, for resets only, by frame."""
    segments = [tcp(*PORTS, flags, 1, 1, text) for flags, text in (("R", b"why"), ("PA", b"no"))]
    segments += [tcp(*PORTS, "RA", 1, 1, b"y" * 1000), tcp(*PORTS, "R", 1)]
    data = pcap(spaced([ethernet(ip(segment, *FOUR)) for segment in segments]))
    assert payloads_of(data) == {1: b"why", 3: b"y" * 256}


def payloads_of(data: bytes) -> dict[int, bytes]:
    """The payloads of all batches of a capture."""
    import io

    from rstaudit.collect.capture import open_capture

    batches = list(open_capture(io.BytesIO(data)))
    return {frame: payload for batch in batches for frame, payload in batch.payloads.items()}


def test_bits_of_the_ip_header() -> None:
    """DF, MF, options or extensions, and a length of 0."""
    body = tcp(*PORTS, "A", 5, 6, b"x" * 24)
    frames = [
        ipv4(body, *FOUR),
        ipv4(body, *FOUR, df=False),
        ipv4(body, *FOUR, df=False, mf=True),
        ipv4(body, *FOUR, options=NOP * 4),
        ipv4(body, *FOUR, total=0),
        ipv6(body, *SIX),
        ipv6(body, *SIX, extensions=((60, bytes([0, 1, 4, 0, 0, 0, 0])),)),
        ipv6(body, *SIX, length=0),
    ]
    rows, _ = read(pcap(spaced([ethernet(frame) for frame in frames])))
    fragment = IP_MF | IP_FRAGMENT
    expected = [
        IP_DF,
        0,
        fragment,
        IP_DF | IP_EXTRA,
        IP_DF | IP_NO_LENGTH,
        0,
        IP_EXTRA,
        IP_NO_LENGTH,
    ]
    assert rows["ip_flags"].tolist() == expected
    assert rows["family"].tolist() == [4] * 5 + [6] * 3
    assert rows["length"].tolist() == [24] * 8


def test_a_segment_larger_than_its_header_can_say_has_the_captures_length() -> None:
    """Segmentation offload leaves the IP length 0; a cut capture still knows the wire's."""
    frame = ethernet(ipv4(tcp(*PORTS, "A", 5, 6, b"x" * 70000), *FOUR, total=0))
    rows, _ = read(pcap([Packet(0, frame), Packet(0, frame).cut(96)]))
    assert rows["length"].tolist() == [70000, 70000]
    assert rows["captured"].tolist() == [65535, 96 - 54]


@pytest.mark.parametrize("backwards", [False, True])
def test_later_fragments_add_to_the_length(backwards: bool) -> None:
    """The first fragment is the row; the last says how long the segment was."""
    body = tcp(*PORTS, "PA", 5, 6, b"z" * 4000)
    pieces = [body[at : at + 1480] for at in range(0, len(body), 1480)]
    frames = [
        ethernet(ipv4(piece, *FOUR, ip_id=9, df=False, mf=at < 2, offset=at * 185))
        for at, piece in enumerate(pieces)
    ]
    rows, capture = read(pcap(spaced(frames[::-1] if backwards else frames)))
    assert rows["length"].tolist() == [4000]
    assert capture.skipped == {"later fragment": 2}


def two(src: str, sport: int, dst: str, dport: int) -> np.void:
    """Row of a segment between two ends."""
    rows, _ = read(pcap(spaced([ethernet(ip(tcp(sport, dport, "A", 1, 1), src, dst))])))
    value: np.void = rows[0]
    return value


ADDRESS = st.ip_addresses().map(str)
PORT = st.integers(0, 65535)


@given(ADDRESS, ADDRESS, PORT, PORT)
def test_both_directions_share_a_key_and_take_opposite_sides(
    first: str, second: str, sport: int, dport: int
) -> None:
    """The key does not depend on the direction, the side does, unless both ends are one."""
    if (":" in first) != (":" in second):
        return
    there, back = two(first, sport, second, dport), two(second, dport, first, sport)
    assert there["key"] == back["key"]
    assert (there["side"] != back["side"]) == ((first, sport) != (second, dport))
    lower = (there["src"].tobytes(), sport) < (there["dst"].tobytes(), dport)
    assert there["side"] == (not lower and (first, sport) != (second, dport))


@pytest.mark.parametrize(
    "make", [lambda n: f"10.0.{n >> 8}.{n & 255}", lambda n: f"2001:db8::{n:x}"]
)
def test_keys_of_many_connections_differ(make: Callable[[int], str]) -> None:
    """Neighbouring addresses and ports are spread over all 64 bits."""
    frames = [
        ethernet(ip(tcp(1000 + port, 80, "S", 1), make(host), make(65000)))
        for host in range(100)
        for port in range(100)
    ]
    rows, _ = read(pcap(spaced(frames)))
    assert len(np.unique(rows["key"])) == 10000
    ones = np.unpackbits(rows["key"].copy().view(np.uint8)).mean()
    assert 0.49 < ones < 0.51


def test_keys_depend_on_the_seed() -> None:
    """Nobody who does not know the seed can make connections fall together."""
    import io

    from rstaudit.collect.capture import open_capture

    data = pcap(spaced([ethernet(ip(tcp(*PORTS, "S", 1), *FOUR))]))
    keys = {int(batch.rows["key"][0]) for _ in range(4) for batch in open_capture(io.BytesIO(data))}
    assert len(keys) == 4


@given(st.binary(max_size=40), st.integers(0, 0x1FF))
def test_any_bytes_may_stand_where_options_do(options: bytes, flags: int) -> None:
    """Nonsense is decoded as far as it makes sense, and the rest of the row is right."""
    frame = ethernet(ip(tcp(*PORTS, flags, 5, 6, b"payload!", options=options), *FOUR))
    rows, _ = read(pcap(spaced([frame])))
    assert (rows["seq"][0], rows["ack"][0], rows["flags"][0], rows["length"][0]) == (5, 6, flags, 8)
    assert rows["head"][0].tobytes() == b"payload!"
    assert rows["options"][0] == _plainly(options + b"\0" * (-len(options) % 4))


def _plainly(options: bytes) -> int:
    """The option bits by a loop that anybody can follow."""
    names = {2: OPT_MSS, 3: OPT_WSCALE, 4: OPT_SACK_PERMITTED, 5: OPT_SACK, 8: OPT_TS}
    names |= {19: OPT_AUTH, 29: OPT_AUTH, 30: OPT_MPTCP, 34: OPT_TFO, 0: 0, 1: 0}
    sizes = {2: 4, 3: 3, 4: 2, 8: 10}
    bits = at = 0
    while at < len(options):
        kind = options[at]
        size = 1 if kind < 2 else options[at + 1] if at + 1 < len(options) else 0
        if size < 1 + (kind > 1) or at + size > len(options) or sizes.get(kind, size) != size:
            return bits | OPT_BAD
        bits |= names.get(kind, OPT_OTHER)
        if kind == 30 and size >= 4:
            subtype = options[at + 2] >> 4
            bits |= {7: OPT_MP_FASTCLOSE, 8: OPT_MP_TCPRST}.get(subtype, 0)
        if kind == 0:
            break
        at += size
    return bits


def test_ports_and_numbers_are_whole() -> None:
    """The largest values of every field survive."""
    head = struct.pack(">HHIIHHHH", 65535, 65534, 2**32 - 1, 2**32 - 2, 0x51FF, 65533, 0, 0)
    rows, _ = read(pcap(spaced([ethernet(ipv4(head, *FOUR, ttl=255, ip_id=65535))])))
    names = ("sport", "dport", "seq", "ack", "flags", "window", "ttl", "ip_id", "words")
    assert [int(rows[name][0]) for name in names] == [
        65535, 65534, 2**32 - 1, 2**32 - 2, 0x1FF, 65533, 255, 65535, 5,
    ]  # fmt: skip
