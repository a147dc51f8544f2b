"""How sockets in CLOSE_WAIT grow between two samples."""

from __future__ import annotations

from typing import NamedTuple

from rstaudit.model.facts import MissingFact
from rstaudit.model.names import LATER, LIMITS
from rstaudit.model.rule import Evidence
from rstaudit.model.sockets import Owner
from rstaudit.rules.context import Context


class Growth(NamedTuple):
    """``words`` follow a count; ``left`` is the seconds until no descriptor is free, if ever."""

    words: str
    evidence: Evidence
    left: int | None


def growth_of(ctx: Context, owner: Owner | None, before: int) -> Growth | None:
    """How the ``before`` sockets of a process became more; None where that is not known."""
    try:
        later = ctx.host.need(LATER)
    except MissingFact:
        return None
    if owner is None or owner.pid not in later.close_wait:
        return None
    added = later.close_wait[owner.pid] - before
    seconds = round(later.seconds, 1)
    evidence: dict[str, int | float] = {"added": added, "sample_seconds": seconds}
    if added <= 0:
        return Growth(f"; none more {seconds:g} s later", evidence, None)
    rate = round(added / later.seconds, 1)
    evidence["per_second"] = rate
    words = f"; {added} more {seconds:g} s later, {rate:g} a second"
    left = _seconds_left(ctx, owner, added / later.seconds)
    if left is not None:
        evidence["seconds_to_limit"] = left
        words += f", at which no descriptor is left in {left} s"
    return Growth(words, evidence, left)


def _seconds_left(ctx: Context, owner: Owner, rate: float) -> int | None:
    try:
        limits = ctx.host.need(LIMITS)
    except MissingFact:
        return None
    mine = next((entry for entry in limits if entry.pid == owner.pid), None)
    if mine is None or mine.soft is None:
        return None
    return max(0, int((mine.soft - mine.open) / rate))
