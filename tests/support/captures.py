"""Captures written to files and read back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from rstaudit.collect.capture import Capture, open_capture
from rstaudit.parse.capture.segments import SEGMENT, Rows
from support.wire import Packet

SEED = bytes(range(16))
START_NS = 1_700_000_000_123_456_000


def spaced(frames: list[bytes], gap_ns: int = 1_000_000) -> list[Packet]:
    """Frames as packets, a millisecond apart."""
    return [Packet(START_NS + gap_ns * index, frame) for index, frame in enumerate(frames)]


def read(data: bytes | Path) -> tuple[Rows, Capture]:
    """All rows of a capture, and what it says of itself at its end."""
    capture = open_capture(data if isinstance(data, Path) else io.BytesIO(data), seed=SEED)
    batches = [batch.rows for batch in capture]
    return np.concatenate([np.empty(0, SEGMENT), *batches]), capture
