"""Coverage-guided fuzzing of `rstaudit pcap`: bytes to segments to flows to diagnosed resets.

``python tests/fuzz/fuzz_capture.py tests/fuzz/corpus/capture -max_total_time=600`` fuzzes for ten
minutes; what it finds is written to a file ``crash-...`` in the current folder. Copy the corpus
first: what is new to it is added. The fuzzer itself, not what it tests, grows by about 30 kB a run
of the target; for longer, start it again and again.
"""

from __future__ import annotations

import io
import sys
import warnings

import atheris  # type: ignore[import-untyped] # it comes without types

with atheris.instrument_imports(include=["rstaudit"]):
    from rstaudit.collect.capture import open_capture
    from rstaudit.parse.errors import ParseError
    from rstaudit.resets.wire.tracker import Tracker

SEED = bytes(range(16))


def one(data: bytes) -> None:
    """Diagnose a capture; anything but `ParseError`, and any warning, is a finding."""
    try:
        capture = open_capture(io.BytesIO(data), seed=SEED)
    except ParseError:
        return
    tracker = Tracker(keep_all=True)
    found = [reset for batch in capture for reset in tracker.feed(batch)]
    for reset in [*found, *tracker.finish()]:
        assert 0 < reset.frame <= capture.packets
        assert reset.diagnosis.cause
        list(reset.steps())
    assert capture.packets == capture.tcp_packets + sum(capture.skipped.values())
    assert tracker.tcp_packets == capture.tcp_packets


if __name__ == "__main__":
    warnings.simplefilter("error")
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
