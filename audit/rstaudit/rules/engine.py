"""Run rules over a host: a crash, a gap and a pass are three different outcomes."""

from __future__ import annotations

from collections.abc import Iterable

from rstaudit.model.facts import NOTHING_TO_JUDGE, Gap, HostState, MissingFact
from rstaudit.model.rule import Finding, HostReport, Outcome, Result
from rstaudit.rules.context import Context, NotApplicable, Rule


def judge(context: Context, rules: Iterable[Rule]) -> HostReport:
    """Run every rule of ``rules`` on one host; one result each, in their order."""
    host = context.host
    results = tuple(run(rule, context) for rule in rules)
    return HostReport(
        host.host, host.netns, host.source, host.kernel.release, results, tuple(host.gaps.values())
    )


def unreached(host: HostState, gap: Gap, rules: Iterable[Rule]) -> HostReport:
    """The report of a namespace that could not be looked into: every rule is unknown."""
    results = tuple(
        Result(rule.id, rule.slug, rule.title, Outcome.UNKNOWN, rule.severity, (), gap.detail)
        for rule in rules
    )
    return HostReport(host.host, host.netns, host.source, host.kernel.release, results, (gap,))


def run(rule: Rule, context: Context) -> Result:
    """The outcome of one rule; never raises.

    Findings made before a fact turned out to be missing still count, with the reason beside
    them: what is known to be wrong is not hidden by what is unknown.
    """
    findings: list[Finding] = []
    outcome, reason = Outcome.PASS, None
    try:
        for finding in rule.check(context):
            findings.append(finding)  # noqa: PERF402 - keeps what came before a raise
    except NotApplicable as why:
        outcome, reason = Outcome.NOT_APPLICABLE, str(why)
    except MissingFact as missing:
        outcome, reason = _missing(missing.gap, context)
    except Exception as crash:  # noqa: BLE001 - one broken rule must not take the audit down
        outcome, reason = Outcome.ERROR, f"{type(crash).__name__}: {crash}"
    if findings and outcome is not Outcome.ERROR:
        outcome = Outcome.FAIL
    severity = max((f.severity or rule.severity for f in findings), default=rule.severity)
    return Result(rule.id, rule.slug, rule.title, outcome, severity, tuple(findings), reason)


def _missing(gap: Gap, context: Context) -> tuple[Outcome, str]:
    """Whether a gap leaves nothing to judge, or leaves us not knowing."""
    if gap.reason in NOTHING_TO_JUDGE:
        return Outcome.NOT_APPLICABLE, gap.detail
    setting = context.settings.get(gap.fact.removeprefix("sysctl:"))
    if setting is not None and gap.reason == "not-recorded":
        kernel = context.host.kernel
        if setting.exists(kernel) is False:
            return Outcome.NOT_APPLICABLE, f"kernel {kernel.label} has no {setting.key}"
        if context.host.initial is False and setting.per_netns(kernel) is False:
            return Outcome.NOT_APPLICABLE, f"{setting.key} is global: judge it on the host"
    return Outcome.UNKNOWN, gap.detail
