"""A live table of resets: by cause, service, peer and process; most first, harmful apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from rstaudit.model.diagnosis import LiveReset
from rstaudit.model.reset_filter import ours_and_peer, split
from rstaudit.report.layout import Line, Span, cells
from rstaudit.report.safe import printable

#: Rows kept; what comes when they are full is counted in a row of its own.
_MOST = 2000

#: Seconds over which a rate is taken.
_WINDOW = 10

_HEAD = ("resets", "per s", "cause", "", "service", "peer", "process")


class Key(NamedTuple):
    """What resets are counted by."""

    benign: bool
    cause: str
    direction: str
    service: str
    peer: str
    process: str


class Table:
    """Counts resets as they come; the seconds are those of the caller's clock."""

    def __init__(self, ephemeral: tuple[int, int] = (32768, 60999)) -> None:
        self._ephemeral = ephemeral
        self._counts: dict[Key, int] = {}
        self._recent: deque[tuple[float, Key]] = deque(maxlen=100_000)

    def add(self, reset: LiveReset, now: float) -> None:
        """One more reset."""
        key = self._key(reset)
        if key not in self._counts and len(self._counts) >= _MOST:
            key = Key(key.benign, "(more)", "", "", "", "")
        self._counts[key] = self._counts.get(key, 0) + 1
        self._recent.append((now, key))

    def lines(self, now: float, width: int, limit: int) -> list[Line]:
        """The table now; at most ``limit`` rows of harmful and of harmless resets each."""
        rates = self._rates(now)
        lines: list[Line] = []
        for benign, title in ((False, "harmful"), (True, "harmless")):
            keys = [key for key in self._counts if key.benign == benign]
            keys.sort(key=lambda key: -self._counts[key])
            total = sum(self._counts[key] for key in keys)
            lines.append((Span(f"{title}: {total:,}", "strong"),))
            if keys:
                rows = [self._row(key, rates) for key in keys[:limit]]
                lines += _aligned([_HEAD, *rows], width, "dim" if benign else "")
            if len(keys) > limit:
                lines.append((Span(f"  and {len(keys) - limit} more kinds", "dim"),))
        return lines

    def _key(self, reset: LiveReset) -> Key:
        ours, peer = ours_and_peer(reset)
        found = reset.diagnosis
        comm = reset.owner.comm if reset.owner is not None else "-"
        address, peer_port = split(peer)
        _, port = split(ours)
        here = self._is_service(port, peer_port)
        service = ours if here else peer
        return Key(found.benign, found.cause, reset.direction, service,
                   address if here else "here", printable(comm))  # fmt: skip

    def _is_service(self, port: int, peer_port: int) -> bool:
        """Whether our port is the one that was connected to."""
        low, high = self._ephemeral
        ours, theirs = (low <= one <= high for one in (port, peer_port))
        return port <= peer_port if ours == theirs else theirs

    def _rates(self, now: float) -> dict[Key, float]:
        while self._recent and self._recent[0][0] < now - _WINDOW:
            self._recent.popleft()
        rates: dict[Key, float] = {}
        for _, key in self._recent:
            rates[key] = rates.get(key, 0) + 1 / _WINDOW
        return rates

    def _row(self, key: Key, rates: dict[Key, float]) -> tuple[str, ...]:
        count, rate = f"{self._counts[key]:,}", f"{rates.get(key, 0.0):.1f}"
        return count, rate, key.cause, key.direction, key.service, key.peer, key.process


def _aligned(rows: Iterable[tuple[str, ...]], width: int, style: str) -> list[Line]:
    rows = list(rows)
    widths = [max(cells(row[i]) for row in rows) for i in range(len(_HEAD))]
    lines: list[Line] = []
    for number, row in enumerate(rows):
        parts = [_padded(text, widths[i], right=i < 2) for i, text in enumerate(row)]
        lines.append((Span(("  " + "  ".join(parts))[:width], "dim" if not number else style),))
    return lines


def _padded(text: str, width: int, *, right: bool) -> str:
    room = " " * (width - cells(text))
    return room + text if right else text + room
