"""Streams of events: recorded ones, and stories told step by step; and what is said of them.

tests/events/streams holds what a 6.18 kernel reported of staged resets (tests/test_causes_live.py
stages most of them, the lab the rest): a line of JSON with the counters that moved, then an event
a line. Thread ids and addresses of sockets were numbered anew; nothing else was changed.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.parse.reset_event import (
    DESTROY,
    DROP,
    ERROR,
    RECEIVE,
    RETRANSMIT,
    SEND,
    STATE,
    Event,
)
from rstaudit.resets.live.context import Context
from rstaudit.resets.live.crossings import Ends, reverse
from rstaudit.resets.live.decide import decide, is_false
from rstaudit.resets.live.history import History

FOLDER = Path(__file__).parent.parent / "events" / "streams"

#: As long after a reset it is judged.
LATER_NS = 25_000_000
SECOND = 1_000_000_000
MS = 1_000_000


class Stream(NamedTuple):
    """Events in the order of time, and how far the namespace's counters moved, if recorded."""

    events: list[Event]
    counters: Mapping[str, int] | None


class Judged(NamedTuple):
    """A reset and what was said of it; None for a false event."""

    event: Event
    diagnosis: Diagnosis | None


def recorded() -> list[str]:
    """The names of the recorded streams."""
    return sorted(path.stem for path in FOLDER.glob("*.tsv"))


def load(name: str) -> Stream:
    """A recorded stream."""
    first, *lines = (FOLDER / f"{name}.tsv").read_text().splitlines()
    counters: dict[str, int] | None = json.loads(first)["counters"]
    return Stream([_event(line) for line in lines], counters)


def _event(line: str) -> Event:
    (time, cpu, kind, where, pid, sk, src, sport, dst, dport, state, old, reason, error, protocol,
     ) = line.split("\t")  # fmt: skip
    ours, peer = packed(src), packed(dst)
    return Event(
        int(time), int(cpu), kind, where == "irq", int(pid), int(sk),
        socket.AF_INET if len(ours) == 4 else socket.AF_INET6, ours, int(sport), peer, int(dport),
        _word(state), _word(old), _word(reason), 0, int(error), protocol == "mptcp",
    )  # fmt: skip


def _word(text: str) -> str | None:
    return None if text == "-" else text


def packed(address: str) -> bytes:
    """The bytes of an address, none for ``-``."""
    if address == "-":
        return b""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def judge(
    events: Iterable[Event], context: Context | None = None, history: History | None = None
) -> list[Judged]:
    """What is said of each reset in a stream, each after what followed it soon."""
    events, history = list(events), history or History()
    given, noted, found = context or Context(), 0, []
    for event in events:
        if event.kind not in (SEND, RECEIVE):
            continue
        while noted < len(events) and events[noted].time_ns <= event.time_ns + LATER_NS:
            history.note(events[noted])
            noted += 1
        false = is_false(event, history)
        found.append(Judged(event, None if false else decide(event, history, given)))
    return found


def here(stream: Stream) -> Context:
    """What is known where both ends are in one namespace of this host."""
    sent = max(1, sum(event.kind == SEND for event in stream.events))
    return Context(
        counters=stream.counters, resets=sent, peer_counters=stream.counters, peer_resets=sent,
        peer_local=True,
    )  # fmt: skip


def causes(judged: Iterable[Judged]) -> set[str]:
    """The causes that were named."""
    return {one.diagnosis.cause for one in judged if one.diagnosis is not None}


class Story:
    """A stream told step by step, from one end: the other is a host that is not watched.

    Time stands still but for `wait`; each event comes a microsecond after the last one.
    """

    def __init__(self, ends: Ends = (b"\xc0\x00\x02\x01", 40000, b"\xc6\x33\x64\x01", 443)) -> None:
        self.ends = ends
        self.events: list[Event] = []
        self.now = SECOND
        self.pid, self.sk = 500, 1

    def wait(self, nanoseconds: int) -> Story:
        """Let time go by."""
        self.now += nanoseconds
        return self

    def state(self, old: str, new: str, *, irq: bool = False) -> Story:
        """A change of state, by the program unless in an interrupt."""
        return self._add(STATE, irq=irq, old=old, state=new)

    def connect(self) -> Story:
        """A connect that succeeds."""
        return self.state("CLOSE", "SYN_SENT").state("SYN_SENT", "ESTABLISHED", irq=True)

    def accept(self) -> Story:
        """A connection that a listener makes."""
        self.state("LISTEN", "SYN_RECV", irq=True)
        return self.state("SYN_RECV", "ESTABLISHED", irq=True)

    def destroy(self, *, disconnected: bool = False) -> Story:
        """The socket goes; without its peer's port after tcp_disconnect()."""
        self._add(DESTROY)
        if disconnected:
            self.events[-1] = self.events[-1]._replace(dport=0)
        return self

    def error(self, number: int) -> Story:
        """An error is reported to the program."""
        return self._add(ERROR, irq=True, error=number, sk=0)

    def retransmit(self, times: int = 1) -> Story:
        """Data is sent again, 200 ms apart."""
        for _ in range(times):
            self.wait(200 * MS)._add(RETRANSMIT, irq=True, state="ESTABLISHED")
        return self

    def drop(self, reason: str) -> Story:
        """A packet is dropped."""
        nobody: Ends = (b"", 0, b"", 0)
        return self._add(DROP, irq=True, reason=reason, ends=nobody, sk=0)

    def send(
        self, reason: str | None, state: str | None, *, irq: bool = False, sk: int | None = None
    ) -> Story:
        """A reset is sent; without a socket where ``state`` is None."""
        socket_address = sk if sk is not None else self.sk if state else 0
        told = state or "UNKNOWN"
        return self._add(SEND, irq=irq, reason=reason, state=told, sk=socket_address)

    def receive(self) -> Story:
        """A reset is received."""
        return self._add(RECEIVE, irq=True)

    def other_end(self) -> Story:
        """Go on at the other end, as another socket of another thread."""
        self.ends = reverse(self.ends)
        self.sk, self.pid = (2, 501) if self.sk == 1 else (1, 500)
        return self

    def told(self, context: Context | None = None) -> Diagnosis:
        """What is said of the last reset."""
        diagnosis = judge(self.events, context)[-1].diagnosis
        assert diagnosis is not None
        return diagnosis

    def _add(
        self, kind: str, *, irq: bool = False, state: str | None = None, old: str | None = None,
        reason: str | None = None, error: int = 0, ends: Ends | None = None, sk: int | None = None,
    ) -> Story:  # fmt: skip
        self.now += 1000
        address = self.sk if sk is None else sk
        family = socket.AF_INET if len(self.ends[0]) == 4 else socket.AF_INET6
        self.events.append(Event(
            self.now, 0, kind, irq, 0 if irq else self.pid, address, family,
            *(ends or self.ends), state, old, reason, 0, error,
        ))  # fmt: skip
        return self
