"""Parsers of /proc files about the host: counters, kernel release, uptime, modules."""

from __future__ import annotations

import math
import re

from rstaudit.model.facts import Kernel
from rstaudit.parse.errors import ParseError

_RELEASE = re.compile(r"(\d{1,4})\.(\d{1,6})(?:\.(\d{1,9}))?(?![0-9])", re.ASCII)
_DIGITS = 20  # no counter of the kernel is wider than 64 bits


def number(word: str, what: str) -> int:
    """A decimal integer as the kernel prints it; raises ParseError naming ``what``.

    Stricter than int(), which takes underscores and digits of other scripts.
    """
    digits = word.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
        raise ParseError(f"{what}: {word[:40]!r} is not a number")
    return int(word)


def parse_counters(text: str) -> dict[str, int]:
    """Counters of /proc/net/snmp or /proc/net/netstat as ``Group.Name`` (net/ipv4/proc.c).

    The file has two lines a group: names, then values in the same order. Raises ParseError.
    """
    lines = text.splitlines()
    if not lines or len(lines) % 2:
        raise ParseError(f"{len(lines)} lines of counters; they come in pairs")
    counters: dict[str, int] = {}
    for index in range(0, len(lines), 2):
        group, names = _group(lines[index])
        same, values = _group(lines[index + 1])
        if group != same or len(names) != len(values):
            raise ParseError(f"line {index + 2}: its values do not match the names above it")
        for name, value in zip(names, values, strict=True):
            counters[f"{group}.{name}"] = number(value, name)
    return counters


def _group(line: str) -> tuple[str, list[str]]:
    name, colon, rest = line.partition(":")
    if not colon or not name.isalnum():
        raise ParseError(f"{line[:40]!r} does not begin with the name of a group")
    return name, rest.split()


def parse_sockstat(text: str, prefix: str) -> dict[str, int]:
    """Gauges of /proc/net/sockstat or sockstat6 as ``prefix.TCP.orphan`` (net/ipv4/proc.c).

    ``TCP.mem`` is in pages, the others are counts. Raises ParseError.
    """
    gauges: dict[str, int] = {}
    for line in text.splitlines():
        group, words = _group(line)
        if len(words) % 2:
            raise ParseError(f"{group}: a name has no value")
        for name, value in zip(words[::2], words[1::2], strict=True):
            gauges[f"{prefix}.{group}.{name}"] = number(value, name)
    if not gauges:
        raise ParseError("no gauges in it")
    return gauges


def parse_kernel(text: str) -> Kernel:
    """A release such as ``3.10.0-1160.el7.x86_64`` (/proc/sys/kernel/osrelease).

    Raises ParseError when it does not begin with two numbers.
    """
    release = text.strip()
    match = _RELEASE.match(release)
    if match is None:
        raise ParseError(f"{release[:60]!r} is not a kernel release")
    major, minor, patch = (int(part or 0) for part in match.groups())
    return Kernel(release, (major, minor, patch))


def parse_uptime(text: str) -> float:
    """Seconds since boot, from /proc/uptime; raises ParseError."""
    words = text.split()
    try:
        seconds = float(words[0])
    except (IndexError, ValueError):
        raise ParseError(f"{text[:40]!r} is not an uptime") from None
    if not math.isfinite(seconds) or seconds < 0:
        raise ParseError(f"{words[0][:40]!r} is not an uptime")
    return seconds


def parse_modules(text: str) -> frozenset[str]:
    """Names of the modules that are loaded, from /proc/modules (kernel/module/procfs.c).

    Modules on their way in or out are left out. Raises ParseError.
    """
    names = set()
    for line in text.splitlines():
        words = line.split()
        if len(words) < 5:
            raise ParseError(f"{line[:40]!r} is not a line of /proc/modules")
        if words[4] == "Live":
            names.add(module_name(words[0]))
    return frozenset(names)


def parse_builtin(text: str) -> frozenset[str]:
    """Names of built-in modules, from /lib/modules/RELEASE/modules.builtin; raises ParseError."""
    names = set()
    for line in text.splitlines():
        path, dot, _ = line.partition(".ko")
        if not dot or not path:
            raise ParseError(f"{line[:40]!r} is not a line of modules.builtin")
        names.add(module_name(path.rpartition("/")[2]))
    return frozenset(names)


def module_name(name: str) -> str:
    """The name as the kernel holds it: dashes and underscores are the same, it prints the latter.

    Source: modprobe(8).
    """
    return name.replace("-", "_")
