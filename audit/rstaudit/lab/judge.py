"""Whether what was said of a run is what happened in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rstaudit.lab.scenario import Named
from rstaudit.lab.seen import Seen


def faults(expected: Mapping[str, Named], seen: Iterable[Seen]) -> list[str]:
    """What is wrong, one line each; empty when every place says what it must.

    A place that shall show a reset and shows none is wrong, and so is a reset where none belongs.
    """
    by_place: dict[str, list[Seen]] = {place: [] for place in expected}
    for reset in seen:
        by_place.setdefault(reset.place, []).append(reset)
    found: list[str] = []
    for place, resets in by_place.items():
        if place in expected:
            found += _at(place, expected[place], resets)
        else:
            found += [f"{place}: {reset.cause} where no reset belongs" for reset in resets]
    return found


def _at(place: str, named: Named, resets: list[Seen]) -> list[str]:
    if not resets:
        return [f"{place}: no reset seen, {named.cause} expected"]
    wrong = [
        f"{place}: {_words(reset)} instead of {named.cause}"
        for reset in resets
        if not right(named, reset) and reset.cause not in named.also
    ]
    wrong += [
        f"{place}: {reset.cause} is said to be {'harmless' if reset.benign else 'harmful'}"
        for reset in resets
        if named.benign is not None and reset.benign != named.benign and right(named, reset)
    ]
    if not wrong and not any(right(named, reset) for reset in resets):
        return [f"{place}: {named.cause} not seen among the others"]
    return wrong


def right(named: Named, reset: Seen) -> bool:
    """The cause itself, or an equal that names the cause among its alternatives."""
    if reset.cause == named.cause:
        return True
    return reset.cause in named.equals and named.cause in reset.alternatives


def _words(reset: Seen) -> str:
    others = f" (or {', '.join(reset.alternatives)})" if reset.alternatives else ""
    return f"{reset.cause}{others}"
