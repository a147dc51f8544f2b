"""What tshark reads in a capture, to compare with what we do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rstaudit.parse.capture.segments import NO_WSCALE, OPT_TS, SEGMENT, SegmentBatch

_FIELDS = [
    "frame.number",
    "frame.time_epoch",
    "frame.protocols",
    "ip.src",
    "ipv6.src",
    "ip.dst",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.flags",
    "tcp.window_size_value",
    "tcp.len",
    "ip.ttl",
    "ipv6.hlim",
    "ip.id",
    "ipv6.fraghdr.ident",
    "tcp.options.timestamp.tsval",
    "tcp.options.timestamp.tsecr",
    "tcp.options.mss_val",
    "tcp.options.wscale.shift",
]
_PLAIN = (
    *("-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"),
    *("-o", "tcp.desegment_tcp_streams:FALSE", "-o", "tcp.analyze_sequence_numbers:FALSE"),
    *("-o", "ip.tso_support:TRUE", "-o", "tcp.check_checksum:FALSE"),
)


class Seen(NamedTuple):
    """One segment, in the terms that both readers have; None: absent."""

    frame: int
    time_ns: int
    src: str
    dst: str
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    length: int
    ttl: int
    ip_id: int
    tsval: int | None
    tsecr: int | None
    mss: int | None
    wscale: int | None


def tshark(path: Path, *extra: str) -> list[Seen]:
    """The TCP segments of a capture, but for those quoted in ICMP errors."""
    wanted = [part for field in _FIELDS for part in ("-e", field)]
    command = ["tshark", "-n", "-r", str(path), *_PLAIN, *extra, "-Y", "tcp && !icmp && !icmpv6"]
    command += ["-T", "fields", "-E", "separator=;", "-E", "occurrence=l", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return [_seen(line.split(";")) for line in done.stdout.splitlines()]


def _seen(columns: list[str]) -> Seen:
    value = dict(zip(_FIELDS, columns, strict=True))
    seconds, _, rest = value["frame.time_epoch"].partition(".")
    time_ns = int(seconds or 0) * 10**9 + int(rest.ljust(9, "0")[:9] or 0)
    number = {name: _number(text) for name, text in value.items()}
    layers = [name for name in value["frame.protocols"].split(":") if name in ("ip", "ipv6")]
    six = layers[-1:] == ["ipv6"]
    return Seen(
        frame=int(value["frame.number"]),
        time_ns=time_ns,
        src=value["ipv6.src" if six else "ip.src"],
        dst=value["ipv6.dst" if six else "ip.dst"],
        sport=number["tcp.srcport"] or 0,
        dport=number["tcp.dstport"] or 0,
        seq=number["tcp.seq_raw"] or 0,
        ack=number["tcp.ack_raw"] or 0,
        flags=number["tcp.flags"] or 0,
        window=number["tcp.window_size_value"] or 0,
        length=number["tcp.len"] or 0,
        ttl=number["ipv6.hlim" if six else "ip.ttl"] or 0,
        ip_id=(number["ipv6.fraghdr.ident" if six else "ip.id"] or 0) & 0xFFFF,
        tsval=number["tcp.options.timestamp.tsval"],
        tsecr=number["tcp.options.timestamp.tsecr"],
        mss=number["tcp.options.mss_val"],
        wscale=number["tcp.options.wscale.shift"],
    )


def _number(text: str) -> int | None:
    try:
        return int(text, 0) if text else None
    except ValueError:
        return None


def ours(batches: Iterable[SegmentBatch]) -> list[Seen]:
    """The same of what our reader gives."""
    return [_ours(row) for batch in batches for row in batch.rows]


def _ours(row: np.void) -> Seen:
    value = {
        name: int(row[name]) for name in SEGMENT.names or () if name not in ("src", "dst", "head")
    }
    timed = bool(value["options"] & OPT_TS)
    return Seen(
        frame=value["frame"],
        time_ns=value["time"],
        src=_address(row["src"].tobytes(), value["family"]),
        dst=_address(row["dst"].tobytes(), value["family"]),
        sport=value["sport"],
        dport=value["dport"],
        seq=value["seq"],
        ack=value["ack"],
        flags=value["flags"],
        window=value["window"],
        length=value["length"],
        ttl=value["ttl"],
        ip_id=value["ip_id"],
        tsval=value["tsval"] if timed else None,
        tsecr=value["tsecr"] if timed else None,
        mss=value["mss"] or None,
        wscale=value["wscale"] if value["wscale"] != NO_WSCALE else None,
    )


def _address(packed: bytes, family: int) -> str:
    return str(ip_address(packed[12:] if family == 4 else packed))
