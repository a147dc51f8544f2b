"""What the catalogue knows about one error, cause, rule or setting, as JSON values (contract)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rstaudit.catalogue.causes import causes, causes_of, myths_about
from rstaudit.model.cause import Cause, Error, Report
from rstaudit.model.setting import Change, Default, Profile, Setting
from rstaudit.report.explain import RuleCard

SCHEMA = "rstaudit/explain/1"

#: A JSON object.
Object = dict[str, Any]


def error_object(error: Error) -> Object:
    """``kind`` is ``error``; each cause carries the reports in which the error shows."""
    found = [
        {
            "cause": cause.id, "name": cause.name, "benign": cause.benign,
            "likely": cause.id in error.causes, "apart": cause.apart,
            "next_step": cause.next_step, "reports": _reports(reports),
        }
        for cause, reports in causes_of(error)
    ]  # fmt: skip
    return {
        **_head("error", error.name), "number": error.number, "words": [*error.words],
        "meaning": error.meaning, "hints": [*error.hints], "causes": found,
        "rules": [*error.rules], "next_step": error.next_step,
    }  # fmt: skip


def cause_object(cause: Cause) -> Object:
    """``kind`` is ``cause``; every field of the catalogue."""
    return {**_head("cause", cause.id), **cause_fields(cause), "myths": _myths(cause.id)}


def cause_fields(cause: Cause) -> Object:
    """The fields of a cause, without the head; one entry of `causes_object`."""
    plain = {
        key: [*value] if isinstance(value, tuple) else value
        for key, value in cause._asdict().items()
    }
    return {**plain, "reports": _reports(cause.reports)}


def causes_object(entries: Iterable[Cause]) -> Object:
    """The whole list, for `rstaudit causes --format json`."""
    return {"schema": "rstaudit/causes/1", "causes": [cause_fields(cause) for cause in entries]}


def rule_object(rule: RuleCard) -> Object:
    """``kind`` is ``rule``."""
    text = rule.text
    return {
        **_head("rule", rule.id), "slug": rule.slug, "title": rule.title,
        "severity": rule.severity.label, "why": text.why, "confirm": text.confirm,
        "leave_alone": text.leave_alone, "settings": [*rule.settings],
        "references": [*text.references],
    }  # fmt: skip


def setting_object(setting: Setting, profiles: Iterable[Profile], rules: Iterable[str]) -> Object:
    """``kind`` is ``setting``; kernels are written ``6.1``, a change ``{after, by}``."""
    return {
        **_head("setting", setting.key), "title": setting.title, "unit": setting.unit,
        "meaning": setting.meaning, "defaults": [_default(entry) for entry in setting.defaults],
        "valid": None if setting.valid is None else [*setting.valid],
        "added": _change(setting.added), "removed": _change(setting.removed),
        "netns": _change(setting.netns), "always_netns": setting.always_netns,
        "releases": [*setting.releases], "mainline": setting.mainline,
        "pitfalls": [*setting.pitfalls], "wrong_advice": [*setting.wrong_advice],
        "hazards": [*setting.hazards], "profiles": _wanted(setting.key, profiles),
        "rules": [*rules], "references": [*setting.references], "verified": setting.verified,
        "myths": _myths(setting.key),
    }  # fmt: skip


def overview_object(
    errors: Iterable[Error], rules: Iterable[str], settings: Iterable[str]
) -> Object:
    """``kind`` is ``overview``: the ids of everything that can be explained."""
    return {
        "schema": SCHEMA, "kind": "overview", "errors": [error.name for error in errors],
        "causes": [*causes()], "rules": [*rules], "settings": [*settings],
    }  # fmt: skip


def _head(kind: str, name: str) -> Object:
    return {"schema": SCHEMA, "kind": kind, "id": name}


def _myths(name: str) -> list[Object]:
    """The tested claims about a setting or a cause."""
    return [
        {"id": myth.id, "claim": myth.claim, "verdict": myth.verdict, "measured": myth.measured}
        for myth in myths_about(name)
    ]


def _reports(reports: Iterable[Report]) -> list[Object]:
    return [report._asdict() for report in reports]


def _wanted(key: str, profiles: Iterable[Profile]) -> list[Object]:
    """What each profile that judges ``key`` wants of it."""
    return [
        {
            "profile": profile.name, "recommend": expectation.recommend, "why": expectation.why,
            "checks": [
                {"op": check.op, "value": [*check.value], "severity": check.severity.label,
                 "since": _version(check.since), "until": _version(check.until)}
                for check in expectation.checks
            ],
        }
        for profile in profiles
        if (expectation := profile.expectations.get(key)) is not None
    ]  # fmt: skip


def _default(entry: Default) -> Object:
    return {
        "value": entry.value, "since": _version(entry.since), "until": _version(entry.until),
        "releases": [*entry.releases],
    }  # fmt: skip


def _change(change: Change | None) -> Object | None:
    if change is None:
        return None
    return {"after": _version(change.before), "by": _version(change.by)}


def _version(version: tuple[int, int] | None) -> str | None:
    return None if version is None else f"{version[0]}.{version[1]}"
