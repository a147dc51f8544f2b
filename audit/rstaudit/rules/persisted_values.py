"""What the rules about persisted sysctls share: whether values are equal, which keys count."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rstaudit.model.facts import NOTHING_TO_JUDGE, Gap, MissingFact
from rstaudit.model.names import PERSISTED
from rstaudit.model.persisted import MODULES_GAP, Assignment, Persisted
from rstaudit.model.setting import Setting
from rstaudit.parse.errors import ParseError
from rstaudit.parse.portlist import parse_ports
from rstaudit.rules.context import Context, NotApplicable

#: How the keys of modules begin.
_OF_MODULES = ("net.netfilter.nf_conntrack_", "net.nf_conntrack_", "net.ipv4.vs.")

_INTERFACE = re.compile(r"net\.(ipv4|ipv6)\.(conf|neigh)\.")


def persisted_of(ctx: Context) -> Persisted:
    """What is persisted here; raises NotApplicable in a namespace that boot does not set."""
    if ctx.host.initial is False:
        raise NotApplicable("files below /etc set the initial network namespace, not this one")
    return ctx.host.need(PERSISTED)


def complete(persisted: Persisted, *, modules: bool = False) -> None:
    """Raise MissingFact where a file could not be read: silence would not be a pass.

    When modules are loaded is needed only where a rule asks for ``modules``.
    """
    for gap in persisted.gaps:
        if modules or gap.fact != MODULES_GAP:
            raise MissingFact(gap)


def unread(ctx: Context, key: str) -> Gap | None:
    """Why nobody knows the running value of ``key``; None where it is known or does not exist.

    A recorded tree without any key of a module is one of a host that has not loaded it.
    """
    if ctx.has(key):
        return None
    name, setting = f"sysctl:{key}", ctx.settings.get(key)
    recorded = ctx.host.source != "live"
    if recorded and setting is not None and not _possible(ctx, setting):
        return None
    gap = ctx.host.gaps.get(name)
    if gap is None and recorded:
        gap = Gap(name, "not-recorded", f"{key} was not read")
    return None if gap is None or gap.reason in NOTHING_TO_JUDGE else gap


def _possible(ctx: Context, setting: Setting) -> bool:
    module = next((start for start in _OF_MODULES if setting.key.startswith(start)), None)
    if module is not None and not any(key.startswith(module) for key in ctx.host.sysctls):
        return False
    return setting.exists(ctx.host.kernel) is not False


def all_read(ctx: Context, keys: Iterable[str]) -> None:
    """Raise MissingFact for the first of ``keys`` whose running value nobody knows."""
    for key in sorted(keys):
        if (gap := unread(ctx, key)) is not None:
            raise MissingFact(gap)


def lines_of(persisted: Persisted) -> list[Assignment]:
    """Every line outside packages that names a key itself, once each, whoever reads it.

    systemd-sysctl writes a key once, so lines that lost stand only in what procps writes.
    """
    every = (*persisted.others, *persisted.boot.order, *persisted.system.order)
    found = {(line.origin, line.key): line for line in every if not line.globbed}
    return [line for line in found.values() if line.manager != "package"]


def judged(ctx: Context, key: str) -> bool:
    """Whether ``key`` bears on what this tool is for.

    Keys of single interfaces do not: who makes an interface (a container engine, a VPN, the
    network manager) sets them after boot, and distributions disagree about them on purpose.
    """
    return key in ctx.settings or (key.startswith("net.") and not _INTERFACE.match(key))


def same(key: str, one: str, other: str) -> bool:
    """Whether two values of ``key`` mean the same to the kernel."""
    if key.endswith("reserved_ports"):
        try:
            return parse_ports(one) == parse_ports(other)
        except ParseError:
            return one.split() == other.split()
    numbers = numbers_of(one), numbers_of(other)
    if not numbers[0] or not numbers[1]:
        return one.split() == other.split()
    return all(a == b for a, b in zip(*numbers, strict=False))


def numbers_of(value: str) -> tuple[int, ...]:
    """The leading numbers of a value in the kernel's bases: decimal, 0x hexadecimal, 0 octal."""
    found = []
    for word in value.split():
        try:
            octal = len(word.lstrip("-")) > 1 and word.lstrip("-")[0] == "0" and word.isdecimal()
            found.append(int(word, 8 if octal else 0))
        except ValueError:
            break
    return tuple(found)


def write(key: str, value: str) -> str:
    """The command that sets ``key``, to paste."""
    words = " ".join(value.split())
    plain = re.fullmatch(r"[\w.,:+-]+", words)
    quoted = words.replace("'", "'\\''")
    return f"sysctl -w {key}={words}" if plain else f"sysctl -w {key}='{quoted}'"


def says(line: Assignment) -> str:
    """``/etc/sysctl.d/90-x.conf:3 (tuned) sets 5``."""
    who = f" ({line.manager})" if line.manager else ""
    return f"{line.origin}{who} sets {line.value or 'nothing'}"


def assigns(line: Assignment) -> str:
    """``/etc/sysctl.d/90-x.conf:3 (tuned) sets net.core.somaxconn to 5``."""
    who = f" ({line.manager})" if line.manager else ""
    return f"{line.origin}{who} sets {line.key} to {line.value or 'nothing'}"


def by_hand(line: Assignment) -> bool:
    """Whether an administrator named the key in a file of his own."""
    return line.manager is None and not line.globbed
