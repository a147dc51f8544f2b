"""A flow as a ladder drawn in SVG, to stand inline in a page whose style sheet colours it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from html import escape

from rstaudit.model.ladder import Ladder, States, Step
from rstaudit.report.ladder import between, parts
from rstaudit.report.moment import offset
from rstaudit.report.safe import printable

#: Where things stand, in user units: the drawing's width, the two ends, the height of a row.
_WIDTH, _CLIENT, _SERVER, _ROW = 860, 290, 720, 36

#: The height of a row that says what is not drawn.
_BREAK = 24

#: How far an arrow falls on its way: time goes down.
_FALL = 6

_TOP = 64


def render(ladder: Ladder, resets: Collection[int], number: int) -> str:
    """An ``<svg>`` element; ``resets`` are the frames to mark, ``number`` makes its ids unique.

    Every text is escaped and free of control characters. Its classes (``rail``, ``segment``,
    ``reset``, ``state``, ``small``) are the page's to style.
    """
    rows, height = _rows(ladder, resets, number)
    title = escape(printable(f"Ladder of {ladder.client} and {ladder.server}"))
    return "\n".join(
        [
            _opening(height, number),
            f'<title id="ladder-{number}">{title}</title>',
            f"<desc>{escape(_in_words(ladder))}</desc>",
            _heads(number),
            _text(_CLIENT, 18, ladder.client, "end", "middle"),
            _text(_SERVER, 18, ladder.server, "end", "middle"),
            _text(_CLIENT, 34, "client", "small", "middle"),
            _text(_SERVER, 34, "server", "small", "middle"),
            _text(70, 54, "frame", "small", "end"),
            _text(160, 54, "seconds", "small", "end"),
            _rail(_CLIENT, height),
            _rail(_SERVER, height),
            _text(_CLIENT - 10, 54, ladder.before.client, "state", "end"),
            _text(_SERVER + 10, 54, ladder.before.server, "state", "start"),
            *rows,
            "</svg>",
        ]
    )


def _opening(height: int, number: int) -> str:
    box = f"0 0 {_WIDTH} {height + 16}"
    return f'<svg class="ladder" viewBox="{box}" role="img" aria-labelledby="ladder-{number}">'


def _heads(number: int) -> str:
    """The arrow heads: markers take their colour from the style sheet, not from their line."""
    marks = "".join(
        f'<marker id="{name}-{number}" class="{name}-head" viewBox="0 0 8 8" refX="8" refY="4"'
        ' markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z"/></marker>'
        for name in ("segment", "reset")
    )
    return f"<defs>{marks}</defs>"


def _rows(ladder: Ladder, resets: Collection[int], number: int) -> tuple[list[str], int]:
    """All below the heads, and how far down it reaches."""
    drawn: list[str] = []
    y = _TOP
    first = ladder.steps[0][0].time_ns if ladder.steps else 0
    before, last = ladder.before, None
    for step, after in ladder.steps:
        if words := between(step, last, "…"):
            drawn.append(_break(y + 18, words))
            y += _BREAK
        y += _ROW
        drawn += _segment(step, y, first, number, marked=step.frame in resets)
        drawn += _states(before, after, y)
        before, last = after, step.time_ns
    return drawn, y + _FALL


def _segment(step: Step, y: int, first: int, number: int, *, marked: bool) -> Iterator[str]:
    kind = "reset" if marked or "RST" in step.flags else "segment"
    start, end = (_CLIENT, _SERVER) if step.from_client else (_SERVER, _CLIENT)
    yield _text(70, y, str(step.frame), "small", "end")
    yield _text(160, y, offset(step.time_ns - first), "small", "end")
    yield (
        f'<line class="{kind}" x1="{start}" y1="{y - _FALL}" x2="{end}" y2="{y + _FALL}"'
        f' marker-end="url(#{kind}-{number})"/>'
    )
    middle = (_CLIENT + _SERVER) // 2
    yield _text(middle, y - _FALL - 4, label(step), f"{kind}-label", "middle")


def _states(before: States, after: States, y: int) -> Iterator[str]:
    """Each end's state where the segment changed it."""
    if after.client != before.client:
        yield _text(_CLIENT - 10, y + 4, after.client, "state", "end")
    if after.server != before.server:
        yield _text(_SERVER + 10, y + 4, after.server, "state", "start")


def label(step: Step) -> str:
    """A segment in words: ``ACK seq 1 ack 1 len 512, retransmission``."""
    words = " ".join(filter(None, parts(step)))
    return f"{words}, {step.note}" if step.note else words


def _in_words(ladder: Ladder) -> str:
    """The drawing for those who cannot see it: every segment in a sentence."""
    first = ladder.steps[0][0].time_ns if ladder.steps else 0
    sentences = [
        f"Frame {step.frame}, {offset(step.time_ns - first)} s:"
        f" {'client' if step.from_client else 'server'} sends {label(step)};"
        f" client {after.client}, server {after.server}."
        for step, after in ladder.steps
    ]
    return printable(" ".join(sentences))


def _rail(x: int, height: int) -> str:
    return f'<line class="rail" x1="{x}" y1="42" x2="{x}" y2="{height + 8}"/>'


def _break(y: int, words: str) -> str:
    """A gap in both ends' lines, and why."""
    gaps = "".join(
        f'<line class="gap" x1="{x}" y1="{y - 12}" x2="{x}" y2="{y + 10}"/>'
        for x in (_CLIENT, _SERVER)
    )
    return gaps + _text((_CLIENT + _SERVER) // 2, y + 4, words, "small", "middle")


def _text(x: int, y: int, text: str, kind: str, anchor: str) -> str:
    return (
        f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">'
        f"{escape(printable(text))}</text>"
    )
