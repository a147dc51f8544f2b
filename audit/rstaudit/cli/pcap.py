"""``rstaudit pcap``: the cause of every reset in captures."""

from __future__ import annotations

from rstaudit.cli.errors import UsageError, suggest
from rstaudit.cli.output import check_writable, show, width, write
from rstaudit.cli.parser import one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import TypeVar

    from rstaudit.cli.pcap_out import Chosen, Gathered
    from rstaudit.model.capture import Unreadable
    from rstaudit.report.pcap_text import Draw

    T = TypeVar("T")

EXAMPLES = (
    ("rstaudit pcap trace.pcap", "every reset and its cause, those of one kind together"),
    ("rstaudit pcap --ladder --flow 17 trace.pcap", "draw the connection whose reset is frame 17"),
    ("tcpdump -i any -w - tcp | rstaudit pcap -", "as the packets come"),
    ("rstaudit pcap --format html -o report.html trace.pcap", "a page to send to somebody"),
)

_OK, _RESETS, _INTERRUPTED = 0, 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("files", metavar="FILE", nargs="+",
        help="pcap or pcapng, also compressed with gzip or zstd; - is standard input")  # fmt: skip
    add("--format", metavar="text|json|html", default="text",
        type=one_of("format", "text", "json", "html"))  # fmt: skip
    add("-o", "--output", metavar="FILE", help="write the report here, all at once, mode 0600")
    add("--ladder", action="store_true",
        help="draw a flow of each kind, with the state of both ends at each step")  # fmt: skip
    add("--flow", metavar="FLOW",
        help="only this flow: a frame number from the report, or A[:PORT]-B[:PORT]")  # fmt: skip
    add("--cause", metavar="ID", action="append", default=[],
        help="only resets with this cause (see 'rstaudit causes'); repeatable")  # fmt: skip
    add("--since", metavar="TIME",
        help="only resets from then on: 2026-11-21T18:42:37Z, seconds since the epoch, or"
        " +12.5 from the beginning")  # fmt: skip
    add("--until", metavar="TIME", help="only resets up to then")
    add("--follow", action="store_true", help="wait for more at the end of the file; Ctrl-C ends")
    add("--limit", metavar="N", type=_whole, default=20,
        help="kinds shown in text and HTML (default: 20; 0: all); JSON has all")  # fmt: skip
    add("--fail-on-reset", action="store_true", help="exit 1 when a harmful reset was seen")


def run(arguments: argparse.Namespace) -> int:
    """Read, report; 1 with --fail-on-reset and a harmful reset, 130 after Ctrl-C."""
    _check(arguments)
    chosen = _chosen(arguments)
    from rstaudit.cli.pcap_out import Chosen
    from rstaudit.cli.pcap_read import How, Stop, read_all

    pieces: list[str] = []
    sink = _sink(arguments, chosen, pieces)
    # the examples that the engine keeps by itself may not be among the chosen
    how = How(arguments.follow, keep_all=chosen != Chosen() and arguments.format != "json")
    with Stop() as stop:
        unreadable = read_all(arguments.files, sink, stop, how)
    if not sink.summaries and unreadable and not stop.asked:
        raise UsageError("; ".join(f"{one.file}: {one.reason}" for one in unreadable))
    _finish(arguments, sink, unreadable, pieces, interrupted=stop.asked)
    _complain(arguments, sink, unreadable)
    if stop.asked:
        return _INTERRUPTED
    return _RESETS if arguments.fail_on_reset and sink.saw_harm else _OK


def _sink(arguments: argparse.Namespace, chosen: Chosen, pieces: list[str]) -> Gathered:
    """Where resets go; a report for a file gathers in ``pieces``."""
    from rstaudit.cli.pcap_out import Gathered, Streamed, to_stdout

    to_file = arguments.output not in (None, "-")
    if arguments.format == "json":
        return Streamed(chosen, pieces.append if to_file else to_stdout)
    live = arguments.follow or "-" in arguments.files
    return Gathered(chosen, may_print=live and not to_file and arguments.format == "text")


