"""Segments written down by hand as rows of dtype SEGMENT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import (
    ACK,
    IP_DF,
    NO_REASON,
    NO_WSCALE,
    OPT_TS,
    SEGMENT,
    SYN,
)
from support.segments import START

MAPPED = bytes(10) + b"\xff\xff"


def rows_of(packets: Sequence[tuple[Any, ...]], frame: int = 1) -> NDArray[np.void]:
    """Rows from (seconds, flow, from client, flags, seq, ack, length); frames from ``frame`` on.

    The client of flow ``n`` has port 10000 + n of 10.0.0.1, the server port 80 of 10.0.0.2.
    """
    rows = np.zeros(len(packets), dtype=SEGMENT)
    rows["wscale"], rows["mptcp_reason"], rows["family"] = NO_WSCALE, NO_REASON, 4
    rows["ttl"], rows["ip_flags"], rows["options"], rows["window"] = 64, IP_DF, OPT_TS, 500
    client, server = (np.void(MAPPED + bytes([10, 0, 0, last])) for last in (1, 2))
    for number, (row, packet) in enumerate(zip(rows, packets, strict=True)):
        seconds, flow, from_client, flags, seq, ack, length = packet
        port = 10000 + flow
        row["frame"], row["time"] = number + frame, START + round(seconds * 1e9)
        row["key"], row["flags"], row["ip_id"] = flow + 1, flags, number + 1
        row["seq"], row["ack"], row["length"] = seq, ack, length
        row["side"] = 0 if from_client else 1
        ends = (client, server) if from_client else (server, client)
        row["src"], row["dst"] = ends
        row["sport"], row["dport"] = (port, 80) if from_client else (80, port)
    return rows


def opened(seconds: float, flow: int, isn: int = 100) -> list[tuple[Any, ...]]:
    """A handshake."""
    return [
        (seconds, flow, True, SYN, isn, 0, 0),
        (seconds + 0.01, flow, False, SYN | ACK, 900, isn + 1, 0),
        (seconds + 0.02, flow, True, ACK, isn + 1, 901, 0),
    ]
