"""Resets that listeners sent, whose events do not name the peer, and who received them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from rstaudit.resets.live.crossings import Ends

#: time_ns, kind, state, old, irq, pid, sk, extra: see `rstaudit.resets.live.history.Step`.
_Step = tuple[int, str, "str | None", "str | None", bool, int, int, "int | str | None"]

#: When a listener sent a reset, its own ends (the peer is 0.0.0.0:0), and the step.
Denial = tuple[int, Ends, _Step]
_Receipt = tuple[int, Ends]

_MOST = 2048
#: So many at once are looked at; in a storm of more, pairs are only near each other in time.
_LOOKED_AT = 48
_SOON_NS = 50_000_000


class Denials:
    """The last resets of listeners, and the last receipts, by the listener's port."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sent: dict[int, list[Denial]] = {}
        self._received: dict[int, list[_Receipt]] = {}

    def sent(self, ends: Ends, step: _Step) -> None:
        """A listener sent a reset."""
        _append(self._sent, ends[1], (step[0], ends, step), self._limit // 10)

    def received(self, time: int, ends: Ends) -> None:
        """Somebody received a reset from that port."""
        _append(self._received, ends[3], (time, ends), self._limit // 10)

    def between(self, address: bytes, port: int, since: int, until: int) -> list[Denial]:
        """What listeners for that address and port sent in that time, the last ones, in order."""
        sent = self._sent.get(port)
        if sent is None:
            return []
        end = bisect_right(sent, until, key=_time)
        start = max(bisect_left(sent, since, 0, end, key=_time), end - _LOOKED_AT)
        return [one for one in sent[start:end] if _same(one[1][0], address)]

    def receipt(
        self, address: bytes, port: int, time: int, otherwise: Callable[[int, Ends], bool]
    ) -> Ends | None:
        """Who received the reset that a listener sent at ``time``, where that is on this host.

        Resets and receipts are paired in order, and a second reset for one connection, which
        nobody hears, goes to the peer of the first. ``otherwise`` says whether a receipt is
        of a reset that a connection sent.
        """
        receipts = self._received.get(port)
        if receipts is None:
            return None
        sends = self.between(address, port, time - _SOON_NS, time)
        since = time if len(sends) >= _LOOKED_AT else time - _SOON_NS
        start = bisect_left(receipts, since, key=_time)
        heard = (
            one for one in islice(receipts, start, start + _LOOKED_AT)
            if one[0] <= time + _SOON_NS and not otherwise(*one)
        )  # fmt: skip
        if since == time:
            return next(heard, (0, None))[1]
        free = deque(heard)
        last = None
        for send, *_ in sends:
            while free and free[0][0] < send:
                last = free.popleft()[1]
            if send == time:
                return free[0][1] if free else last
            if free:
                last = free.popleft()[1]
        return None


def _time(one: tuple[Any, ...]) -> int:
    time: int = one[0]
    return time


def _same(listened: bytes, address: bytes) -> bool:
    """Whether a listener at ``listened`` answers for ``address``; zeros stand for any."""
    return listened == address or not any(listened) or not any(address)


def _append(table: dict[int, list[Any]], port: int, entry: object, most: int) -> None:
    entries = table.get(port)
    if entries is None:
        if len(table) >= most:
            table.clear()
        entries = table[port] = []
    entries.append(entry)
    if len(entries) > _MOST:
        del entries[: _MOST // 2]
