"""Ctrl-C: ends the program silently until there is something to report or to tidy up.

Raised in the middle of an import, KeyboardInterrupt can surface where Python itself prints a
traceback and goes on; and a program that is still loading has nothing to say.
"""

from __future__ import annotations

# What `signal` wraps: importing that one takes milliseconds in which Ctrl-C would be a traceback.
import _signal  # type: ignore[import-not-found]  # typeshed knows only `signal`


def let_it_kill() -> None:
    """From now on Ctrl-C ends the process at once, unless whoever started it ignores Ctrl-C."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def catch_it() -> None:
    """From now on Ctrl-C is KeyboardInterrupt again."""
    if _signal.getsignal(_signal.SIGINT) == _signal.SIG_DFL:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
