"""What we know, read from the generated catalogue.json; each part only when asked for."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

from rstaudit.model.rule import Severity
from rstaudit.model.setting import (
    Change,
    Check,
    Default,
    Expectation,
    PathDevice,
    Profile,
    Setting,
    ValueRule,
    Version,
)

#: Written by `python -m rstaudit.export --write`.
PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "catalogue.json")

_SEVERITIES = {severity.label: severity for severity in Severity}


@cache
def _catalogue() -> dict[str, list[dict[str, Any]]]:
    with open(PATH, encoding="utf-8") as file:
        found: dict[str, list[dict[str, Any]]] = json.load(file)
    return found


def section(name: str) -> list[dict[str, Any]]:
    """The raw entries of a part (``causes``, ``errors``, ...); KeyError when there is none."""
    return _catalogue()[name]


@cache
def settings() -> dict[str, Setting]:
    """Every setting by its key."""
    return {entry["key"]: _setting(entry) for entry in section("settings")}


@cache
def profiles() -> dict[str, Profile]:
    """The profiles we ship by name, default first, with what they extend filled in."""
    found: dict[str, Profile] = {}
    for entry in section("profiles"):
        base = entry.get("extends")
        inherited = found[base].expectations if base is not None else {}
        own = {key: _expectation(value) for key, value in entry["settings"].items()}
        name = entry["name"]
        found[name] = Profile(name, entry["title"], base, {**inherited, **own}, "built in")
    return found


@cache
def value_rules() -> tuple[ValueRule, ...]:
    """The rules that are only data, by id."""
    return tuple(
        ValueRule(
            entry["id"],
            entry["slug"],
            entry["title"],
            tuple(entry["keys"]),
            entry["why"],
            entry["confirm"],
            entry["leave_alone"],
            tuple(entry["references"]),
        )
        for entry in section("value_rules")
    )


@cache
def devices() -> tuple[PathDevice, ...]:
    """Devices that forget idle connections."""
    return tuple(
        PathDevice(
            entry["name"],
            entry["idle_seconds"],
            entry["at_expiry"],
            entry["source"],
            entry.get("probes_count", True),
        )
        for entry in section("devices")
    )


def _setting(entry: dict[str, Any]) -> Setting:
    get = entry.get
    valid = get("valid")
    return Setting(
        entry["key"],
        entry["title"],
        entry["unit"],
        entry["meaning"],
        tuple(_default(value) for value in get("defaults", ())),
        (valid[0], valid[1]) if valid else None,
        _change(get("added")),
        _change(get("removed")),
        _change(get("netns")),
        get("always_netns", False),
        tuple(get("pitfalls", ())),
        tuple(get("wrong_advice", ())),
        tuple(get("hazards", ())),
        tuple(entry["references"]),
        entry["verified"],
        tuple(get("releases", ())),
        get("mainline", True),
        tuple((key, divisor) for key, divisor in get("follows", ())),
    )


def _default(entry: dict[str, Any]) -> Default:
    return Default(
        entry["value"],
        _version(entry.get("since")),
        _version(entry.get("until")),
        tuple(entry.get("releases", ())),
    )


def _expectation(entry: dict[str, Any]) -> Expectation:
    checks = tuple(
        Check(
            check["op"],
            tuple(check["value"]),
            _SEVERITIES[check["severity"]],
            _version(check.get("since")),
            _version(check.get("until")),
        )
        for check in entry["checks"]
    )
    return Expectation(checks, entry.get("recommend"), entry["why"])


def _version(text: str | None) -> Version | None:
    if text is None:
        return None
    major, minor = text.split(".")
    return int(major), int(minor)


def _change(text: str | None) -> Change | None:
    if text is None:
        return None
    before, dots, by = text.partition("..")
    last = _version(by if dots else before)
    return Change(_version(before) if dots else None, last) if last is not None else None
