"""Causes of resets, and the errors programs see."""

from __future__ import annotations

from typing import NamedTuple


class Report(NamedTuple):
    """What one call returns on one side: ``side`` is ``resetter`` or ``reset`` (the other end).

    ``call`` is ``read``, ``write`` or ``connect``; ``result`` an errno name such as
    ``ECONNRESET``, or a phrase such as ``0 (end of file)``; ``note`` adds when or why.
    """

    side: str
    call: str
    result: str
    note: str


class Cause(NamedTuple):
    """One cause of a reset. ``parent`` and ``equals`` are cause ids; prose is plain sentences.

    ``equals`` are causes that look the same on the wire; ``benign`` is True where nothing was
    lost and nobody needs to act; ``next_step`` is the command to run next.
    """

    id: str
    name: str
    parent: str | None
    equals: tuple[str, ...]
    summary: str
    wire: str
    kernel: str
    counters: tuple[str, ...]
    fixes: tuple[str, ...]
    reports: tuple[Report, ...]
    benign: bool
    next_step: str
    references: tuple[str, ...]
    verified: str


class Error(NamedTuple):
    """An error as a program or its log shows it: errno name, number, and the usual words."""

    name: str
    number: int
    words: tuple[str, ...]
    meaning: str
