"""How a counter moves, in the words and the evidence of a finding."""

from __future__ import annotations

from rstaudit.model.facts import Rate


def pace(rate: Rate, name: str) -> tuple[str, dict[str, float]]:
    """``12 so far, 3 a second now, 40 an hour on average``, with what is not known left out.

    The evidence holds the same numbers: ``name``, ``per_second``, ``per_hour``.
    """
    words = [f"{rate.total} so far"]
    evidence: dict[str, float] = {name: rate.total}
    if rate.now:
        evidence["per_second"] = round(rate.now, 1)
        words.append(f"{evidence['per_second']:g} a second now")
    elif rate.now is not None:
        words.append("none just now")
    if rate.average is not None:
        evidence["per_hour"] = hourly(rate)
        words.append(f"{evidence['per_hour']:g} an hour on average")
    return ", ".join(words), evidence


def hourly(rate: Rate) -> float:
    """Events an hour on average; 0 where the age of the counters is not known."""
    return round((rate.average or 0) * 3600, 1)
