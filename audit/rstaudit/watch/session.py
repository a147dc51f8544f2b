"""A watch under way: events in, resets with their causes out."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from rstaudit.collect.namespaces import may_enter
from rstaudit.collect.tracefs import Trace
from rstaudit.model.diagnosis import Diagnosis, LiveReset
from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.sockets import address_text, endpoint
from rstaudit.parse.errors import ParseError
from rstaudit.parse.reset_event import DROP, RECEIVE, SEND, STATE, Event
from rstaudit.parse.trace_decoder import Counts, Decoder
from rstaudit.parse.trace_page import parse_page
from rstaudit.resets.live.crossings import Ends
from rstaudit.resets.live.decide import decide, ends, is_false
from rstaudit.resets.live.history import History
from rstaudit.watch.alerts import Alerts
from rstaudit.watch.order import Backlog, Order
from rstaudit.watch.polling import Polling
from rstaudit.watch.world import World

#: Events are put in order once they are this old: processors hand them over that late, ns.
_REORDER_NS = 5_000_000
#: A reset is judged this long after it, when what follows from it has been seen too, ns.
_JUDGE_NS = 25_000_000
#: Pages read at once, and pages waiting from which on resets are only counted: 64 MiB.
_READ, _MOST_WAITING = 4096, 16_384
#: How long pages are looked at, or resets judged, before the other has its turn, ns; how many
#: resets are judged before the kernel's buffer is emptied again; how many may wait for it.
_SLICE_NS, _ROUND, _ENOUGH = 10_000_000, 64, 4000
#: Pages waiting up to which there is time to look around.
_CALM = 64
#: How long resets are still judged when the watch ends, ns.
_LAST_NS = 1_000_000_000
#: How long what was lost makes the history incomplete, ns.
_INCOMPLETE_NS = 2_000_000_000
#: Dropped packets that are looked at; a scanner or a flood makes more.
_MOST_DROPS = 20_000


#: KiB of the kernel's memory: for each processor, and for all of them by default.
DEFAULT_BUFFER, _MOST_BUFFER = 8192, 256 * 1024


class Options(NamedTuple):
    """How to watch.

    ``buffer_kib`` is the ring buffer's size per processor; the default is less than that where it
    would come to more than 256 MiB for all processors. ``socket_options`` allows reading options
    of other processes' sockets (pidfd_getfd). ``diagnose`` False only counts. ``events`` False
    watches as if there were no trace events.
    """

    buffer_kib: int = DEFAULT_BUFFER
    socket_options: bool = True
    diagnose: bool = True
    events: bool = True


class Summary(NamedTuple):
    """What a session saw. ``source`` is ``events`` or ``counters`` (no trace events).

    ``sent``/``received`` are resets, false events left out; ``undiagnosed`` those only counted;
    ``lost`` events that the ring buffer dropped. ``gap`` says why there are no events, or None.
    """

    source: str
    sent: int
    received: int
    undiagnosed: int
    lost: int
    events: int
    gap: str | None


class Session:
    """Watches the whole host from `__enter__` to `__exit__`.

    `__enter__` raises `rstaudit.model.facts.MissingFact` where neither events nor counters can
    be had. Not for several threads; two sessions at once do not disturb each other.
    """

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or Options()
        self._trace: Trace | None = None
        self._polling: Polling | None = None
        self._alerts: Alerts | None = None
        self._gap: str | None = None
        self._order, self._backlog = Order(), Backlog()
        self._history = History()
        self._pending: deque[Event] = deque()
        self._counts: Counts = {}
        self._sent = self._received = self._events = self._lost = self._drops = 0
        self._incomplete_until = 0
        self._horizon = self._fetched = self._offset = 0

    def __enter__(self) -> Session:
        try:
            if not self._options.events:
                raise MissingFact(Gap("trace", "excluded", "trace events were not asked for"))
            self._trace = Trace(_buffer(self._options.buffer_kib))
        except MissingFact as missing:
            if not _hopeless(missing.gap):
                raise
            self._polling, self._gap = Polling(), missing.gap.detail
            return self
        try:
            self._decoder = Decoder(self._trace.layouts)
            sends = [layout for layout in self._trace.layouts if layout.name == "tcp_send_reset"]
            traced = "reason" in sends[0].fields  # from 6.10, with events for every reset
            self._world = World(
                self._trace.names, options=self._options.socket_options, traced=traced
            )
            self._alerts = Alerts() if self._options.diagnose else None
            self._world.drops_traced = any(
                "NETFILTER_DROP" in layout.symbols.get("reason", {}).values()
                for layout in self._trace.layouts
            )
            self._trace.start()  # not before the counters have been read once
        except BaseException:
            self._trace.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._alerts is not None:
            self._alerts.close()
        if self._trace is not None:
            self._lost = max(self._lost, self._trace.lost())
            self._trace.close()
            self._trace = None

    def run(
        self, on_reset: Callable[[LiveReset], None], stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Hand each reset to ``on_reset`` until ``stop()`` says so (asked ten times a second).

        Then hands out what is still in the buffers.
        """
        while not stop():
            for reset in self.step(0.1):
                on_reset(reset)
        for part in self._ending():
            for reset in part:
                on_reset(reset)

    def step(self, seconds: float) -> list[LiveReset]:
        """Wait at most ``seconds`` for events; the resets that are known now."""
        if self._polling is not None:
            return self._polling.step(seconds)
        trace = self._running()
        self._offset = time.time_ns() - time.monotonic_ns()  # somebody may set the clock
        if not self._backlog.count:
            trace.wait(self._patience(seconds))
        self._fetch(trace)
        self._work(trace)
        self._world.tick(calm=self._backlog.count < _CALM)
        if self._alerts is not None:
            self._alerts.poll()
        return self._judge(trace, self._horizon - _JUDGE_NS)

    def flush(self) -> list[LiveReset]:
        """Everything that happened until now, though what follows from it is not known yet.

        After a second of work it only counts the rest (as undiagnosed).
        """
        return [reset for part in self._ending() for reset in part]

    def _ending(self) -> Iterator[list[LiveReset]]:
        if self._polling is not None:
            yield self._polling.flush()
            return
        trace = self._running()
        time.sleep(2 * _REORDER_NS / 1e9)
        end = time.monotonic_ns()
        give_up = end + _LAST_NS
        self._fetch(trace)
        while self._horizon < end - _REORDER_NS or self._backlog.count:
            if time.monotonic_ns() > give_up:
                break
            self._fetch(trace)
            self._work(trace)
            yield self._judge(trace, self._horizon - _JUDGE_NS)
        self._world.tick(calm=not self._backlog.count)
        while self._pending and time.monotonic_ns() < give_up:
            yield self._judge(trace, time.monotonic_ns())
        self._count_rest()

    def known_until_ns(self) -> int:
        """Nanoseconds since the epoch: `step` has given out every reset up to then."""
        if self._polling is not None:
            return time.time_ns()
        first = [self._pending[0].time_ns - 1] if self._pending else []
        return min([self._horizon - _JUDGE_NS, *first]) + self._offset

    def summary(self) -> Summary:
        """The counts so far."""
        if self._polling is not None:
            polled = self._polling
            return Summary("counters", polled.sent, polled.received, 0, 0, 0, self._gap)
        if self._trace is not None:
            self._lost = max(self._lost, self._trace.lost())
        counted = sum(self._counts.values())
        sent = sum(count for (kind, _), count in self._counts.items() if kind == SEND)
        return Summary(
            "events", self._sent + sent, self._received + counted - sent, counted, self._lost,
            self._events, None,
        )  # fmt: skip

    def _running(self) -> Trace:
        if self._trace is None:
            raise RuntimeError("the session has not been entered")
        return self._trace

    def _patience(self, seconds: float) -> float:
        """How long to wait for events: shorter where something read before will be due."""
        if not self._pending and not len(self._order):
            return seconds
        return min(seconds, 0.005)

    def _fetch(self, trace: Trace) -> None:
        """Take what is there from the kernel, whose buffer is small."""
        self._fetched = time.monotonic_ns()
        for cpu, page in trace.read(_READ):
            self._backlog.add(cpu, page)
        while self._backlog.count > _MOST_WAITING:
            self._only_count()

    def _work(self, trace: Trace) -> None:
        """Look at pages for a moment, and let what is in order become history."""
        end = time.monotonic_ns() + _SLICE_NS
        while self._backlog.count and not self._enough():
            self._look_at(trace, *self._backlog.next())
            self._fetch(trace)
            if time.monotonic_ns() > end:
                break
        self._horizon = self._backlog.horizon(self._fetched) - _REORDER_NS
        self._note(self._order.take(self._horizon))

    def _enough(self) -> bool:
        """Whether resets wait to be judged, so that there is no need to look further ahead."""
        pending = self._pending
        return len(pending) > _ENOUGH and pending[0].time_ns <= self._horizon - _JUDGE_NS

    def _look_at(self, trace: Trace, cpu: int, data: bytes) -> None:
        try:
            page = parse_page(data, trace.page)
            if not self._options.diagnose:
                self._decoder.count(data, page.records, self._counts)
                self._events += len(page.records)
                return
            events = self._decoder.decode(data, page.records, cpu)
        except ParseError:
            self._lose(1)
            return
        if page.missed != 0:
            self._lose(page.missed or 1)
        if events:
            self._backlog.reached(cpu, events[-1].time_ns)
            self._events += len(events)
            self._world.see(events)
            self._limit_drops(trace, events)
            self._order.add(events)

    def _limit_drops(self, trace: Trace, events: list[Event]) -> None:
        """Do without dropped packets once there are more of them than help."""
        self._drops += sum(event.kind == DROP for event in events)
        if self._drops > _MOST_DROPS:
            trace.no_drops()
            self._world.drops_traced = False

    def _count_rest(self) -> None:
        """There is no time for more: count what was not looked at or not judged."""
        while self._backlog.count:
            self._only_count()
        for event in (*self._pending, *self._order.take(time.monotonic_ns())):
            if event.kind in (SEND, RECEIVE):
                key = (event.kind, event.reason)
                self._counts[key] = self._counts.get(key, 0) + 1
        self._pending.clear()

    def _only_count(self) -> None:
        """Too much to do: count the resets of a page and leave it at that."""
        _, data = self._backlog.next()
        try:
            self._decoder.count(data, parse_page(data, self._running().page).records, self._counts)
        except ParseError:
            self._lose(1)
        self._incomplete_until = time.monotonic_ns() + _INCOMPLETE_NS

    def _lose(self, count: int) -> None:
        self._lost += count
        self._incomplete_until = time.monotonic_ns() + _INCOMPLETE_NS

    def _note(self, events: Iterable[Event]) -> None:
        """Events in order become history; resets wait for what follows from them."""
        place, note, pending = self._world.note, self._history.note, self._pending
        for told in events:
            event = place(told)
            note(event)
            if event.kind in (SEND, RECEIVE):
                pending.append(event)

    def _judge(self, trace: Trace, until_ns: int) -> list[LiveReset]:
        """The resets before ``until_ns`` with their causes, as many as a moment allows."""
        found: list[LiveReset] = []
        pending = self._pending
        end = time.monotonic_ns() + _SLICE_NS
        while pending and pending[0].time_ns <= until_ns and time.monotonic_ns() < end:
            for _ in range(min(_ROUND, len(pending))):
                if pending[0].time_ns > until_ns:
                    break
                reset = self._diagnose(pending.popleft())
                if reset is not None:
                    found.append(reset)
            self._fetch(trace)
        return found

    def _ended(self, resetter: Ends, netns: int, before_ns: int) -> int | None:
        """When the end that resets had ended, in an event before the reset."""
        for time_ns, kind, state, *_ in reversed(self._history.steps(resetter, netns)):
            if time_ns < before_ns and kind == STATE:
                return time_ns if state == "CLOSE" else None
        return None

    def _heard(self, ends: Ends, netns: int) -> bool:
        return self._alerts is not None and self._alerts.heard(ends, netns)

    def _diagnose(self, event: Event) -> LiveReset | None:
        """A reset with its cause; None for an event that is no reset of its own."""
        world = self._world
        event = world.settle(event)
        src, sport, dst, dport = ends(event, self._history)
        space = world.space(event, src)
        if is_false(event, self._history):
            return None
        lost = event.time_ns < self._incomplete_until
        resetter = (src, sport, dst, dport) if event.kind == SEND else (dst, dport, src, sport)
        there = event.place.netns if event.kind == SEND else event.place.peer
        since = self._ended(resetter, there, event.time_ns)
        context = world.context(event, space, self._horizon, since, lost=lost)
        diagnosis = decide(event, self._history, context)
        if (
            diagnosis.cause == "data-to-closed"
            and not diagnosis.benign
            and self._heard(resetter, there)
        ):
            diagnosis = _farewell(diagnosis)
        if space is not None and not any(src):
            src = space.only_address(len(src)) or src  # a listener on any address prints zeros
        ours, peer = _text(src, sport), _text(dst, dport)
        if event.kind == SEND:
            self._sent += 1
        else:
            self._received += 1
            ours, peer = peer, ours
        return LiveReset(
            event.time_ns + self._offset,
            "sent" if event.kind == SEND else "received",
            ours,
            peer,
            diagnosis,
            event.reason,
            world.owner(event, space, self._history),
            space.inode if space is not None else None,
        )


def _buffer(kib: int) -> int:
    """What was asked for; the default bounded on machines with many processors."""
    return min(kib, _MOST_BUFFER // (os.cpu_count() or 1)) if kib == DEFAULT_BUFFER else kib


def _farewell(diagnosis: Diagnosis) -> Diagnosis:
    """The same for data that was only a TLS alert, which nobody waits for."""
    return diagnosis._replace(
        why=f"{diagnosis.why.removesuffix('.')}: a TLS alert, most likely its close_notify.",
        benign=True,
        evidence={**diagnosis.evidence, "tls_alert": "received"},
    )


def _hopeless(gap: Gap) -> bool:
    """Whether nobody here can mend the lack of events, so that counters have to do.

    Who is not root can become root, and who may mount tracefs can mount it.
    """
    if gap.reason == "permission":
        return os.geteuid() == 0
    return gap.reason != "not-loaded" or not may_enter()


def _text(address: bytes, port: int) -> str:
    return endpoint(address_text(2 if len(address) == 4 else 10, address), port)
