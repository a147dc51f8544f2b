"""A flow as a ladder of text: both ends, the state of each after every segment, and the reset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.model.ladder import Ladder, States, Step
from rstaudit.report.layout import Line, Span, cells, wrap
from rstaudit.report.moment import gap, offset
from rstaudit.report.safe import printable

#: Silence worth a line of its own, in nanoseconds: nothing that the network itself explains.
SILENCE = 1_000_000_000

#: What the numbers mean.
LEGEND = "seq and ack count bytes from the start of each direction, len is payload"

#: Columns between the two ends, at least and at most.
_NARROWEST, _WIDEST = 24, 64


class Pens(NamedTuple):
    """What lines are drawn with: plain ones, those of a reset, their heads, ends, dots."""

    plain: str
    reset: str
    right: str
    left: str
    rail: str
    dots: str


UNICODE = Pens("─", "━", "▶", "◀", "│", "…")
ASCII = Pens("-", "=", ">", "<", "|", "...")


class _Sizes(NamedTuple):
    frame: int
    time: int
    client: int
    arrow: int


def render(
    ladder: Ladder, resets: Mapping[int, Diagnosis], width: int, pens: Pens = UNICODE
) -> list[Line]:
    """The ladder, with ``resets`` (by frame) explained below their rows.

    Each row has the frame number, seconds since the first row, the client's state after the
    segment, the segment, the server's state. An ordinary flow fits in a ``width`` of 66 columns;
    below that, or with numbers of very many digits, rows are wider than ``width``.
    """
    sizes = _sizes(ladder, width)
    lines = [*_head(ladder, sizes, width, pens)]
    first = ladder.steps[0][0].time_ns if ladder.steps else 0
    before, last = ladder.before, None
    for step, after in ladder.steps:
        if words := between(step, last, pens.dots):
            lines.append(_between(words, sizes, pens))
        lines += _row(step, (before, after), first, sizes, pens)
        if step.frame in resets:
            lines += _explained(resets[step.frame], width)
        before, last = after, step.time_ns
    return lines


def between(step: Step, last: int | None, dots: str) -> str:
    """What lies between a segment and the one before, drawn at ``last``; empty for nothing.

    ``… 1,234 segments in 4.5 s …``, or, where none is left out, ``60.2 s without a segment``.
    """
    passed = 0 if last is None else step.time_ns - last
    if step.skipped:
        took = f" in {gap(passed)}" if last is not None else ""
        noun = "segment" if step.skipped == 1 else "segments"
        return f"{dots} {step.skipped:,} {noun}{took} {dots}"
    return f"{gap(passed)} without a segment" if passed >= SILENCE else ""


def parts(step: Step) -> tuple[str, str, str]:
    """Flags, numbers and length of a segment in words: ``ACK``, ``seq 1 ack 1``, ``len 512``."""
    numbers = [f"seq {step.seq}"] if step.seq is not None else []
    numbers += [f"ack {step.ack}"] if step.ack is not None else []
    return step.flags, " ".join(numbers), f"len {step.length}" if step.length else ""


def _sizes(ladder: Ladder, width: int) -> _Sizes:
    steps = [step for step, _ in ladder.steps]
    states = [ladder.before, *(states for _, states in ladder.steps)]
    frame = max([5, *(len(str(step.frame)) for step in steps)])
    times = [offset(step.time_ns - steps[0].time_ns) for step in steps]
    time = max([8, *map(len, times)])
    client = max([6, *(len(state.client) for state in states)])
    server = max([6, *(len(state.server) for state in states)])
    room = width - frame - time - client - server - 7  # two gaps of one, two rails with theirs
    return _Sizes(frame, time, client, max(_NARROWEST, min(room, _WIDEST)))


def _head(ladder: Ladder, sizes: _Sizes, width: int, pens: Pens) -> Iterator[Line]:
    client, server = printable(ladder.client), printable(ladder.server)
    yield from wrap([Span(f"client {client}, server {server}", "strong")], width)
    names = "client" + " " * (sizes.arrow + 4) + "server"
    yield from wrap([Span(LEGEND, "dim")], width)
    columns = f"{'frame':>{sizes.frame}} {'seconds':>{sizes.time}} "
    yield (Span(columns + " " * (sizes.client - 6) + names, "dim"),)
    blank = " " * (sizes.frame + sizes.time + 2)
    state = f"{ladder.before.client:>{sizes.client}}"
    yield (
        Span(f"{blank}{state} {pens.rail}{' ' * sizes.arrow}{pens.rail} {ladder.before.server}"),
    )


def _row(
    step: Step, states: tuple[States, States], first: int, sizes: _Sizes, pens: Pens
) -> Iterator[Line]:
    """The row, and rows below for what found no room on the arrow."""
    reset = "RST" in step.flags
    before, after = states
    label, below = _label(step, sizes.arrow - 4)
    yield (
        Span(f"{step.frame:>{sizes.frame}} {offset(step.time_ns - first):>{sizes.time}} ", "dim"),
        _state(before.client, after.client, f"{after.client:>{sizes.client}}"),
        Span(f" {pens.rail}"),
        Span(_arrow(label, step, sizes.arrow, pens), "error" if reset else ""),
        Span(f"{pens.rail} "),
        _state(before.server, after.server, after.server),
    )
    for text in filter(None, below):
        yield _between(text, sizes, pens)


def _state(before: str, after: str, shown: str) -> Span:
    """A state stands out where the segment changed it."""
    return Span(shown, "dim" if before == after else "strong")


def _label(step: Step, room: int) -> tuple[str, list[str]]:
    """What stands on the arrow, and what does not fit there."""
    flags, numbers, size = parts(step)
    note = [printable(step.note)] if step.note else []
    short = " ".join(filter(None, [flags, size]))
    long = " ".join(filter(None, [flags, numbers, size]))
    if len(short) > room:
        return flags[:room], [numbers, size, *note]
    if len(long) > room:
        return short, [numbers, *note]
    whole = ", ".join([long, *note])
    return (whole, []) if cells(whole) <= room else (long, note)


def _arrow(label: str, step: Step, size: int, pens: Pens) -> str:
    pen = pens.reset if "RST" in step.flags else pens.plain
    text = f" {label} " if label else pen
    rest = pen * max(0, size - cells(text) - 2)
    return f"{pen}{text}{rest}{pens.right}" if step.from_client else f"{pens.left}{pen}{text}{rest}"


def _between(text: str, sizes: _Sizes, pens: Pens) -> Line:
    """Words between the two ends, cut where they are longer than that."""
    blank = " " * (sizes.frame + sizes.time + sizes.client + 3)
    room = sizes.arrow - cells(text)
    if room < 0:
        text, room = text[: sizes.arrow - 3] + "...", 0
    padded = " " * (room // 2) + text + " " * (room - room // 2)
    return (Span(f"{blank}{pens.rail}"), Span(padded, "dim"), Span(pens.rail))


def _explained(diagnosis: Diagnosis, width: int) -> list[Line]:
    """Below the reset: its cause, how sure, and why."""
    kind = ", harmless" if diagnosis.benign else ""
    style = "good" if diagnosis.benign else "error"
    head = Span(f"{diagnosis.cause} ({diagnosis.confidence.value}{kind}): ", style)
    return wrap([head, Span(printable(diagnosis.why))], width, 10, (Span("        ^ ", style),))
