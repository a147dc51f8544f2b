"""Rules that are only data: running values against the expectations of the profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rstaudit.catalogue import load
from rstaudit.catalogue.checks import Verdict, applicable, judge
from rstaudit.model.facts import NOTHING_TO_JUDGE, Gap, MissingFact
from rstaudit.model.rule import Confidence, Evidence, Finding, RuleText, Severity
from rstaudit.model.setting import ValueRule
from rstaudit.rules.context import Context, Family, NotApplicable, Rule, RuleFunction

RULES = Family()


def value_rules() -> tuple[Rule, ...]:
    """One rule for each entry of value_rules.yaml, and the one for keys that only a user judges."""
    worst = _severities()
    ours = tuple(
        Rule(
            entry.id,
            entry.slug,
            entry.title,
            max(worst.get(key, Severity.INFO) for key in entry.keys),
            _checker(entry.keys),
            _text(entry),
        )
        for entry in load.value_rules()
    )
    return (*ours, *RULES.rules)


@RULES.rule("RST709", "profile-key", "A setting is not what the profile asks for", Severity.WARNING)
def own_keys(context: Context) -> Iterator[Finding]:
    """A profile of your own may judge any sysctl.

    Those that no other rule speaks of are judged here. The built-in profiles have none.

    Confirm: sysctl KEY, for the key that the finding names.
    Leave alone: when the profile is wrong for this host; change the profile then, or waive the
        finding.
    References: the file of the profile
    """
    judged = {key for entry in load.value_rules() for key in entry.keys}
    rest = tuple(key for key in context.profile.expectations if key not in judged)
    yield from _check(context, rest, "other settings")


def _severities() -> dict[str, Severity]:
    """The worst that any of our profiles says of a key."""
    worst: dict[str, Severity] = {}
    for profile in load.profiles().values():
        for key, expectation in profile.expectations.items():
            for check in expectation.checks:
                worst[key] = max(worst.get(key, check.severity), check.severity)
    return worst


def _checker(keys: tuple[str, ...]) -> RuleFunction:
    return lambda context: _check(context, keys, " and ".join(keys))


def _text(entry: ValueRule) -> Callable[[], RuleText]:
    return lambda: RuleText(entry.why, entry.confirm, entry.leave_alone, entry.references)


def _check(context: Context, keys: tuple[str, ...], what: str) -> Iterator[Finding]:
    """Judge each key; a key that is missing is reported only after all the others."""
    wanted = [key for key in keys if _judged(context, key)]
    if not wanted:
        on = f" on kernel {context.host.kernel.label}" if _mentioned(context, keys) else ""
        raise NotApplicable(f"profile {context.profile.name} does not judge {what}{on}")
    missing: list[Gap] = []
    for key in wanted:
        try:
            yield from _judge(context, key)
        except MissingFact as fact:
            missing.append(fact.gap)
    _report(context, missing, len(missing) == len(wanted))


def _judged(context: Context, key: str) -> bool:
    expectation = context.profile.expectations.get(key)
    return expectation is not None and bool(applicable(expectation, context.host.kernel))


def _mentioned(context: Context, keys: tuple[str, ...]) -> bool:
    return any(key in context.profile.expectations for key in keys)


def _report(context: Context, missing: list[Gap], nothing_judged: bool) -> None:
    """Raise the gap that leaves us not knowing; one that leaves nothing to judge if it is all."""
    for gap in missing:
        if not _harmless(context, gap):
            raise MissingFact(gap)
    if nothing_judged:
        raise MissingFact(missing[0])


def _harmless(context: Context, gap: Gap) -> bool:
    setting = context.settings.get(gap.fact.removeprefix("sysctl:"))
    gone = setting is not None and setting.exists(context.host.kernel) is False
    return gap.reason in NOTHING_TO_JUDGE or (gap.reason == "not-recorded" and gone)


def _judge(context: Context, key: str) -> Iterator[Finding]:
    host = context.host
    setting = context.settings.get(key)
    if host.initial is False and setting is not None and setting.per_netns(host.kernel) is False:
        raise MissingFact(Gap(f"sysctl:{key}", "global", f"{key} is global: judge it on the host"))
    host.integers(key)  # raises where the value is missing or no numbers
    expectation = context.profile.expectations[key]
    verdict = judge(key, expectation, host.kernel, host.sysctls, context.settings)
    if verdict.failed:
        yield _finding(context, key, verdict)


def _finding(context: Context, key: str, verdict: Verdict) -> Finding:
    profile = context.profile.name
    value = " ".join(context.host.sysctl(key).split())
    wanted = str(verdict.wanted)
    severity = verdict.failed[0].severity
    # Without the kernel's own default nobody can tell a lowered limit from a small machine.
    unsure = verdict.failed[0].op == "floor" and verdict.default is None
    evidence: Evidence = {
        "setting": key,
        key: int(value) if len(value.split()) == 1 else value,
        "wanted": wanted,
        "kernel default": verdict.default,
        "profile": profile,
    }
    return Finding(
        message=f"{key} is {value}, profile {profile} wants {wanted}",
        subject=key,
        fix=_fix(key, verdict),
        evidence=evidence,
        confidence=Confidence.LIKELY if unsure else Confidence.CERTAIN,
        severity=min(severity, Severity.WARNING) if unsure else severity,
    )


def _fix(key: str, verdict: Verdict) -> str:
    target = verdict.target
    if target is None:
        return f"Set {key} to {verdict.wanted}."
    return f'sysctl -w {key}="{target}"' if " " in target else f"sysctl -w {key}={target}"
