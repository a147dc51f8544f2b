"""Settings as the catalogue knows them: what they do, since when, and what a profile expects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rstaudit.model.facts import Kernel
from rstaudit.model.rule import Severity

Version = tuple[int, int]


class Change(NamedTuple):
    """When something changed between kernels: not yet in ``before``, done in ``by``.

    ``before`` is None where ``by`` is exact; otherwise the kernels between are not known.
    """

    before: Version | None
    by: Version

    def happened(self, kernel: Kernel) -> bool | None:
        """Whether it had happened in ``kernel``; None between ``before`` and ``by``."""
        version = kernel.version[:2]
        if version >= self.by:
            return True
        if self.before is None or version <= self.before:
            return False
        return None

    def __str__(self) -> str:
        exact = f"{self.by[0]}.{self.by[1]}"
        if self.before is None:
            return exact
        return f"after {self.before[0]}.{self.before[1]}, by {exact}"


class Default(NamedTuple):
    """A default value: in kernels ``since`` .. before ``until``, or of matching ``releases``.

    ``releases`` are substrings of vendor releases (``el7``) whose default differs from what
    their version number says. ``value`` is None where it depends on the machine's memory.
    """

    value: str | None
    since: Version | None
    until: Version | None
    releases: tuple[str, ...]


#: What a `Check` can ask for.
OPS = (
    "exactly", "at-least", "at-most", "floor", "one-of", "none-of", "covers", "span",
)  # fmt: skip


class Check(NamedTuple):
    """One expectation: ``op`` is one of `OPS`.

    ``at-least`` and ``at-most`` compare number by number; ``floor`` is an ``at-least`` that the
    kernel's own default satisfies too (it is smaller where memory is scarce); ``covers`` wants a
    range (low, high) to contain the given one, ``span`` wants it to hold that many numbers;
    ``one-of`` and ``none-of`` list allowed and refused first numbers.
    Judged only on kernels ``since`` .. before ``until``.
    """

    op: str
    value: tuple[int, ...]
    severity: Severity
    since: Version | None = None
    until: Version | None = None

    def applies(self, kernel: Kernel) -> bool:
        """Whether the check is meant for this kernel."""
        version = kernel.version[:2]
        return (self.since is None or version >= self.since) and (
            self.until is None or version < self.until
        )

    def holds(self, have: tuple[int, ...], default: tuple[int, ...] | None = None) -> bool:
        """Whether a running value satisfies the expectation; never raises.

        ``default`` is the kernel's own value on that host, None where it cannot be told.
        """
        want = self.value
        if self.op == "exactly":
            return have == want
        if self.op in ("one-of", "none-of"):
            return bool(have) and (have[0] in want) == (self.op == "one-of")
        if self.op == "span":
            return len(have) == 2 and have[1] - have[0] + 1 >= want[0]
        if self.op == "covers":
            return len(have) == 2 and have[0] <= want[0] and have[1] >= want[1]
        if self.op == "at-most":
            return _no_less(want, have)
        kept = self.op == "floor" and default is not None and _no_less(have, default)
        return kept or _no_less(have, want)

    def __str__(self) -> str:
        numbers = " ".join(str(number) for number in self.value)
        words = {
            "exactly": numbers, "at-least": f"at least {numbers}", "at-most": f"at most {numbers}",
            "one-of": "one of " + ", ".join(map(str, self.value)),
            "none-of": "not " + " or ".join(map(str, self.value)),
            "covers": f"a range that covers {numbers}",
            "span": f"a range of at least {numbers} numbers",
            "floor": f"at least {numbers}, or the kernel's own default",
        }  # fmt: skip
        return words[self.op]


def _no_less(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    return len(left) == len(right) and all(a >= b for a, b in zip(left, right, strict=True))


class Expectation(NamedTuple):
    """What a profile wants of a key: the checks, worst first, and the value `tune` writes.

    ``recommend`` is None where the kernel's own default is what is wanted. ``why`` is one
    sentence.
    """

    checks: tuple[Check, ...]
    recommend: str | None
    why: str = ""


class Profile(NamedTuple):
    """Expectations by key. ``title`` says for which hosts; ``origin`` where it was read."""

    name: str
    title: str
    extends: str | None
    expectations: Mapping[str, Expectation]
    origin: str


class Setting(NamedTuple):
    """One sysctl as the catalogue knows it. Prose fields are plain sentences.

    ``valid`` is the range that makes sense (the kernel may accept more); ``added`` and
    ``removed`` date the key itself, ``netns`` the kernel from which each network namespace has
    its own value (None: never, it is global). Kernels whose release contains one of
    ``releases`` have the key whatever their version (vendor patches); where ``mainline`` is
    False no other kernel has it. ``follows`` says where a default that depends on memory can be
    read on the host: pairs of a key and what to divide it by.
    """

    key: str
    title: str
    unit: str
    meaning: str
    defaults: tuple[Default, ...]
    valid: tuple[int, int] | None
    added: Change | None
    removed: Change | None
    netns: Change | None
    always_netns: bool
    pitfalls: tuple[str, ...]
    wrong_advice: tuple[str, ...]
    hazards: tuple[str, ...]
    references: tuple[str, ...]
    verified: str
    releases: tuple[str, ...] = ()
    mainline: bool = True
    follows: tuple[tuple[str, int], ...] = ()

    def default(self, kernel: Kernel) -> str | None:
        """The default value on ``kernel``; None where unknown or set from memory size."""
        for entry in self.defaults:
            if any(mark in kernel.release for mark in entry.releases):
                return entry.value
        version = kernel.version[:2]
        for entry in self.defaults:
            if entry.releases:
                continue
            late = entry.since is not None and version < entry.since
            over = entry.until is not None and version >= entry.until
            if not late and not over:
                return entry.value
        return None

    def default_here(self, kernel: Kernel, running: Mapping[str, str]) -> str | None:
        """As `default`, told from the other ``running`` sysctls where it depends on memory.

        A negative tcp_ehash_entries is a table shared with the initial network namespace
        (Documentation/networking/ip-sysctl.rst).
        """
        known = self.default(kernel)
        if known is not None:
            return known
        for key, divisor in self.follows:
            try:
                return str(abs(int(running[key])) // divisor)
            except (KeyError, ValueError):
                continue
        return None

    def exists(self, kernel: Kernel) -> bool | None:
        """Whether ``kernel`` should have the key; None where that is not known."""
        if any(mark in kernel.release for mark in self.releases):
            return True
        if not self.mainline:
            return False
        if self.removed is not None and (gone := self.removed.happened(kernel)) is not False:
            return None if gone is None else False
        return True if self.added is None else self.added.happened(kernel)

    def per_netns(self, kernel: Kernel) -> bool | None:
        """Whether each network namespace of ``kernel`` has its own value."""
        if self.always_netns:
            return True
        return False if self.netns is None else self.netns.happened(kernel)


class ValueRule(NamedTuple):
    """A rule that is only data: the expectations of the profile on ``keys``."""

    id: str
    slug: str
    title: str
    keys: tuple[str, ...]
    why: str
    confirm: str
    leave_alone: str
    references: tuple[str, ...]


class PathDevice(NamedTuple):
    """A device in the path that forgets idle connections, its default in seconds, and how.

    ``probes_count`` is False where TCP keepalive probes do not restart its clock.
    """

    name: str
    idle_seconds: int
    at_expiry: str
    source: str
    probes_count: bool = True
