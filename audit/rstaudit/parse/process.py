"""Parsers of /proc/PID files."""

from __future__ import annotations

from typing import NamedTuple

from rstaudit.parse.errors import ParseError
from rstaudit.parse.procfs import number

_START_TIME = 22 - 3  # field 22 of proc(5), counted from the state, which is field 3


class ProcessStat(NamedTuple):
    """Of /proc/PID/stat: name, state letter, parent, and start in clock ticks after boot."""

    comm: str
    state: str
    parent: int
    start_ticks: int


def parse_stat(text: str) -> ProcessStat:
    """/proc/PID/stat (proc(5)); raises ParseError.

    The name stands in parentheses and may itself hold parentheses, spaces and newlines.
    """
    head, close, tail = text.rpartition(")")
    _, opening, comm = head.partition("(")
    words = tail.split()
    if not close or not opening or len(words) <= _START_TIME:
        raise ParseError(f"{text[:40]!r} is not a process's stat")
    return ProcessStat(
        comm, words[0], number(words[1], "parent"), number(words[_START_TIME], "start time")
    )


def parse_uid(text: str) -> int:
    """The effective user id, from /proc/PID/status; raises ParseError.

    The kernel escapes newlines of the name there, so a line beginning with ``Uid:`` is the one.
    """
    for line in text.split("\n"):
        if line.startswith("Uid:"):
            words = line.split()
            if len(words) == 5:
                return number(words[2], "Uid")
            break
    raise ParseError("no user id in the process's status")


def parse_open_files(text: str) -> tuple[int | None, int | None]:
    """Soft and hard limit of open files, from /proc/PID/limits; None is unlimited.

    Raises ParseError.
    """
    for line in text.split("\n"):
        if line.startswith("Max open files"):
            words = line.removeprefix("Max open files").split()
            if len(words) >= 2:
                return _limit(words[0]), _limit(words[1])
            break
    raise ParseError("no limit of open files in the process's limits")


def _limit(word: str) -> int | None:
    return None if word == "unlimited" else number(word, "open files")
