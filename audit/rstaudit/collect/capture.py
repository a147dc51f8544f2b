"""Captures in files and pipes: opened, unpacked, and read in bounded memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import numpy as np

from rstaudit.collect import ahead
from rstaudit.collect.capture_source import Raw, SourceError, unpacked
from rstaudit.collect.hopper import LARGE, Hopper, HopperError
from rstaudit.parse.capture.hop import HEADER_SIZE
from rstaudit.parse.capture.reader import BATCH_ROWS, STATE, Reader
from rstaudit.parse.capture.segments import NOTHING, SegmentBatch

#: How long a live source may be quiet before its reader gets an empty batch, and how often a
#: file that is followed is looked at, in seconds.
_QUIET = 0.5
_LOOK = 0.2

#: Bytes of a pipe are gathered until it pauses, or for so long, in seconds.
_PAUSE, _GATHER = 0.005, 0.2


class Capture:
    """A capture being read: iterate once over its batches; the attributes grow as it is read.

    ``packets`` and ``tcp_packets`` count records and decoded segments. ``truncated`` says where
    and why reading stopped before the end (None: it did not). ``links`` counts packets by link
    type's name. ``skipped`` counts packets without a segment by the reason. ``first_ns`` and
    ``last_ns`` are the earliest and latest time of any packet, None before the first.
    ``size`` is the file's size in bytes (None: a pipe), ``position`` how much of it has been read.
    ``live``: the source may still grow, so batches are small and may be empty.
    """

    def __init__(self, raw: Raw, follow: bool, seed: bytes, hopper: Hopper | None) -> None:
        self._raw = raw
        self._hopper = hopper
        self._follow = follow and raw.size is not None
        self._reader = Reader(seed)
        while self._follow and not raw.peek():
            time.sleep(_LOOK)
        self._source = unpacked(raw)
        self._waits = raw.live  # reading may block
        self._failed = False
        self.live = self._follow or raw.live
        self._first = self._begin()
        self._child: ahead.Ahead | None = None
        #: Whether it is worth a second process.
        self.large = not self.live and (self.size or 0) >= LARGE
        if hopper and not (self.large and hopper.file == raw.file()):
            hopper.close()
            self._hopper = None
        if self.large and ahead.possible():
            # at once, so that the caller can import what it needs meanwhile
            with suppress(OSError):  # no more processes, or no memory, for this user
                self._child = ahead.Ahead(self._lent(), BATCH_ROWS, self._state, self._learn)
        if self._child and self._hopper:
            self._hopper.leave()

    @property
    def packets(self) -> int:
        """Packets read so far."""
        return self._reader.packets

    @property
    def tcp_packets(self) -> int:
        """TCP segments among them."""
        return self._reader.tcp_packets

    @property
    def truncated(self) -> str | None:
        """Where and why reading stopped early."""
        return self._reader.truncated

    @property
    def links(self) -> dict[str, int]:
        """Packets by the name of their link type."""
        return self._reader.links

    @property
    def skipped(self) -> dict[str, int]:
        """Packets that gave no segment, by the reason."""
        return self._reader.skipped

    @property
    def first_ns(self) -> int | None:
        """The earliest packet's time."""
        return self._reader.first_ns

    @property
    def last_ns(self) -> int | None:
        """The latest packet's time."""
        return self._reader.last_ns

    @property
    def size(self) -> int | None:
        """Size of the file, as it was when opened."""
        return self._raw.size

    @property
    def position(self) -> int:
        """Bytes of the file that were read."""
        return self._raw.position

    def close(self) -> None:
        """Close the file, and end the process that reads it."""
        if self._child:
            self._child.close()
            self._child = None
        if self._hopper:
            self._hopper.close()
            self._hopper = None
        self._raw.close()

    def __iter__(self) -> Iterator[SegmentBatch]:
        """The batches; the file is closed after the last of them."""
        try:
            yield from self._first
            self._first = []
            yield from self._ahead(self._child) if self._child else self._batches()
        finally:
            self.close()

    def _batches(self) -> Iterator[SegmentBatch]:
        if self._hopper:
            yield from self._hopped(self._hopper)
        while self._reader.truncated is None and not self._failed:
            if self._waits and not self._raw.ready(0):
                yield from self._reader.flush()
                if not self._raw.ready(_QUIET):
                    yield NOTHING
                    continue
            count = self._fill()
            if count:
                yield from self._reader.received(count)
            elif self._follow and not self._raw.shrunk():
                yield from self._reader.flush()
                yield NOTHING
                time.sleep(_LOOK)
            else:
                break
        yield from self._reader.finish()

    def _lent(self) -> Iterator[SegmentBatch]:
        """The batches, each good until the next: memory that is new costs as much as copying."""
        self._reader.reuses = True
        yield from self._batches()

    def _hopped(self, hopper: Hopper) -> Iterator[SegmentBatch]:
        """The batches of a file that another process walks through."""
        self._failed = True  # there is nothing to read here
        try:
            for piece in hopper:
                self._raw.position = piece.position
                places = np.frombuffer(piece.places, np.uint32).astype(np.int64)
                yield from self._reader.walked(piece.buffer, places, piece.stop, piece.end)
                if self._reader.truncated is not None:
                    return
        except HopperError as error:
            self._reader.stop(str(error))

    def _ahead(self, child: ahead.Ahead) -> Iterator[SegmentBatch]:
        """The same batches, made by another process."""
        try:
            yield from child
        except ahead.ChildError as error:
            self._reader.truncated = f"offset {self.position}: {error}"

    def _state(self) -> ahead.State:
        return (self.position, *(getattr(self._reader, name) for name in STATE))

    def _learn(self, state: ahead.State) -> None:
        self._raw.position = state[0]
        for name, value in zip(STATE, state[1:], strict=True):
            setattr(self._reader, name, value)

    def _begin(self) -> list[SegmentBatch]:
        """Read until the format is known; raises `ParseError` where it is none of ours."""
        while not self._failed:
            count = self._fill(HEADER_SIZE if self._hopper else None)
            if count:
                batches = list(self._reader.received(count))
                if self._reader.started:
                    return batches
            elif self._follow:
                time.sleep(_LOOK)
            else:
                break
        self._reader.start()
        return []

    def _fail(self, reason: str) -> None:
        self._reader.stop(reason)
        self._failed = True

    def _fill(self, most: int | None = None) -> int:
        """Read as much as there is room for, from a pipe what comes without a pause."""
        room = self._reader.room()[:most]
        filled = 0
        until = time.monotonic() + _GATHER
        try:
            while filled < len(room):
                got = self._source.readinto(room[filled:])
                filled += got
                late = self._raw.live and time.monotonic() > until
                if not got or late or not self._raw.ready(_PAUSE):
                    break
        except SourceError as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"reading failed: {error.strerror or error}")
        self._waits = self._raw.live and filled < len(room)
        return filled


def open_capture(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    follow: bool = False,
    seed: bytes | None = None,
    hopper: Hopper | None = None,
) -> Capture:
    """Open a capture: a path, ``-`` for standard input, or an open binary file.

    ``follow`` waits for more at the end of a file. ``seed`` (16 bytes) makes keys repeatable.
    ``hopper`` may be one for the same file, begun earlier; it is closed with the capture.
    Waits until the first 24 bytes are there. Raises `ParseError` where they begin no capture, and
    OSError where they cannot be had.
    """
    raw = None
    try:
        raw = Raw(source)
        return Capture(raw, follow, os.urandom(16) if seed is None else seed, hopper)
    except BaseException:
        if raw:
            raw.close()
        if hopper:
            hopper.close()
        raise
