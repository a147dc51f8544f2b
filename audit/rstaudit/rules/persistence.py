"""6xx: what boot does to the settings, and who else sets them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rstaudit.model.persisted import Assignment, Persisted
from rstaudit.model.rule import Confidence, Evidence, Finding, Severity
from rstaudit.rules.context import Context, Family
from rstaudit.rules.persisted_values import (
    all_read,
    assigns,
    by_hand,
    complete,
    judged,
    lines_of,
    persisted_of,
    same,
    says,
    write,
)

RULES = Family()


@RULES.rule(
    "RST601",
    "running-differs-from-boot",
    "A running value is not what boot would set",
    Severity.WARNING,
)
def running_differs_from_boot(ctx: Context) -> Iterator[Finding]:
    """Say which running values a reboot would change, and which file and line would do it.

    A value set by hand and never written to a file works until the next reboot; a file edited
    and never applied does nothing until then. Either way the host changes its behaviour at a
    moment nobody chose. The value after boot is worked out as the boot itself does it: kernel
    command line, then the reader of sysctl.d, then ufw and tuned where they are enabled.

    A value that is not the kernel's default and that no file sets is reported as information: a
    program may set it after boot.

    Confirm: compare `sysctl KEY` with the file and line that the finding names.

    Leave alone: a value that an agent sets on purpose after each boot.

    References: sysctl.d(5); sysctl(8); systemd 252 src/sysctl/sysctl.c and procps 4.0.2
    src/sysctl.c, our reading compared with both on 700 made trees
    """
    persisted = persisted_of(ctx)
    running = ctx.host.sysctls
    for key, line in sorted(persisted.boot_values.items()):
        if key in persisted.tuners or key not in running or not judged(ctx, key):
            continue
        if not same(key, running[key], line.value):
            yield _drift(key, " ".join(running[key].split()), line)
    if not persisted.gaps:
        yield from _unpersisted(ctx, persisted)
    complete(persisted)
    compared = {key for key in persisted.boot_values if judged(ctx, key)}
    compared.update(key for key in ctx.settings if _has_default(ctx, key))
    all_read(ctx, compared - persisted.tuners.keys())


def _has_default(ctx: Context, key: str) -> bool:
    return key.startswith("net.") and ctx.settings[key].default(ctx.host.kernel) is not None


def _drift(key: str, running: str, line: Assignment) -> Finding:
    evidence: Evidence = {
        "key": key, "running": running, "persisted": line.value, "file": str(line.origin),
    }  # fmt: skip
    message = f"{key} is {running or 'empty'}, but at boot {says(line)}"
    severity = Severity.INFO if line.manager == "package" else None
    return Finding(message, key, write(key, line.value), evidence, severity=severity)


def _unpersisted(ctx: Context, persisted: Persisted) -> Iterator[Finding]:
    """Values that are not the default and that nothing on disk sets."""
    set_somewhere = {*persisted.boot_values, *persisted.tuners}
    set_somewhere.update(line.key for line, _ in persisted.lost)
    for key, setting in sorted(ctx.settings.items()):
        have = " ".join(ctx.host.sysctls.get(key, "").split())
        if not have or not key.startswith("net.") or key in set_somewhere:
            continue
        default = setting.default(ctx.host.kernel)
        if default is not None and not same(key, have, default):
            evidence: Evidence = {"key": key, "running": have, "default": default}
            message = f"{key} is {have}, the kernel's default is {default}, and no file sets it"
            fix = f"to keep it, write `{key} = {have}` into a file of /etc/sysctl.d"
            yield Finding(message, key, fix, evidence, Confidence.POSSIBLE, Severity.INFO)


@RULES.rule(
    "RST602",
    "files-disagree",
    "Files disagree about a setting",
    Severity.WARNING,
)
def files_disagree(ctx: Context) -> Iterator[Finding]:
    """Say which of the administrator's files contradict each other, and which one wins.

    Both readers sort files by name, whatever their directory, and the last line counts. But
    they are not the same: `sysctl --system` reads /etc/sysctl.conf after everything else,
    systemd-sysctl reads it only through a link, mostly 99-sysctl.conf, at that name's place. So
    the value after a reboot can differ from the one after `sysctl --system`. A file of a
    package that a file in /etc overrides is how it is meant to be, and is not reported.

    Confirm: `/usr/lib/systemd/systemd-sysctl --cat-config` shows what boot reads, in order.

    Leave alone: a file that overrides another one on purpose, with a comment that says so.

    References: sysctl.d(5); sysctl(8), SYSTEM FILE PRECEDENCE; systemd 252
    src/sysctl/sysctl.c; procps 4.0.2 src/sysctl.c
    """
    persisted = persisted_of(ctx)
    boot, system = persisted.boot.winners, persisted.system.winners
    skipped = {line.key for line in persisted.unread}
    lines = [line for line in lines_of(persisted) if line not in persisted.unread]
    for key in sorted(boot.keys() | system.keys()):
        if not judged(ctx, key):
            continue
        winner, other = boot.get(key), system.get(key)
        if winner and other and key not in skipped and not same(key, winner.value, other.value):
            yield _readers_differ(persisted, winner, other)
        elif winner and (losers := _contradicted(lines, winner)):
            yield _contradiction(persisted, winner, losers)
    complete(persisted)


def _contradicted(lines: Iterable[Assignment], winner: Assignment) -> list[Assignment]:
    """Hand-written lines of other files that set the key to something else."""
    return [
        line for line in lines
        if line.key == winner.key and by_hand(line) and line.origin.path != winner.origin.path
        and not same(line.key, line.value, winner.value)
    ] if by_hand(winner) else []  # fmt: skip


def _readers_differ(persisted: Persisted, boot: Assignment, system: Assignment) -> Finding:
    key = boot.key
    evidence: Evidence = {
        "key": key, "at_boot": boot.value, "at_boot_from": str(boot.origin),
        "by_hand": system.value, "by_hand_from": str(system.origin),
    }  # fmt: skip
    message = (
        f"{key}: at boot {persisted.boot.name} ends with {boot.value} from {boot.origin}, "
        f"{persisted.system.name} with {system.value} from {system.origin}"
    )
    return Finding(message, key, f"leave {key} in one file only", evidence)


def _contradiction(persisted: Persisted, winner: Assignment, losers: list[Assignment]) -> Finding:
    evidence: Evidence = {
        "key": winner.key, "value": winner.value, "from": str(winner.origin),
        "overridden": [says(line) for line in losers],
    }  # fmt: skip
    message = f"{says(winner)} and wins for {persisted.boot.name}; " + ", ".join(
        map(says, losers)
    )  # fmt: skip
    fix = f"remove {winner.key} from {', '.join(str(line.origin) for line in losers)}"
    return Finding(f"{winner.key}: {message}", winner.key, fix, evidence)


@RULES.rule(
    "RST607",
    "another-manager",
    "Another program sets a key that a sysctl.d file sets too",
    Severity.WARNING,
)
def another_manager(ctx: Context) -> Iterator[Finding]:
    """Say which keys two managers own: a file by hand, and tuned, ufw, cloud-init or bpftune.

    Each of them writes at its own time. ufw applies its file when it starts, after the boot's
    reader. tuned applies its profile later still, and by default then writes /etc/sysctl.d once
    more. cloud-init writes its file again on a new instance, the kernel applies its command
    line before every file, and bpftune moves its keys whenever it sees fit. Which value holds
    then depends on which of them came last.

    Confirm: `tuned-adm active`, `ufw status`, `cloud-init status`, `systemctl status bpftune`.

    Leave alone: equal values; the finding is then only information.

    References: tuned plugin_sysctl.py; ufw-framework(8), IPT_SYSCTL; bpftune
    src/tcp_buffer_tuner.c; Documentation/admin-guide/kernel-parameters.txt, sysctl.*
    """
    persisted = persisted_of(ctx)
    hands = {line.key: line for line in persisted.boot.order if by_hand(line)}
    cloud = [line for line in lines_of(persisted) if line.manager == "cloud-init"]
    for other in (*persisted.others, *cloud):
        if (mine := hands.get(other.key)) is not None and judged(ctx, other.key):
            yield _shared(persisted, mine, other)
    for key, tuner in sorted(persisted.tuners.items()):
        if key in hands:
            yield _tuned_live(hands[key], tuner)
    complete(persisted)


def _shared(persisted: Persisted, mine: Assignment, other: Assignment) -> Finding:
    final = persisted.boot_values.get(mine.key)
    evidence: Evidence = {
        "key": mine.key, "file": says(mine), "other": says(other), "manager": other.manager,
        "after_boot": says(final) if final else None,
    }  # fmt: skip
    message = f"{mine.key}: {says(mine)} and {says(other)}"
    equal = same(mine.key, mine.value, other.value)
    if not equal and final is not None:
        message += f"; after boot it is {final.value}"
        evidence = {**evidence, "value_after_boot": final.value}
    fix = f"leave {mine.key} to one of them: remove it from {mine.origin} or {other.origin}"
    severity = Severity.INFO if equal else Severity.WARNING
    return Finding(message, mine.key, fix, evidence, severity=severity)


def _tuned_live(mine: Assignment, tuner: str) -> Finding:
    evidence: Evidence = {"key": mine.key, "file": says(mine), "manager": tuner}
    message = f"{mine.key}: {says(mine)}, but {tuner} changes it while it runs"
    fix = f"remove it from {mine.origin}, or stop {tuner}"
    return Finding(message, mine.key, fix, evidence, Confidence.LIKELY, Severity.INFO)


@RULES.rule(
    "RST608",
    "lost-at-boot",
    "A line has no effect at boot",
    Severity.WARNING,
)
def lost_at_boot(ctx: Context) -> Iterator[Finding]:
    """Say which lines boot passes over, though they look right.

    A key of a kernel module exists only once the module is loaded. The reader of sysctl.d runs
    very early; nf_conntrack is loaded later, by the first firewall rule that needs it, with its
    default values. So nf_conntrack_max or a timeout set in sysctl.d is silently lost at boot,
    and found again after a `sysctl --system` by hand.

    The other kind is a value the kernel refuses: quotes around it, a comma or a unit in it.

    Confirm: reboot, or read `journalctl -b -u systemd-sysctl`.

    Leave alone: nothing, unless something else applies the files again later.

    References: sysctl.d(5), example 2; modules-load.d(5); kernel/sysctl.c
    __do_proc_dointvec(); measured on 6.18: "1024,65535" and "300s" are refused with EINVAL
    """
    persisted = persisted_of(ctx)
    for line, reason in persisted.lost:
        if line.manager != "package" and not line.globbed and judged(ctx, line.key):
            yield _lost(ctx, line, reason)
    complete(persisted, modules=True)


def _lost(ctx: Context, line: Assignment, reason: str) -> Finding:
    evidence: Evidence = {
        "key": line.key, "value": line.value, "file": str(line.origin), "why": reason,
    }  # fmt: skip
    module = reason.removesuffix(" is loaded").rpartition(" ")[2]
    if reason.endswith("is loaded"):
        fix = f"echo {module} > /etc/modules-load.d/{module}.conf"
        severity = None if ctx.has(line.key) else Severity.INFO
        return Finding(f"{assigns(line)}, {reason}", line.key, fix, evidence,
                       Confidence.LIKELY, severity)  # fmt: skip
    fix = f"write plain numbers after `{line.key} =` in {line.origin}"
    return Finding(f"{line.key}: {line.origin}: {reason}", line.key, fix, evidence)


@RULES.rule(
    "RST609",
    "sysctl-conf-not-read",
    "/etc/sysctl.conf has lines that boot does not read",
    Severity.WARNING,
)
def sysctl_conf_not_read(ctx: Context) -> Iterator[Finding]:
    """Say which lines of /etc/sysctl.conf are there for `sysctl -p` only.

    systemd-sysctl does not know the file. Distributions lead it there by a link,
    /etc/sysctl.d/99-sysctl.conf; where the link is missing, as on Debian 13, which dropped the
    file too, a line that an administrator or a tool puts there works when `sysctl -p` or
    `sysctl --system` is run, and is gone after a reboot.

    Confirm: `/usr/lib/systemd/systemd-sysctl --cat-config | grep KEY` finds nothing.

    Leave alone: a file whose lines all stand in /etc/sysctl.d too; those are not reported.

    References: sysctl.d(5); systemd 252 src/sysctl/sysctl.c; procps 4.0.2 src/sysctl.c
    PreloadSystem()
    """
    persisted = persisted_of(ctx)
    last = {line.key: line for line in persisted.unread}
    for key, line in last.items():
        boot = persisted.boot_values.get(key)
        if boot is not None and same(key, boot.value, line.value):
            continue
        evidence: Evidence = {
            "key": key, "value": line.value, "file": str(line.origin),
            "at_boot": says(boot) if boot else None,
        }  # fmt: skip
        instead = f"; {says(boot)} at boot" if boot else ""
        message = f"{assigns(line)}, which {persisted.boot.name} does not read{instead}"
        fix = "ln -s ../sysctl.conf /etc/sysctl.d/99-sysctl.conf"
        yield Finding(message, key, fix, evidence)
    complete(persisted)
