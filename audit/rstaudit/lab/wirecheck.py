"""What the packets alone say: a capture through the reader and the tracker of `rstaudit pcap`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rstaudit.lab.seen import Seen, captured

if TYPE_CHECKING:
    from rstaudit.resets.wire.found import Found


def prepare() -> None:
    """Load what reading takes, before time matters: loading would hold up the wires."""
    import rstaudit.collect.capture
    import rstaudit.resets.wire.tracker  # noqa: F401


def found_in(pcap: bytes) -> list[Found]:
    """Every reset of a capture file, with the segments of its flow."""
    from rstaudit.collect.capture import open_capture
    from rstaudit.resets.wire.tracker import Tracker

    tracker = Tracker()
    found = []
    for batch in open_capture(io.BytesIO(pcap)):
        found += tracker.feed(batch)
    return found + list(tracker.finish())


def named_by_packets(end: str, pcap: bytes) -> list[Seen]:
    """Every reset of the capture at ``end``, named as `rstaudit pcap` names it."""
    return [
        captured(end, one.frame, one.time_ns, (one.src, one.dst), one.diagnosis)
        for one in found_in(pcap)
    ]
