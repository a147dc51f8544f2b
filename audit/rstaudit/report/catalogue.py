"""Rules and profiles as tables and as JSON (``rstaudit/rules/1``, ``rstaudit/profiles/1``)."""

from __future__ import annotations

from collections.abc import Iterable

from rstaudit.model.rule import RuleText, Severity
from rstaudit.model.setting import Check, Expectation, Profile
from rstaudit.report.as_json import dumps
from rstaudit.report.layout import Line, Span, wrap
from rstaudit.report.safe import printable

#: Id, severity, slug, title.
RuleRow = tuple[str, Severity, str, str]


def rules_text(rows: Iterable[RuleRow], width: int) -> list[Line]:
    """One rule a line: id, severity, slug, title; titles wrap in their own column."""
    rows = list(rows)
    room = max((len(slug) for _, _, slug, _ in rows), default=0) + 2
    lines: list[Line] = []
    for rule, severity, slug, title in rows:
        first = (
            Span(f"{rule}  ", "strong"),
            Span(f"{severity.label:9}", severity.label),
            Span(f"{slug:{room}}"),
        )
        lines += _columns(first, title, width)
    return lines


def _columns(first: Line, text: str, width: int) -> list[Line]:
    """``text`` beside ``first``, or below it where too little room is left."""
    indent = sum(len(span.text) for span in first)
    if width - indent >= 30:
        return wrap([Span(text)], width, indent, first)
    return [first, *wrap([Span(text)], width, 8)]


def rules_json(rows: Iterable[tuple[RuleRow, RuleText]]) -> str:
    """Every rule with its words."""
    document = [
        {
            "id": rule,
            "slug": slug,
            "title": title,
            "severity": severity.label,
            "why": text.why,
            "confirm": text.confirm,
            "leave_alone": text.leave_alone,
            "references": list(text.references),
        }
        for (rule, severity, slug, title), text in rows
    ]
    return dumps({"schema": "rstaudit/rules/1", "rules": document})


def profiles_text(profiles: Iterable[Profile], width: int) -> list[Line]:
    """Each profile with its title and what it expects differently from the one it extends."""
    profiles = list(profiles)
    by_name = {profile.name: profile for profile in profiles}
    lines: list[Line] = []
    for profile in profiles:
        base = by_name.get(profile.extends or "")
        lines += [()] if lines else []
        head = [Span(printable(profile.name), "strong"), Span(f" - {printable(profile.title)}")]
        lines += wrap(head, width, 4)
        if base is not None:
            lines += wrap([Span(f"as {base.name}, except:", "dim")], width, 4)
        for key, expectation in _own(profile, base):
            lines += wrap([Span(f"{printable(key)}: {_wanted(expectation)}")], width, 8, _BULLET)
    return lines


_BULLET = (Span("    "),)


def _own(profile: Profile, base: Profile | None) -> list[tuple[str, Expectation | None]]:
    """Keys whose expectation differs from the base's; None where it no longer judges one."""
    before = base.expectations if base is not None else {}
    changed: list[tuple[str, Expectation | None]] = [
        (key, expectation)
        for key, expectation in profile.expectations.items()
        if before.get(key) != expectation
    ]
    gone = [(key, None) for key in before if key not in profile.expectations]
    return sorted([*changed, *gone], key=lambda pair: pair[0])


def _wanted(expectation: Expectation | None) -> str:
    if expectation is None:
        return "not judged"
    wants = [f"{check} ({check.severity.label}{_kernels(check)})" for check in expectation.checks]
    return ", else ".join(wants) or "not judged"


def _kernels(check: Check) -> str:
    since = f", since {check.since[0]}.{check.since[1]}" if check.since else ""
    return since + (f", before {check.until[0]}.{check.until[1]}" if check.until else "")


def profiles_json(profiles: Iterable[Profile]) -> str:
    """Every profile with everything it expects."""
    document = [
        {
            "name": profile.name,
            "title": profile.title,
            "extends": profile.extends,
            "settings": [
                {
                    "key": key,
                    "checks": [_check(check) for check in expectation.checks],
                    "recommend": expectation.recommend,
                    "why": expectation.why,
                }
                for key, expectation in sorted(profile.expectations.items())
            ],
        }
        for profile in profiles
    ]
    return dumps({"schema": "rstaudit/profiles/1", "profiles": document})


def _check(check: Check) -> dict[str, object]:
    return {
        "op": check.op,
        "value": list(check.value),
        "severity": check.severity.label,
        "since": _version(check.since),
        "until": _version(check.until),
    }


def _version(version: tuple[int, int] | None) -> str | None:
    return None if version is None else f"{version[0]}.{version[1]}"
