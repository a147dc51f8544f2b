"""Causes of resets, and the errors programs see."""

from __future__ import annotations

from typing import NamedTuple


class Report(NamedTuple):
    """What one call returns at one end of the connection.

    ``side`` is ``resetter`` (the end that sends the reset), ``reset`` (the end that gets it) or
    ``waiting`` (the end whose timer runs out; Linux sends no reset then). ``call`` is ``read``,
    ``write`` or ``connect``; ``result`` an errno name such as ``ECONNRESET``, or one of the
    phrases ``ok``, ``data`` and ``0 (end of file)``; ``note`` adds when or why, and may be empty.
    """

    side: str
    call: str
    result: str
    note: str


class Cause(NamedTuple):
    """One cause of a reset. ``parent`` and ``equals`` are cause ids; prose is plain sentences.

    ``equals`` are causes that look the same on the wire; ``benign`` is True where nothing was
    lost and nobody needs to act. ``apart`` says what tells it from other causes of the same
    error. ``counters`` move on the host that resets (or gives up), ``peer_counters`` at the
    other end, named as `Counters` names them. ``next_step`` is the command to run next, with a
    shell comment that says where or why.
    """

    id: str
    name: str
    parent: str | None
    equals: tuple[str, ...]
    benign: bool
    summary: str
    apart: str
    wire: str
    kernel: str
    counters: tuple[str, ...]
    peer_counters: tuple[str, ...]
    fixes: tuple[str, ...]
    reports: tuple[Report, ...]
    next_step: str
    references: tuple[str, ...]
    verified: str


class Error(NamedTuple):
    """An error as a program or its log shows it: errno name, number, and the usual words.

    ``hints`` are sentences about wordings that mislead. ``causes`` are ids of the likely causes,
    likeliest first (which causes there are at all is in their reports); ``rules`` are the rules
    that look for what lies behind the error; ``next_step`` is as in `Cause`.
    """

    name: str
    number: int
    words: tuple[str, ...]
    meaning: str
    hints: tuple[str, ...]
    causes: tuple[str, ...]
    rules: tuple[str, ...]
    next_step: str


class Myth(NamedTuple):
    """A popular claim, and what the kernel did when it was tested.

    ``id`` is the lab's scenario that repeats the test. ``verdict`` is ``wrong`` or ``half true``;
    ``measured`` says what happened, with its figures. ``settings`` are keys, ``causes`` ids.
    """

    id: str
    claim: str
    verdict: str
    measured: str
    settings: tuple[str, ...]
    causes: tuple[str, ...]
