"""The command line: find the command, import only that, keep every ending tidy."""

from __future__ import annotations

import os
import sys

from rstaudit import __version__

TYPE_CHECKING = False  # `rstaudit --version` shall cost no more than the interpreter
if TYPE_CHECKING:
    from typing import NoReturn

#: Name -> the module that has add_arguments(parser), run(arguments) and EXAMPLES (command lines
#: and what they are for), and a line of help.
COMMANDS = {
    "audit": ("rstaudit.cli.audit", "audit this host (the default)"),
    "watch": ("rstaudit.cli.watch", "name the cause of each reset as it happens"),
    "lab": ("rstaudit.cli.lab", "reproduce resets on this kernel and check the diagnosis"),
    "sockets": ("rstaudit.cli.sockets", "list sockets by process and what they will do"),
    "pcap": ("rstaudit.cli.pcap", "name the cause of every reset in a capture"),
    "explain": ("rstaudit.cli.explain", "explain an error, a rule, a cause or a setting"),
    "causes": ("rstaudit.cli.causes", "list the causes of resets"),
    "rules": ("rstaudit.cli.rules", "list the rules"),
    "profiles": ("rstaudit.cli.profiles", "list the profiles and what they expect"),
    "tune": ("rstaudit.cli.tune", "print the settings recommended for this kernel"),
}

EXAMPLES = (
    ("rstaudit", "audit this host"),
    ("rstaudit --profile web --path-idle 350", "judge it as a web server behind a load balancer"),
    ("rstaudit --all-netns", "every network namespace on it: containers, pods, ip netns"),
    ("rstaudit --only RST101,RST301 -v", "two rules, passes shown too"),
    ("rstaudit --format json -o report.json", "for scripts"),
    ("rstaudit sockets --state close-wait", "who holds what, and what close() will do"),
    ("rstaudit pcap web.pcap --ladder", "every reset in a capture: why, and its flow drawn"),
    ("rstaudit watch", "every reset the moment it happens, its cause and process"),
    ("rstaudit watch -- curl -s https://...", "the resets of one program"),
    ("rstaudit explain ECONNRESET", "what gives this error, and on which side"),
    ("rstaudit lab run 'closed-port*'", "make such resets on this kernel, and see them named"),
    ("rstaudit tune --profile web --format diff", "what would change"),
)

USAGE, INTERNAL, INTERRUPTED = 2, 4, 130


def entry() -> NoReturn:
    """The console script: run `main`, and end the way the shell expects."""
    sys.dont_write_bytecode = True  # an audit writes nothing, caches of its own modules included
    from rstaudit.cli.interrupt import let_it_kill

    let_it_kill()
    import gc

    gc.disable()  # one short run makes no cycles worth a tenth of its time
    status = main()
    if status == INTERRUPTED:
        import signal

        # die of the signal itself: a shell loop around us stops too
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    # Everything is written and closed by now. Tearing down the interpreter object by object only
    # does what the kernel does anyway, and takes a tenth of the time of an audit.
    os._exit(status)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status and never raises.

    0 to 4 are the contract's; 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        status = _run(argv)
        return _flushed(status)
    except KeyboardInterrupt:
        return _flushed(INTERRUPTED)
    except SystemExit as stop:  # argparse, after --help
        return _flushed(stop.code if isinstance(stop.code, int) else 0)
    except BrokenPipeError:
        from rstaudit.cli.output import silence_stdout

        silence_stdout()
        return 0
    except Exception as error:  # noqa: BLE001 - whatever happens, no traceback for the user
        return _failed(error)


def _run(argv: list[str]) -> int:
    if "--version" in argv[:1] or "-V" in argv[:1]:
        sys.stdout.write(f"rstaudit {__version__}\n")
        return 0
    if argv[:1] in (["--help"], ["-h"], ["help"]):
        sys.stdout.write(_help())
        return 0
    if sys.stdout is not None:
        # a report is never lost to a locale that cannot spell a process's name
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a TextIOWrapper
    name, rest = _command(argv)
    module_name, description = COMMANDS[name]
    from importlib import import_module

    from rstaudit.cli.parser import Parser

    module = import_module(module_name)
    parser = Parser(f"rstaudit {name}", description, module.EXAMPLES)
    module.add_arguments(parser)
    status: int = module.run(parser.parse(rest))
    return status


def _command(argv: list[str]) -> tuple[str, list[str]]:
    """The command and its arguments; options alone belong to ``audit``."""
    if not argv or argv[0].startswith("-"):
        return "audit", argv
    if argv[0] in COMMANDS:
        return argv[0], argv[1:]
    from rstaudit.cli.errors import UsageError, suggest

    near = suggest(argv[0], COMMANDS) or f"; use one of {', '.join(COMMANDS)}"
    raise UsageError(f"unknown command {argv[0]!r}{near}")


def _help() -> str:
    lines = ["usage: rstaudit [COMMAND] [OPTION...]", "", "commands:"]
    lines += [f"  {name:10}{line}" for name, (_, line) in COMMANDS.items()]
    lines += ["", "'rstaudit COMMAND --help' lists the options of a command.", "", "examples:"]
    lines += [f"  {example:43}{what}" for example, what in EXAMPLES]
    lines += ["", "exit status: 0 nothing at or above --fail-on, 1 findings, 2 usage or unreadable",
              "input, 3 incomplete (--strict), 4 internal error"]  # fmt: skip
    return "\n".join(lines) + "\n"


def _flushed(status: int) -> int:
    """Flush standard output here: at interpreter exit a closed pipe would be a traceback."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        from rstaudit.cli.output import silence_stdout

        silence_stdout()
        if not isinstance(error, BrokenPipeError):
            _say(f"standard output: {(error.strerror or str(error)).lower()}")
            return USAGE
    return status


def _failed(error: Exception) -> int:
    """One line on stderr for whoever typed it, or for whoever mends rstaudit."""
    from rstaudit.cli.errors import UsageError

    if os.environ.get("RSTAUDIT_DEBUG"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, UsageError):
        text, status = str(error), USAGE
    else:
        text = f"internal error: {type(error).__name__}: {error} (RSTAUDIT_DEBUG=1 shows where)"
        status = INTERNAL
    _say(text)
    return _flushed(status)


def _say(text: str) -> None:
    """One line on stderr, whatever the text holds."""
    from rstaudit.report.safe import printable

    if sys.stderr is not None:
        sys.stderr.write(printable(f"rstaudit: {text}") + "\n")
