"""Where the resets of a watch are shown: as text, as JSON lines, or as a live table."""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rstaudit.cli.errors import UsageError
from rstaudit.cli.output import wants_colour, width
from rstaudit.report import watch_json, watch_text
from rstaudit.report.layout import Line, Span, coloured, plain
from rstaudit.report.watch_summary import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import TextIO

    from rstaudit.model.diagnosis import LiveReset
    from rstaudit.model.tally import Tally

#: Rows of the table where there is no terminal to fill.
_ROWS = 20


@contextmanager
def open_screen(arguments: argparse.Namespace) -> Iterator[Screen]:
    """The screen that the options ask for; raises `UsageError` where it cannot be written."""
    path = arguments.output
    if path in (None, "-"):
        # a command's own output shall not mix with ours, and may be piped on
        yield _screen(arguments, sys.stderr if arguments.command else sys.stdout, path)
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise UsageError(f"{path}: {words}; give -o a file you may write") from None
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        yield _screen(arguments, file, path)


def _screen(arguments: argparse.Namespace, stream: TextIO | None, path: str | None) -> Screen:
    if arguments.format == "json":
        return JsonScreen(stream)
    kind = TableScreen if arguments.summary else TextScreen
    return kind(stream, width(path))


class Screen(ABC):
    """Takes resets one by one. ``closed`` turns True when nobody reads any more."""

    def __init__(self, stream: TextIO | None, columns: int = 80) -> None:
        self._stream, self._width = stream, columns  # None: started with it closed
        self._terminal = stream is not None and stream.isatty()
        self._colour = self._terminal and wants_colour(os.environ)
        self.closed = False

    def begin(self, gap: str | None) -> None:
        """Watching has begun; ``gap`` says why it sees no events, or None."""
        if self._terminal:
            words = "watching for TCP resets; Ctrl-C ends it"
            self._lines([(Span(words, "dim"),)])
        if gap is not None:
            self._lines([(Span(f"seen by counters and sockets alone: {gap}", "warning"),)])

    @abstractmethod
    def show(self, reset: LiveReset) -> None:
        """One reset."""

    def refresh(self) -> None:  # noqa: B027 - only the table is ever drawn anew
        """Called ten times a second."""

    @abstractmethod
    def end(self, tally: Tally) -> None:
        """The last words."""

    def _lines(self, lines: Iterable[Line]) -> None:
        lines = list(lines)
        if self._colour:
            try:
                return self._write(coloured(lines))
            except ImportError:  # rich is not installed: run straight from the source tree
                self._colour = False
        return self._write(plain(lines))

    def _write(self, text: str) -> None:
        if self.closed or self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            self.closed = True
            _forget(self._stream)
        except OSError as error:
            self.closed = True
            _forget(self._stream)
            words = (error.strerror or str(error)).lower()
            raise UsageError(f"output: {words}; the watch was ended") from None


class JsonScreen(Screen):
    """A line of JSON for each reset."""

    def begin(self, gap: str | None) -> None:
        """Nothing: the last line says it."""

    def show(self, reset: LiveReset) -> None:
        """One line."""
        self._write(watch_json.line(reset))

    def end(self, tally: Tally) -> None:
        """The last line."""
        self._write(watch_json.ending(tally))


class TextScreen(Screen):
    """Some lines for each reset."""

    def __init__(self, stream: TextIO | None, columns: int) -> None:
        super().__init__(stream, columns)
        self._writer = watch_text.Writer(columns)

    def show(self, reset: LiveReset) -> None:
        """What, where, why; and once for each cause what to do."""
        self._lines(self._writer.lines(reset))

    def end(self, tally: Tally) -> None:
        """The numbers."""
        self._lines([(), *watch_text.ending(tally, self._width)])


class TableScreen(Screen):
    """A table, drawn anew each second on a terminal; elsewhere once, at the end."""

    def __init__(self, stream: TextIO | None, columns: int) -> None:
        super().__init__(stream, columns)
        self._table = Table()
        self._drawn = 0.0

    def show(self, reset: LiveReset) -> None:
        """Count it."""
        self._table.add(reset, time.monotonic())

    def refresh(self) -> None:
        """Draw when a second has passed."""
        now = time.monotonic()
        if self._terminal and now - self._drawn >= 1:
            self._drawn = now
            self._write("\x1b[H\x1b[J")
            self._lines(self._table.lines(now, self._width, self._rows()))

    def end(self, tally: Tally) -> None:
        """The table as it stands, and the numbers."""
        if self._terminal:
            self._write("\x1b[H\x1b[J")
        self._lines(self._table.lines(time.monotonic(), self._width, _ROWS))
        self._lines([(), *watch_text.ending(tally, self._width)])

    def _rows(self) -> int:
        """Two parts with two lines of head each fill the terminal."""
        if self._stream is None:
            return _ROWS
        try:
            return max(3, (os.get_terminal_size(self._stream.fileno()).lines - 8) // 2)
        except OSError:
            return _ROWS


def _forget(stream: TextIO) -> None:
    """What is still buffered goes nowhere: closing the stream shall not fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
