"""Plain packets, which nearly all are, decoded in one go.

Plain is: Ethernet without tags, IPv4 without options or fragments, TCP. What comes of them is what
the general way gives, in half the time; see `rstaudit.parse.capture.decode`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.keys import Seed, keys4
from rstaudit.parse.capture.options import decode_options, fingerprint
from rstaudit.parse.capture.packets import MAPPED, MAPPED_MARK, Packets, layout
from rstaudit.parse.capture.records import Buffer, Offsets, Records, strided
from rstaudit.parse.capture.segments import (
    IP_DF,
    NO_REASON,
    NO_WSCALE,
    OPT_MSS,
    OPT_SACK_PERMITTED,
    OPT_TS,
    OPT_WSCALE,
    PLAIN,
    SEGMENT,
    SYN,
    Rows,
    picked,
)
from rstaudit.parse.capture.tcp import HEADS, MOST_CAPTURED, TIMESTAMPS

_ETHERNET = 1
_IP, _TCP = 14, 34
_HEADER = layout(
    80,
    kind=("<u4", 12),
    total=(">u2", 16),
    id=(">u2", 18),
    fragment=("<u2", 20),
    ttl=("u1", 22),
    protocol=("u1", 23),
    src=("<u4", 26),
    dst=("<u4", 30),
    src_number=(">u4", 26),
    dst_number=(">u4", 30),
    sport=(">u2", 34),
    dport=(">u2", 36),
    seq=(">u4", 38),
    ack=(">u4", 42),
    bits=(">u2", 46),
    window=(">u2", 48),
    padding=(">u4", 54),
    tsval=(">u4", 58),
    tsecr=(">u4", 62),
    short_head=("<u8", 54),
    long_head=("<u8", 66),
)
_OPENING = layout(
    28,
    mss_kind=(">u2", 0),
    mss=(">u2", 2),
    stamp_kind=(">u4", 4),
    tsval=(">u4", 8),
    tsecr=(">u4", 12),
    scale=(">u4", 16),
    wscale=("u1", 19),
    head=("<u8", 20),
)
_OPENING_ORDER = fingerprint((2, 4, 8, 1, 3))

#: EtherType 0x0800, then version 4 with 5 words; of the fragment field, all but DF and the bit
#: that has no meaning. Both as a little-endian number reads them.
_KIND_MASK, _KIND = 0x00FFFFFF, 0x00450008
_FRAGMENT, _DF = 0xFF3F, 0x0040

Bools = NDArray[np.bool_]


def _template() -> Rows:
    row = np.zeros(1, SEGMENT)
    for name in ("src", "dst"):
        row.view(MAPPED)[f"{name}_mark"] = MAPPED_MARK
    row["family"], row["wscale"], row["mptcp_reason"] = 4, NO_WSCALE, NO_REASON
    return row


_TEMPLATE = _template()


def picked_bytes(rows: Rows, chosen: NDArray[np.intp]) -> Rows:
    """Some rows of any dtype, copied as bytes."""
    found: Rows = rows.view(f"V{rows.itemsize}").take(chosen).view(rows.dtype)
    return found


class Headers:
    """The first bytes of each record's packet, and which of them are ``plain``."""

    def __init__(self, buffer: Buffer, records: Records) -> None:
        self.buffer, self.records = buffer, records
        self.head = head = strided(buffer, _HEADER.itemsize)[records.data].view(_HEADER)
        self.size = (head["bits"] >> 12).astype(np.int64) << 2
        self.total = head["total"].astype(np.int64)
        plain = (head["kind"] & _KIND_MASK == _KIND) & (head["protocol"] == 6)
        plain &= (head["fragment"] & _FRAGMENT == 0) & (self.size >= 20)
        plain &= self.total >= self.size + 20
        plain &= records.captured >= _TCP + 20
        plain &= records.link == _ETHERNET
        self.plain: Bools = plain

    def part(self, chosen: NDArray[np.intp]) -> Headers:
        """Some of them."""
        found: Headers = object.__new__(Headers)
        found.buffer, found.records = self.buffer, self.records.pick(chosen)
        found.head, found.plain = picked_bytes(self.head, chosen), self.plain[chosen]
        found.size, found.total = self.size[chosen], self.total[chosen]
        return found


