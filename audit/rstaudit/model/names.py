"""The facts there are: one name and one type for each (contract: `sysctl:`, `counter:`, ...)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rstaudit.model.facts import Counters, Fact
from rstaudit.model.options import OptionTable
from rstaudit.model.persisted import Persisted
from rstaudit.model.sockets import Owner, SocketTable


class Limits(NamedTuple):
    """Descriptors of one process: how many are open, and its soft and hard limit (None: none)."""

    pid: int
    comm: str
    open: int
    soft: int | None
    hard: int | None


class RejectRule(NamedTuple):
    """A firewall rule that answers TCP with a reset: its text and where it stands."""

    source: str
    chain: str
    text: str


class Firewall(NamedTuple):
    """What the packet filter does that bears on resets.

    ``nat`` is True where it translates addresses; ``drops_invalid`` where packets of
    conntrack state INVALID are dropped before they reach the host's own stack.
    """

    sources: tuple[str, ...]
    rejects: tuple[RejectRule, ...]
    nat: bool
    drops_invalid: bool


class Container(NamedTuple):
    """Whether this is a container, which kind, and how many sysctls it may write."""

    inside: bool
    kind: str | None
    writable: frozenset[str]


class Later(NamedTuple):
    """Sockets in CLOSE_WAIT at the second sample, by the pid of processes that held some before.

    ``seconds`` lie between the two.
    """

    seconds: float
    close_wait: Mapping[int, int]


SOCKETS = Fact[SocketTable]("sockets")
#: Processes by socket inode; sockets that nobody here holds have no entry.
OWNERS = Fact[Mapping[int, tuple[Owner, ...]]]("owners")
#: Sockets by pid: inode by descriptor, also of sockets that are not TCP.
HELD = Fact[Mapping[int, Mapping[int, int]]]("held")
#: Options of sockets by inode; a gap when they were not read, or not of all sockets.
OPTIONS = Fact[OptionTable]("options")
#: Missing where there was one sample only, or nothing in CLOSE_WAIT.
LATER = Fact[Later]("later")
COUNTERS = Fact[Counters]("counters")
PERSISTED = Fact[Persisted]("persisted")
FIREWALL = Fact[Firewall]("firewall")
LIMITS = Fact[tuple[Limits, ...]]("limits")
CONTAINER = Fact[Container]("container")
#: TCP ports that /etc/services names: services with a port of their own.
SERVICES = Fact[frozenset[int]]("services")
#: The cloud that the machine's firmware names: ``aws``, ``azure``, ``gcp``; empty for none.
CLOUD = Fact[str]("cloud")
#: Running values of the initial network namespace, where another one is audited from outside.
HOST_SYSCTLS = Fact[Mapping[str, str]]("host-sysctls")
#: Seconds since boot.
UPTIME = Fact[float]("uptime")

ALL: tuple[Fact[object], ...] = (
    SOCKETS, OWNERS, HELD, OPTIONS, LATER, COUNTERS, PERSISTED, FIREWALL, LIMITS, CONTAINER,
    SERVICES, CLOUD, HOST_SYSCTLS, UPTIME,
)  # fmt: skip
