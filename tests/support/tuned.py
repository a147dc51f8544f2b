"""Hosts as the catalogue describes them, and what the value rules say of them."""

from __future__ import annotations

from collections.abc import Mapping

from rstaudit.catalogue.load import profiles, settings
from rstaudit.catalogue.tune import recommend
from rstaudit.model.rule import Outcome, Result
from rstaudit.model.setting import Profile
from rstaudit.rules.engine import run
from rstaudit.rules.values import value_rules
from support.hosts import check_numbers, make_context, make_host, make_kernel

#: The oldest kernel we know, two of RHEL, Debian's, and the one that things were measured on.
KERNELS = (
    "3.10.0-1160.el7.x86_64",
    "4.18.0-553.el8.x86_64",
    "5.14.0-503.el9.x86_64",
    "6.1.0-32-amd64",
    "6.18.44",
)


def untouched(release: str, buckets: int = 262144) -> dict[str, str]:
    """The sysctls of an unmodified host whose connection table has ``buckets``."""
    kernel = make_kernel(release)
    memory = {"net.ipv4.tcp_max_tw_buckets": str(buckets // 2),
              "net.ipv4.tcp_max_orphans": str(buckets // 2),
              "net.ipv4.tcp_ehash_entries": str(buckets)}  # fmt: skip
    found = {}
    for key, setting in settings().items():
        value = setting.default(kernel) or memory.get(key)
        if value is not None and setting.exists(kernel):
            found[key] = value
    return found


def judged(
    release: str, running: Mapping[str, str], profile: Profile | str, initial: bool | None = True
) -> list[Result]:
    """The results of all value rules; every number of a message stands in its evidence."""
    host = make_host(sysctls=running, kernel=release, initial=initial)
    context = make_context(host, profile=profile)
    results = [run(rule, context) for rule in value_rules()]
    for result in results:
        assert result.outcome is not Outcome.ERROR, result.reason
        for finding in result.findings:
            check_numbers(finding)
    return results


def failed(results: list[Result]) -> list[str]:
    """What fired, as text that a failing assertion can show."""
    return [f"{r.rule} {f.message}" for r in results for f in r.findings]


def tuned(release: str, running: Mapping[str, str], profile: Profile | str) -> dict[str, str]:
    """``running`` after everything that `recommend` says was written."""
    chosen = profiles()[profile] if isinstance(profile, str) else profile
    found = recommend(make_kernel(release), running, chosen, settings(), initial=True)
    return {**running, **{entry.key: entry.value for entry in found}}
