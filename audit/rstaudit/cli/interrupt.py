"""Ctrl-C: ends the program silently until there is something to report or to tidy up.

Raised in the middle of an import, KeyboardInterrupt can surface where Python itself prints a
traceback and goes on; and a program that is still loading has nothing to say.
"""

from __future__ import annotations

import signal


def let_it_kill() -> None:
    """From now on Ctrl-C ends the process at once, unless whoever started it ignores Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def catch_it() -> None:
    """From now on Ctrl-C is KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
