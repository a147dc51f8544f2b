"""Resets in captures as text: how many, why, how sure, and what to do about each kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rstaudit.catalogue.causes import causes
from rstaudit.model.capture import CaptureSummary
from rstaudit.model.cause import Cause
from rstaudit.model.diagnosis import UNDETERMINED
from rstaudit.report.layout import Line, Span, wrap
from rstaudit.report.moment import rfc3339
from rstaudit.report.pcap_groups import Group, Groups, Reset
from rstaudit.report.pcap_words import (
    alternatives,
    frames,
    how_sure,
    ladder_command,
    more,
    number,
    reasons,
    together,
    when,
    who,
)
from rstaudit.report.safe import printable

_INDENT = 4

#: Packets that hold no TCP header: nothing is lost where they are not read.
_NO_LOSS = frozenset({"not TCP", "later fragment"})


#: Draws the ladders of a group.
Draw = Callable[[Group], list[Line]]


def render(
    summaries: Sequence[CaptureSummary],
    groups: Groups,
    width: int,
    limit: int | None,
    draw: Draw | None = None,
) -> list[Line]:
    """The whole report; at most ``limit`` groups of each kind (None: all).

    ``draw`` adds a group's ladders; without it the report says how to see them. No line is wider
    than ``width`` except commands to paste.
    """
    lines = totals(summaries, groups, width)
    several = len(summaries) > 1
    harmful = [group for group in groups.ordered() if not group.benign]
    harmless = [group for group in groups.ordered() if group.benign]
    for group in harmful[:limit]:
        lines += [(), *_group(group, width, draw, several=several)]
    lines += _more(harmful[limit or len(harmful) :], width)
    if harmless:
        lines += [(), (Span("Harmless: nothing was lost, and nobody needs to act", "strong"),)]
        for group in harmless[:limit]:
            lines += _brief(group, width, several=several)
            lines += draw(group) if draw is not None else []
        lines += _more(harmless[limit or len(harmless) :], width)
    return lines


def totals(summaries: Sequence[CaptureSummary], groups: Groups, width: int) -> list[Line]:
    """What was read and what was found in it: one line for each capture, one for all."""
    lines: list[Line] = []
    if len(summaries) > 1:
        told = [summary for summary in summaries if summary.resets or summary.truncated]
        for summary in told:
            spans = [*_read(summary), *_found(summary.resets, None), *_cut_short(summary)]
            lines += wrap(spans, width)
        if quiet := len(summaries) - len(told):
            others = "others " if told else ""
            lines += wrap([Span(f"{quiet:,} {others}without resets", "dim")], width)
        lines.append(())
    return lines + wrap(_total(summaries, groups), width)


def summary_text(summaries: Sequence[CaptureSummary], groups: Groups) -> str:
    """What was read and what was found in all captures together, in one sentence."""
    return "".join(span.text for span in _total(summaries, groups))


def _total(summaries: Sequence[CaptureSummary], groups: Groups) -> list[Span]:
    everything = together(summaries)
    chosen = groups.harmful() + groups.harmless()
    spans = [*_read(everything), *_found(everything.resets, groups)]
    if chosen < everything.resets:
        spans.insert(2, Span(f"{chosen:,} of ", "strong"))
    spans += _unread(everything) + _forgotten(everything)
    return spans + (_cut_short(summaries[0]) if len(summaries) == 1 else [])


def one_line(reset: Reset, width: int) -> list[Line]:
    """A reset of a capture that is still being taken, as soon as it is diagnosed."""
    found = reset.diagnosis
    sure = how_sure({found.confidence: 1}, benign=found.benign)
    spans = [
        Span(f"frame {reset.frame} {reset.src} > {reset.dst} "),
        Span(found.cause, "good" if found.benign else "error"),
        Span(f" ({sure}): {printable(found.why)}"),
    ]
    return wrap(spans, width, _INDENT, (Span(f"{rfc3339(reset.time_ns)[11:26]} ", "dim"),))


def _read(summary: CaptureSummary) -> list[Span]:
    """``a.pcap: 1,000 packets, 20 flows: ``."""
    numbers = f"{number(summary.packets, 'packet')}, {number(summary.flows, 'flow')}: "
    return [Span(printable(f"{summary.file}: "), "strong"), Span(numbers)]


def _found(resets: int, groups: Groups | None) -> list[Span]:
    """``3,120 resets, 3,012 harmful, 108 harmless``; ``groups`` None: without those two."""
    if not resets:
        return [Span("no resets", "good")]
    spans = [Span(number(resets, "reset"), "strong")]
    if groups is not None and (harmful := groups.harmful()):
        spans += [Span(", "), Span(f"{harmful:,} harmful", "error")]
    if groups is not None and (harmless := groups.harmless()):
        spans += [Span(", "), Span(f"{harmless:,} harmless", "good")]
    return spans


def _cut_short(summary: CaptureSummary) -> list[Span]:
    if summary.truncated is None:
        return []
    return [Span(f"; cut short: {printable(summary.truncated)}", "warning")]


def _unread(summary: CaptureSummary) -> list[Span]:
    """Packets that may have been TCP: ``; 3 packets not read: 2 malformed, 1 encrypted``."""
    lost = {reason: n for reason, n in summary.skipped.items() if reason not in _NO_LOSS and n}
    if not lost:
        return []
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in lost.items())
    packets = number(sum(lost.values()), "packet")
    return [Span(f"; {packets} not read: {printable(reasons)}", "warning")]


def _forgotten(summary: CaptureSummary) -> list[Span]:
    """Flows whose beginning may be missing from what is said of their resets."""
    if not summary.forgotten:
        return []
    flows = number(summary.forgotten, "flow")
    return [Span(f"; too many open at once: {flows} let go before the end", "warning")]


def _group(group: Group, width: int, draw: Draw | None, *, several: bool) -> list[Line]:
    cause = causes()[group.cause]
    style = "warning" if group.cause == UNDETERMINED else "error"
    lines = wrap([Span(f"{cause.id}: ", style), Span(cause.name, "strong")], width)
    count = f"{number(group.count, 'reset')}, {how_sure(group.sure)}, {who(group)}"
    lines += wrap([Span(printable(count))], width, _INDENT, (Span("    "),))
    for why, rest in reasons(group):
        lines += _field("why:", why, width)
        lines += _field("seen:", rest, width, "dim") if rest else []
    if others := alternatives(group):
        lines += _field("or:", "; ".join(others), width)
    lines += _to_do(cause, width)
    where = f"{when(group)}, {frames(group, several=several)}"
    lines += _field("when:", where, width, "dim")
    if draw is not None:
        return lines + draw(group)
    command = ladder_command(group)
    return lines + (_pasted("ladder:", command) if command else [])


def _to_do(cause: Cause, width: int) -> list[Line]:
    """What to change, and what to look at next."""
    lines: list[Line] = []
    for fix in cause.fixes:
        lines += _field("fix:", fix, width)
    return lines + _pasted("next:", cause.next_step)


def _brief(group: Group, width: int, *, several: bool) -> list[Line]:
    """A harmless group in one sentence."""
    count = f"{number(group.count, 'reset')}, {how_sure(group.sure)}, {who(group)}"
    where = f" ({frames(group, several=several)})"
    spans = [Span(f"{group.cause}: ", "good"), Span(printable(count)), Span(where, "dim")]
    lines = wrap(spans, width, _INDENT, (Span("  -"),))
    for why, _ in reasons(group):
        lines += _field("why:", why, width)
    return lines


def _more(groups: Sequence[Group], width: int) -> list[Line]:
    return [(), *wrap([Span(more(groups), "dim")], width)] if groups else []


def _field(name: str, text: str, width: int, style: str = "") -> list[Line]:
    head = (Span(f"    {name:8}", "dim"),)
    return wrap([Span(printable(text), style)], width, _INDENT + 8, head)


def _pasted(name: str, command: str) -> list[Line]:
    """A command stays on one line, so that it can be pasted."""
    return [(Span(f"    {name:8}", "dim"), Span(printable(command)))]
