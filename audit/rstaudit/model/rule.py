"""Rules, what they find, and the outcome for one host."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import NamedTuple

from rstaudit.model.facts import Gap

#: What evidence may hold: numbers and words, or short lists of words.
Evidence = Mapping[str, "str | int | float | list[str] | None"]


class Severity(IntEnum):
    """How bad it is when a rule fires; ordered."""

    INFO = 1
    WARNING = 2
    ERROR = 3

    @property
    def label(self) -> str:
        """``info``, ``warning`` or ``error``."""
        return self.name.lower()


class Confidence(Enum):
    """How far the evidence carries the message."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class Outcome(Enum):
    """What became of a rule on a host (contract)."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not-applicable"
    ERROR = "error"
    WAIVED = "waived"


class Finding(NamedTuple):
    """One thing a rule found.

    ``subject`` is what it is about (a key, a listener, a process, a peer); every number in
    ``message`` stands in ``evidence``; ``fix`` is a line to paste, or a sentence where no
    command mends it. ``severity`` overrides the rule's where one case is milder or worse.
    """

    message: str
    subject: str
    fix: str
    evidence: Evidence = MappingProxyType({})
    confidence: Confidence = Confidence.CERTAIN
    severity: Severity | None = None


class RuleText(NamedTuple):
    """What `explain` says of a rule: paragraphs of plain text."""

    why: str
    confirm: str
    leave_alone: str
    references: tuple[str, ...]


class Result(NamedTuple):
    """The outcome of one rule on one host; exactly one per rule and host."""

    rule: str
    slug: str
    title: str
    outcome: Outcome
    severity: Severity
    findings: tuple[Finding, ...] = ()
    reason: str | None = None


class HostReport(NamedTuple):
    """All results of one host, with the facts that could not be had."""

    host: str
    netns: str
    source: str
    kernel: str
    results: tuple[Result, ...]
    gaps: tuple[Gap, ...]
