"""``rstaudit audit``: collect, judge, waive, report."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rstaudit.cli import choose
from rstaudit.cli.errors import UsageError
from rstaudit.cli.interrupt import catch_it
from rstaudit.cli.output import check_writable, show, width, write
from rstaudit.cli.parser import one_of, seconds, whole_seconds
from rstaudit.model.rule import HostReport, Severity
from rstaudit.report.summary import OK, Audit, exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from rstaudit.catalogue.waivers import Waiver
    from rstaudit.collect.host import Collection
    from rstaudit.model.facts import HostState
    from rstaudit.model.setting import Profile
    from rstaudit.rules.context import Rule

HELP = "audit this host"

_INTERRUPTED = "interrupted: what was not read by then is missing above"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the audit."""
    add = parser.add_argument
    add("--profile", metavar="NAME|FILE", default="default",
        help="what to judge by: see 'rstaudit profiles' (default: default)")  # fmt: skip
    add("--format", metavar="text|json", type=one_of("format", "text", "json"), default="text")
    add("-o", "--output", metavar="FILE", help="write the report here, all at once, mode 0600")
    add("--fail-on", metavar="info|warning|error|never", default="error",
        type=one_of("severity", "info", "warning", "error", "never"),
        help="exit 1 on findings at or above this severity (default: error)")  # fmt: skip
    add("--only", metavar="RULE", action="append", default=[],
        help="run these rules alone: ids or slugs, comma lists, repeatable")  # fmt: skip
    add("--skip", metavar="RULE", action="append", default=[], help="leave these rules out")
    add("--waivers", metavar="FILE", help="findings to live with, and why (YAML)")
    add("--root", metavar="DIR", default="/", help="audit a recorded tree instead of /")
    add("--path-idle", metavar="SECONDS", type=whole_seconds,
        help="shortest idle timeout of a load balancer, NAT or firewall on the path")  # fmt: skip
    add("--interval", metavar="SECONDS", type=seconds, default=1.0,
        help="gap between two samples of the counters (default: 1; 0: one sample)")  # fmt: skip
    add("--strict", action="store_true", help="exit 3 when a fact could not be read")
    add("--load-modules", action="store_true",
        help="ask for facts even where asking makes the kernel load a module")  # fmt: skip
    add("--cmdline", action="store_true", help="collect the command lines of processes too")
    add("-q", "--quiet", action="store_true",
        help="only the verdict, and nothing when the exit status is 0")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="show what passed or does not apply")


def run(arguments: argparse.Namespace) -> int:
    """Audit, report, and return the exit status; 130 when Ctrl-C cut it short."""
    collection = _begin(arguments)  # before our own modules load: the kernel is slower than they
    from rstaudit.rules.registry import rules

    every = rules()
    chosen = choose.rules(every, arguments.only, arguments.skip)
    profile = choose.profile(arguments.profile)
    waivers = _waivers(arguments.waivers, every)
    check_writable(arguments.output)
    host, interrupted = _finish(collection, arguments)
    report = _judge(host, profile, chosen, arguments.path_idle)
    notes: tuple[str, ...] = (_INTERRUPTED,) if interrupted else ()
    if waivers:
        report, about = _waive(report, waivers, chosen)
        notes += about
    fail_on = None if arguments.fail_on == "never" else Severity[arguments.fail_on.upper()]
    audit = Audit(profile.name, (report,), fail_on, arguments.strict, notes, interrupted)
    _report(audit, arguments)
    return exit_status(audit)


def _waivers(path: str | None, every: tuple[Rule, ...]) -> tuple[Waiver, ...]:
    if path is None:
        return ()
    from rstaudit.catalogue.waivers import WaiverError, load_waivers

    try:
        waivers = load_waivers(path)
    except WaiverError as error:
        raise UsageError(str(error)) from None
    for waiver in waivers:
        try:
            choose.rule_id(every, waiver.rule)
        except UsageError as error:
            raise UsageError(f"{waiver.origin}: {error}") from None
    return waivers


def _begin(arguments: argparse.Namespace) -> Collection:
    from rstaudit.collect.host import Collection, Options
    from rstaudit.model.facts import MissingFact

    choose.check_root(arguments.root)
    live = os.path.abspath(arguments.root) == "/"
    options = Options(
        root=arguments.root,
        interval=arguments.interval if live else 0.0,
        load_modules=arguments.load_modules,
        cmdline=arguments.cmdline,
    )
    try:
        return Collection(options)
    except MissingFact as missing:
        raise UsageError(f"{arguments.root}: {missing.gap.detail}") from None


def _finish(collection: Collection, arguments: argparse.Namespace) -> tuple[HostState, bool]:
    """The host's facts, and whether Ctrl-C cut the collection short."""
    from rstaudit.collect.host import Stopped

    catch_it()
    try:
        with _progress(collection.options.interval, quiet=arguments.quiet):
            return collection.finish(), False
    except Stopped as stopped:
        return stopped.host, True


@contextmanager
def _progress(interval: float, *, quiet: bool) -> Iterator[None]:
    """A line on the terminal while the block runs, gone when it is done."""
    if quiet or sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    wait = f", sampling counters for {interval:g} s" if interval else ""
    line = f"rstaudit: reading this host{wait} ..."
    sys.stderr.write(line)
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write(f"\r{' ' * len(line)}\r")
        sys.stderr.flush()


def _judge(
    host: HostState, profile: Profile, chosen: tuple[Rule, ...], path_idle: int | None
) -> HostReport:
    from rstaudit.catalogue.load import devices, settings
    from rstaudit.rules.context import Context
    from rstaudit.rules.engine import judge

    return judge(Context(host, profile, settings(), path_idle, tuple(devices())), chosen)


def _waive(
    report: HostReport, waivers: tuple[Waiver, ...], chosen: tuple[Rule, ...]
) -> tuple[HostReport, tuple[str, ...]]:
    from datetime import date

    from rstaudit.catalogue.waivers import apply

    return apply(report, waivers, date.today(), {rule.id: rule.severity for rule in chosen})


def _report(audit: Audit, arguments: argparse.Namespace) -> None:
    path = arguments.output
    if arguments.format == "json":
        from rstaudit.report.as_json import render as render_json

        write(render_json(audit), path)
        return
    from rstaudit.report.text import render, verdict

    columns = width(path)
    if not arguments.quiet:
        show(render(audit, columns, arguments.verbose), path)
    elif exit_status(audit) != OK or path not in (None, "-"):
        show([line for host in audit.hosts for line in verdict(host, audit, columns)], path)
