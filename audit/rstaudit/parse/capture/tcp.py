"""TCP headers (RFC 9293 section 3.1) into rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.options import decode_options
from rstaudit.parse.capture.packets import BAD, CUT, Kinds, Packets, layout
from rstaudit.parse.capture.packets import TCP as TCP_KIND
from rstaudit.parse.capture.records import Buffer, Offsets
from rstaudit.parse.capture.segments import OPT_TS, PLAIN, RST, Rows

_HEADER = layout(
    32,
    sport=(">u2", 0),
    dport=(">u2", 2),
    seq=(">u4", 4),
    ack=(">u4", 8),
    bits=(">u2", 12),
    window=(">u2", 14),
    padding=(">u4", 20),
    tsval=(">u4", 24),
    tsecr=(">u4", 28),
)
_COPIED = ("sport", "dport", "seq", "ack", "window")
TIMESTAMPS = 0x0101080A  # two NOPs, then the timestamps option
HEADS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
MOST_CAPTURED = 65535


def check(packets: Packets, kinds: Kinds, at: Offsets) -> NDArray[np.intp]:
    """Which packets have a TCP header that can be read; ``kinds`` learns what the others lack."""
    end, stop = packets.end, packets.stop
    size = (packets.bytes[at + 12] >> 4).astype(np.int64) << 2
    tcp = kinds == TCP_KIND
    kinds[tcp & ((size < 20) | (at + size > stop))] = BAD
    kinds[tcp & (at + 20 > end)] = CUT
    return np.flatnonzero(kinds == TCP_KIND)


def decode(packets: Packets, rows: Rows, at: Offsets, end: Offsets, stop: Offsets) -> Offsets:
    """Fill in the TCP part of rows, and return where their payloads begin.

    ``at`` is where the headers are, ``end`` where the captured bytes end, ``stop`` where the IP
    packet does; all have one entry a row.
    """
    head = packets.header(at, _HEADER)
    for name in _COPIED:
        rows[name] = head[name]
    bits = head["bits"]
    rows["flags"] = bits & 0x1FF
    size = (bits >> 12).astype(np.int64) << 2
    rows["words"] = bits >> 12
    payload = at + size
    rows["length"] = stop - payload
    end = np.minimum(end, stop)
    captured = np.clip(end - payload, 0, MOST_CAPTURED)
    rows["captured"] = captured
    first = packets.number(payload, "<u8").view(np.uint64)
    first &= HEADS[np.minimum(captured, 8)]
    rows["head"] = first.view("V8")
    common = (size == 32) & (head["padding"] == TIMESTAMPS) & (payload <= end)
    rows["options"] = common * np.uint16(OPT_TS)
    rows["tsval"] = head["tsval"] * common
    rows["tsecr"] = head["tsecr"] * common
    others = np.flatnonzero((size > 20) & ~common)
    if len(others):
        some = rows.take(others)
        decode_options(packets, some, at[others], payload[others], end[others])
        rows.view(PLAIN)[others] = some.view(PLAIN)
    return payload


def payloads_of_resets(buffer: Buffer, rows: Rows, payload: Offsets, most: int) -> dict[int, bytes]:
    """Frame -> up to ``most`` bytes of payload, for the resets that carry any."""
    chosen = np.flatnonzero((rows["flags"] & RST != 0) & (rows["captured"] > 0))
    frames, starts = rows["frame"][chosen].tolist(), payload[chosen].tolist()
    sizes = np.minimum(rows["captured"][chosen], most).tolist()
    return {
        frame: bytes(buffer[start : start + size])
        for frame, start, size in zip(frames, starts, sizes, strict=True)
    }
