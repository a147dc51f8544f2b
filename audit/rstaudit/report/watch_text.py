"""Live resets as text: a line or three for each, what to do once for each cause."""

from __future__ import annotations

from collections.abc import Iterator
from time import localtime

from rstaudit.catalogue.causes import causes
from rstaudit.model.diagnosis import UNDETERMINED, LiveReset
from rstaudit.model.rule import Confidence
from rstaudit.model.sockets import Owner
from rstaudit.model.tally import Tally
from rstaudit.report.layout import Line, Span, wrap
from rstaudit.report.safe import printable

_INDENT = 13


class Writer:
    """Renders resets one after the other; remembers which causes it has explained."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._told: set[str] = set()

    def lines(self, reset: LiveReset) -> list[Line]:
        """Time, direction, ends, cause and process; why; and the fix when the cause is new."""
        found = reset.diagnosis
        lines = wrap(_head(reset), self._width, _INDENT, (Span(_clock(reset.time_ns), "dim"),))
        lines += wrap([Span(printable(found.why), "dim")], self._width, _INDENT)
        if found.alternatives:
            other = ", ".join(found.alternatives)
            lines += wrap([Span(f"or: {other}", "dim")], self._width, _INDENT)
        if found.cause not in self._told and not found.benign:
            self._told.add(found.cause)
            lines += self._advice(found.cause)
        return lines

    def _advice(self, cause: str) -> Iterator[Line]:
        known = causes().get(cause)
        if known is None:
            return
        for fix in known.fixes[:1]:
            yield from wrap([Span("fix: ", "strong"), Span(fix)], self._width, _INDENT)
        explain = f"explain: rstaudit explain {cause}"
        yield from wrap([Span(explain, "dim")], self._width, _INDENT)


def ending(tally: Tally, width: int) -> list[Line]:
    """What was seen in all, what was lost, and how it was seen."""
    lines = wrap([Span(_total(tally), "strong")], width)
    for cause, count in sorted(tally.causes.items(), key=lambda item: -item[1]):
        lines.append((Span(f"{count:8,}  {cause}"),))
    for words in _missing(tally):
        lines += wrap([Span(printable(words), "warning")], width)
    return lines


def process(owner: Owner) -> str:
    """``nginx (pid 12, user www-data, unit nginx.service)``, made harmless."""
    words = [f"pid {owner.pid}", f"user {owner.user}"]
    words += [f"unit {owner.unit}"] if owner.unit else []
    words += [f"container {owner.container}"] if owner.container else []
    return printable(f"{owner.comm} ({', '.join(words)})")


def _head(reset: LiveReset) -> list[Span]:
    found = reset.diagnosis
    style = "dim" if found.benign else "info" if found.cause == UNDETERMINED else "warning"
    spans = [Span(f"{reset.direction:8} {reset.src} -> {reset.dst} "), Span(found.cause, style)]
    sure = [] if found.confidence is Confidence.CERTAIN else [found.confidence.value]
    sure += ["harmless"] if found.benign else []
    spans += [Span(f" ({', '.join(sure)})", "dim")] if sure else []
    spans += [Span(f" {process(reset.owner)}")] if reset.owner is not None else []
    return spans


def _clock(time_ns: int) -> str:
    at = localtime(time_ns // 1_000_000_000)
    return f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}.{time_ns // 1_000_000 % 1000:03}"


def _total(tally: Tally) -> str:
    words = f"{_resets(tally.reported)} in {tally.seconds:.0f} s"
    if tally.reported != tally.sent + tally.received:
        words += f" (of {tally.sent + tally.received:,} on the host)"
    harmless = tally.reported - tally.harmful
    return f"{words}: {tally.harmful:,} harmful, {harmless:,} harmless"


def _resets(count: int) -> str:
    return "1 reset" if count == 1 else f"{count:,} resets"


def _missing(tally: Tally) -> Iterator[str]:
    if tally.gap is not None:
        yield f"seen by counters and sockets alone: {tally.gap}"
    if tally.undiagnosed:
        yield f"{_resets(tally.undiagnosed)} came too fast to be diagnosed and were only counted"
    if tally.lost:
        yield f"{tally.lost:,} events were lost: the buffer was full (--buffer makes it larger)"
    if tally.command_status:
        yield f"the command ended with status {tally.command_status}"
