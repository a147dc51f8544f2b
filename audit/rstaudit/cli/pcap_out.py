"""Where the resets of captures go as they are found: into groups, onto the terminal, into JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rstaudit.cli.errors import UsageError
from rstaudit.cli.output import silence_stdout, styled, width
from rstaudit.cli.pcap_read import summary
from rstaudit.model.capture import CaptureSummary, Unreadable
from rstaudit.report.pcap_groups import Groups

if TYPE_CHECKING:
    from rstaudit.collect.capture import Capture
    from rstaudit.parse.capture_filter import FlowFilter, Moment
    from rstaudit.resets.wire.tracker import Found, Tracker

    #: Writes a piece of the report.
    Writer = Callable[[str], None]


class Chosen(NamedTuple):
    """Which resets to report. Each field that is empty or None leaves everything in."""

    causes: frozenset[str] = frozenset()
    flow: FlowFilter | None = None
    since: Moment | None = None
    until: Moment | None = None

    def accepts(self, found: Found, first_ns: int) -> bool:
        """Whether ``found`` is one of them, in a capture that begins at ``first_ns``."""
        if self.causes and found.verdict.cause not in self.causes:
            return False
        if self.since is not None and found.time_ns < self.since.since_epoch(first_ns):
            return False
        if self.until is not None and found.time_ns > self.until.since_epoch(first_ns):
            return False
        return self.flow is None or self.flow.accepts(found.frame, found.src, found.dst)


class Gathered:
    """Collects groups and summaries.

    ``may_print``: print each reset of a capture that may still grow, as it comes. ``reported``
    counts the resets that were wanted, ``printed`` tells whether any was printed.
    """

    def __init__(self, chosen: Chosen, *, may_print: bool = False) -> None:
        self.groups = Groups()
        self.summaries: list[CaptureSummary] = []
        self._chosen = chosen
        self._all = chosen == Chosen()
        self.reported = 0
        self.printed = False
        self._may_print = may_print
        self._prints = False
        self._file = ""
        self._resets = 0

    def begin(self, file: str, capture: Capture) -> None:
        """A new capture."""
        self._file, self._resets = file, 0
        self._prints = self._may_print and capture.live
        if capture.large:  # nothing has come yet: load what the report will need
            from importlib import import_module

            from rstaudit.catalogue.causes import causes

            import_module("rstaudit.report.pcap_text")
            causes()

    def add(self, found: Sequence[Found], first_ns: int) -> None:
        """Resets of the capture that began last."""
        wanted = self.wanted(found, first_ns)
        self.groups.add(self._file, wanted)
        if self._prints and wanted:
            self.printed = True
            from rstaudit.report.pcap_text import one_line

            for one in wanted:
                to_stdout(styled(one_line(one, width())))

    def wanted(self, found: Sequence[Found], first_ns: int) -> Sequence[Found]:
        """Those to report; all are counted."""
        self._resets += len(found)
        if not self._all:
            found = [one for one in found if self._chosen.accepts(one, first_ns)]
        self.reported += len(found)
        return found

    def end(self, capture: Capture, tracker: Tracker) -> None:
        """The capture has been read."""
        self.summaries.append(summary(self._file, capture, tracker, self._resets))

    @property
    def saw_harm(self) -> bool:
        """Whether a reset was harmful."""
        return self.groups.harmful() > 0


class Streamed(Gathered):
    """JSON, written piece by piece."""

    def __init__(self, chosen: Chosen, writer: Writer) -> None:
        super().__init__(chosen)
        self._write = writer
        self._first_reset = True
        self._harm = False

    def begin(self, file: str, capture: Capture) -> None:
        """A new capture."""
        from rstaudit.report.pcap_json import beginning, file_beginning

        super().begin(file, capture)
        self._first_reset = True
        head = "" if self.summaries else beginning()
        self._write(head + file_beginning(file, first=not self.summaries))

    def add(self, found: Sequence[Found], first_ns: int) -> None:
        """As `Gathered`, with what is written so far on its way to the reader."""
        from rstaudit.report.pcap_json import reset_line

        lines = []
        for one in self.wanted(found, first_ns):
            self._harm = self._harm or not one.verdict.benign
            lines.append(reset_line(one, first=self._first_reset))
            self._first_reset = False
        if lines:
            self._write("".join(lines))

    def end(self, capture: Capture, tracker: Tracker) -> None:
        """The capture has been read."""
        from rstaudit.report.pcap_json import file_end

        super().end(capture, tracker)
        self._write(file_end(self.summaries[-1]))

    def close(self, unreadable: Iterable[Unreadable], *, interrupted: bool) -> None:
        """All captures have been read."""
        from rstaudit.report.pcap_json import beginning, ending

        head = "" if self.summaries else beginning()
        self._write(head + ending(unreadable, interrupted=interrupted))

    @property
    def saw_harm(self) -> bool:
        """Whether a reset was harmful."""
        return self._harm


def to_stdout(text: str) -> None:
    """Write at once, and stop the work where nobody reads: raises BrokenPipeError, `UsageError`."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence_stdout()
        raise UsageError(f"standard output: {(error.strerror or str(error)).lower()}") from None
