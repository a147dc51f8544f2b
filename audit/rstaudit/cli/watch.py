"""``rstaudit watch``: each reset and its cause, the moment it is known."""

from __future__ import annotations

import time
from contextlib import ExitStack

from rstaudit.cli.errors import UsageError, suggest
from rstaudit.cli.parser import each, one_of, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from rstaudit.cli.watch_child import Child
    from rstaudit.cli.watch_screen import Screen
    from rstaudit.model.diagnosis import LiveReset
    from rstaudit.model.reset_filter import ResetFilter
    from rstaudit.model.tally import Tally
    from rstaudit.watch.recorder import Recorder
    from rstaudit.watch.session import Session, Summary

EXAMPLES = (
    ("rstaudit watch", "every reset of this host until Ctrl-C"),
    ("rstaudit watch --duration 60 --summary", "a table of one minute"),
    ("rstaudit watch --port 443 --cause close-unread", "filters"),
    ("rstaudit watch --pcap resets.pcap", "keep the packets around each reset"),
    ("rstaudit watch -- curl -s https://example.org", "the resets of one program"),
)

#: What resets a program caused by its end shall still reach us.
_AFTER_COMMAND = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("command", nargs="*", metavar="-- COMMAND [ARGUMENT...]",
        help="run this, and report the resets of it and of what it starts; the report goes to "
             "standard error")  # fmt: skip
    add("--duration", metavar="SECONDS", type=seconds, help="stop after this long")
    add("--pid", metavar="PID", action="append", default=[],
        help="at the sockets of this process; repeatable, as are the other filters")  # fmt: skip
    add("--port", metavar="PORT", action="append", default=[],
        help="port of either end: 443, or 8000-8100")  # fmt: skip
    add("--peer", metavar="ADDRESS", action="append", default=[],
        help="address, address:port or CIDR block of the other end")  # fmt: skip
    add("--cause", metavar="ID", action="append", default=[],
        help="this cause alone: see 'rstaudit causes'")  # fmt: skip
    add("--summary", action="store_true",
        help="a table by cause, service, peer and process instead of a line for each")  # fmt: skip
    add("--format", metavar="text|json", type=one_of("format", "text", "json"), default="text",
        help="json: a line for each reset, and one at the end")  # fmt: skip
    add("-o", "--output", metavar="FILE", help="write here, line by line, mode 0600")
    add("--pcap", metavar="FILE",
        help="keep the packets around each reset (this network namespace's alone)")  # fmt: skip
    add("--fail-on-reset", action="store_true", help="exit 1 when a harmful reset was reported")
    add("--buffer", metavar="KIB", type=_kib, default=8192,
        help="the kernel's buffer for events, for each processor (default: 8192)")  # fmt: skip
    add("--no-socket-options", action="store_true",
        help="do not read how processes set up their sockets; less is known then")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Watch until told to stop; 1 only with --fail-on-reset."""
    wanted = _filter(arguments)
    if arguments.summary and arguments.format == "json":
        raise UsageError("--summary is a table; --format json has its numbers in the last line")
    from rstaudit.cli.watch_screen import open_screen
    from rstaudit.cli.watch_stop import Stop
    from rstaudit.model.facts import MissingFact
    from rstaudit.watch.session import Options, Session

    options = Options(buffer_kib=arguments.buffer, socket_options=not arguments.no_socket_options)
    with ExitStack() as stack:
        screen = stack.enter_context(open_screen(arguments))
        stop = stack.enter_context(Stop(arguments.duration))
        recorder = _recorder(arguments.pcap, stack)  # first: it shall miss no packet of a reset
        try:
            session = stack.enter_context(Session(options))
        except MissingFact as missing:
            raise UsageError(missing.gap.detail) from None
        watch = _Watch(session, wanted, screen, stop)
        watch.recorder = recorder
        watch.child = _child(arguments.command, stack)
        watch.run()
        screen.end(watch.tally())
    return 1 if arguments.fail_on_reset and watch.harmful else 0


class _Watch:
    """Resets from the session to the screen, filtered and counted."""

    recorder: Recorder | None = None
    child: Child | None = None

    def __init__(
        self, session: Session, wanted: ResetFilter, screen: Screen, stop: Callable[[], bool]
    ) -> None:
        self._session, self._wanted, self._screen, self._stop = session, wanted, screen, stop
        self._began = time.monotonic()
        self._ended_ns = 0
        self._causes: dict[str, int] = {}
        self.harmful = 0

    def run(self) -> None:
        """Until the duration is over, the command has ended, or a signal came."""
        self._screen.begin(self._session.summary().gap)
        self._session.run(self._on_reset, self._over)

    def tally(self) -> Tally:
        """What was seen in all."""
        from rstaudit.model.tally import Tally

        seen: Summary = self._session.summary()
        return Tally(
            seen.source, time.monotonic() - self._began, seen.sent, seen.received,
            sum(self._causes.values()), self.harmful, dict(self._causes), seen.undiagnosed,
            seen.events, seen.lost, seen.gap, None if self.child is None else self.child.status(),
        )  # fmt: skip

    def _on_reset(self, reset: LiveReset) -> None:
        family = None if self.child is None else self.child.family
        if not self._wanted.accepts(reset, family):
            return
        cause = reset.diagnosis.cause
        self._causes[cause] = self._causes.get(cause, 0) + 1
        self.harmful += not reset.diagnosis.benign
        if self.recorder is not None:
            self.recorder.keep(reset)
        self._screen.show(reset)

    def _over(self) -> bool:
        if self.recorder is not None:
            self.recorder.poll()
        self._screen.refresh()
        if self.child is not None and not self.child.running():
            now = time.time_ns()
            self._ended_ns = self._ended_ns or now
            until = self._ended_ns + int(_AFTER_COMMAND * 1e9)
            if now > until and self._session.known_until_ns() >= self._ended_ns:
                return True
        return self._stop() or self._screen.closed


def _recorder(path: str | None, stack: ExitStack) -> Recorder | None:
    if path is None:
        return None
    from rstaudit.watch.recorder import Recorder

    try:
        return stack.enter_context(Recorder(path))
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise UsageError(f"--pcap {path}: {words}; give a file that can be written") from None


def _child(command: list[str], stack: ExitStack) -> Child | None:
    if not command:
        return None
    from rstaudit.cli.watch_child import Child

    child = Child(command)
    stack.callback(child.close)
    return child


def _filter(arguments: argparse.Namespace) -> ResetFilter:
    """The filters; raises `UsageError`."""
    from rstaudit.catalogue.causes import causes
    from rstaudit.model.reset_filter import ResetFilter
    from rstaudit.parse import socket_filter as parse

    for cause in arguments.cause:
        if cause not in causes():
            near = suggest(cause, causes()) or "; see 'rstaudit causes'"
            raise UsageError(f"--cause: unknown cause {cause!r}{near}")
    return ResetFilter(
        pids=frozenset(each("--pid", arguments.pid, parse.parse_pid)),
        ports=tuple(each("--port", arguments.port, parse.parse_ports)),
        peers=tuple(each("--peer", arguments.peer, parse.parse_peer)),
        causes=frozenset(arguments.cause),
    )


def _kib(text: str) -> int:
    import argparse

    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 64 <= number <= 1 << 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of KiB from 64 to 1048576")
    return number
