"""A capture's bytes, piece by piece, to batches of segments; no more is held than one batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rstaudit.parse.capture.decode import decode
from rstaudit.parse.capture.fragments import Fragments
from rstaudit.parse.capture.hop import CHUNK, SLACK
from rstaudit.parse.capture.keys import parse_seed
from rstaudit.parse.capture.links import LINKS
from rstaudit.parse.capture.packets import SKIPPED
from rstaudit.parse.capture.pcap import PcapWalker
from rstaudit.parse.capture.records import Buffer, Offsets, Records, Walked, Walker
from rstaudit.parse.capture.segments import SEGMENT, Rows, SegmentBatch
from rstaudit.parse.capture.sniff import ENOUGH, identify
from rstaudit.parse.errors import ParseError

#: Records decoded at once, so that the processor's cache holds them, and rows of a full batch.
BLOCK = 16384
BATCH_ROWS = 1 << 17

#: The attributes that say how far a `Reader` has come.
STATE = ("packets", "tcp_packets", "truncated", "links", "skipped", "first_ns", "last_ns")


class Reader:
    """Takes a capture's bytes, gives batches of segments.

    Write into `room`, then call `received` with how many bytes that were; at the end, or where
    nothing more can be had, call `finish`. ``seed`` is 16 bytes. The attributes are those of
    `collect.capture.Capture`; after ``truncated`` is set, nothing more is taken.
    """

    def __init__(self, seed: bytes, batch_rows: int = BATCH_ROWS) -> None:
        self.packets = 0
        self.tcp_packets = 0
        self.truncated: str | None = None
        self.links: dict[str, int] = {}
        self.skipped: dict[str, int] = {}
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self._buffer = bytearray(CHUNK + SLACK)
        self._view = memoryview(self._buffer)
        #: Whether a batch may be overwritten by the next.
        self.reuses = False
        self._end = 0
        self._base = 0  # where in the file the buffer begins
        self._skip = 0
        self._reason = ""
        self._walker: Walker | None = None
        self._seed = parse_seed(seed)
        self._fragments = Fragments()
        self._batch_rows = max(batch_rows, BLOCK)
        self._rows = self._new()
        self._used = 0
        self._payloads: dict[int, bytes] = {}

    def room(self) -> memoryview:
        """Where the next bytes of the file go; never empty."""
        return self._view[self._end : CHUNK]

    def received(self, count: int) -> Iterator[SegmentBatch]:
        """Take the ``count`` bytes written to `room`; gives the batches that they fill.

        Raises `ParseError` where they show that this is no capture.
        """
        self._end += count
        if self._walker is None:
            if self._end < ENOUGH:
                return
            self.start()
        yield from self._walk()

    @property
    def started(self) -> bool:
        """Whether the format is known."""
        return self._walker is not None

    def start(self) -> None:
        """Tell the format by the bytes there are; raises `ParseError` where it is none of ours."""
        if self._end == 0 and self._reason:
            raise ParseError(self._reason)
        self._walker, header = identify(bytes(self._view[: min(self._end, ENOUGH)]))
        self._drop(header)

    def finish(self) -> Iterator[SegmentBatch]:
        """The file ends here: gives what is left. Raises `ParseError` as `received` does."""
        if self._walker is None:
            self.start()
            yield from self._walk()
        if self.truncated is None and self._reason:
            self.truncated = f"offset {self._base + self._end}: {self._reason}"
        if self.truncated is None and (self._end or self._skip):
            self.truncated = f"offset {self._base}: the file ends within a packet or block"
        yield from self.flush()

    def flush(self) -> Iterator[SegmentBatch]:
        """The segments that wait for a batch to fill, if any."""
        if self._used:
            rows = self._rows[: self._used]
            self._fragments.settle(rows)
            batch = SegmentBatch(rows, self._payloads)
            rows = self._rows if self.reuses else self._new()
            self._rows, self._used, self._payloads = rows, 0, {}
            yield batch

    def stop(self, reason: str) -> None:
        """Nothing can be read beyond what was `received`; ``reason`` says why."""
        self._reason = reason

    def _new(self) -> Rows:
        return np.empty(self._batch_rows, SEGMENT)

    def _walk(self) -> Iterator[SegmentBatch]:
        if self._skip:
            passed = min(self._skip, self._end)
            self._skip -= passed
            self._drop(passed)
        if self._walker is None or self._skip or self.truncated is not None:
            return
        found = self._walker.walk(self._buffer, 0, self._end, self._base)
        yield from self._take(self._buffer, found)
        self._drop(self._end if found.fault else found.at)

    def walked(
        self, buffer: Buffer, places: Offsets, stop: int, end: int
    ) -> Iterator[SegmentBatch]:
        """Take a piece of a pcap file whose records `hop` found.

        Nothing but the file's header was `received` before. ``places`` and ``stop`` are what `hop`
        gave; ``end`` is how much of ``buffer`` was read, which begins where the records of the
        piece before it end.
        """
        assert isinstance(self._walker, PcapWalker)
        found = self._walker.located(buffer, places, stop, end, self._base)
        yield from self._take(buffer, found)
        at = end if found.fault else found.at
        self._base += at
        self._end = end - at

    def _take(self, buffer: Buffer, found: Walked) -> Iterator[SegmentBatch]:
        for records in found.records:
            yield from self._decode(buffer, records)
        self._skip = found.skip
        self.truncated = found.fault

    def _drop(self, count: int) -> None:
        """Move what follows the first ``count`` bytes to the front."""
        left = self._end - count
        if count and left:
            self._view[:left] = bytes(self._view[count : self._end])
        self._end = left
        self._base += count

    def _decode(self, buffer: Buffer, records: Records) -> Iterator[SegmentBatch]:
        for start in range(0, len(records.data), BLOCK):
            part = records.pick(slice(start, start + BLOCK))
            count = len(part.data)
            if self._used + count > len(self._rows):
                yield from self.flush()
            done = decode(
                buffer,
                part,
                self.packets + 1,
                self._rows[self._used :],
                self._seed,
                self._fragments,
            )
            self._used += done.segments
            self._payloads.update(done.payloads)
            self._count(part, done.segments, done.skipped)

    def _count(self, records: Records, segments: int, skipped: list[int]) -> None:
        self.packets += len(records.data)
        self.tcp_packets += segments
        for reason, count in zip(SKIPPED, skipped, strict=True):
            if count:
                self.skipped[reason] = self.skipped.get(reason, 0) + count
        first, last = int(records.time.min()), int(records.time.max())
        self.first_ns = first if self.first_ns is None else min(first, self.first_ns)
        self.last_ns = last if self.last_ns is None else max(last, self.last_ns)
        low, high = int(records.link.min()), int(records.link.max())
        for link in (low,) if low == high else np.unique(records.link).tolist():
            name = LINKS[link][1] if link in LINKS else f"link type {link}"
            count = int(np.count_nonzero(records.link == link))
            self.links[name] = self.links.get(name, 0) + count
