"""``rstaudit lab``: reproduce scenarios on this kernel, and check that the tool names them."""

from __future__ import annotations

import os
import platform
import sys

from rstaudit.cli.errors import UsageError, suggest
from rstaudit.cli.output import check_writable, show, width, write
from rstaudit.cli.parser import one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from rstaudit.lab.results import Result
    from rstaudit.lab.scenario import Scenario

EXAMPLES = (
    ("rstaudit lab list", "every scenario, and what it expects"),
    ("rstaudit lab run closed-port -v", "one of them, with what each call returned"),
    ("rstaudit lab run 'linger-*'", "a family"),
    ("rstaudit lab run --matrix", "all but the slow ones; what was taken for what"),
)

_OK, _MISNAMED, _INTERRUPTED = 0, 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("action", metavar="list|run", type=one_of("action", "list", "run"))
    add("ids", metavar="ID", nargs="*", help="only these scenarios; all of a family with a *")
    add("--format", metavar="text|json", default="text", type=one_of("format", "text", "json"))
    add("-o", "--output", metavar="FILE", help="write the report here, all at once")
    add("--slow", action="store_true", help="also those that wait for long kernel timers")
    add("--draws", metavar="N", type=_draws, default=2,
        help="runs of each scenario with other ports, sizes, delays (default: 2)")  # fmt: skip
    add("--pcap", metavar="DIR", help="keep the captures of both ends: ID-draw-end.pcap")
    add("--record", metavar="FILE", help="write what the documentation is made of (JSON)")
    add("--matrix", action="store_true", help="show what was named for what happened")
    add("--allow-host-settings", action="store_true",
        help="also those that change a setting of the whole machine, and restore it")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="show what the calls of each end returned")


def run(arguments: argparse.Namespace) -> int:
    """List or run; 1 when a scenario is misnamed."""
    _check(arguments)
    from rstaudit.lab.listing import scenarios

    chosen = _chosen(scenarios(), arguments.ids)
    if arguments.action == "list":
        return _list(chosen, arguments)
    return _run(chosen, arguments)


def _draws(text: str) -> int:
    import argparse

    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000")
    return int(text)


def _check(arguments: argparse.Namespace) -> None:
    check_writable(arguments.output)
    if arguments.record is not None:
        check_writable(arguments.record)
    if arguments.action == "run" and os.geteuid() != 0:
        raise UsageError("lab run makes network namespaces, which needs root: run it with sudo")
    folder = arguments.pcap
    if folder is not None and not os.path.isdir(folder):
        raise UsageError(f"{folder}: no such directory; make it first")
    if folder is not None and not os.access(folder, os.W_OK):
        raise UsageError(f"{folder}: permission denied; give --pcap a directory you may write")


def _chosen(known: tuple[Scenario, ...], words: Sequence[str]) -> tuple[Scenario, ...]:
    """The scenarios that were asked for, each once, in the lab's order."""
    if not words:
        return known
    from fnmatch import fnmatchcase

    ids = [scenario.id for scenario in known]
    for word in words:
        if not any(fnmatchcase(name, word) for name in ids):
            near = suggest(word, ids) or "; 'rstaudit lab list' shows them"
            raise UsageError(f"unknown scenario {word!r}{near}")
    return tuple(one for one in known if any(fnmatchcase(one.id, word) for word in words))


def _list(chosen: tuple[Scenario, ...], arguments: argparse.Namespace) -> int:
    from rstaudit.lab.results import document, listed
    from rstaudit.report.lab import listing

    verdicts = [listed(scenario) for scenario in chosen]
    if arguments.format == "json":
        _write_json(document(platform.release(), verdicts), arguments.output)
    else:
        show(listing(verdicts, width(arguments.output)), arguments.output)
    return _OK


def _run(chosen: tuple[Scenario, ...], arguments: argparse.Namespace) -> int:
    from rstaudit.cli.interrupt import catch_it
    from rstaudit.lab.runner import Options
    from rstaudit.lab.runner import run as run_all
    from rstaudit.model.facts import MissingFact

    catch_it()
    named = {word for word in arguments.ids if "*" not in word}
    options = Options(
        arguments.draws, slow=arguments.slow, host_settings=arguments.allow_host_settings
    )
    known: list[Result] = []
    say = _progress(arguments, len(chosen), known)
    try:
        results = run_all(chosen, options, say, frozenset(named))
    except KeyboardInterrupt:
        _report(known, arguments)
        return _INTERRUPTED
    except MissingFact as missing:
        raise UsageError(f"the lab cannot run here: {missing.gap.detail}") from None
    _report(results, arguments)
    return _MISNAMED if any(result.outcome == "fail" for result in results) else _OK


def _progress(
    arguments: argparse.Namespace, total: int, known: list[Result]
) -> Callable[[Result], None]:
    """Take each result into ``known`` as it comes: a line of the report, or of progress."""

    def say(result: Result) -> None:
        known.append(result)
        if arguments.pcap is not None:
            _keep_captures(result, arguments.pcap)
        if arguments.format == "text" and arguments.output in (None, "-"):
            from rstaudit.lab.results import verdict
            from rstaudit.report.lab import line

            show(line(verdict(result), width(), verbose=arguments.verbose))
        elif sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(f"\r{len(known)}/{total} scenarios")
            sys.stderr.flush()

    return say


def _keep_captures(result: Result, folder: str) -> None:
    for one in result.runs:
        kind = "twin" if one.twin else str(one.draw.number)
        for capture in one.captures:
            path = os.path.join(folder, f"{result.scenario.id}-{kind}-{capture.end}.pcap")
            with open(path, "wb") as file:
                file.write(capture.pcap())


def _report(results: list[Result], arguments: argparse.Namespace) -> None:
    from rstaudit.lab.results import document, matrix, verdict
    from rstaudit.report import lab as words

    if arguments.record is not None:
        from rstaudit.lab.record import record

        _write_json(record(platform.release().partition("-")[0], results), arguments.record)
    verdicts = [verdict(result) for result in results]
    if arguments.format == "json":
        _write_json(document(platform.release(), verdicts), arguments.output)
        return
    columns = width(arguments.output)
    lines = words.summary(verdicts, columns)
    if arguments.matrix:
        for engine in ("live", "pcap"):
            lines += words.matrix(engine, matrix(results, engine), columns)
    if arguments.output not in (None, "-"):
        each = [words.line(one, columns, verbose=arguments.verbose) for one in verdicts]
        lines = [line for block in each for line in block] + lines
    show(lines, arguments.output)


def _write_json(data: dict[str, object], path: str | None) -> None:
    import json

    write(json.dumps(data, indent=1) + "\n", path)
