"""The settings we recommend for a host and a profile. Nothing is applied here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rstaudit.catalogue.checks import Verdict, applicable, judge
from rstaudit.model.facts import Kernel
from rstaudit.model.setting import Expectation, Profile, Setting


class Recommendation(NamedTuple):
    """One key: its running value, the value to write (may be the same), and one sentence why."""

    key: str
    current: str
    value: str
    why: str


def recommend(
    kernel: Kernel,
    running: Mapping[str, str],
    profile: Profile,
    settings: Mapping[str, Setting],
    *,
    initial: bool | None,
) -> list[Recommendation]:
    """What to write on a host with the ``running`` sysctls, by key.

    Written down, these values satisfy every check of ``profile`` that the host has the key for,
    now and after a reboot. Left out: keys the host does not have, keys that are global when
    ``initial`` is False (another network namespace), and keys where the kernel's own default is
    what the profile wants and the host has it. A value that somebody chose and that satisfies the
    profile is kept: listed as it is when the kernel would not give what is wanted by itself.
    """
    found = []
    for key, expectation in sorted(profile.expectations.items()):
        if key not in running or not applicable(expectation, kernel):
            continue
        setting = settings.get(key)
        if initial is False and setting is not None and setting.per_netns(kernel) is False:
            continue
        try:
            verdict = judge(key, expectation, kernel, running, settings)
        except ValueError:  # not numbers: nobody knows what it means, so leave it alone
            continue
        current = " ".join(running[key].split())
        value = _value(current, expectation, verdict)
        if value is not None:
            why = expectation.why or (setting.title if setting is not None else "Profile")
            found.append(Recommendation(key, current, value, why))
    return found


def _value(current: str, expectation: Expectation, verdict: Verdict) -> str | None:
    """The value to list, or None to leave the key out."""
    if verdict.failed:
        return verdict.target
    preferred, default = expectation.recommend, verdict.default
    if preferred is None or preferred == default:
        return None
    # The profile wants something else than the kernel gives: a value of the kernel's gives way,
    # a value that somebody chose stays, and is listed so that the file stays complete.
    return preferred if current == default else current


def changes(found: Iterable[Recommendation]) -> list[Recommendation]:
    """Those whose value is not the running one."""
    return [entry for entry in found if entry.value != entry.current]


def as_sysctl(found: Iterable[Recommendation], profile: Profile, kernel: Kernel) -> str:
    """Lines for ``sysctl -p -`` or a file of /etc/sysctl.d."""
    lines = [f"# rstaudit tune: profile {profile.name}, kernel {kernel.release}"]
    for entry in found:
        lines += ["", f"# {entry.why}", f"{entry.key} = {entry.value}"]
    if len(lines) == 1:
        lines.append("# Nothing to set: the kernel's own values are what this profile wants.")
    return "\n".join(lines) + "\n"


def as_json(found: Iterable[Recommendation], profile: Profile, kernel: Kernel) -> str:
    """The recommendations as ``rstaudit/tune/1``."""
    import json

    document = {
        "schema": "rstaudit/tune/1",
        "kernel": kernel.release,
        "profile": profile.name,
        "settings": [entry._asdict() for entry in found],
    }
    return json.dumps(document, indent=2) + "\n"


def as_diff(found: Iterable[Recommendation], profile: Profile, kernel: Kernel) -> str:
    """Running values against recommended ones; only those that differ."""
    lines = [f"--- running, kernel {kernel.release}", f"+++ profile {profile.name}"]
    for entry in changes(found):
        lines += [f"-{entry.key} = {entry.current}", f"+{entry.key} = {entry.value}"]
    return "\n".join(lines) + "\n"
