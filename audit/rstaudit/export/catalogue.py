"""The YAML sources rendered into catalogue.json, the only file that an audit reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rstaudit.catalogue.checks import (
    applicable,
    read_change,
    read_check,
    read_severity,
    read_version,
)
from rstaudit.catalogue.load import PATH
from rstaudit.export import sources
from rstaudit.export.sources import Field, SourceError, read_entry
from rstaudit.model.facts import Kernel
from rstaudit.model.setting import Expectation

Entries = list[dict[str, Any]]

_RULE_ID = re.compile(r"RST[1-9][0-9]{2}")
_SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

#: A recommended value must satisfy its own checks on all of these.
KERNELS = tuple(Kernel(f"{a}.{b}.0", (a, b, 0)) for a, b in ((3, 10), (4, 18), (5, 14), (6, 18)))

_CHECK_OPTIONS = ("severity", "since", "until")


def render() -> dict[Path, str]:
    """catalogue.json by path; raises `SourceError`."""
    settings = _settings(sources.load("settings"))
    keys = {entry["key"] for entry in settings}
    parts: dict[str, Entries] = {
        "settings": settings,
        "profiles": _profiles(sources.load("profiles"), keys),
        "value_rules": _value_rules(sources.load("value_rules"), keys),
        "devices": [_one("devices", "name", _DEVICE, entry) for entry in sources.load("devices")],
        "causes": sources.load("causes"),
        "errors": sources.load("errors"),
        "myths": _myths(sources.load("myths"), keys),
    }
    for part, name in _NAMES.items():
        _unique(part, [entry.get(name) for entry in parts[part]])
    return {Path(PATH): json.dumps(parts, indent=1, sort_keys=True) + "\n"}


def _myths(entries: Entries, keys: set[str]) -> Entries:
    found = [_one("myths", "id", _MYTH, entry) for entry in entries]
    for entry in found:
        _known(set(entry["settings"]), keys, f"myths.yaml, {entry['id']}")
    return found


def _names(value: object) -> list[str]:
    """A list of ids, maybe empty."""
    return [] if value == [] else sources.texts(value)


def _defaults(value: object) -> Entries:
    """One string for every kernel, or a list by kernel."""
    if isinstance(value, str):
        return [{"value": value}]
    if not isinstance(value, list):
        raise ValueError("must be a string or a list")
    return [read_entry(item, _DEFAULT, "default") for item in value]


def _default_value(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r}: write the value in quotes")
    return value


def _version_text(value: object) -> str:
    read_version(value)
    return str(value)


def _change_text(value: object) -> str:
    read_change(value)
    return str(value)


def _valid(value: object) -> list[int]:
    if not (isinstance(value, list) and len(value) == 2 and value[0] <= value[1]):
        raise ValueError(f"{value!r} is not a lowest and a highest value")
    return value


def _follows(value: object) -> list[list[Any]]:
    if not isinstance(value, list):
        raise ValueError("must be a list of [key, divisor]")
    return [[sources.key(key), sources.number(divisor)] for key, divisor in value]


_DEFAULT = {
    "value": Field(_default_value),
    "since": Field(_version_text, required=False),
    "until": Field(_version_text, required=False),
    "releases": Field(sources.texts, required=False),
}
_SETTING = {
    "key": Field(sources.key),
    "title": Field(sources.text),
    "unit": Field(sources.text),
    "meaning": Field(sources.text),
    "defaults": Field(_defaults),
    "references": Field(sources.texts),
    "verified": Field(sources.text),
    "valid": Field(_valid, required=False),
    "follows": Field(_follows, required=False),
    **{name: Field(_change_text, required=False) for name in ("added", "removed", "netns")},
    **{name: Field(sources.flag, required=False) for name in ("always_netns", "mainline")},
    **{
        name: Field(sources.texts, required=False)
        for name in ("pitfalls", "wrong_advice", "hazards", "releases")
    },
}
_DEVICE = {
    "name": Field(sources.text),
    "idle_seconds": Field(sources.number),
    "at_expiry": Field(sources.text),
    "source": Field(sources.text),
    "probes_count": Field(sources.flag, required=False),
}


_MYTH = {
    "id": Field(sources.text),
    "claim": Field(sources.text),
    "verdict": Field(sources.text),
    "measured": Field(sources.text),
    "settings": Field(_names),
    "causes": Field(_names),
}


def _settings(entries: Entries) -> Entries:
    found = [_one("settings", "key", _SETTING, entry) for entry in entries]
    known = {entry["key"] for entry in found}
    for entry in found:
        where = f"settings.yaml, {entry['key']}"
        _known({key for key, _ in entry.get("follows", ())}, known, where)
        if entry.get("always_netns") and "netns" in entry:
            raise SourceError(f"{where}: always_netns and netns exclude each other")
    return sorted(found, key=lambda entry: str(entry["key"]))


def _one(part: str, name: str, fields: sources.Fields, entry: dict[str, Any]) -> dict[str, Any]:
    return read_entry(entry, fields, f"{part}.yaml, {entry.get(name, 'an entry')}")


def _value_rules(entries: Entries, keys: set[str]) -> Entries:
    found = [_one("value_rules", "id", _VALUE_RULE, entry) for entry in entries]
    for entry in found:
        _known(set(entry["keys"]), keys, f"value_rules.yaml, {entry['id']}")
    return sorted(found, key=lambda entry: str(entry["id"]))


def _matching(pattern: re.Pattern[str], example: str) -> Field:
    def read(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"{value!r} does not look like {example}")
        return value

    return Field(read)


_VALUE_RULE = {
    "id": _matching(_RULE_ID, "RST105"),
    "slug": _matching(_SLUG, "tw-buckets"),
    "title": Field(sources.text),
    "keys": Field(sources.texts),
    "why": Field(sources.text),
    "confirm": Field(sources.text),
    "leave_alone": Field(sources.text),
    "references": Field(sources.texts),
}


def _profiles(entries: Entries, keys: set[str]) -> Entries:
    found: Entries = []
    for entry in entries:
        profile = _one("profiles", "name", _PROFILE, entry)
        where = f"profiles.yaml, {profile['name']}"
        earlier = {other["name"] for other in found}
        if profile.get("extends", "default") not in earlier | {"default"}:
            raise SourceError(f"{where}: extends {profile['extends']}, which is not above it")
        _known(profile["settings"].keys(), keys, where)
        profile["settings"] = {
            key: _expectation(value, f"{where}, {key}")
            for key, value in sorted(profile["settings"].items())
        }
        found.append(profile)
    return found


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a mapping")
    return value


_PROFILE = {
    "name": _matching(_SLUG, "web"),
    "title": Field(sources.text),
    "extends": Field(sources.text, required=False),
    "settings": Field(_mapping),
}


def _checks(value: object) -> Entries:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of checks")
    checks = [_check(_mapping(item)) for item in value]
    return sorted(checks, key=lambda check: -read_severity(check["severity"]))


def _check(item: dict[str, Any]) -> dict[str, Any]:
    ops = item.keys() - set(_CHECK_OPTIONS)
    if len(ops) != 1 or "severity" not in item:
        raise ValueError(f"{item}: a check has one operator and a severity")
    op = ops.pop()
    check = read_check(op, item[op], **{name: item.get(name) for name in _CHECK_OPTIONS})
    options = {name: item[name] for name in _CHECK_OPTIONS if name in item}
    return {"op": check.op, "value": list(check.value), **options}


def _recommend(value: object) -> str | None:
    return None if value is None else _default_value(value)


_EXPECTATION = {
    "checks": Field(_checks),
    "recommend": Field(_recommend),
    "why": Field(sources.text),
}


def _expectation(value: object, where: str) -> dict[str, Any]:
    found = read_entry(_mapping(value), _EXPECTATION, where)
    if found["recommend"] is not None:
        _satisfies_itself(found, where)
    return found


def _satisfies_itself(found: Mapping[str, Any], where: str) -> None:
    checks = tuple(read_check(**check) for check in found["checks"])
    expectation = Expectation(checks, found["recommend"], "")
    have = tuple(int(word) for word in found["recommend"].split())
    for kernel in KERNELS:
        if not all(check.holds(have) for check in applicable(expectation, kernel)):
            raise SourceError(f"{where}: recommends what its own checks refuse")


def _known(used: set[str] | Any, known: set[str], where: str) -> None:
    if dangling := set(used) - known:
        raise SourceError(f"{where}: not in settings.yaml: {', '.join(sorted(dangling))}")


_NAMES = {
    "settings": "key",
    "profiles": "name",
    "value_rules": "id",
    "devices": "name",
    "causes": "id",
    "errors": "name",
    "myths": "id",
}


def _unique(part: str, names: list[Any]) -> None:
    if twice := {str(name) for name in names if names.count(name) > 1}:
        raise SourceError(f"{part}.yaml: twice: {', '.join(sorted(twice))}")
