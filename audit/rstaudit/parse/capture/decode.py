"""Records in a buffer to rows of segments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rstaudit.parse.capture import tcp
from rstaudit.parse.capture.fragments import Fragments
from rstaudit.parse.capture.keys import Seed, set_keys
from rstaudit.parse.capture.packets import FRAGMENT, SKIPPED, Packets
from rstaudit.parse.capture.peel import peel
from rstaudit.parse.capture.plain import Headers, decode_plain
from rstaudit.parse.capture.records import Buffer, Offsets, Records
from rstaudit.parse.capture.segments import (
    NO_REASON,
    NO_WSCALE,
    PAYLOAD_BYTES,
    PLAIN,
    Rows,
    picked,
)


class Decoded(NamedTuple):
    """How many rows were filled, the payloads of resets, and how many packets gave no row.

    ``skipped`` is indexed as `SKIPPED`.
    """

    segments: int
    payloads: Mapping[int, bytes]
    skipped: list[int]


def decode(
    buffer: Buffer,
    records: Records,
    frame: int,
    out: Rows,
    seed: Seed,
    fragments: Fragments,
) -> Decoded:
    """Decode ``records``, the first of which is number ``frame``, into the first rows of ``out``.

    ``out`` has at least as many rows as there are records; the buffer has `SLACK` bytes after the
    last of them.
    """
    count = len(records.data)
    frames = np.arange(frame, frame + count)
    headers = Headers(buffer, records)
    plain = np.flatnonzero(headers.plain)
    if 2 * len(plain) < count:
        return _decode(buffer, records, frames, out, seed, fragments)
    if len(plain) == count:
        return _decode_plain(headers, frames, out, seed)
    others = np.flatnonzero(~headers.plain)
    first = _decode_plain(headers.part(plain), frames[plain], out, seed)
    rest = _decode(
        buffer, records.pick(others), frames[others], out[first.segments :], seed, fragments
    )
    total = first.segments + rest.segments
    if rest.segments:
        rows = out[:total]
        rows.view(PLAIN)[:] = picked(rows, np.argsort(rows["frame"], kind="stable")).view(PLAIN)
    return Decoded(total, {**first.payloads, **rest.payloads}, rest.skipped)


def _decode_plain(headers: Headers, frames: Offsets, out: Rows, seed: Seed) -> Decoded:
    rows = out[: len(frames)]
    payload = decode_plain(headers, frames, rows, seed)
    payloads = tcp.payloads_of_resets(headers.buffer, rows, payload, PAYLOAD_BYTES)
    return Decoded(len(rows), payloads, [0] * len(SKIPPED))


def _decode(
    buffer: Buffer,
    records: Records,
    frames: Offsets,
    out: Rows,
    seed: Seed,
    fragments: Fragments,
) -> Decoded:
    """Any packets."""
    count = len(records.data)
    rows = out[:count]
    rows.view(np.uint8)[:] = 0
    packets = Packets(buffer, records, rows)
    kinds, places = peel(packets, records)
    chosen = tcp.check(packets, kinds, places)
    skipped = [0] * len(SKIPPED)
    if len(chosen) == count:
        interface, time, end, stop = records.interface, records.time, packets.end, packets.stop
    else:
        skipped = np.bincount(kinds, minlength=len(SKIPPED))[: len(SKIPPED)].tolist()
        if skipped[FRAGMENT]:
            later = np.flatnonzero(kinds == FRAGMENT)
            fragments.later(rows.take(later), packets.buffer, places[later], packets.stop[later])
        out.view(PLAIN)[: len(chosen)] = rows.view(PLAIN).take(chosen)
        rows, places = out[: len(chosen)], places[chosen]
        interface, time = records.interface[chosen], records.time[chosen]
        end, stop = packets.end[chosen], packets.stop[chosen]
    rows["frame"] = frames[chosen]
    rows["time"] = time
    rows["interface"] = interface
    rows["wscale"] = NO_WSCALE
    rows["mptcp_reason"] = NO_REASON
    payload = tcp.decode(packets, rows, places, end, stop)
    set_keys(rows, seed)
    payloads = tcp.payloads_of_resets(buffer, rows, payload, PAYLOAD_BYTES)
    return Decoded(len(rows), payloads, skipped)
