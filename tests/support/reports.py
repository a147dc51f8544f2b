"""Results made by hand, for tests of the reports."""

from __future__ import annotations

from typing import Any

from rstaudit.model.facts import Gap
from rstaudit.model.rule import Finding, HostReport, Outcome, Result, Severity
from rstaudit.report.summary import Audit


def made_finding(message: str = "3 sockets wait", subject: str = "web", **more: Any) -> Finding:
    """A finding; ``more`` are further fields of `Finding`."""
    more.setdefault("fix", "sysctl -w net.ipv4.tcp_fin_timeout=60")
    more.setdefault("evidence", {"sockets": 3})
    return Finding(message, subject, **more)


def made_result(
    rule: str = "RST101",
    outcome: Outcome = Outcome.FAIL,
    severity: Severity = Severity.ERROR,
    *findings: Finding,
    reason: str | None = None,
) -> Result:
    """A result; a failing one without findings gets one."""
    if outcome is Outcome.FAIL and not findings:
        findings = (made_finding(),)
    if outcome not in (Outcome.FAIL, Outcome.PASS) and reason is None:
        reason = "because"
    slug = f"slug-{rule.lower()}"
    return Result(rule, slug, f"Title of {rule}", outcome, severity, findings, reason)


def made_audit(*results: Result, gaps: tuple[Gap, ...] = (), **more: Any) -> Audit:
    """An audit of one host called web1; ``more`` are further fields of `Audit`."""
    host = HostReport("web1", "initial", "live", "6.1.0-32-amd64", results, gaps)
    return Audit("web", (host,), **more)


#: One result of every outcome and severity, with a gap and a note.
EVERYTHING = made_audit(
    made_result("RST101", Outcome.FAIL, Severity.ERROR),
    made_result("RST102", Outcome.FAIL, Severity.WARNING),
    made_result("RST103", Outcome.FAIL, Severity.INFO, reason="counters: permission denied"),
    made_result("RST201", Outcome.PASS),
    made_result("RST202", Outcome.NOT_APPLICABLE),
    made_result("RST301", Outcome.UNKNOWN, reason="run as root to read owners"),
    made_result("RST302", Outcome.UNKNOWN, reason="run as root to read owners"),
    made_result("RST401", Outcome.ERROR, reason="KeyError: 'x'"),
    made_result("RST501", Outcome.WAIVED, reason="known and harmless"),
    gaps=(Gap("firewall", "not-loaded", "nf_tables is not loaded"),),
    notes=("w.yaml:3: the waiver of RST102 expired on 2020-01-01",),
)
