"""Resets in captures as one HTML page that needs nothing but a browser, ladders included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from rstaudit import __version__
from rstaudit.catalogue.causes import causes
from rstaudit.model.capture import CaptureSummary, Unreadable
from rstaudit.model.diagnosis import UNDETERMINED
from rstaudit.model.ladder import Ladder
from rstaudit.report import pcap_words as words
from rstaudit.report.ladder_svg import render as svg
from rstaudit.report.moment import rfc3339
from rstaudit.report.pcap_groups import Group, Groups, Reset
from rstaudit.report.pcap_text import summary_text
from rstaudit.report.safe import printable

#: The flows to draw for a group, each with the resets in it that can be explained, by frame.
Drawings = Callable[[Group], Iterable[tuple[Ladder, Mapping[int, Reset]]]]


def render(
    summaries: Sequence[CaptureSummary],
    unreadable: Sequence[Unreadable],
    groups: Groups,
    limit: int | None,
    drawings: Drawings,
) -> str:
    """The page; at most ``limit`` groups (None: all).

    Its own policy forbids it to load or run anything, and every text in it is escaped.
    """
    ordered = groups.ordered()
    shown = ordered[:limit]
    several = len(summaries) > 1
    numbers = count(1)
    kinds = [
        _kind(group, number, drawings(group), numbers, several=several)
        for number, group in enumerate(shown, 1)
    ]
    context = {
        "title": printable(f"Resets in {words.together(summaries).file}"),
        "found": summary_text(summaries, groups),
        "files": [_file(summary) for summary in summaries],
        "unreadable": unreadable,
        "kinds": kinds,
        "more": words.more(ordered[len(shown) :]),
        "version": __version__,
    }
    text: str = _environment().get_template("pcap.html.j2").render(context)
    return text


def _environment() -> Any:
    """Templates that escape what they are given, and in which a missing name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["printable"] = printable
    return environment


def _file(summary: CaptureSummary) -> dict[str, object]:
    times = (summary.first_ns, summary.last_ns)
    first, last = ("" if time is None else f"{rfc3339(time)[:26]}Z" for time in times)
    return {
        "name": printable(summary.file),
        "packets": f"{summary.packets:,}",
        "flows": f"{summary.flows:,}",
        "resets": f"{summary.resets:,}",
        "truncated": None if summary.truncated is None else printable(summary.truncated),
        "first": first,
        "last": last,
    }


def _kind(
    group: Group,
    number: int,
    drawings: Iterable[tuple[Ladder, Mapping[int, Reset]]],
    numbers: Iterator[int],
    *,
    several: bool,
) -> dict[str, object]:
    cause = causes()[group.cause]
    return {
        "number": number,
        "cause": cause.id,
        "name": cause.name,
        "benign": group.benign,
        "undetermined": cause.id == UNDETERMINED,
        "count": f"{group.count:,}",
        "sure": words.how_sure(group.sure),
        "who": printable(words.who(group)),
        "reasons": [(printable(why), rest) for why, rest in words.reasons(group)],
        "others": words.alternatives(group),
        "fixes": cause.fixes,
        "next": cause.next_step,
        "when": words.when(group),
        "frames": printable(words.frames(group, several=several)),
        "drawings": [_drawing(*drawing, next(numbers)) for drawing in drawings],
    }


def _drawing(ladder: Ladder, resets: Mapping[int, Reset], number: int) -> dict[str, object]:
    """The picture, which escapes its own texts, and the words below it."""
    from markupsafe import Markup

    marks = []
    for frame in sorted(resets):
        found = resets[frame].diagnosis
        sure = words.how_sure({found.confidence: 1}, benign=found.benign)
        marks.append((frame, found.cause, sure, printable(found.why)))
    return {"svg": Markup(svg(ladder, resets.keys(), number)), "marks": marks}
