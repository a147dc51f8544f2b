"""6xx: keys that are gone or never were, values out of range, advice that does not work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rstaudit.model.facts import Kernel
from rstaudit.model.persisted import Assignment, Persisted
from rstaudit.model.rule import Confidence, Evidence, Finding, Severity
from rstaudit.model.setting import Setting
from rstaudit.rules.context import Context, Family
from rstaudit.rules.persisted_values import (
    all_read,
    assigns,
    complete,
    judged,
    lines_of,
    numbers_of,
    persisted_of,
    says,
    unread,
    write,
)

RULES = Family()

TW_RECYCLE = "net.ipv4.tcp_tw_recycle"
_IPVS_TIMEOUT = "net.ipv4.vs.timeout_"


@RULES.rule(
    "RST603",
    "removed-key",
    "A setting that the kernel dropped is still in use or in a file",
    Severity.INFO,
)
def removed_key(ctx: Context) -> Iterator[Finding]:
    """Say which lines set keys that later kernels removed.

    The one that matters is tcp_tw_recycle: where the kernel still has it (before 4.12, RHEL 7),
    it drops SYNs of clients that share an address behind NAT, without an answer. That is an
    error. On a kernel without the key the line does nothing but fail, and hides that the
    problem it was meant for is not solved: information.

    Confirm: `sysctl KEY` says that there is no such file.

    Leave alone: a file shared with hosts whose kernel has the key, if the value is harmless.

    References: kernel commit 4396e46187ca (removal of tcp_tw_recycle in 4.12); kernel commit
    95a22caee396 (timestamp offset per connection); Vincent Bernat: Coping with the TCP
    TIME-WAIT state on busy Linux servers
    """
    persisted = persisted_of(ctx)
    yield from _recycling(ctx, persisted)
    for line in lines_of(persisted):
        setting = ctx.settings.get(line.key)
        if setting is None or setting.removed is None or ctx.has(line.key):
            continue
        if setting.exists(ctx.host.kernel) is not False:
            continue
        evidence: Evidence = {
            "key": line.key, "value": line.value, "file": str(line.origin),
            "removed": str(setting.removed), "kernel": ctx.host.kernel.label,
        }  # fmt: skip
        message = (
            f"{assigns(line)}, removed in kernel {setting.removed}; "
            f"{ctx.host.kernel.label} runs here"
        )
        yield Finding(message, line.key, f"remove {line.origin}", evidence)
    complete(persisted)
    all_read(ctx, [TW_RECYCLE])


def _recycling(ctx: Context, persisted: Persisted) -> Iterator[Finding]:
    """tcp_tw_recycle switched on where the kernel has it, now or at the next boot."""
    kernel = ctx.host.kernel
    setting = ctx.settings.get(TW_RECYCLE)
    if not ctx.has(TW_RECYCLE) and (setting is None or setting.exists(kernel) is not True):
        return
    running = numbers_of(ctx.host.sysctls.get(TW_RECYCLE, ""))
    line = persisted.boot_values.get(TW_RECYCLE)
    if not any(running) and not any(numbers_of(line.value if line else "")):
        return
    evidence: Evidence = {
        "key": TW_RECYCLE, "running": running[0] if running else None,
        "file": says(line) if line else None, "kernel": kernel.label,
    }  # fmt: skip
    where = says(line) if line else "it is on now"
    message = f"{TW_RECYCLE} makes kernel {kernel.label} drop SYNs of clients behind NAT; {where}"
    yield Finding(message, TW_RECYCLE, write(TW_RECYCLE, "0"), evidence, severity=Severity.ERROR)


@RULES.rule(
    "RST604",
    "unknown-key",
    "A file sets a key that this kernel does not have",
    Severity.INFO,
)
def unknown_key(ctx: Context) -> Iterator[Finding]:
    """Say which lines name keys that are misspelt, too new for this kernel, or made up.

    Both readers pass over such a line with a message that nobody reads, so a misspelt setting
    looks as if it were applied. The nearest key that exists is named. Keys of single interfaces
    and of modules that are not loaded are not judged: they may yet appear. Lines with a `-` in
    front say themselves that the key may be missing.

    Confirm: `sysctl KEY` says that there is no such file.

    Leave alone: a file shared with hosts whose kernel is newer.

    References: sysctl.d(5); sysctl(8); net/netfilter/ipvs/ip_vs_ctl.c (the timeouts of IPVS
    were never keys)
    """
    persisted = persisted_of(ctx)
    folders = {key.rpartition(".")[0] for key in ctx.host.sysctls}
    unsure: set[str] = set()
    for line in lines_of(persisted):
        if line.optional or ctx.has(line.key):
            continue
        setting = ctx.settings.get(line.key)
        if setting is not None:
            if setting.removed is None and setting.exists(ctx.host.kernel) is False:
                yield _not_here(line, setting, ctx.host.kernel)
        elif not judged(ctx, line.key):
            continue
        elif unread(ctx, line.key) is not None:
            unsure.add(line.key)  # a recorded tree may hold only some of the keys there were
        elif line.key.rpartition(".")[0] in folders and not _unreadable(ctx, line.key):
            yield _misspelt(ctx, line)
    complete(persisted)
    all_read(ctx, unsure)


def _unreadable(ctx: Context, key: str) -> bool:
    """Whether the key is there and cannot be read: only `absent` says otherwise."""
    gap = ctx.host.gaps.get(f"sysctl:{key}")
    return gap is not None and gap.reason != "absent"


def _not_here(line: Assignment, setting: Setting, kernel: Kernel) -> Finding:
    since = str(setting.added) if setting.mainline and setting.added else None
    evidence: Evidence = {
        "key": line.key, "value": line.value, "file": str(line.origin), "added": since,
        "kernel": kernel.label,
    }  # fmt: skip
    why = f"which came with kernel {since}" if since else "which no mainline kernel has"
    message = f"{assigns(line)}, {why}; {kernel.label} runs here"
    return Finding(message, line.key, f"remove {line.origin}", evidence)


def _misspelt(ctx: Context, line: Assignment) -> Finding:
    nearest = _nearest(line.key, {*ctx.host.sysctls, *ctx.settings})
    evidence: Evidence = {
        "key": line.key, "value": line.value, "file": str(line.origin), "nearest": nearest,
    }  # fmt: skip
    message = f"{assigns(line)}, which this kernel does not have"
    fix = f"remove {line.origin}"
    if nearest:
        message += f"; did you mean {nearest}"
        fix = f"write {nearest} in {line.origin}, or remove the line"
    return Finding(message, line.key, fix, evidence, Confidence.LIKELY)


def _nearest(key: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches  # rare: only where a key is unknown

    close = get_close_matches(key, sorted(known), n=1, cutoff=0.85)
    return close[0] if close else None


@RULES.rule(
    "RST605",
    "value-out-of-range",
    "A value is outside the range that makes sense",
    Severity.WARNING,
)
def value_out_of_range(ctx: Context) -> Iterator[Finding]:
    """Say which values the kernel takes although they mean nothing good, or refuses.

    Many keys have no limits in the kernel: tcp_fin_timeout takes -1, tcp_max_tw_buckets takes
    0, tcp_keepalive_time takes 0. What happens then is nobody's intention.

    Confirm: `sysctl KEY`.

    Leave alone: nothing; no such value does what anybody wants.

    References: net/ipv4/sysctl_net_ipv4.c; measured on 6.18: tcp_fin_timeout -1,
    tcp_max_tw_buckets 0, tcp_timestamps 3, tcp_syncookies 3, tcp_keepalive_time 0 are accepted
    """
    persisted = persisted_of(ctx)
    for key, setting in sorted(ctx.settings.items()):
        if setting.valid is None or not key.startswith("net."):
            continue
        line = persisted.boot_values.get(key)
        for value, place in (
            (ctx.host.sysctls.get(key, ""), "now"),
            (line.value if line else "", f"at boot, from {line.origin}" if line else ""),
        ):
            low, high = setting.valid
            if any(not low <= number <= high for number in numbers_of(value)):
                yield _outside(ctx.host.kernel, setting, " ".join(value.split()), place)
                break
    complete(persisted)
    ranged = [key for key, entry in ctx.settings.items() if entry.valid and key.startswith("net.")]
    all_read(ctx, ranged)
    for key in filter(ctx.has, ranged):
        ctx.host.integers(key)  # raises where the value is no number


def _outside(kernel: Kernel, setting: Setting, value: str, place: str) -> Finding:
    low, high = setting.valid or (0, 0)
    evidence: Evidence = {
        "key": setting.key, "value": value, "where": place, "lowest": low, "highest": high,
    }  # fmt: skip
    message = f"{setting.key} is {value} {place}; values from {low} to {high} make sense"
    default = setting.default(kernel)
    fix = write(setting.key, default) if default else f"set {setting.key} between {low} and {high}"
    return Finding(message, setting.key, fix, evidence)


class Belief(NamedTuple):
    """Advice often copied: the values that show it (``low``..``high``) and what they really do."""

    key: str
    low: int
    high: int
    believed: str
    really: str
    severity: Severity


_BELIEFS = (
    Belief(
        "net.ipv4.tcp_fin_timeout", 0, 24, "to shorten TIME_WAIT",
        "TIME_WAIT stays at 60 s; orphaned FIN_WAIT2 connections end sooner, and data that the "
        "peer still sends is answered with a reset", Severity.WARNING,
    ),
    Belief(
        "net.ipv4.tcp_fin_timeout", 25, 59, "to shorten TIME_WAIT",
        "TIME_WAIT stays at 60 s; only orphaned FIN_WAIT2 connections end sooner", Severity.INFO,
    ),
    Belief(
        "net.ipv4.tcp_max_tw_buckets", -(2**31), 32767, "to have fewer sockets in TIME_WAIT",
        "above the limit a connection is forgotten at once, and what the peer still sends is "
        "answered with a reset", Severity.WARNING,
    ),
    Belief(
        "net.ipv4.tcp_timestamps", 0, 0, "to hide the uptime or to save CPU time",
        "the timestamps of each connection have a random offset since kernel 4.10; without them "
        "old segments are not told from new ones and tcp_tw_reuse does nothing",
        Severity.WARNING,
    ),
    Belief(
        "net.netfilter.nf_conntrack_tcp_timeout_time_wait", 0, 59, "to shorten TIME_WAIT",
        "it is how long conntrack keeps the entry, not the socket; late segments of the "
        "connection then count as invalid", Severity.INFO,
    ),
)  # fmt: skip


@RULES.rule(
    "RST606",
    "advice-that-does-not-work",
    "A file follows advice that does not do what is believed",
    Severity.WARNING,
)
def advice_that_does_not_work(ctx: Context) -> Iterator[Finding]:
    """Say what a line copied from a tuning guide really does.

    The length of TIME_WAIT is fixed in the kernel, 60 seconds in every mainline version; no
    setting changes it. Lines meant to change it, to hide the uptime or to set timeouts of IPVS
    do something else, and some of it makes resets. Only lines in files are judged, for they
    carry an intention; the rules about single values judge what is running.
    tcp_tw_recycle has its own rule, RST603.

    Confirm: `ss -tan state time-wait -o` shows the timer counting down from 60 s whatever
    tcp_fin_timeout holds.

    Leave alone: a value chosen for what it really does.

    References: include/net/tcp.h TCP_TIMEWAIT_LEN; net/ipv4/tcp_minisocks.c;
    Documentation/networking/ip-sysctl.rst; measured on 6.18: TIME_WAIT lasts 61.6 s with
    tcp_fin_timeout 1, 60 and 180; tcp_max_tw_buckets 5 and 20 closes give 15 overflows, then
    resets
    """
    persisted = persisted_of(ctx)
    for line in lines_of(persisted):
        if line.key.startswith(_IPVS_TIMEOUT):
            yield _ipvs(line)
        elif persisted.boot_values.get(line.key) == line:
            yield from _believed(ctx, line)
    complete(persisted)


def _believed(ctx: Context, line: Assignment) -> Iterator[Finding]:
    numbers = numbers_of(line.value)
    for belief in _BELIEFS:
        if belief.key != line.key or not numbers or not belief.low <= numbers[0] <= belief.high:
            continue
        if belief.key.endswith("tcp_timestamps") and ctx.host.kernel.version < (4, 10, 0):
            continue
        evidence: Evidence = {
            "key": line.key, "value": line.value, "file": str(line.origin),
            "believed": belief.believed, "really": belief.really,
        }  # fmt: skip
        message = f"{assigns(line)}, often done {belief.believed}: {belief.really}"
        setting = ctx.settings.get(line.key)
        default = setting.default(ctx.host.kernel) if setting else None
        fix = write(line.key, default) if default else f"remove {line.origin}"
        yield Finding(message, line.key, fix, evidence, severity=belief.severity)


def _ipvs(line: Assignment) -> Finding:
    evidence: Evidence = {"key": line.key, "value": line.value, "file": str(line.origin)}
    message = f"{assigns(line)}; the timeouts of IPVS were never keys of any kernel"
    fix = "ipvsadm --set TCP TCPFIN UDP sets the timeouts of IPVS, in seconds"
    return Finding(message, line.key, fix, evidence)
