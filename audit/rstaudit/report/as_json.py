"""An audit as JSON (contract: ``rstaudit/audit/1``; schema in docs/schema/)."""

from __future__ import annotations

import json
import math

from rstaudit import __version__
from rstaudit.model.rule import Finding, HostReport, Result
from rstaudit.report.summary import (
    Audit,
    by_outcome,
    by_severity,
    exit_status,
    meaning,
    real_gaps,
    results,
)


def render(audit: Audit) -> str:
    """The whole audit as one JSON document."""
    return dumps(
        {
            "schema": "rstaudit/audit/1",
            "tool": {"name": "rstaudit", "version": __version__},
            "profile": audit.profile,
            "hosts": [_host(host) for host in audit.hosts],
            "summary": _summary(audit),
        }
    )


def dumps(document: object) -> str:
    r"""JSON text, ASCII only, that every reader accepts, whatever the strings hold.

    Lone surrogates (bytes that were no UTF-8) are spelled out as ``\udcff`` in words, and
    numbers that JSON does not have become null.
    """
    return json.dumps(clean(document), indent=2, allow_nan=False) + "\n"


def clean(value: object) -> object:
    """``value`` without what JSON has no spelling for, as `dumps` says."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _host(host: HostReport) -> dict[str, object]:
    return {
        "host": host.host,
        "netns": host.netns,
        "source": host.source,
        "kernel": host.kernel,
        "results": [_result(result) for result in host.results],
        "gaps": [gap._asdict() for gap in host.gaps],
    }


def _result(result: Result) -> dict[str, object]:
    return {
        "rule": result.rule,
        "slug": result.slug,
        "title": result.title,
        "outcome": result.outcome.value,
        "severity": result.severity.label,
        "findings": [_finding(finding) for finding in result.findings],
        "reason": result.reason,
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "message": finding.message,
        "subject": finding.subject,
        "confidence": finding.confidence.value,
        "evidence": dict(finding.evidence),
        "fix": finding.fix,
    }


def _summary(audit: Audit) -> dict[str, object]:
    everything = results(audit)
    return {
        "outcomes": by_outcome(everything),
        "failures": by_severity(everything),
        "gaps": sum(len(real_gaps(host)) for host in audit.hosts),
        "fail_on": audit.fail_on.label if audit.fail_on is not None else "never",
        "strict": audit.strict,
        "interrupted": audit.interrupted,
        "exit_status": exit_status(audit),
        "meaning": meaning(audit),
        "notes": list(audit.notes),
    }
