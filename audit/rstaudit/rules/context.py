"""What a rule is given, and the two ways for it to say that it does not apply."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rstaudit.model.facts import Gap, HostState, MissingFact, Rate
from rstaudit.model.names import COUNTERS
from rstaudit.model.rule import Finding, RuleText, Severity
from rstaudit.model.setting import PathDevice, Profile, Setting


class NotApplicable(Exception):  # noqa: N818 - an outcome, not an error
    """Raised by a rule that has nothing to judge here; the message says why."""


class Context(NamedTuple):
    """One host seen through one profile. ``path_idle`` is in seconds, None when not given."""

    host: HostState
    profile: Profile
    settings: dict[str, Setting]
    path_idle: int | None = None
    devices: tuple[PathDevice, ...] = ()

    def rate(self, counter: str) -> Rate:
        """Total and speed of a counter; raises MissingFact when the kernel does not count it."""
        counters = self.host.need(COUNTERS)
        try:
            return counters.rate(counter)
        except KeyError:
            raise MissingFact(self._why_not(counter)) from None

    def _why_not(self, counter: str) -> Gap:
        """Unreadable file: nobody knows. File without the counter: nothing to judge."""
        group = counter.partition(".")[0]
        if gap := self.host.gaps.get(f"counter:{group}"):
            return gap
        if self.host.source != "live":
            detail = f"the counter {counter} was not recorded"
            return Gap(f"counter:{counter}", "not-recorded", detail)
        return Gap(f"counter:{counter}", "absent", f"this kernel does not count {counter}")

    def has(self, key: str) -> bool:
        """Whether the host shows a running value for ``key``."""
        return key in self.host.sysctls


RuleFunction = Callable[[Context], Iterator[Finding]]


class Rule(NamedTuple):
    """A rule as the registry holds it; ``text`` is read only when somebody asks for it."""

    id: str
    slug: str
    title: str
    severity: Severity
    check: RuleFunction
    text: Callable[[], RuleText]


class Family:
    """Collects the rules of one module; each family module has one, called ``RULES``."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def rule(
        self, rule_id: str, slug: str, title: str, severity: Severity
    ) -> Callable[[RuleFunction], RuleFunction]:
        """Register the decorated function, whose docstring is the rule's text (`text_of`)."""

        def register(function: RuleFunction) -> RuleFunction:
            self.rules.append(
                Rule(rule_id, slug, title, severity, function, lambda: text_of(function))
            )
            return function

        return register


_SECTIONS = ("Confirm:", "Leave alone:", "References:")


def text_of(function: RuleFunction) -> RuleText:
    """Split a rule's docstring: why, then the sections Confirm, Leave alone, References.

    References are separated by semicolons. Raises ValueError when a section is missing.
    """
    import inspect  # 20 ms that only `explain` and `rules -v` spend

    rest = inspect.getdoc(function) or ""
    parts: dict[str, str] = {}
    for section in reversed(_SECTIONS):
        rest, found, tail = rest.rpartition(f"\n{section}")
        if not found:
            raise ValueError(f"{function.__name__}: its docstring has no section {section!r}")
        parts[section] = " ".join(tail.split())
    references = tuple(word.strip() for word in parts["References:"].split(";"))
    return RuleText(_flow(rest), parts["Confirm:"], parts["Leave alone:"], references)


def _flow(text: str) -> str:
    """Join the lines of each paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))
