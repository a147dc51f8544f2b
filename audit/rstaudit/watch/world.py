"""What surrounds the events: processes, network namespaces, their counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from rstaudit.collect.sockopts import Glimpse
from rstaudit.collect.tree import Tree
from rstaudit.model.sockets import Owner
from rstaudit.parse.reset_event import DESTROY, DROP, RECEIVE, SEND, STATE, Event
from rstaudit.resets.live.context import Context
from rstaudit.resets.live.crossings import Ends
from rstaudit.resets.live.history import History, Step
from rstaudit.watch.glimpses import Glimpses
from rstaudit.watch.people import People
from rstaudit.watch.spaces import Space, Spaces
from rstaudit.watch.standing import Standing

#: Kinds of events whose thread, outside interrupts, acts for the socket.
_ACTS = (STATE, SEND, DESTROY)
#: Seconds between two looks at everything, and the share of the time that looking may take.
_LOOK, _SHARE = 1.0, 0.1
#: A namespace's counters are not read more often than this, ns.
_SAMPLE_NS = 1_000_000
_MOST_FLOWS = 20_000
#: Data sent less than this before a reset may be what it answers.
_JUST_NOW_MS = 1000
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
        self._standing = Standing()
        self._glimpses = Glimpses() if options else None
        self._traced = traced
        #: Whether dropped packets have events.
        self.drops_traced = False
        self._next_look = self._next_tick = 0.0
        self._dirty: dict[int, Space] = {}
        #: The last thread that changed a socket's state itself, by the kernel's address.
        self._actors: dict[int, int] = {}
        #: Of resets not judged yet, by time and processor.
        self._of_reset: dict[tuple[int, int], int] = {}
        #: Namespaces of sockets whose addresses are in several: by kernel address, and by ends.
        self._of_socket: dict[int, int] = {}
        self._of_ends: dict[Ends, int] = {}
        self.tick(calm=True)

    def look(self, *, every: bool = False) -> None:
        """Take in new namespaces and their addresses, unless that was done just now."""
        if time.monotonic() < self._next_look and not every:
            return
        start = time.thread_time()
        for pid, netns in self.people.look_around():
            self.spaces.note(netns, pid)
        self.spaces.read_addresses(every=every)
        self._next_look = time.monotonic() + (time.thread_time() - start) / _SHARE

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
            if not event.irq and event.pid and event.kind in _ACTS:
                self._note(event.pid)
                if event.kind == STATE:
                    _put(self._actors, event.sk, event.pid)
            if not self.spaces.of(event.src) and any(event.src):
                self.look()
            if len(self.spaces.of(event.src)) != 1:
                self._remember(event)
            if event.kind in (SEND, RECEIVE):
                self._see_reset(event)

    def _see_reset(self, event: Event) -> None:
        space = self.space(event)
        if space is None:
            return
        self._dirty[space.inode] = space
        self._of_reset[event.time_ns, event.cpu] = space.inode
        if event.kind == SEND:
            space.samples.sent(event.time_ns)
        elif self._glimpses is not None:
            self._glimpses.look(event, self._holders(event, space))

    def _holders(self, event: Event, space: Space) -> Iterator[int]:
        """Processes that may hold the socket, likeliest first."""
        actor = self._actors.get(event.sk)
        owner = self.people.owner(actor) if actor is not None else None
        if owner is not None:
            yield owner.pid
        ends = (event.src, event.sport, event.dst, event.dport)
        yield from (found.pid for found in self._standing.owners(space.inode, ends))

    def _note(self, tid: int) -> None:
        person = self.people.learn(tid)
        if person is not None and person.netns is not None:
            self.spaces.note(person.netns, tid)

    def _remember(self, event: Event) -> None:
        """Where a socket is whose address does not tell."""
        begins = event.kind == STATE and event.old == "CLOSE"
        inode = self._of_socket.get(event.sk) if event.sk and not begins else None
        if inode is None and not event.irq:
            inode = self.people.netns(event.pid)
        if inode is None:
            inode = self._by_ends(event)
        if inode is None:
            return
        if event.kind == DESTROY:
            self._of_socket.pop(event.sk, None)
        elif event.sk:
            _put(self._of_socket, event.sk, inode)
        _put(self._of_ends, (event.src, event.sport, event.dst, event.dport), inode)

    def _by_ends(self, event: Event) -> int | None:
        """The namespace of the connection's other end, of its listener, or of this end before."""
        src, sport, dst, dport = event[7:11]
        known, nobody = self._of_ends, bytes(len(src))
        for ends in (
            (src, sport, dst, dport),
            (src, sport, nobody, 0),
            (nobody, sport, nobody, 0),
            (bytes(16), sport, bytes(16), 0),
            (dst, dport, src, sport) if _within(src, dst) else None,
        ):
            inode = known.get(ends) if ends is not None else None
            if inode is not None:
                return inode
        return None

    def space(self, event: Event) -> Space | None:
        """The network namespace of our end of an event; None where that cannot be told."""
        here = self.spaces.of(event.src)
        if len(here) == 1:
            return self.spaces.get(here[0])
        inode = self._of_socket.get(event.sk) if event.sk else None
        if inode is None and _within(event.src, event.dst):
            # what a program sends to its own host is answered while it waits: in its own thread
            inode = self.people.netns(event.pid)
            inode = inode if inode in here else None
        return self.spaces.get(inode if inode is not None else self._by_ends(event))

    def place(self, event: Event, source: bytes) -> Space | None:
        """The namespace of a reset that is judged now, as it was when it was seen.

        ``source`` is our address, which a listener's event does not tell.
        """
        inode = self._of_reset.pop((event.time_ns, event.cpu), None)
        if inode is None or not self.spaces.of(event.dst):
            self.look()
        if source != event.src:
            return self.space(event._replace(src=source))
        return self.spaces.get(inode) if inode is not None else self.space(event)

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

    def owner(self, event: Event, space: Space | None, history: History) -> Owner | None:
        """The process behind our end of a reset; None where nobody can be named."""
        if event.kind == SEND and not event.irq:
            found = self.people.owner(event.pid)
            if found is not None:
                return found
        ends = (event.src, event.sport, event.dst, event.dport)
        minisocket = event.state in ("TIME_WAIT", "LISTEN")  # at another address than its socket
        found = self._actor(history.steps(ends), 0 if minisocket else event.sk)
        if found is not None or event.state == "UNKNOWN":
            return found
        seen = self._glimpses.of(event) if self._glimpses is not None else None
        if seen is not None:
            return self.people.owner(seen.pid)
        standing = self._standing.owners(space.inode, ends) if space is not None else ()
        if standing:
            return min(standing)
        return self._actor(history.listener(event.src, event.sport), 0)

    def _actor(self, steps: list[Step], sk: int) -> Owner | None:
        """Who did the last step that a process did itself (of the socket ``sk``, if any)."""
        for _, kind, _, _, irq, pid, socket, _ in reversed(steps):
            if not irq and pid and kind in _ACTS and sk in (0, socket):
                owner = self.people.owner(pid)
                if owner is not None:
                    return owner
        return None


def _within(src: bytes, dst: bytes) -> bool:
    """Whether a connection never leaves its namespace."""
    return src == dst or src[:1] == b"\x7f"


K = TypeVar("K")


def _put(table: dict[K, int], key: K, value: int) -> None:
    """Set an entry; the oldest go when there are too many."""
    table[key] = value
    if len(table) > _MOST_FLOWS:
        for old in list(table)[: _MOST_FLOWS // 4]:
            del table[old]
