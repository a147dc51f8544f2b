"""Hosts made by hand, for tests of rules: say what matters, the rest is an idle 6.1 server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from rstaudit.catalogue.load import profiles, settings
from rstaudit.model.facts import Counters, Gap, HostState, Kernel, Sample
from rstaudit.model.names import COUNTERS
from rstaudit.model.rule import Finding, Outcome, Result
from rstaudit.model.setting import PathDevice, Profile, Setting
from rstaudit.parse.procfs import parse_kernel
from rstaudit.rules.context import Context, Family
from rstaudit.rules.engine import run

KERNEL = Kernel("6.1.0-32-amd64", (6, 1, 0))


class HostParts(TypedDict, total=False):
    """What `make_host` takes; ``counters`` are totals, ``later`` the totals a second on.

    ``sysctls`` values may be numbers; ``facts`` go by fact name or by `Fact`; ``gaps`` are a
    list. ``age`` is the counters' age in seconds.
    """

    sysctls: Mapping[str, object]
    counters: Mapping[str, int]
    later: Mapping[str, int]
    age: float | None
    facts: Mapping[Any, object]
    gaps: list[Gap]
    kernel: Kernel | str
    netns: str
    initial: bool | None
    source: str


class ContextParts(TypedDict, total=False):
    """What `make_context` takes; ``profile`` may be a name of the catalogue."""

    profile: Profile | str
    settings: dict[str, Setting]
    path_idle: int | None
    devices: tuple[PathDevice, ...]


def make_host(**parts: Unpack[HostParts]) -> HostState:
    """A host with the given facts and nothing else."""
    facts = {getattr(fact, "name", fact): value for fact, value in parts.get("facts", {}).items()}
    if "counters" in parts or "later" in parts:
        facts[COUNTERS.name] = make_counters(
            parts.get("counters", {}), parts.get("later"), parts.get("age", 1000.0)
        )
    kernel = parts.get("kernel", KERNEL)
    return HostState(
        host="test",
        netns=parts.get("netns", "initial"),
        initial=parts.get("initial", True),
        source=parts.get("source", "live"),
        kernel=make_kernel(kernel) if isinstance(kernel, str) else kernel,
        sysctls={key: str(value) for key, value in parts.get("sysctls", {}).items()},
        facts=facts,
        gaps={gap.fact: gap for gap in parts.get("gaps", [])},
    )


def make_kernel(release: str) -> Kernel:
    """``4.18.0-553.el8`` as a Kernel."""
    return parse_kernel(release)


def make_counters(
    first: Mapping[str, int], later: Mapping[str, int] | None = None, age: float | None = 1000.0
) -> Counters:
    """Counters sampled once, or a second apart where ``later`` gives the values that moved."""
    second = None if later is None else Sample(101.0, {**first, **later})
    return Counters(Sample(100.0, {**dict.fromkeys(later or (), 0), **first}), second, age)


def make_context(host: HostState, **parts: Unpack[ContextParts]) -> Context:
    """``host`` seen through the catalogue's ``default`` profile, or what ``parts`` say."""
    profile = parts.get("profile", "default")
    return Context(
        host=host,
        profile=profiles()[profile] if isinstance(profile, str) else profile,
        settings=parts["settings"] if "settings" in parts else dict(settings()),
        path_idle=parts.get("path_idle"),
        devices=parts.get("devices", ()),
    )


def judge(family: Family, rule_id: str, context: Context | HostState) -> Result:
    """The result of one rule of ``family``."""
    if isinstance(context, HostState):
        context = make_context(context)
    (rule,) = [rule for rule in family.rules if rule.id == rule_id]
    result = run(rule, context)
    assert result.outcome is not Outcome.ERROR, result.reason
    for finding in result.findings:
        check_numbers(finding)
    return result


def check_numbers(finding: Finding) -> None:
    """Every number of a finding's message, names such as ipv4 aside, stands in its evidence."""
    words = re.findall(r"\d+(?:\.\d+)*", " ".join(map(str, finding.evidence.values())))
    known = {shown for word in words for shown in (word, word.removesuffix(".0"))}
    for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)*(?!\w)", finding.message):
        assert number in known, f"{number} of {finding.message!r} is not in {finding.evidence}"