def _finish(
    arguments: argparse.Namespace,
    sink: Gathered,
    unreadable: list[Unreadable],
    pieces: list[str],
    *,
    interrupted: bool,
) -> None:
    """Write what has to wait for the end."""
    from rstaudit.cli.pcap_out import Streamed

    path = arguments.output
    if isinstance(sink, Streamed):
        sink.close(unreadable, interrupted=interrupted)
        if path not in (None, "-"):
            write("".join(pieces), path)
        return
    if not sink.summaries:  # Ctrl-C came before anything was read
        return
    if arguments.format == "html":
        write(_html(arguments, sink, unreadable), path)
    else:
        _text(arguments, sink)


def _text(arguments: argparse.Namespace, sink: Gathered) -> None:
    from rstaudit.report.pcap_text import render

    columns = width(arguments.output)
    draw: Draw | None = None
    if arguments.ladder:
        from rstaudit.cli.pcap_draw import Drawer

        drawer = Drawer(sink.groups, every=arguments.flow is not None)
        draw = drawer.text_at(columns)
    lines = render(sink.summaries, sink.groups, columns, arguments.limit or None, draw)
    show([(), *lines] if sink.printed else lines, arguments.output)


def _html(arguments: argparse.Namespace, sink: Gathered, unreadable: list[Unreadable]) -> str:
    from rstaudit.cli.pcap_draw import Drawer
    from rstaudit.report.pcap_html import render

    drawer = Drawer(sink.groups, every=arguments.flow is not None)
    limit = arguments.limit or None
    return render(sink.summaries, unreadable, sink.groups, limit, drawer.drawings)


def _complain(arguments: argparse.Namespace, sink: Gathered, unreadable: list[Unreadable]) -> None:
    """What could not be read or found, on stderr."""
    import sys

    from rstaudit.report.pcap_words import notes
    from rstaudit.report.safe import printable

    for note in [*notes(sink.summaries, unreadable), *_no_such_flow(arguments, sink)]:
        if sys.stderr is not None:
            sys.stderr.write(printable(f"rstaudit: {note}") + "\n")


def _check(arguments: argparse.Namespace) -> None:
    """Refuse at once what cannot work; raises `UsageError`."""
    check_writable(arguments.output)
    if arguments.files.count("-") > 1:
        raise UsageError("-: standard input can be read once only")
    if arguments.follow and len(arguments.files) > 1:
        raise UsageError("--follow takes one FILE: it never comes to the end of the first")
    if arguments.ladder and arguments.format != "text":
        raise UsageError("--ladder is for text: HTML always draws, JSON never does")


def _chosen(arguments: argparse.Namespace) -> Chosen:
    """The filters; raises `UsageError`."""
    from rstaudit.cli.pcap_out import Chosen
    from rstaudit.parse.capture_filter import parse_flow, parse_moment

    return Chosen(
        frozenset().union(*map(_with_children, arguments.cause)),
        _one("--flow", arguments.flow, parse_flow),
        _one("--since", arguments.since, parse_moment),
        _one("--until", arguments.until, parse_moment),
    )


def _with_children(word: str) -> frozenset[str]:
    """A cause, and those that it is the parent of."""
    from rstaudit.catalogue.causes import causes

    known = causes()
    cause = word.strip().casefold()
    if cause not in known:
        near = suggest(word, known) or "; 'rstaudit causes' lists them"
        raise UsageError(f"--cause: unknown cause {word!r}{near}")
    return frozenset({cause, *(child.id for child in known.values() if child.parent == cause)})


def _one(option: str, text: str | None, convert: Callable[[str], T]) -> T | None:
    from rstaudit.parse.errors import ParseError

    try:
        return None if text is None else convert(text)
    except ParseError as error:
        raise UsageError(f"{option}: {error}") from None


def _no_such_flow(arguments: argparse.Namespace, sink: Gathered) -> list[str]:
    """A flow without a reset is likelier mistyped than meant: say so."""
    if arguments.flow is None or sink.reported or not any(one.resets for one in sink.summaries):
        return []
    flow = arguments.flow.strip()
    what = f"frame {flow} is no reset" if flow.isdigit() else f"{flow} has no reset"
    return [f"--flow: {what} that the other options leave in; without --flow there are some"]


def _whole(text: str) -> int:
    import argparse

    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)
