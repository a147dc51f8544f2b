"""``rstaudit sockets``: every TCP socket, whose it is, and what it will do."""

from __future__ import annotations

from rstaudit.cli.errors import UsageError
from rstaudit.cli.output import check_writable, show, width, write
from rstaudit.cli.parser import each, one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from rstaudit.model.facts import HostState
    from rstaudit.model.listing import Chosen

EXAMPLES = (
    ("rstaudit sockets --state close-wait", "who holds what the other end has closed"),
    ("rstaudit sockets --pid 1234 --sort recv-q", "one process, unread data first"),
    (
        "rstaudit sockets --port 443 --peer 192.0.2.0/24 --format json",
        "one service and its clients from one network",
    ),
)

_SORTS = ("recv-q", "send-q", "idle", "retransmits", "state", "peer")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("--pid", metavar="PID", action="append", default=[],
        help="sockets of this process; repeatable, as are the other filters")  # fmt: skip
    add("--unit", metavar="NAME", action="append", default=[],
        help="sockets of a systemd unit or a container; wildcards allowed")  # fmt: skip
    add("--state", metavar="STATE", action="append", default=[],
        help="close-wait, CLOSE_WAIT, ...; also connected, synchronized, bucket, big")  # fmt: skip
    add("--port", metavar="PORT", action="append", default=[],
        help="local or remote port: 443, or 8000-8100")  # fmt: skip
    add("--peer", metavar="ADDRESS", action="append", default=[],
        help="address, address:port or CIDR block of the other end")  # fmt: skip
    add("--sort", metavar="KEY", type=one_of("sort key", *_SORTS),
        help="most first: recv-q, send-q, idle, retransmits; in order: state, peer")  # fmt: skip
    add("--format", metavar="text|json", type=one_of("format", "text", "json"), default="text")
    add("--limit", metavar="N", type=_rows, default=10,
        help="rows of each group in text (default: 10; 0: all); JSON has all")  # fmt: skip
    add("-o", "--output", metavar="FILE", help="write it here, all at once, mode 0600")
    add("--no-socket-options", action="store_true",
        help="do not read how processes set up their sockets; less is known then")  # fmt: skip
    add("--load-modules", action="store_true",
        help="ask for sockets even where asking makes the kernel load a module")  # fmt: skip
    add("--cmdline", action="store_true", help="show the command lines of processes too")


def run(arguments: argparse.Namespace) -> int:
    """List; 0 also where no socket was chosen."""
    chosen = _chosen(arguments)
    check_writable(arguments.output)
    host = _host(arguments)
    from rstaudit.model.facts import MissingFact
    from rstaudit.rules.listing import listing

    try:
        found = listing(host, chosen, arguments.sort)
    except MissingFact as missing:
        raise UsageError(f"no sockets can be read: {missing.gap.detail}") from None
    if arguments.format == "json":
        from rstaudit.report.sockets_json import render as render_json

        write(render_json(found), arguments.output)
        return 0
    from rstaudit.report.sockets import render

    show(render(found, width(arguments.output), arguments.limit or None), arguments.output)
    return 0


def _host(arguments: argparse.Namespace) -> HostState:
    from rstaudit.collect.host import Options
    from rstaudit.collect.listing import collect_listing
    from rstaudit.model.facts import MissingFact

    options = Options(
        interval=0.0,
        load_modules=arguments.load_modules,
        cmdline=arguments.cmdline,
        socket_options=not arguments.no_socket_options,
    )
    try:
        return collect_listing(options)
    except MissingFact as missing:
        raise UsageError(missing.gap.detail) from None


def _chosen(arguments: argparse.Namespace) -> Chosen:
    """The filters; raises `UsageError`."""
    from rstaudit.model.listing import Chosen
    from rstaudit.parse import socket_filter as parse

    states = each("--state", arguments.state, parse.parse_state)
    return Chosen(
        pids=frozenset(each("--pid", arguments.pid, parse.parse_pid)),
        units=tuple(each("--unit", arguments.unit, parse.parse_unit)),
        states=frozenset().union(*states),
        ports=tuple(each("--port", arguments.port, parse.parse_ports)),
        peers=tuple(each("--peer", arguments.peer, parse.parse_peer)),
    )


def _rows(text: str) -> int:
    import argparse

    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of rows")
    return int(text)
