"""Expectations: read strictly from plain data, and held against a running value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rstaudit.model.facts import Kernel
from rstaudit.model.rule import Severity
from rstaudit.model.setting import OPS, Change, Check, Expectation, Setting, Version

#: Nobody needs more; it bounds the work that one line of a user's profile can cause.
_MOST_NUMBERS = 16
_LARGEST = 2**64
#: Numbers that an operator takes; the others take any count.
_COUNT = {"covers": 2, "span": 1}


class Verdict(NamedTuple):
    """What a profile says of one running value.

    ``failed`` are the checks that do not hold, worst first; ``default`` the kernel's own value on
    this host, None when it cannot be told; ``target`` the value to write, None when unknown.
    """

    failed: tuple[Check, ...]
    default: str | None
    target: str | None

    @property
    def wanted(self) -> Check:
        """The most demanding check that failed: it comes after its graver, laxer siblings."""
        return self.failed[-1]


def judge(
    key: str,
    expectation: Expectation,
    kernel: Kernel,
    running: Mapping[str, str],
    settings: Mapping[str, Setting],
) -> Verdict:
    """Hold the running value of ``key`` against ``expectation``.

    ``running`` must have ``key``; raises ValueError when its value is not numbers.
    """
    setting = settings.get(key)
    default = setting.default_here(kernel, running) if setting is not None else None
    have = tuple(int(word) for word in running[key].split())
    checks = applicable(expectation, kernel)
    own = _numbers_or_none(default)
    failed = tuple(check for check in checks if not check.holds(have, own))
    return Verdict(failed, default, _target(expectation.recommend, checks, default))


def applicable(expectation: Expectation, kernel: Kernel) -> tuple[Check, ...]:
    """The checks that are meant for this kernel."""
    return tuple(check for check in expectation.checks if check.applies(kernel))


def _target(recommend: str | None, checks: tuple[Check, ...], default: str | None) -> str | None:
    """The first value that satisfies every check: the recommended, the kernel's, a check's own."""
    own = _numbers_or_none(default)
    bounds = [_bound(check) for check in reversed(checks)]
    for text in (recommend, default, *bounds):
        have = _numbers_or_none(text)
        if text is not None and have and all(check.holds(have, own) for check in checks):
            return text
    return None


def _bound(check: Check) -> str | None:
    """The value that just satisfies a check, where it names one."""
    if check.op in ("none-of", "span"):
        return None
    numbers = check.value[:1] if check.op == "one-of" else check.value
    return " ".join(map(str, numbers))


def _numbers_or_none(text: str | None) -> tuple[int, ...] | None:
    try:
        return tuple(int(word) for word in text.split()) if text is not None else None
    except ValueError:
        return None


def read_check(
    op: str,
    value: object,
    severity: object = "warning",
    since: object = None,
    until: object = None,
) -> Check:
    """A check from plain data (``value`` a number, a list, or numbers in a string).

    Raises ValueError saying what is wrong.
    """
    name = op.replace("_", "-")
    if name not in OPS:
        raise ValueError(f"unknown operator {op!r}; use {', '.join(OPS)}")
    numbers = read_numbers(value)
    count = _COUNT.get(name, len(numbers))
    if len(numbers) != count:
        raise ValueError(f"{op} takes {count} number{'s' * (count > 1)}, not {len(numbers)}")
    return Check(
        name,
        numbers,
        read_severity(severity),
        None if since is None else read_version(since),
        None if until is None else read_version(until),
    )


def read_severity(text: object) -> Severity:
    """``info``, ``warning`` or ``error``; raises ValueError."""
    names = [severity.label for severity in Severity]
    if not isinstance(text, str) or text not in names:
        raise ValueError(f"unknown severity {text!r}; use {', '.join(names)}")
    return Severity[text.upper()]


def read_numbers(value: object) -> tuple[int, ...]:
    """Whole numbers from a number, a list of numbers, or a string of them; raises ValueError."""
    words = value.split() if isinstance(value, str) else value
    words = words if isinstance(words, list) else [words]
    if not 0 < len(words) <= _MOST_NUMBERS:
        raise ValueError(f"expected 1 to {_MOST_NUMBERS} numbers, found {len(words)}")
    return tuple(_number(word) for word in words)


def _number(word: object) -> int:
    shown = str(word)[:40]
    if isinstance(word, bool) or shown.lower() in ("yes", "no", "on", "off", "true", "false"):
        raise ValueError(f"{shown!r} is a yes or no; the kernel wants a number, so write 1 or 0")
    plain = shown.removeprefix("-")
    if isinstance(word, (int, str)) and plain.isascii() and plain.isdigit():
        number = int(shown)
        if abs(number) < _LARGEST:
            return number
    raise ValueError(f"{shown!r} is not a whole number")


def read_version(text: object) -> Version:
    """``"5.14"`` as (5, 14); raises ValueError (a bare 5.10 is the number 5.1 in YAML)."""
    parts = text.split(".") if isinstance(text, str) else []
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f'{text!r} is not a kernel version; write it in quotes, as "5.10"')
    return int(parts[0]), int(parts[1])


def read_change(text: object) -> Change:
    """``"4.12"`` (exact) or ``"4.9..4.12"`` (not yet in the first); raises ValueError."""
    first, dots, last = str(text).partition("..")
    if not dots:
        return Change(None, read_version(text))
    change = Change(read_version(first), read_version(last))
    if change.before is not None and change.before >= change.by:
        raise ValueError(f"{text!r}: the first version must be the older one")
    return change
