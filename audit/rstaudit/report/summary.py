"""An audit as the reports are given it, what it adds up to, and its exit status."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from rstaudit.model.facts import NOTHING_TO_JUDGE, Gap
from rstaudit.model.rule import HostReport, Outcome, Result, Severity


class Audit(NamedTuple):
    """All hosts seen through one profile, and what the exit status depends on.

    ``fail_on`` is None for ``--fail-on never``; ``notes`` are sentences about the audit itself
    (waivers that expired, an interruption).
    """

    profile: str
    hosts: tuple[HostReport, ...]
    fail_on: Severity | None = Severity.ERROR
    strict: bool = False
    notes: tuple[str, ...] = ()
    interrupted: bool = False


OK, FINDINGS, INCOMPLETE, CRASHED, INTERRUPTED = 0, 1, 3, 4, 130


def results(audit: Audit) -> list[Result]:
    """Every result of every host."""
    return [result for host in audit.hosts for result in host.results]


def real_gaps(host: HostReport) -> list[Gap]:
    """Facts that are there but could not be read; not those that do not exist here."""
    return [gap for gap in host.gaps if gap.reason not in NOTHING_TO_JUDGE]


def by_outcome(of: list[Result]) -> dict[str, int]:
    """How many results have each outcome, all outcomes named."""
    counts = Counter(result.outcome for result in of)
    return {outcome.value: counts[outcome] for outcome in Outcome}


def by_severity(of: list[Result]) -> dict[str, int]:
    """How many failing results have each severity, worst first, all severities named."""
    counts = Counter(result.severity for result in of if result.outcome is Outcome.FAIL)
    return {severity.label: counts[severity] for severity in sorted(Severity, reverse=True)}


def exit_status(audit: Audit) -> int:
    """The contract's exit status: 4 over 3 over 1 over 0; 130 when interrupted."""
    everything = results(audit)
    if audit.interrupted:
        return INTERRUPTED
    if any(result.outcome is Outcome.ERROR for result in everything):
        return CRASHED
    if audit.strict and _incomplete(audit, everything):
        return INCOMPLETE
    return FINDINGS if _failed(everything, audit.fail_on) else OK


def meaning(audit: Audit) -> str:
    """What that exit status says, in words."""
    limit = audit.fail_on.label if audit.fail_on is not None else "never"
    return {
        OK: f"no findings at or above --fail-on {limit}",
        FINDINGS: f"findings at or above --fail-on {limit}",
        INCOMPLETE: "incomplete: facts could not be read and --strict was given",
        CRASHED: "internal error: a rule crashed",
        INTERRUPTED: "interrupted: what was known by then is reported",
    }[exit_status(audit)]


def _incomplete(audit: Audit, everything: list[Result]) -> bool:
    unknown = any(
        result.outcome is Outcome.UNKNOWN or (result.outcome is Outcome.FAIL and result.reason)
        for result in everything
    )
    return unknown or any(real_gaps(host) for host in audit.hosts)


def _failed(everything: list[Result], fail_on: Severity | None) -> bool:
    return fail_on is not None and any(
        result.outcome is Outcome.FAIL and result.severity >= fail_on for result in everything
    )
