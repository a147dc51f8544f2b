"""``rstaudit audit``: collect, judge, waive, report."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
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
    from rstaudit.cli.namespaces import Spaces
    from rstaudit.collect.host import Collection
    from rstaudit.model.facts import HostState
    from rstaudit.model.setting import Profile
    from rstaudit.rules.context import Rule

EXAMPLES = (
    (
        "rstaudit --profile web --path-idle 350",
        "judge this host as a web server behind a load balancer",
    ),
    ("rstaudit --only RST101,RST301 -v", "two rules, also where they pass"),
    ("rstaudit --format json -o report.json", "for scripts"),
    ("rstaudit --fail-on warning --quiet", "for a cron job: silent while all is well"),
)

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
    add("--all-netns", action="store_true",
        help="audit every network namespace of this host, each on its own")  # fmt: skip
    add("--netns", metavar="NAME|PID",
        help="audit one network namespace: its name or container, or a process in it")  # fmt: skip
    add("--path-idle", metavar="SECONDS", type=whole_seconds,
        help="shortest idle timeout of a load balancer, NAT or firewall on the path")  # fmt: skip
    add("--interval", metavar="SECONDS", type=seconds, default=1.0,
        help="gap between two samples of the counters (default: 1; 0: one sample)")  # fmt: skip
    add("--strict", action="store_true", help="exit 3 when a fact could not be read")
    add("--load-modules", action="store_true",
        help="ask for facts even where asking makes the kernel load a module")  # fmt: skip
    add("--no-socket-options", action="store_true",
        help="do not ask how processes set up their sockets; rules then say unknown")  # fmt: skip
    add("--cmdline", action="store_true", help="collect the command lines of processes too")
    add("-q", "--quiet", action="store_true",
        help="only the verdict, and nothing when the exit status is 0")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="show what passed or does not apply")


def run(arguments: argparse.Namespace) -> int:
    """Audit, report, and return the exit status; 130 when Ctrl-C cut it short."""
    source = _begin(arguments)  # before our own modules load: the kernel is slower than they
    try:
        audit = _audit(source, arguments)
    finally:
        source.close()
    _report(audit, arguments)
    return exit_status(audit)


def _audit(source: _Here | Spaces, arguments: argparse.Namespace) -> Audit:
    from rstaudit.rules.registry import rules

    every = rules()
    chosen = choose.rules(every, arguments.only, arguments.skip)
    profile = choose.profile(arguments.profile)
    waivers = _waivers(arguments.waivers, every)
    check_writable(arguments.output)

    def judge(host: HostState) -> HostReport:
        return _judge(host, profile, chosen, arguments.path_idle)

    catch_it()
    with _progress(source.interval, quiet=arguments.quiet):
        reports, interrupted = source.reports(judge, chosen)
    notes: tuple[str, ...] = (_INTERRUPTED,) if interrupted else ()
    if waivers:
        reports, about = _waive(reports, waivers, chosen)
        notes += about
    fail_on = None if arguments.fail_on == "never" else Severity[arguments.fail_on.upper()]
    return Audit(profile.name, reports, fail_on, arguments.strict, notes, interrupted)


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


def _begin(arguments: argparse.Namespace) -> _Here | Spaces:
    from rstaudit.collect.host import Collection, Options
    from rstaudit.model.facts import MissingFact

    choose.check_root(arguments.root)
    live = os.path.abspath(arguments.root) == "/"
    options = Options(
        root=arguments.root,
        interval=arguments.interval if live else 0.0,
        load_modules=arguments.load_modules,
        cmdline=arguments.cmdline,
        socket_options=not arguments.no_socket_options,
    )
    if arguments.all_netns or arguments.netns is not None:
        from rstaudit.cli.namespaces import Spaces

        catch_it()  # the children it starts must not outlive us
        return Spaces(arguments.netns, options, everything=arguments.all_netns)
    try:
        return _Here(Collection(options))
    except MissingFact as missing:
        raise UsageError(f"{arguments.root}: {missing.gap.detail}") from None


class _Here:
    """The network namespace that this process is in, or a recorded tree."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.interval = collection.options.interval

    def reports(
        self, judge: Callable[[HostState], HostReport], _: tuple[Rule, ...]
    ) -> tuple[tuple[HostReport, ...], bool]:
        """The one report, and whether Ctrl-C cut the collection short."""
        from rstaudit.collect.host import Stopped

        try:
            return (judge(self._collection.finish()),), False
        except Stopped as stopped:
            return (judge(stopped.host),), True

    def close(self) -> None:
        """Nothing is left behind."""


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
    reports: tuple[HostReport, ...], waivers: tuple[Waiver, ...], chosen: tuple[Rule, ...]
) -> tuple[tuple[HostReport, ...], tuple[str, ...]]:
    """The reports with waivers applied, and each note once.

    That a waiver matches nothing counts only where it does so in every namespace.
    """
    from datetime import date

    from rstaudit.catalogue.waivers import UNUSED, apply

    severities = {rule.id: rule.severity for rule in chosen}
    done = [apply(report, waivers, date.today(), severities) for report in reports]
    notes = dict.fromkeys(note for _, about in done for note in about)
    kept = (
        note
        for note in notes
        if not note.endswith(UNUSED) or all(note in about for _, about in done)
    )
    return tuple(report for report, _ in done), tuple(kept)


def _report(audit: Audit, arguments: argparse.Namespace) -> None:
    path = arguments.output
    if arguments.format == "json":
        from rstaudit.report.as_json import render as render_json

        write(render_json(audit), path)
        return
    from rstaudit.report.text import render, verdicts

    columns = width(path)
    if not arguments.quiet:
        show(render(audit, columns, arguments.verbose), path)
    elif exit_status(audit) != OK or path not in (None, "-"):
        show(verdicts(audit, columns), path)
