"""A wire in user space between two TUN devices: it can delay, drop, rewrite and inject."""

from __future__ import annotations

import fcntl
import heapq
import itertools
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from rstaudit.lab.namespaces import Namespace

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_LARGEST = 65536

_OTHER = {"client": "server", "server": "client"}


class Delivery(NamedTuple):
    """A packet to hand to ``to`` (``client`` or ``server``) after ``delay`` seconds."""

    to: str
    packet: bytes
    delay: float = 0.0


#: Sender and packet -> what is delivered instead.
Rule = Callable[[str, bytes], Iterable[Delivery]]


def carry(sender: str, packet: bytes) -> Iterable[Delivery]:
    """The rule of a wire that does nothing."""
    return (Delivery(_OTHER[sender], packet),)


class Wire:
    """Joins two namespaces; ``rule`` may be set at any time, and decides for each packet.

    Delay and cuts come after the rule, and hold for what either side sends.
    """

    def __init__(self, client: Namespace, server: Namespace, interface: str) -> None:
        self.rule: Rule = carry
        self._delays = {"client": 0.0, "server": 0.0}
        self._cut: set[str] = set()
        self._held: dict[str, list[Delivery]] = {}
        self._ends = {"client": _tun(client, interface), "server": _tun(server, interface)}
        self._order = itertools.count()
        self._pending: list[tuple[float, int, str, bytes]] = []
        self._lock = threading.Lock()
        self._wake, self._bell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._thread.start()

    def delay(self, sender: str, seconds: float) -> None:
        """From now on what ``sender`` sends arrives ``seconds`` later."""
        self._delays[sender] = seconds

    def cut(self, *senders: str) -> None:
        """From now on nothing that ``senders`` send arrives."""
        self._cut.update(senders)

    def hold(self, sender: str) -> None:
        """Keep what ``sender`` sends from now on, until `release`."""
        with self._lock:
            self._held.setdefault(sender, [])

    def release(self, sender: str) -> None:
        """Hand out what was kept, and keep no more."""
        with self._lock:
            kept = self._held.pop(sender, [])
        for delivery in kept:
            self._deliver(delivery)

    def mend(self) -> None:
        """No more delay, no more cuts, no rule."""
        self._cut.clear()
        self._delays = dict.fromkeys(self._delays, 0.0)
        self.rule = carry

    def inject(self, to: str, packet: bytes, delay: float = 0.0) -> None:
        """Hand ``packet`` to an end, as if the other had sent it."""
        self._deliver(Delivery(to, packet, delay))

    def close(self) -> None:
        """Stop; the devices go with their descriptors."""
        os.write(self._bell, b"q")
        self._thread.join()
        for handle in (*self._ends.values(), self._wake, self._bell):
            os.close(handle)

    def _deliver(self, delivery: Delivery) -> None:
        when = time.monotonic() + delivery.delay
        with self._lock:
            entry = (when, next(self._order), delivery.to, delivery.packet)
            heapq.heappush(self._pending, entry)
        os.write(self._bell, b".")

    def _run(self) -> None:
        poll = select.poll()
        senders = {handle: sender for sender, handle in self._ends.items()}
        for handle in (*senders, self._wake):
            poll.register(handle, select.POLLIN)
        while True:
            for handle, _ in poll.poll(self._patience()):
                if handle != self._wake:
                    self._take(senders[handle], handle)
                elif b"q" in os.read(handle, 4096):
                    return
            self._hand_out()

    def _take(self, sender: str, handle: int) -> None:
        packet = os.read(handle, _LARGEST)
        if sender in self._cut:
            return
        now = time.monotonic()
        for to, changed, delay in self.rule(sender, packet):
            when = now + delay + self._delays[sender]
            with self._lock:
                if sender in self._held:
                    self._held[sender].append(Delivery(to, changed))
                    continue
                heapq.heappush(self._pending, (when, next(self._order), to, changed))

    def _patience(self) -> int:
        """Milliseconds until the next packet is due, rounded up; -1 when none waits."""
        with self._lock:
            if not self._pending:
                return -1
            return max(0, int((self._pending[0][0] - time.monotonic()) * 1000) + 1)

    def _hand_out(self) -> None:
        now = time.monotonic()
        while True:
            with self._lock:
                if not self._pending or self._pending[0][0] > now:
                    return
                _, _, to, packet = heapq.heappop(self._pending)
            with suppress(OSError):  # a device that is not up yet loses it, as a wire may
                os.write(self._ends[to], packet)


def _tun(space: Namespace, interface: str) -> int:
    """A TUN device of that name in the namespace, by its descriptor."""
    with space.inside():
        handle = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        request = struct.pack("16sH14x", interface.encode(), _IFF_TUN_NO_PI)
        fcntl.ioctl(handle, _TUNSETIFF, request)
    return handle