def decode_plain(headers: Headers, frames: Offsets, rows: Rows, seed: Seed) -> Offsets:
    """Fill ``rows`` from packets all of which are plain; gives where their payloads begin."""
    head, records, size = headers.head, headers.records, headers.size
    rows.view(PLAIN)[:] = _TEMPLATE.view(PLAIN)
    rows["frame"] = frames
    rows["time"] = records.time
    rows["interface"] = records.interface
    mapped = rows.view(MAPPED)
    mapped["src"], mapped["dst"] = head["src"], head["dst"]
    for name in ("sport", "dport", "seq", "ack", "window", "ttl"):
        rows[name] = head[name]
    rows["ip_id"] = head["id"]
    rows["ip_flags"] = (head["fragment"] & _DF != 0) * np.uint8(IP_DF)
    rows["key"], rows["side"] = keys4(
        head["src_number"], head["sport"], head["dst_number"], head["dport"], seed
    )
    _fill(headers, rows)
    payload = records.data + size
    payload += _TCP
    return payload


def _fill(headers: Headers, rows: Rows) -> None:
    """Flags, lengths and options."""
    head, size = headers.head, headers.size
    bits = head["bits"]
    rows["flags"] = bits & 0x1FF
    rows["words"] = bits >> 12
    length = headers.total - size - 20
    rows["length"] = length
    left = headers.records.captured - size - _TCP
    captured = np.minimum(left, length).clip(0, MOST_CAPTURED)
    rows["captured"] = captured
    common = (size == 32) & (head["padding"] == TIMESTAMPS) & (left >= 0)
    rows["options"] = common * np.uint16(OPT_TS)
    rows["tsval"] = head["tsval"] * common
    rows["tsecr"] = head["tsecr"] * common
    first = np.where(size == 32, head["long_head"], head["short_head"])
    first &= HEADS[np.minimum(captured, 8)]
    rows["head"] = first.view("V8")
    others = np.flatnonzero((size != 20) & ~common)
    if len(others):
        left_over = others[~_opening(headers, rows, others)]
        if len(left_over):
            _others(headers, rows, left_over)


def _opening(headers: Headers, rows: Rows, others: NDArray[np.intp]) -> Bools:
    """Fill in the options of a Linux host's SYNs, and say which segments those are.

    They are MSS, SACK permitted, timestamps, NOP, window scale (tcp_output.c: tcp_options_write).
    """
    records = headers.records
    opening: Bools = headers.size[others] == 40
    opening &= records.captured[others] >= _TCP + 40
    opening &= rows["flags"][others] & SYN != 0
    at = records.data[others] + _TCP + 20
    options = strided(headers.buffer, _OPENING.itemsize)[at].view(_OPENING)
    opening &= (options["mss_kind"] == 0x0204) & (options["stamp_kind"] == 0x0402080A)
    opening &= options["scale"] >> 8 == 0x010303
    chosen = np.flatnonzero(opening)
    index, options = others[chosen], picked_bytes(options, chosen)
    for name in ("mss", "tsval", "tsecr", "wscale"):
        rows[name][index] = options[name]
    rows["options"][index] = OPT_MSS | OPT_SACK_PERMITTED | OPT_TS | OPT_WSCALE
    rows["order"][index] = _OPENING_ORDER
    first = options["head"] & HEADS[np.minimum(rows["captured"][index], 8)]
    rows["head"][index] = first.view("V8")
    return opening


def _others(headers: Headers, rows: Rows, others: NDArray[np.intp]) -> None:
    """Segments with other options than timestamps alone."""
    some, records = picked(rows, others), headers.records.pick(others)
    packets = Packets(headers.buffer, records, some)
    at = records.data + _TCP
    payload = at + headers.size[others]
    end = np.minimum(packets.end, records.data + _IP + headers.total[others])
    first = packets.number(payload, "<u8").view(np.uint64)
    first &= HEADS[np.minimum(some["captured"], 8)]
    some["head"] = first.view("V8")
    decode_options(packets, some, at, payload, end)
    rows.view(PLAIN)[others] = some.view(PLAIN)
