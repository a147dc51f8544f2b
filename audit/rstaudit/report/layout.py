"""Text as styled lines, laid out once for terminals and pipes alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """Words in one style: ``error warning info good strong dim`` or none."""

    text: str
    style: str = ""


Line = tuple[Span, ...]

#: What each style looks like on a terminal, in rich's words.
_LOOKS = {
    "error": "bold red", "warning": "yellow", "info": "cyan", "good": "green", "strong": "bold",
    "dim": "dim", "": "",
}  # fmt: skip


def cells(text: str) -> int:
    """Columns that ``text`` takes on a terminal (UAX #11: wide characters take two)."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )


def wrap(spans: Iterable[Span], width: int, indent: int = 0, first: Line = ()) -> list[Line]:
    """Fill lines of at most ``width`` columns, hanging at ``indent``.

    ``first`` starts the first line and is padded to the indent. A word that fits on no line is
    cut into pieces, so that no line is ever wider than ``width``.
    """
    lead = sum(cells(span.text) for span in first)
    line = [*first, Span(" " * max(0, indent - lead))]
    used, fresh = max(lead, indent), True
    lines: list[Line] = []
    for word in _words(spans, max(1, width - indent)):
        size = sum(cells(part.text) for part in word)
        if used + size + (not fresh) > width and not (fresh and lines):
            lines.append(tuple(line))
            line, used, fresh = [Span(" " * indent)], indent, True
        if not fresh:
            line.append(Span(" ", word[0].style if line[-1].style == word[0].style else ""))
            used += 1
        line += word
        used, fresh = used + size, False
    return [*lines, tuple(line)]


def _words(spans: Iterable[Span], room: int) -> Iterator[list[Span]]:
    """Words between spaces; one word may change style; none wider than ``room``."""
    word: list[Span] = []
    for span in spans:
        head, *rest = span.text.split(" ")
        word += [Span(head, span.style)] if head else []
        for piece in rest:
            if word:
                yield from _cut(word, room)
            word = [Span(piece, span.style)] if piece else []
    if word:
        yield from _cut(word, room)


def _cut(word: list[Span], room: int) -> Iterator[list[Span]]:
    if sum(cells(part.text) for part in word) <= room:
        yield word
        return
    piece: list[Span] = []
    used = 0
    for part in word:
        for char in part.text:
            size = cells(char)
            if used + size > room and piece:
                yield piece
                piece, used = [], 0
            piece.append(Span(char, part.style))
            used += size
    yield piece


def plain(lines: Iterable[Line]) -> str:
    """The lines without their styles, each ended by a newline."""
    return "".join("".join(span.text for span in line).rstrip() + "\n" for line in lines)


def coloured(lines: Iterable[Line]) -> str:
    """The lines with terminal colours; ImportError where rich is not installed."""
    import io

    from rich.console import Console
    from rich.text import Text

    console = Console(
        file=io.StringIO(), force_terminal=True, highlight=False, soft_wrap=True, width=1000
    )
    with console.capture() as captured:
        for line in lines:
            parts = [(span.text, _LOOKS[span.style]) for span in line]
            console.print(Text.assemble(*parts), soft_wrap=True)
    return captured.get()
