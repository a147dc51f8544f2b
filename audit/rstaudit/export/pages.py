"""The catalogue as pages of docs/catalogue/, one template a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import rstaudit
from rstaudit.catalogue.causes import causes, causes_of, errors
from rstaudit.catalogue.load import profiles, settings, value_rules
from rstaudit.export.markdown import cell, code, flow, plain, slug
from rstaudit.model.cause import Cause, Report
from rstaudit.model.setting import Check, Default, Expectation, Profile, Setting
from rstaudit.report.explain import SIDES, tested
from rstaudit.rules.context import Rule
from rstaudit.rules.registry import rules

#: The clone that the package lies in; the pages are for its readers, not for an installation.
ROOT = Path(rstaudit.__file__).parent.parent.parent

PAGES = ("rules", "causes", "settings", "profiles", "errors")


def render() -> dict[Path, str]:
    """The pages by path; none where there is no clone around the package."""
    if not (ROOT / "pyproject.toml").is_file():
        return {}
    templates = environment()
    context = _context()
    folder = ROOT / "docs" / "catalogue"
    return {
        folder / f"{page}.md": tidy(templates.get_template(f"{page}.md.j2").render(context))
        for page in PAGES
    }


def tidy(page: str) -> str:
    """One blank line where the template's branches left several."""
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"


def environment() -> Any:
    """Templates in which a name that is not there is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Markdown, not HTML: escaping is the filters' work, and StrictUndefined finds misspellings.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=False,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters.update(
        {
            "flow": flow, "plain": plain, "cell": cell, "code": code, "slug": slug,
            "default_words": default_words, "check_words": check_words, "scope": scope,
        }
    )  # fmt: skip
    return environment


def _context() -> Mapping[str, Any]:
    """What the templates may name."""
    return {
        "rules": rules(),
        "causes": tuple(causes().values()),
        "errors": errors(),
        "settings": tuple(settings().values()),
        "profiles": tuple(profiles().values()),
        "keys_of": keys_of,
        "judges": judges,
        "wanted": wanted,
        "own": own,
        "seen": seen,
        "causes_of": causes_of,
        "sides": SIDES,
        "judged_keys": judged_keys(),
        "kinds": kinds,
        "tested": tested,
    }


def keys_of(rule: Rule) -> tuple[str, ...]:
    """The settings that a rule judges by their value; none for a rule that is code."""
    return next((data.keys for data in value_rules() if data.id == rule.id), ())


def judges(key: str) -> list[Rule]:
    """The rules that judge a setting by its value."""
    ids = {data.id for data in value_rules() if key in data.keys}
    return [rule for rule in rules() if rule.id in ids]


def judged_keys() -> list[str]:
    """Every key that one of our profiles judges."""
    return sorted({key for profile in profiles().values() for key in profile.expectations})


def wanted(key: str) -> list[tuple[Profile, Expectation]]:
    """What each profile wants of ``key``; those that do not judge it are left out."""
    return [
        (profile, profile.expectations[key])
        for profile in profiles().values()
        if key in profile.expectations
    ]


def own(profile: Profile) -> list[tuple[str, Expectation | None]]:
    """Keys of which a profile wants something else than the one it extends; None: nothing."""
    base = profiles()[profile.extends].expectations if profile.extends else {}
    keys = sorted(base.keys() | profile.expectations.keys())
    pairs = [(key, profile.expectations.get(key)) for key in keys]
    return [(key, found) for key, found in pairs if found != base.get(key)]


def seen(reports: Iterable[Report]) -> list[tuple[str, str]]:
    """Who sees an error on which calls: the side, and the calls with their conditions."""
    by_side: dict[str, dict[str, None]] = {}
    for report in reports:
        note = f" ({report.note})" if report.note else ""
        by_side.setdefault(SIDES[report.side], {})[report.call + note] = None
    return [(side, "; ".join(calls)) for side, calls in by_side.items()]


def kinds(cause: Cause) -> list[str]:
    """The ids of the causes that are a kind of ``cause``."""
    return [other.id for other in causes().values() if other.parent == cause.id]


def default_words(entry: Default) -> str:
    """A default and the kernels that have it, in words."""
    words = [entry.value if entry.value is not None else "set from memory size"]
    if entry.releases:
        words.append(f"(releases with {', '.join(entry.releases)} in their name)")
    return " ".join([*words, *_kernels(entry.since, entry.until)])


def check_words(check: Check) -> str:
    """An expectation in words, with its severity."""
    return " ".join([f"{check} ({check.severity.label})", *_kernels(check.since, check.until)])


def _kernels(since: tuple[int, int] | None, until: tuple[int, int] | None) -> Iterable[str]:
    if since is not None:
        yield f"from {since[0]}.{since[1]} on"
    if until is not None:
        yield f"before {until[0]}.{until[1]}"


def scope(setting: Setting) -> str:
    """Since which kernel each network namespace has its own value, in words."""
    if setting.always_netns:
        return "always"
    if setting.netns is None:
        return "never: one value for the whole machine"
    if setting.netns.before is None:
        return f"from {setting.netns} on"
    return str(setting.netns)
