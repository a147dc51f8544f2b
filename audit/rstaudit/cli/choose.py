"""What the arguments name: a profile, rules, a host or its recorded tree."""

from __future__ import annotations

import os

from rstaudit.cli.errors import UsageError, suggest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rstaudit.model.facts import HostState
    from rstaudit.model.setting import Profile
    from rstaudit.rules.context import Rule


def profile(name: str) -> Profile:
    """A profile of ours by name, or the user's by file name; raises `UsageError`."""
    from rstaudit.catalogue.load import profiles

    known = profiles()
    if name in known:
        return known[name]
    if not (os.sep in name or name.endswith((".yaml", ".yml")) or os.path.isfile(name)):
        near = suggest(name, known) or f"; use {', '.join(known)} or a YAML file"
        raise UsageError(f"unknown profile {name!r}{near}")
    from rstaudit.catalogue.user_profile import ProfileError, load_profile

    try:
        return load_profile(name)
    except ProfileError as error:
        raise UsageError(str(error)) from None


def rules(every: tuple[Rule, ...], only: list[str], skip: list[str]) -> tuple[Rule, ...]:
    """The rules to run, in their order; ``only`` and ``skip`` hold comma lists."""
    wanted, unwanted = _ids(every, only), _ids(every, skip)
    chosen = tuple(
        rule for rule in every if (not only or rule.id in wanted) and rule.id not in unwanted
    )
    if not chosen:
        raise UsageError("--only and --skip leave no rule; see rstaudit rules")
    return chosen


def _ids(every: tuple[Rule, ...], lists: list[str]) -> set[str]:
    return {rule_id(every, word) for text in lists for word in text.split(",")}


def rule_id(every: Iterable[Rule], word: str) -> str:
    """The id of the rule with this id or slug, in any case; raises `UsageError`."""
    names = {name: rule.id for rule in every for name in (rule.id, rule.slug)}
    found = {name.casefold(): rule for name, rule in names.items()}.get(word.strip().casefold())
    if found is None:
        near = suggest(word, names) or "; see rstaudit rules"
        raise UsageError(f"unknown rule {word!r}{near}")
    return found


def check_root(root: str) -> None:
    """Raise `UsageError` when ``root`` is no recorded tree that can be read."""
    if os.path.abspath(root) == "/":
        return
    try:
        recorded = "proc" in os.listdir(root) and os.listdir(os.path.join(root, "proc"))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"--root {root}: {why}; give a directory you can read") from None
    if not recorded:
        raise UsageError(f"--root {root}: nothing below proc/; give the top of a recorded tree")


def host(root: str) -> HostState:
    """The host as it is now, counters sampled once; raises `UsageError`."""
    from rstaudit.collect.host import Options, Stopped, collect
    from rstaudit.model.facts import MissingFact

    check_root(root)
    try:
        return collect(Options(root, interval=0.0))
    except Stopped:
        raise KeyboardInterrupt from None
    except MissingFact as missing:
        raise UsageError(f"{root}: {missing.gap.detail}") from None
