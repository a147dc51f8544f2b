"""A network namespace held against the host that it is on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rstaudit.catalogue.checks import Verdict, applicable, judge
from rstaudit.model.facts import NOTHING_TO_JUDGE, Gap, MissingFact
from rstaudit.model.names import HOST_SYSCTLS
from rstaudit.model.rule import Finding, Severity
from rstaudit.rules.context import Context, Family, NotApplicable

RULES = Family()

_FIX = (
    "Set it where the namespace is made (the container's or pod's sysctls, the unit, the script "
    "that adds it): each namespace keeps its own value, whatever the host's is."
)


@RULES.rule(
    "RST610",
    "namespace-not-tuned",
    "The host has a setting that the profile wants, and this network namespace does not",
    Severity.INFO,
)
def namespace_not_tuned(ctx: Context) -> Iterator[Finding]:
    """A new network namespace starts with the kernel's defaults, whatever the host is set to.

    Of the TCP settings only tcp_rmem, tcp_wmem and the congestion control are copied from the
    initial namespace. So a host can be tuned with care while every container on it runs with the
    defaults, and an audit of the host finds nothing. This rule names each setting where that is
    so: the host's value satisfies the profile, the value here does not. What the value itself
    costs is said by the rule that judges it, which fires beside this one.

    Confirm: rstaudit --all-netns --only RST610; by hand sysctl KEY on the host, and the same
        inside: ip netns exec NAME sysctl KEY, or nsenter -t PID -n sysctl KEY.
    Leave alone: when the program in the namespace does another job than the host; audit it with
        a profile of its own then (--netns NAME --profile ...).
    References: net/ipv4/tcp_ipv4.c tcp_sk_init(); Documentation/networking/ip-sysctl.rst;
        measured on 6.18: a new namespace has tcp_keepalive_time 7200 whatever the host has
    """
    there = _host_values(ctx)
    unread: list[Gap] = []
    compared = 0
    for key in sorted(ctx.profile.expectations.keys() & there.keys()):
        if not _own(ctx, key):
            continue
        gap = ctx.host.gaps.get(f"sysctl:{key}")
        if gap is not None:
            unread += [gap] if gap.reason not in NOTHING_TO_JUDGE else []
        elif ctx.has(key):
            compared += 1
            try:
                yield from _compare(ctx, key, there)
            except MissingFact as missing:
                unread.append(missing.gap)
    if unread:
        raise MissingFact(unread[0])
    if not compared:
        raise NotApplicable(f"profile {ctx.profile.name} judges no setting that both have")


def _host_values(ctx: Context) -> Mapping[str, str]:
    """Running values of the initial namespace; raises where there is nothing to compare."""
    if ctx.host.initial:
        raise NotApplicable("this is the initial network namespace")
    name = HOST_SYSCTLS.name
    if name not in ctx.host.facts and name not in ctx.host.gaps:
        raise NotApplicable("compared with the host only by --all-netns and --netns")
    return ctx.host.need(HOST_SYSCTLS)


def _own(ctx: Context, key: str) -> bool:
    """Whether the profile judges ``key`` on this kernel, and each namespace has its own value."""
    kernel, setting = ctx.host.kernel, ctx.settings.get(key)
    if setting is not None and setting.per_netns(kernel) is False:
        return False
    return bool(applicable(ctx.profile.expectations[key], kernel))


def _compare(ctx: Context, key: str, there: Mapping[str, str]) -> Iterator[Finding]:
    ours, theirs = _verdict(ctx, key, ctx.host.sysctls), _verdict(ctx, key, there)
    here, host = (" ".join(values[key].split()) for values in (ctx.host.sysctls, there))
    if not ours.failed or theirs.failed or here == host:
        return
    wanted = str(ours.wanted)
    yield Finding(
        f"{key} is {here} here and {host} on the host; profile {ctx.profile.name} wants {wanted}",
        key,
        _FIX,
        {"setting": key, "here": here, "host": host, "wanted": wanted},
    )


def _verdict(ctx: Context, key: str, running: Mapping[str, str]) -> Verdict:
    """What the profile says of a value; raises MissingFact where it is no numbers."""
    try:
        expectation = ctx.profile.expectations[key]
        return judge(key, expectation, ctx.host.kernel, running, ctx.settings)
    except ValueError:
        detail = f"{key} holds {running[key]!r}, not numbers"
        raise MissingFact(Gap(f"sysctl:{key}", "malformed", detail)) from None
