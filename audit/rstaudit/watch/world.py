"""What surrounds the events: processes, network namespaces, their counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from rstaudit.collect.sockopts import Glimpse
from rstaudit.collect.tree import Tree
from rstaudit.model.sockets import Owner
from rstaudit.parse.reset_event import DESTROY, DROP, NOWHERE, RECEIVE, SEND, STATE, Event
from rstaudit.resets.live.context import Context, Quiet
from rstaudit.resets.live.history import History, Step
from rstaudit.watch.filters import forgets_s
from rstaudit.watch.glimpses import Glimpses
from rstaudit.watch.people import People
from rstaudit.watch.places import ANSWERS, Places, acts
from rstaudit.watch.spaces import Space, Spaces
from rstaudit.watch.standing import Standing

#: Kinds of events whose thread, outside interrupts, acts for the socket.
_ACTS = (STATE, SEND, DESTROY)
#: Seconds between two looks at everything, and the share of the time that looking may take. What
#: was not used of the last second may be used at once: a first reset should not be misjudged.
_LOOK, _SHARE, _SAVED = 1.0, 0.1, 1.0
#: A namespace's counters are not read more often than this, ns.
_SAMPLE_NS = 1_000_000
_MOST_FLOWS = 20_000
#: Data sent less than this before a reset may be what it answers.
_JUST_NOW_MS = 1000
#: A younger socket cannot have been silent for a second.
_BEGINNINGS, _YOUNG_NS = ("SYN_SENT", "ESTABLISHED"), 1_000_000_000
#: conntrack counts in seconds.
_SHORTEST = 1000
#: Seconds after which settings are read again.
_ASK = 2.0
_EPHEMERAL = Context().ephemeral


class World:
    """Learns of processes and namespaces while events are read; answers when they are judged.

    ``names`` gives the kernel's own memory of names by thread; ``options`` allows reading those
    of other processes' sockets; ``traced`` says that resets without a full socket have events.
    """

    def __init__(
        self,
        names: Callable[[], Mapping[int, str]] = dict,
        *,
        options: bool = True,
        traced: bool = True,
    ) -> None:
        self.people = People(Tree(), names)
        self.spaces = Spaces()
        self.places = Places(self.spaces, self.people)
        self._standing = Standing()
        self._glimpses = Glimpses() if options else None
        self._traced = traced
        #: Whether dropped packets have events.
        self.drops_traced = False
        self._next_look = self._next_tick = 0.0
        self._dirty: dict[int, Space] = {}
        #: The last thread that changed a socket's state itself, by the kernel's address.
        self._actors: dict[int, int] = {}
        #: Who listened last, by namespace and port.
        self._listeners: dict[tuple[int | None, int], int] = {}
        #: When a socket began to connect, or was connected.
        self._born: dict[int, int] = {}
        self.tick(calm=True)

    def look(self, *, every: bool = False) -> None:
        """Take in new namespaces and their addresses, unless that was done just now."""
        begun = time.monotonic()
        if begun < self._next_look and not every:
            return
        start = time.thread_time()
        for pid, netns in self.people.look_around():
            self.spaces.note(netns, pid)
        self.spaces.read_addresses(every=every)
        took = time.thread_time() - start
        self._next_look = max(self._next_look, begun - _SAVED) + took / _SHARE

    def tick(self, *, calm: bool) -> None:
        """Read the counters that resets have moved; now and then look at everything, if calm."""
        now = time.monotonic_ns()
        for space in list(self._dirty.values()):
            if now - space.samples.last_ns > _SAMPLE_NS:
                space.sample()
                del self._dirty[space.inode]
        if calm and now >= self._next_tick * 1e9:
            start = time.thread_time()
            self.people.learn_new()
            self.look(every=True)
            for space in self.spaces.all():
                space.sample()
            self._standing.refresh(self.spaces.all())
            took = time.thread_time() - start
            self._next_tick = now / 1e9 + max(_LOOK, took / _SHARE)

    def see(self, events: Iterable[Event]) -> None:
        """Events as they were read, not in order yet, but while their processes are still there."""
        for event in events:
            if event.kind == DROP:
                continue
            if acts(event):
                self._note(event.pid)
                if event.kind == STATE:
                    _put(self._actors, event.sk, event.pid)
            if event.kind == STATE and event.state in _BEGINNINGS:
                _put(self._born, event.sk, event.time_ns)
            elif event.kind == STATE and event.state == "LISTEN" and not event.irq:
                _put(self._listeners, (self.people.netns(event.pid), event.sport), event.pid)
            if not self.spaces.of(event.src) and any(event.src):
                self.look()
            if event.kind in (SEND, RECEIVE):
                self._see_reset(event)

    def note(self, event: Event) -> Event:
        """The event with its place; events come in the order of time."""
        place = self.places.note(event)
        if place is NOWHERE:
            return event
        if event.kind == RECEIVE:
            self._look_at(event, self.spaces.get(place.netns))  # more may be known by now
        if event.kind == SEND and place.netns:
            space = self.spaces.get(place.netns)
            if space is not None:
                space.samples.sent(event.time_ns)
                if space.samples.last_ns <= event.time_ns:
                    self._dirty[space.inode] = space
        return event._replace(place=place)

    def _see_reset(self, event: Event) -> None:
        space = self.spaces.get(self.places.of(event).netns)
        if space is None:
            return
        self._dirty[space.inode] = space
        self._look_at(event, space)

    def _look_at(self, event: Event, space: Space | None) -> None:
        """Look at the socket that was reset, unless that has been done."""
        if event.kind == RECEIVE and self._glimpses is not None and space is not None:
            ends = (event.src, event.sport, event.dst, event.dport)
            held = self._standing.held(space.inode, ends)
            inode = held.inode if held is not None else None
            young = event.time_ns - self._born.get(event.sk, 0) < _YOUNG_NS
            self._glimpses.look(event, self._holders(event, space), inode, young=young)

    def _holders(self, event: Event, space: Space) -> Iterator[int]:
        """Processes that may hold the socket, likeliest first."""
        ends = (event.src, event.sport, event.dst, event.dport)
        standing = self._standing.owners(space.inode, ends)
        threads = self._actors.get(event.sk), self._listeners.get((space.inode, event.sport))
        owners = (self.people.owner(thread) for thread in threads if thread is not None)
        found = (owner.pid for owner in (*owners, *standing) if owner is not None)
        yield from dict.fromkeys(found)

    def _note(self, tid: int) -> None:
        person = self.people.learn(tid)
        if person is not None and person.netns is not None:
            self.spaces.note(person.netns, tid)

    def settle(self, event: Event) -> Event:
        """A reset that is judged now, with the place that is known now.

        Who has the peer's address decides much, so that it is worth a look.
        """
        place = event.place
        if place.netns and not place.afar:
            return event
        self.look()
        return event._replace(place=self.places.of(event))

    def space(self, event: Event, source: bytes) -> Space | None:
        """The namespace of our end of a settled reset; None where that cannot be told.

        ``source`` is our address, which a listener's event does not tell.
        """
        netns = event.place.netns
        if not netns and source != event.src:
            netns = self.places.of(event._replace(src=source)).netns
        return self.spaces.get(netns)

    def context(
        self, event: Event, space: Space | None, seen_ns: int, since_ns: int | None, *, lost: bool
    ) -> Context:
        """What a decision may look at besides the events.

        All events up to ``seen_ns`` have been seen; ``lost`` says that some before are missing.
        ``since_ns`` is when the resetting end had ended, None where it is not known to have.
        """
        there = self.spaces.of(event.dst)
        peer = self.spaces.get(there[0]) if len(there) == 1 else None
        if space is not None and space.inode in there:
            peer = space
        ours = space.samples.around(event.time_ns, seen_ns, since_ns) if space is not None else None
        theirs = peer.samples.around(event.time_ns, seen_ns, since_ns) if peer is not None else None
        seen = self._glimpses.of(event) if self._glimpses is not None else None
        if space is not None and time.monotonic() - space.asked_at > _ASK:
            space.ask()
        return Context(
            counters=ours.counters if ours is not None else None,
            counters_from_ns=ours.start_ns if ours is not None else None,
            resets=ours.resets if ours is not None else 1,
            peer_counters=theirs.counters if theirs is not None else None,
            peer_resets=theirs.resets if theirs is not None else 1,
            peer_local=bool(there),
            every_reset_traced=self._traced,
            drops_traced=self.drops_traced,
            forwards=space.forwards if space is not None else None,
            options=seen.options if seen is not None else None,
            unread=seen.unread if seen is not None else None,
            idle_ms=self._idle_ms(event, space, seen),
            quiet=_quiet(seen),
            peer_quiet=self._peer_quiet(event, seen),
            forgets_s=self._forgets_s(event, space, peer, seen),
            ephemeral=space.ephemeral or _EPHEMERAL if space is not None else _EPHEMERAL,
            fin_timeout_s=space.fin_timeout if space is not None else None,
            lost=lost,
        )

    def _idle_ms(self, event: Event, space: Space | None, seen: Glimpse | None) -> int | None:
        """How long neither end had sent data before what led to the reset; None where unknown.

        What led to it may be data of our own, so that the socket itself tells too late.
        """
        if seen is not None and seen.sent_ms > _JUST_NOW_MS:
            return min(seen.sent_ms, seen.received_ms)
        ends = (event.src, event.sport, event.dst, event.dport)
        held = self._standing.held(space.inode, ends) if space is not None else None
        if held is None or held.at_ns > event.time_ns:
            return None
        since = (event.time_ns - held.at_ns) // 1_000_000
        if seen is not None and seen.received_ms < since:
            return seen.received_ms
        return held.idle_ms + since

    def _peer_quiet(self, event: Event, seen: Glimpse | None) -> Quiet | None:
        if seen is None or self._glimpses is None:
            return None
        theirs = (event.dst, event.dport, event.src, event.sport)
        return _quiet(self._glimpses.near(theirs, event.time_ns))

    def _forgets_s(
        self, event: Event, space: Space | None, peer: Space | None, seen: Glimpse | None
    ) -> int | None:
        """When conntrack on the way forgets; asked only of what was silent, which is seldom."""
        quiet = _quiet(seen)
        if event.kind != RECEIVE or space is None or quiet is None or quiet.heard_ms < _SHORTEST:
            return None
        return forgets_s(self.spaces, space, event.src, peer, event.dst)

    def owner(self, event: Event, space: Space | None, history: History) -> Owner | None:
        """The process behind our end of a reset; None where nobody can be named."""
        if event.kind == SEND and acts(event):
            found = self.people.owner(event.pid)
            if found is not None:
                return found
        ends = (event.src, event.sport, event.dst, event.dport)
        minisocket = event.state in ("TIME_WAIT", "LISTEN")  # at another address than its socket
        netns = event.place.netns
        found = self._actor(history.steps(ends, netns), 0 if minisocket else event.sk)
        if found is not None or event.state == "UNKNOWN":
            return found
        seen = self._glimpses.of(event) if self._glimpses is not None else None
        if seen is not None:
            return self.people.owner(seen.pid)
        standing = self._standing.owners(space.inode, ends) if space is not None else ()
        if standing:
            return min(standing)
        return self._actor(history.listener(event.src, event.sport, netns), 0)

    def _actor(self, steps: list[Step], sk: int) -> Owner | None:
        """Who did the last step that a process did itself (of the socket ``sk``, if any)."""
        for _, kind, _, _, irq, pid, socket, extra, _ in reversed(steps):
            if not irq and pid and kind in _ACTS and extra not in ANSWERS and sk in (0, socket):
                owner = self.people.owner(pid)
                if owner is not None:
                    return owner
        return None


def _quiet(seen: Glimpse | None) -> Quiet | None:
    if seen is None:
        return None
    return Quiet(seen.sent_ms, min(seen.received_ms, seen.acked_ms))


K = TypeVar("K")


def _put(table: dict[K, int], key: K, value: int) -> None:
    """Set an entry; the oldest go when there are too many."""
    table[key] = value
    if len(table) > _MOST_FLOWS:
        for old in list(table)[: _MOST_FLOWS // 4]:
            del table[old]
