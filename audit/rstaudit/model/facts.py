"""What was learned about one host (one network namespace), and what could not be."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Generic, NamedTuple, NoReturn, TypeVar, cast

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Gap(NamedTuple):
    """A fact that could not be had, and why.

    ``reason`` is one word of a fixed list: ``absent`` (the kernel or host has no such thing),
    ``global`` (exists only in the initial network namespace, and this is another),
    ``permission``, ``not-loaded`` (asking would load a kernel module), ``unsupported``,
    ``malformed``, ``interrupted``, ``not-recorded`` (a recorded tree leaves it out),
    ``unreadable``, ``excluded`` (the user said not to look), ``sampled`` (a part was read; the
    fact holds that part). ``detail`` says in words what happened and what would help.
    """

    fact: str
    reason: str
    detail: str


#: Reasons that mean "there is nothing to judge here", not "we could not look".
NOTHING_TO_JUDGE = frozenset({"absent", "global"})


class MissingFact(Exception):  # noqa: N818 - control flow of a rule, not an error of ours
    """Raised by the accessors of `HostState` when a fact is a gap."""

    def __init__(self, gap: Gap) -> None:
        super().__init__(f"{gap.fact}: {gap.detail}")
        self.gap = gap


class Fact(Generic[T_co]):
    """The name of a fact together with the type of its value."""

    def __init__(self, name: str) -> None:
        self.name = name


class Kernel(NamedTuple):
    """A kernel release such as ``6.1.0-32-amd64``; ``version`` is ``(6, 1, 0)``."""

    release: str
    version: tuple[int, int, int]

    @property
    def label(self) -> str:
        """``6.1`` - the two numbers that features are dated by."""
        return f"{self.version[0]}.{self.version[1]}"


class Sample(NamedTuple):
    """Counters at one moment: ``at`` in seconds of a monotonic clock, values by nstat name."""

    at: float
    values: Mapping[str, int]


class Rate(NamedTuple):
    """How one counter moves: total, per second now (None: one sample), average (None: no age)."""

    total: int
    now: float | None
    average: float | None


class Counters(NamedTuple):
    """Counters of a network namespace, sampled once or twice.

    Names are nstat's with a dot: ``TcpExt.TCPAbortOnClose``, ``Tcp.OutRsts``; sockstat's are
    ``sockstat.TCP.orphan``. ``age`` is the seconds that the counters have been counting
    (uptime, or the age of the namespace's oldest process), None when unknown.
    """

    first: Sample
    second: Sample | None
    age: float | None

    def rate(self, name: str) -> Rate:
        """The latest total of ``name`` and its speed; KeyError if the kernel lacks it."""
        last = self.second or self.first
        total = last.values[name]
        average = total / self.age if self.age else None
        if self.second is None or self.second.at <= self.first.at:
            return Rate(total, None, average)
        moved = total - self.first.values.get(name, total)
        return Rate(total, moved / (self.second.at - self.first.at), average)


class HostState(NamedTuple):
    """Everything the rules may look at, for one host and one network namespace.

    ``netns`` is ``initial``, the namespace's ``net:[inode]``, or what people call it;
    ``initial`` below is None when
    that could not be told. ``source`` is ``live`` or ``root:DIR``. ``sysctls`` holds running
    ``net.*`` values exactly as the kernel prints them, by dotted key. ``facts`` holds values by
    fact name (`rstaudit.model.names`), ``gaps`` the reasons for what is missing.
    """

    host: str
    netns: str
    initial: bool | None
    source: str
    kernel: Kernel
    sysctls: Mapping[str, str]
    facts: Mapping[str, object]
    gaps: Mapping[str, Gap] = MappingProxyType({})

    def need(self, fact: Fact[T]) -> T:
        """The value of ``fact``; raises `MissingFact`."""
        if fact.name in self.facts:
            return cast("T", self.facts[fact.name])
        return self._missing(fact.name)

    def sysctl(self, key: str) -> str:
        """The running value of ``key``, whitespace stripped; raises `MissingFact`."""
        if key in self.sysctls:
            return self.sysctls[key].strip()
        return self._missing(f"sysctl:{key}")

    def integer(self, key: str) -> int:
        """The running value of ``key`` as one integer; raises `MissingFact`."""
        words = self.integers(key)
        if len(words) != 1:
            raise MissingFact(Gap(f"sysctl:{key}", "malformed", f"{key} is not one number"))
        return words[0]

    def integers(self, key: str) -> tuple[int, ...]:
        """The running value of ``key`` as integers; raises `MissingFact`."""
        try:
            return tuple(int(word) for word in self.sysctl(key).split())
        except ValueError:
            detail = f"{key} holds {self.sysctls[key]!r}, not numbers"
            raise MissingFact(Gap(f"sysctl:{key}", "malformed", detail)) from None

    def _missing(self, name: str) -> NoReturn:
        raise MissingFact(self.gaps.get(name) or Gap(name, "not-recorded", f"{name} was not read"))
