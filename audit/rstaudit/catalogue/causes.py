"""The causes of resets and the errors they give, from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from rstaudit.catalogue.load import section
from rstaudit.model.cause import Cause, Error, Myth, Report


@cache
def causes() -> dict[str, Cause]:
    """Every cause by its id, in the order of the catalogue."""
    return {entry["id"]: _cause(entry) for entry in section("causes")}


@cache
def errors() -> tuple[Error, ...]:
    """Every error that `find_error` knows, the ones about resets first."""
    return tuple(Error(**_tuples(entry)) for entry in section("errors"))


@cache
def myths() -> tuple[Myth, ...]:
    """Every popular claim that was put to the test."""
    return tuple(Myth(**_tuples(entry)) for entry in section("myths"))


def myths_about(name: str) -> list[Myth]:
    """The claims that concern a setting (by its key) or a cause (by its id)."""
    return [myth for myth in myths() if name in myth.settings or name in myth.causes]


def find_error(text: str) -> Error | None:
    """The error that ``text`` names, or None.

    ``text`` is an errno name, its number, or any line that a program wrote, such as
    ``recv() failed (104: Connection reset by peer)``. A name counts before a phrase, a longer
    phrase before a shorter one, and a number last.
    """
    line = " ".join(text.casefold().split())
    by_name = [(error.name.casefold(), error) for error in errors()]
    by_words = [(word.casefold(), error) for error in errors() for word in error.words]
    for known in (by_name, sorted(by_words, key=lambda pair: -len(pair[0]))):
        for phrase, error in known:
            if _has(line, phrase):
                return error
    numbers = set(_numbers(line))
    return next((error for error in errors() if error.number in numbers), None)


def causes_of(error: Error) -> list[tuple[Cause, list[Report]]]:
    """The causes whose reports hold ``error``, likeliest first, each with those reports.

    Which causes these are is read from the reports; ``error.causes`` only gives the order.
    """
    found = [
        (cause, reports)
        for cause in causes().values()
        if (reports := [report for report in cause.reports if report.result == error.name])
    ]
    rank = {name: place for place, name in enumerate(error.causes)}
    return sorted(found, key=lambda pair: rank.get(pair[0].id, len(rank)))


def _cause(entry: dict[str, Any]) -> Cause:
    reports = tuple(Report(**report) for report in entry["reports"])
    return Cause(**{**_tuples(entry), "reports": reports})


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _has(line: str, phrase: str) -> bool:
    """Whether ``phrase`` stands in ``line`` as whole words."""
    start = line.find(phrase)
    while start >= 0:
        around = line[start - 1 : start] + line[start + len(phrase) :][:1]
        if not any(char.isalnum() or char == "_" for char in around):
            return True
        start = line.find(phrase, start + 1)
    return False


def _numbers(line: str) -> Iterator[int]:
    """Numbers that a log line gives as an errno: alone, after ``errno``, or before ``:``."""
    import re  # only for a line that names no error in words

    bare = re.fullmatch(r"-?(\d{1,3})", line)
    marked = re.finditer(r"(?:(?:errno|error|code)\W{0,3}|\()-?(\d{1,3})(?!\w)", line)
    for match in [*([bare] if bare else []), *marked]:
        yield int(match[1])
