"""Captures read one after the other: what is found in each, progress, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rstaudit.model.capture import CaptureSummary, Unreadable
from rstaudit.parse.errors import ParseError

if TYPE_CHECKING:
    from types import FrameType

    from rstaudit.collect.capture import Capture
    from rstaudit.parse.capture.segments import SegmentBatch
    from rstaudit.resets.wire.tracker import Found, Tracker

#: A file from this size on gets a line of progress on a terminal.
_LARGE = 64 << 20


class Sink(Protocol):
    """Where resets go as they are found."""

    def begin(self, file: str, capture: Capture) -> None:
        """A capture turned out to be one."""

    def add(self, found: Sequence[Found], first_ns: int) -> None:
        """Resets of it, in order; ``first_ns`` is when the capture begins."""

    def end(self, capture: Capture, tracker: Tracker) -> None:
        """It has been read as far as it goes."""


class Stop:
    """Ctrl-C ends the reading, between batches or while one is awaited; the second one ends us.

    Where a batch is being worked on, an exception would leave the flows half updated.
    """

    def __init__(self) -> None:
        self.asked = False
        self._waiting = False

    def __enter__(self) -> Stop:
        """Take over, unless whoever started us ignores Ctrl-C."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        """From now on Ctrl-C is KeyboardInterrupt."""
        if signal.getsignal(signal.SIGINT) == self._asked:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if again or self._waiting:
            raise KeyboardInterrupt

    def batches(self, capture: Capture) -> Iterator[SegmentBatch]:
        """The batches of ``capture`` until Ctrl-C."""
        source = iter(capture)
        while not self.asked:
            batch = None
            # a file is never long in coming; a live source may be silent for ever
            with self.waiting() if capture.live else nullcontext():
                batch = next(source, None)
            if batch is None:
                return
            yield batch

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The block may be left at once: Ctrl-C ends it without an exception."""
        try:
            self._waiting = True
            yield
            self._waiting = False
        except KeyboardInterrupt:
            self.asked = True
        finally:
            self._waiting = False


class How(NamedTuple):
    """How to read: wait for more at the end; keep every flow to be drawn, not only examples."""

    follow: bool
    keep_all: bool


def read_all(files: Iterable[str], sink: Sink, stop: Stop, how: How) -> list[Unreadable]:
    """Read each of ``files`` into ``sink``; those of which nothing could be read, and why."""
    unreadable = []
    for file in files:
        if stop.asked:
            break
        try:
            _read(file, sink, stop, how)
        except BrokenPipeError:  # of what we write: nobody reads any more
            raise
        except ParseError as error:
            unreadable.append(Unreadable(file, str(error)))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            unreadable.append(Unreadable(file, reason))
    return unreadable


def summary(file: str, capture: Capture, tracker: Tracker, resets: int) -> CaptureSummary:
    """What was read of ``capture``."""
    return CaptureSummary(
        file, capture.packets, capture.tcp_packets, tracker.flows, resets, capture.truncated,
        dict(capture.skipped), capture.first_ns, capture.last_ns, tracker.evicted,
    )  # fmt: skip


def _read(file: str, sink: Sink, stop: Stop, how: How) -> None:
    from rstaudit.collect.hopper import hopper

    # a large capture is read by processes of their own while this one imports what it needs
    early = None if how.follow or file == "-" else hopper(file)
    from rstaudit.collect.capture import open_capture

    capture = None
    with stop.waiting():  # a named pipe opens when its writer comes
        capture = open_capture(file, follow=how.follow, hopper=early)
    if capture is None:
        return
    from rstaudit.cli.pcap_apart import Apart
    from rstaudit.resets.wire.tracker import Tracker

    sink.begin(file, capture)
    apart = Apart(capture.large)
    tracker = Tracker(keep_all=how.keep_all, spread=apart.spread)
    progress = _Progress(file, capture)
    try:
        for batch in stop.batches(capture):
            sink.add(tracker.feed(batch), capture.first_ns or 0)
            progress.show()
        progress.hide()
        sink.add(tracker.finish(), capture.first_ns or 0)
    finally:
        progress.hide()
        apart.close()
    sink.end(capture, tracker)


class _Progress:
    """A line on the terminal while a large file is read, gone when it is done."""

    def __init__(self, file: str, capture: Capture) -> None:
        self._file = file
        self._capture = capture
        self._shown = 0
        tty = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._wanted = tty and not capture.live and (capture.size or 0) >= _LARGE

    def show(self) -> None:
        """How far it is."""
        if self._wanted and self._capture.size:
            from rstaudit.report.safe import printable

            percent = 100 * self._capture.position // self._capture.size
            line = printable(f"rstaudit: {self._file}: {percent} %")
            sys.stderr.write(f"\r{line}")
            sys.stderr.flush()
            self._shown = len(line)

    def hide(self) -> None:
        """Nothing of it stays."""
        if self._shown:
            sys.stderr.write(f"\r{' ' * self._shown}\r")
            sys.stderr.flush()
