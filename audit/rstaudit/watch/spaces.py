"""The network namespaces of the host: whose address is whose, and what their counters do."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from rstaudit.collect.route import next_router
from rstaudit.collect.tree import read_file
from rstaudit.parse.local_addresses import parse_fib_trie, parse_if_inet6
from rstaudit.watch.samples import Samples, read_counters

_CLONE_NEWNET = 0x40000000
_MOST_SPACES, _MOST_HOLDERS = 1024, 8
#: Seconds that a namespace is taken for new, and that one without processes is remembered.
_YOUNG = 10.0
#: Seconds that a route is taken for unchanged, and how many are kept of a namespace.
_ROUTE_KEPT, _MOST_ROUTES = 2.0, 256

T = TypeVar("T")


class Space:
    """A network namespace by the inode number of its file.

    ``holders`` are threads that were seen in it, through which its /proc/net can be read.
    ``ephemeral`` and ``fin_timeout`` are settings, None where they could not be read; so is
    ``forgets``, nf_conntrack_tcp_timeout_established, also None where there is no conntrack.
    """

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.holders: list[int] = []
        self.addresses: frozenset[bytes] = frozenset()
        self.samples = Samples()
        self.ephemeral: tuple[int, int] | None = None
        self.fin_timeout: int | None = None
        self.forgets: int | None = None
        self.asked_at = 0.0
        self._routers: dict[bytes, tuple[float, bytes | None]] = {}
        self.seen_at = time.monotonic()
        self.gone_at: float | None = None

    @property
    def forwards(self) -> bool | None:
        """Whether it forwards IPv4 packets (Forwarding of /proc/net/snmp: 1 yes, 2 no)."""
        value = self.samples.value("Ip.Forwarding")
        return None if value is None else value == 1

    def sample(self) -> None:
        """Read the counters now."""
        now = time.monotonic_ns()
        texts = [self._text(name) for name in ("snmp", "netstat")]
        if texts[0] is not None:
            self.samples.add(read_counters(now, texts[0], texts[1] or ""))

    def read_addresses(self) -> None:
        """Learn its addresses anew; they stay as they were where nothing can be read."""
        trie = self._text("fib_trie")
        if trie is not None:
            self.addresses = parse_fib_trie(trie) | parse_if_inet6(self._text("if_inet6") or "")

    def only_address(self, length: int) -> bytes | None:
        """Its one address of 4 or 16 bytes, where it has just one that others can reach."""
        local = b"\x7f" if length == 4 else (bytes(15) + b"\x01", b"\xfe\x80")
        found = [one for one in self.addresses if len(one) == length and not one.startswith(local)]
        return found[0] if len(found) == 1 else None

    def ask(self) -> None:
        """Read the settings: a thread of ours enters the namespace for that."""
        self.asked_at = time.monotonic()
        settings = self.inside(_settings)
        if settings is not None:
            self.ephemeral, self.fin_timeout, self.forgets = settings

    def inside(self, function: Callable[[], T]) -> T | None:
        """What ``function`` returns in a thread of ours there; None where nobody is in it."""
        for tid in reversed(self.holders):
            with suppress(OSError):
                return within(tid, function, self.inode)
        return None

    def router(self, to: bytes) -> bytes | None:
        """The next router on the way to an address, as it was some seconds ago at most."""
        now = time.monotonic()
        at, found = self._routers.get(to, (-_ROUTE_KEPT, None))
        if now - at >= _ROUTE_KEPT:
            found = self.inside(partial(next_router, to))
            if len(self._routers) >= _MOST_ROUTES:
                self._routers.clear()
            self._routers[to] = (now, found)
        return found

    def _text(self, name: str) -> str | None:
        """A file of its /proc/net; holders that have ended or moved on are dropped."""
        while self.holders:
            tid = self.holders[-1]
            with suppress(OSError):
                if os.readlink(f"/proc/{tid}/ns/net") == f"net:[{self.inode}]":
                    return read_file(f"/proc/{tid}/net/{name}").decode("ascii", "replace")
            self.holders.pop()
        self.gone_at = self.gone_at or time.monotonic()
        return None


class Spaces:
    """All namespaces that were seen."""

    def __init__(self) -> None:
        self._spaces: dict[int, Space] = {}
        self._by_address: dict[bytes, tuple[int, ...]] = {}

    def all(self) -> list[Space]:
        """Those that were seen, the longest known first."""
        return list(self._spaces.values())

    def get(self, inode: int | None) -> Space | None:
        """A namespace that was seen."""
        return None if inode is None else self._spaces.get(inode)

    def note(self, inode: int, tid: int) -> None:
        """A thread is in a namespace."""
        space = self._spaces.get(inode)
        if space is None:
            if len(self._spaces) >= _MOST_SPACES:
                self._drop_dead()
            space = self._spaces[inode] = Space(inode)
            space.holders.append(tid)
            space.sample()
        elif tid not in space.holders:
            space.gone_at = None
            space.holders.insert(0, tid)
            del space.holders[:-_MOST_HOLDERS]

    def read_addresses(self, *, every: bool) -> None:
        """Learn the addresses of the young namespaces anew, or of ``every`` one.

        Who makes a namespace gives it its addresses soon. Those that nobody has been in for a
        while are forgotten.
        """
        now = time.monotonic()
        for space in self.all():
            if every or now - space.seen_at < _YOUNG:
                space.read_addresses()
            if space.gone_at is not None and now - space.gone_at > _YOUNG:
                del self._spaces[space.inode]
        found: dict[bytes, tuple[int, ...]] = {}
        for space in self._spaces.values():
            for address in space.addresses:
                found[address] = (*found.get(address, ()), space.inode)
        self._by_address = found

    def of(self, address: bytes) -> tuple[int, ...]:
        """The namespaces that have an address; those that ended lately are among them."""
        return self._by_address.get(address, ())

    def _drop_dead(self) -> None:
        """Forget the namespaces that nobody is in any more; the oldest if that frees none."""
        dead = [inode for inode, space in self._spaces.items() if not space.holders]
        for inode in dead or [next(iter(self._spaces))]:
            del self._spaces[inode]


def within(tid: int, function: Callable[[], T], inode: int) -> T:
    """What ``function`` returns in the network namespace ``inode`` of a thread; raises OSError.

    It runs in a thread of our own that enters the namespace and then ends. A thread that has
    moved on to another namespace is an error.
    """
    door = os.open(f"/proc/{tid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(door).st_ino != inode:
        os.close(door)
        raise ProcessLookupError(errno.ESRCH, "the thread is in another namespace")
    results: list[T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).setns(door, _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=enter, daemon=True)
    try:
        thread.start()
        thread.join()
    finally:
        os.close(door)
    if errors:
        raise errors[0]
    return results[0]


def _settings() -> tuple[tuple[int, int] | None, int | None, int | None]:
    """The settings of `Space` in the namespace that this thread is in."""
    ports, timeout = _numbers("ipv4/ip_local_port_range"), _numbers("ipv4/tcp_fin_timeout")
    forgets = _numbers("netfilter/nf_conntrack_tcp_timeout_established")
    return (
        (ports[0], ports[1]) if len(ports) == 2 else None,
        timeout[0] if len(timeout) == 1 else None,
        forgets[0] if len(forgets) == 1 else None,
    )


def _numbers(key: str) -> list[int]:
    with suppress(OSError, ValueError):
        return [int(word) for word in read_file(f"/proc/sys/net/{key}").split()]
    return []
