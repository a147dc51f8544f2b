"""Everything about one host, each fact collected once, with a gap for what cannot be had."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar, cast

from rstaudit.catalogue.load import settings
from rstaudit.collect.container import collect_container
from rstaudit.collect.counters import sample
from rstaudit.collect.firewall import collect_firewall
from rstaudit.collect.identity import collect_cloud, collect_services
from rstaudit.collect.limits import collect_limits
from rstaudit.collect.modules import SOCK_DIAG, module_state
from rstaudit.collect.netns import Netns, find_netns
from rstaudit.collect.owners import collect_owners, outside
from rstaudit.collect.sockdiag import start_sockets
from rstaudit.collect.sysctls import collect_sysctls, read_keys
from rstaudit.collect.tree import Tree
from rstaudit.model import names
from rstaudit.model.facts import Counters, Fact, Gap, HostState, Kernel, MissingFact, Sample
from rstaudit.model.sockets import CLOSE_WAIT, Owner, SocketTable
from rstaudit.parse.errors import ParseError
from rstaudit.parse.procfs import parse_kernel, parse_uptime
from rstaudit.parse.procnet import parse_tables

T = TypeVar("T")


class Options(NamedTuple):
    """How to collect. ``interval``: seconds between the two counter samples, 0 for one sample.

    ``load_modules`` allows questions that make the kernel load a module, ``cmdline`` the reading
    of command lines, ``socket_options`` the reading of the options of other processes' sockets.
    ``crew_of`` is the pid of an audit whose children work for it, this process among them.
    """

    root: str = "/"
    interval: float = 1.0
    load_modules: bool = False
    cmdline: bool = False
    socket_options: bool = True
    crew_of: int = 0


class Stopped(Exception):  # noqa: N818 - Ctrl-C, with what is known so far
    """Collection was interrupted; ``host`` holds the facts had by then."""

    def __init__(self, host: HostState) -> None:
        super().__init__("interrupted")
        self.host = host


def collect(options: Options) -> HostState:
    """The facts of a live host (its present network namespace) or of a recorded tree.

    Raises `MissingFact` when not even the kernel's release can be read, and `Stopped` on Ctrl-C.
    """
    return Collection(options).finish()


class Collection:
    """One run: what has been read so far, and what could not be.

    From the first moment on the kernel is at work on the socket table of a live host; the caller
    may do something else before `finish`. Raises `MissingFact` without a kernel release.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.tree = Tree(options.root)
        self.kernel = _kernel(self.tree)
        self.modules = module_state(self.tree, self.kernel.release, allowed=options.load_modules)
        self.netns = Netns(None, None, None)
        self.sysctls: dict[str, str] = {}
        self.facts: dict[str, object] = {}
        self.gaps: dict[str, Gap] = {}
        self._sockets = self._start_sockets()

    def finish(self) -> HostState:
        """Read everything; raises `Stopped` on Ctrl-C."""
        try:
            self._run()
        except KeyboardInterrupt:
            raise Stopped(self.state()) from None
        return self.state()

    def state(self) -> HostState:
        """The host as known by now."""
        source = "live" if self.tree.live else f"root:{self.tree.root}"
        return HostState(
            _host_name(self.tree), self.netns.label, self.netns.initial, source, self.kernel,
            self.sysctls, self.facts, self.gaps,
        )  # fmt: skip

    def _run(self) -> None:
        """Read everything; the second counter sample comes last, to use the time between."""
        first, gaps = sample(self.tree)
        self.gaps.update(gaps)
        uptime = self.take(names.UPTIME, lambda: _uptime(self.tree))
        self.netns = find_netns(self.tree, uptime, self.options.crew_of)
        self._put_counters(first, None)
        self._read_sysctls()
        self._read_processes()
        table, had = self.take(names.SOCKETS, self._sockets), time.monotonic()
        if table is not None:
            self._about_sockets(table)
        self.take(names.CLOUD, lambda: collect_cloud(self.tree))
        self.take(names.SERVICES, lambda: collect_services(self.tree))
        self.take(names.FIREWALL, lambda: collect_firewall(self.tree, self.modules))
        self._second_sample(first)
        if table is not None:
            self._look_again(table, had)

    def _about_sockets(self, table: SocketTable) -> None:
        """Who else holds them, and how they are set up."""
        alone = self._look_into_threads(table)
        self._look_outside(table)
        self._read_options(table, alone)

    def take(self, fact: Fact[T], read: Callable[[], T]) -> T | None:
        """Keep what ``read`` returns under the name of ``fact``, or the reason why not."""
        try:
            value = read()
        except MissingFact as missing:
            self.gaps[fact.name] = missing.gap
        except ParseError as error:
            self.gaps[fact.name] = Gap(fact.name, "malformed", str(error))
        else:
            self.facts[fact.name] = value
            return value
        return None

    def _read_sysctls(self) -> None:
        known = settings()
        global_keys = {
            key
            for key, entry in known.items()
            if entry.per_netns(self.kernel) is False and entry.exists(self.kernel) is not False
        }
        self.sysctls, gaps = collect_sysctls(
            self.tree, known=known, global_keys=global_keys, initial=self.netns.initial
        )
        self.gaps.update(gaps)
        self.take(names.CONTAINER, lambda: collect_container(self.tree, known))
        if self.netns.initial is False:
            detail = "files below /etc set the initial network namespace, and this is another"
            self.gaps[names.PERSISTED.name] = Gap(names.PERSISTED.name, "global", detail)
            return
        from rstaudit.collect.persisted import collect_persisted  # a container never needs it

        persisted = collect_persisted(self.tree, self.sysctls, self.kernel)
        self.facts[names.PERSISTED.name] = persisted
        self.gaps.update({gap.fact: gap for gap in persisted.gaps})
        more, gaps = read_keys(self.tree, persisted.boot_values.keys() - self.sysctls.keys())
        self.sysctls.update(more)
        self.gaps.update(gaps)

    def _read_processes(self) -> None:
        try:
            owners = collect_owners(self.tree, cmdline=self.options.cmdline)
        except MissingFact as missing:
            self.gaps[names.OWNERS.name] = missing.gap
            return
        if owners.gap is not None:
            self.gaps[names.OWNERS.name] = owners.gap
        if owners.descriptors or self.tree.live:
            self.facts[names.OWNERS.name] = owners.by_inode
            self.facts[names.HELD.name] = owners.held
        limits, gap = collect_limits(self.tree, owners.descriptors)
        self.facts[names.LIMITS.name] = limits
        if gap is not None:
            self.gaps[names.LIMITS.name] = gap

    def _look_into_threads(self, table: SocketTable) -> int:
        """Owners of sockets in single threads' descriptor tables; how many sockets those are."""
        if not self.tree.live or names.OWNERS.name not in self.facts:
            return 0
        from rstaudit.collect.threads import in_threads

        owners = cast("Mapping[int, tuple[Owner, ...]]", self.facts[names.OWNERS.name])
        found = in_threads(self.tree, table, owners, cmdline=self.options.cmdline)
        if found:
            self.facts[names.OWNERS.name] = {**owners, **found}
        return len(found)

    def _look_outside(self, table: SocketTable) -> None:
        """A gap for the holders of sockets that live in another pid namespace."""
        owners = cast("Mapping[int, tuple[Owner, ...]]", self.facts.get(names.OWNERS.name, {}))
        gap = outside(self.tree, table, owners)
        if gap is not None:
            self.gaps.setdefault(names.OWNERS.name, gap)

    def _read_options(self, table: SocketTable, alone: int) -> None:
        """Only now: no thread of ours may be at work while a duplicate of a socket is held.

        ``alone`` sockets are in descriptor tables that a pidfd does not reach.
        """
        if not self.tree.live:
            detail = "a recorded tree holds no socket options"
            self.gaps[names.OPTIONS.name] = Gap(names.OPTIONS.name, "not-recorded", detail)
            return
        from rstaudit.collect import options

        if not self.options.socket_options:
            self.gaps[names.OPTIONS.name] = options.EXCLUDED
            return
        held = cast("Mapping[int, Mapping[int, int]]", self.facts.get(names.HELD.name, {}))
        try:
            found, gap = options.read_options(table, held, alone)
        except MissingFact as missing:
            self.gaps[names.OPTIONS.name] = missing.gap
            return
        self.facts[names.OPTIONS.name] = found
        if gap is not None:
            self.gaps[names.OPTIONS.name] = gap

    def _look_again(self, first: SocketTable, had: float) -> None:
        """Sockets in CLOSE_WAIT once more, where there were some and there is a second sample."""
        again = self.tree.live and self.options.interval and first.count(CLOSE_WAIT)
        if not again or first.source != "sock_diag":
            return
        from rstaudit.collect.later import collect_later

        owners = cast("Mapping[int, tuple[Owner, ...]]", self.facts.get(names.OWNERS.name, {}))
        self.take(names.LATER, lambda: collect_later(self.tree, first, had, owners))

    def _start_sockets(self) -> Callable[[], SocketTable]:
        """sock_diag where asking is harmless, else /proc/net/tcp with the reason as a gap.

        The kernel is at work on the table while this thread reads files.
        """
        if not self.tree.live:
            return lambda: _fallback(self.tree)
        if not self.modules.may_ask(*SOCK_DIAG):
            self.gaps[names.SOCKETS.name] = self.modules.refusal(names.SOCKETS.name, *SOCK_DIAG)
            return lambda: _fallback(self.tree)
        table = start_sockets()

        def wait() -> SocketTable:
            try:
                return table()
            except MissingFact as missing:
                self.gaps[names.SOCKETS.name] = missing.gap
                return _fallback(self.tree)

        return wait

    def _put_counters(self, first: Sample, second: Sample | None) -> None:
        self.facts[names.COUNTERS.name] = Counters(first, second, self.netns.age)

    def _second_sample(self, first: Sample) -> None:
        if not self.tree.live or not self.options.interval:
            return
        time.sleep(max(0.0, first.at + self.options.interval - time.monotonic()))
        second, _ = sample(self.tree)
        self._put_counters(first, second)


def _fallback(tree: Tree) -> SocketTable:
    ipv4 = tree.text("/proc/net/tcp", names.SOCKETS.name)
    try:
        ipv6 = tree.text("/proc/net/tcp6", names.SOCKETS.name)
    except MissingFact as missing:
        if missing.gap.reason not in ("absent", "not-recorded"):
            raise
        ipv6 = ""  # IPv6 is off
    return parse_tables(ipv4, ipv6)


def _kernel(tree: Tree) -> Kernel:
    try:
        return parse_kernel(tree.text("/proc/sys/kernel/osrelease", "kernel"))
    except ParseError as error:
        raise MissingFact(Gap("kernel", "malformed", str(error))) from None


def _uptime(tree: Tree) -> float:
    return parse_uptime(tree.text("/proc/uptime", names.UPTIME.name))


def _host_name(tree: Tree) -> str:
    """The name of the host; of a recorded tree without one, the name of its folder."""
    for path in ("/proc/sys/kernel/hostname", "/etc/hostname"):
        try:
            if name := tree.text(path).strip():
                return name
        except MissingFact:
            continue
    return os.path.basename(tree.root) or "localhost"
