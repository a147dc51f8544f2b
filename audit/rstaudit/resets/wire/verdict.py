"""What was decided about one reset, before it is put into words."""

from __future__ import annotations

from typing import NamedTuple

from rstaudit.model.rule import Confidence


class Verdict(NamedTuple):
    """A cause and how sure it is; the fields are those of `Diagnosis`.

    ``story`` names the sentence of `rstaudit.resets.wire.stories` that says why.
    """

    cause: str
    confidence: Confidence
    story: str
    alternatives: tuple[str, ...] = ()
    benign: bool = False


def certain(cause: str, story: str, *, benign: bool = False) -> Verdict:
    """The packets exclude every other cause."""
    return Verdict(cause, Confidence.CERTAIN, story, (), benign)


def likely(cause: str, story: str, *others: str, benign: bool = False) -> Verdict:
    """It fits best; ``others`` fit too, likeliest first."""
    return Verdict(cause, Confidence.LIKELY, story, others, benign)


def possible(cause: str, story: str, *others: str, benign: bool = False) -> Verdict:
    """It fits, and so do ``others``, almost as well."""
    return Verdict(cause, Confidence.POSSIBLE, story, others, benign)


def unknown(story: str, *others: str) -> Verdict:
    """The packets do not say; ``others`` are what it might be."""
    return Verdict("undetermined", Confidence.POSSIBLE, story, others)
