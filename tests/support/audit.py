"""Audit the namespace that a test runs in, one rule at a time, over the real kernel."""

from __future__ import annotations

from rstaudit.catalogue.load import devices, profiles, settings
from rstaudit.collect.host import Options, collect
from rstaudit.model.rule import Finding, Outcome, Result
from rstaudit.rules.context import Context
from rstaudit.rules.engine import run
from rstaudit.rules.registry import rules
from support.hosts import check_numbers


def live_result(
    rule_id: str, *, profile: str = "default", path_idle: int | None = None, interval: float = 0
) -> Result:
    """The outcome of one rule here and now; every number it says must stand in its evidence."""
    host = collect(Options(interval=interval))
    context = Context(host, profiles()[profile], dict(settings()), path_idle, tuple(devices()))
    (rule,) = [rule for rule in rules() if rule.id == rule_id]
    result = run(rule, context)
    assert result.outcome is not Outcome.ERROR, result.reason
    for finding in result.findings:
        check_numbers(finding)
    return result


def fires(rule_id: str, **options: object) -> Finding:
    """The first finding of a rule that must fire."""
    result = live_result(rule_id, **options)  # type: ignore[arg-type] # passed through unchanged
    assert result.outcome is Outcome.FAIL, (result.outcome, result.reason)
    return result.findings[0]


def silent(rule_id: str, **options: object) -> Result:
    """The result of a rule that must find nothing; unknown does not count as silence."""
    result = live_result(rule_id, **options)  # type: ignore[arg-type] # passed through unchanged
    assert result.outcome in (Outcome.PASS, Outcome.NOT_APPLICABLE), (result.outcome, result)
    return result
