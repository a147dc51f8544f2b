"""argparse with one-line errors that suggest what was meant."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from rstaudit.cli.errors import UsageError, suggest
from rstaudit.cli.output import width

T = TypeVar("T")


def _formatter(prog: str) -> argparse.HelpFormatter:
    """As argparse's own, which would import shutil (2 ms) to find the width."""
    return argparse.HelpFormatter(prog, width=width() - 2)


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` instead of printing usage; options are never abbreviated."""

    def __init__(
        self, prog: str, description: str, examples: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(
            prog=prog, description=description, allow_abbrev=False, formatter_class=_formatter
        )
        self._examples = examples

    def format_help(self) -> str:
        """The usual help, then examples: a command line, and what it is for."""
        lines = [f"  {command}\n      {what}\n" for command, what in self._examples]
        return super().format_help() + ("\nexamples:\n" + "".join(lines) if lines else "")

    def error(self, message: str) -> NoReturn:
        """One line instead of a usage text."""
        raise UsageError(f"{message}; see {self.prog} --help")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """All of ``argv``; raises `UsageError` on what is not understood."""
        arguments, rest = self.parse_known_args(argv)
        if rest:
            self._refuse(rest[0])
        return arguments

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            raise UsageError(f"unexpected argument {word!r}; see {self.prog} --help")
        option = word.partition("=")[0]
        near = suggest(option, self._option_string_actions)
        raise UsageError(f"unknown option {option}{near or f'; see {self.prog} --help'}")


def each(option: str, texts: Sequence[str], convert: Callable[[str], T]) -> list[T]:
    """The values of an option that can be given again and again; raises `UsageError`."""
    from rstaudit.parse.errors import ParseError

    try:
        return [convert(text) for text in texts]
    except ParseError as error:
        raise UsageError(f"{option}: {error}") from None


def one_of(what: str, *choices: str) -> Callable[[str], str]:
    """An argument type: one of ``choices``, and a suggestion when it is not."""

    def convert(text: str) -> str:
        if text not in choices:
            near = suggest(text, choices) or f"; use {' or '.join(choices)}"
            raise argparse.ArgumentTypeError(f"unknown {what} {text!r}{near}")
        return text

    return convert


def seconds(text: str) -> float:
    """An argument type: 0 or more seconds, at most a day."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 86400")
    return number


def whole_seconds(text: str) -> int:
    """An argument type: whole seconds, 1 or more."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of seconds above 0")
    return number
