"""Resets that listeners sent, whose events do not name the peer, and who received them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from rstaudit.parse.reset_event import Place
from rstaudit.resets.live.crossings import Ends

#: time_ns, kind, state, old, irq, pid, sk, extra, netns: `rstaudit.resets.live.history.Step`.
_Step = tuple[int, str, "str | None", "str | None", bool, int, int, "int | str | None", int]

#: When a listener sent a reset, its own ends (the peer is 0.0.0.0:0), the step, its namespace.
Denial = tuple[int, Ends, _Step, int]
#: When a reset was received, at which ends, and the namespace that has the peer's address: 0
#: where unknown, -1 where none has it.
_Receipt = tuple[int, Ends, int]
_AFAR = -1

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

    def sent(self, ends: Ends, step: _Step, place: Place) -> None:
        """A listener sent a reset."""
        _append(self._sent, ends[1], (step[0], ends, step, place.netns), self._limit // 10)

    def received(self, time: int, ends: Ends, place: Place) -> None:
        """Somebody received a reset from that port."""
        peer = _AFAR if place.afar else place.peer
        _append(self._received, ends[3], (time, ends, peer), self._limit // 10)

    def between(
        self, address: bytes, port: int, since: int, until: int, netns: int = 0
    ) -> list[Denial]:
        """What listeners for that address and port sent in that time, the last ones, in order.

        Not those of other namespaces than ``netns``, where that is known.
        """
        sent = self._sent.get(port)
        if sent is None:
            return []
        end = bisect_right(sent, until, key=_time)
        start = max(bisect_left(sent, since, 0, end, key=_time), end - _LOOKED_AT)
        return [
            one for one in sent[start:end]
            if _same(one[1][0], address) and (not netns or one[3] in (0, netns))
        ]  # fmt: skip

    def receipt(
        self,
        address: bytes,
        port: int,
        time: int,
        netns: int,
        otherwise: Callable[[int, Ends, int], bool],
    ) -> Ends | None:
        """Who received the reset that a listener sent at ``time``, where that is on this host.

        ``netns`` is the listener's namespace, 0 where unknown; it has the receipt's other address.
        Resets and receipts are paired in order, and a second reset for one connection, which
        nobody hears, goes to the peer of the first. ``otherwise`` says whether a receipt is
        of a reset that a connection sent.
        """
        receipts = self._received.get(port)
        if receipts is None:
            return None
        sends = self.between(address, port, time - _SOON_NS, time, netns)
        since = time if len(sends) >= _LOOKED_AT else time - _SOON_NS
        start = bisect_left(receipts, since, key=_time)
        heard = (
            one for one in islice(receipts, start, start + _LOOKED_AT)
            if one[0] <= time + _SOON_NS and _same(address, one[1][2])
            and (not netns or one[2] in (0, netns)) and not otherwise(*one)
        )  # fmt: skip
        if since == time:
            return next((one[1] for one in heard), None)
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
