"""Resets without trace events: counters and socket tables, looked at now and then."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from rstaudit.collect.sockdiag import collect_states
from rstaudit.collect.tree import Tree
from rstaudit.model.diagnosis import LiveReset
from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LAST_ACK,
    ROW_SIZE,
    STATE_NAMES,
    SYN_RECV,
    SYN_SENT,
)
from rstaudit.resets.live.coarse import infer
from rstaudit.watch.people import People
from rstaudit.watch.samples import Sampled, moves
from rstaudit.watch.spaces import Space, Spaces

_PAUSE = 0.5
_STATES = (ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING)
#: A namespace with more sockets than this has its counters read, not its table.
_MOST = 20_000
_NOBODY = "0.0.0.0:0"


class Polling:
    """Counts of resets by cause, namespace by namespace.

    What it returns stands for several resets (``count`` in the evidence), names no process, and
    has ``0.0.0.0:0`` for both ends: counters do not tell. Raises `MissingFact` where not even
    those can be read.
    """

    def __init__(self) -> None:
        self._people, self._spaces = People(Tree()), Spaces()
        self._before: dict[int, tuple[Sampled, Mapping[bytes, int] | None]] = {}
        self.sent = self.received = 0
        self._poll()
        if not self._before:
            detail = "/proc/net/snmp cannot be read: neither events nor counters tell of resets"
            raise MissingFact(Gap("counters", "unreadable", detail))
        self._next = time.monotonic() + _PAUSE

    def step(self, seconds: float) -> list[LiveReset]:
        """Wait at most ``seconds`` for the next look; what it shows."""
        left = self._next - time.monotonic()
        if left > 0:
            time.sleep(min(left, seconds))
        if time.monotonic() < self._next:
            return []
        start = time.monotonic()
        found = self._poll()
        took = time.monotonic() - start
        self._next = start + max(_PAUSE, 20 * took)
        return found

    def flush(self) -> list[LiveReset]:
        """What happened since the last look."""
        return self._poll()

    def _poll(self) -> list[LiveReset]:
        for pid, netns in self._people.look_around():
            self._spaces.note(netns, pid)
        found: list[LiveReset] = []
        for space in self._spaces.all():
            found += self._look_at(space)
        return found

    def _look_at(self, space: Space) -> list[LiveReset]:
        space.sample()
        now = space.samples.newest
        if now is None:
            return []
        table = _table(space)
        before = self._before.get(space.inode)
        self._before[space.inode] = (now, table)
        if before is None:
            return []
        found = []
        at = time.time_ns()
        for tally in infer(moves(before[0], now), _gone(before[1], table)):
            if tally.direction == "sent":
                self.sent += tally.number
            else:
                self.received += tally.number
            found.append(
                LiveReset(
                    at, tally.direction, _NOBODY, _NOBODY, tally.diagnosis, None, None, space.inode
                )
            )
        return found


def _table(space: Space) -> Mapping[bytes, int] | None:
    """The state of each socket by its cookie; None where it was not read."""
    table = None
    with suppress(MissingFact):
        table = space.inside(lambda: collect_states(*_STATES))
    if table is None or len(table) > _MOST:
        return None
    blob = table.blob
    return {
        blob[start + 44 : start + 52]: blob[start + 1]
        for start, end in table.places(*_STATES)
        if end - start >= ROW_SIZE
    }


def _gone(
    before: Mapping[bytes, int] | None, after: Mapping[bytes, int] | None
) -> Mapping[str, int] | None:
    """How many sockets are not there any more, by the state they were in."""
    if before is None or after is None:
        return None
    return Counter(STATE_NAMES[before[cookie]] for cookie in before.keys() - after.keys())
