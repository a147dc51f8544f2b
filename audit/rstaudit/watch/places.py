"""In which network namespace an event happened: the kernel's events do not say.

Most addresses are in one namespace only. Loopback is in all, and containers of one image often
have the same addresses: then the thread, the socket, or the other end of the connection tells.
"""

from __future__ import annotations

from collections.abc import Iterator

from rstaudit.parse.reset_event import (
    DESTROY,
    DROP,
    NOWHERE,
    RECEIVE,
    SEND,
    STATE,
    Event,
    Place,
)
from rstaudit.resets.live.crossings import Ends, within
from rstaudit.watch.people import People
from rstaudit.watch.spaces import Spaces

#: Kinds of events whose thread, outside interrupts, acts for the socket.
_ACTS = (STATE, SEND, DESTROY)
#: Answers to a segment, which a thread of anybody may bring in: whoever writes to a tun device
#: does the work of an interrupt.
ANSWERS = frozenset({
    "NO_SOCKET", "TCP_INVALID_ACK_SEQUENCE", "TCP_RFC7323_PAWS", "TCP_TOO_OLD_ACK", "TCP_FLAGS",
    "TCP_ACK_UNSENT_DATA", "TCP_OLD_ACK", "TCP_ABORT_ON_DATA", "TCP_TIMEWAIT_SOCKET", "INVALID_SYN",
})  # fmt: skip
_ANSWERING = ("LISTEN", "TIME_WAIT", "UNKNOWN", None)
_MOST, _MOST_NAMESPACES = 20_000, 4


def acts(event: Event) -> bool:
    """Whether the thread of an event does for its own socket what the event tells."""
    if event.irq or not event.pid or event.kind not in _ACTS:
        return False
    return event.kind != SEND or (event.reason not in ANSWERS and event.state not in _ANSWERING)


class Places:
    """Where events happened, from what is known of addresses, threads and earlier events."""

    def __init__(self, spaces: Spaces, people: People) -> None:
        self._spaces, self._people = spaces, people
        #: By the kernel's address of a socket.
        self._of_socket: dict[int, int] = {}
        #: By ends: each namespace in which they were seen, and when last.
        self._of_ends: dict[Ends, dict[int, int]] = {}

    def note(self, event: Event) -> Place:
        """The place of an event; events come in the order of time, and later ones build on it."""
        if event.kind == DROP:
            return NOWHERE
        here = self._spaces.of(event.src)
        if len(here) == 1:
            if event.kind in (SEND, RECEIVE) or event.old == "SYN_SENT":
                return self._with_peer(event, here[0], shared=False)
            return NOWHERE
        netns = self._find(event, here)
        if netns:
            self._remember(event, netns)
        return self._with_peer(event, netns, shared=True)

    def of(self, event: Event) -> Place:
        """The place of a reset by what is known now, though nothing shall be learnt from it."""
        here = self._spaces.of(event.src)
        shared = len(here) != 1
        netns = self._find(event, here) if shared else here[0]
        return self._with_peer(event, netns, shared=shared)

    def _with_peer(self, event: Event, netns: int, *, shared: bool) -> Place:
        if not event.dport:  # a listener does not say to whom
            return Place(netns, 0, shared)
        there = self._spaces.of(event.dst)
        if within(event.src, event.dst) or netns in there:
            peer = netns  # the kernel hands to itself what is for an address of its own
        else:
            peer = there[0] if len(there) == 1 else 0
        space = self._spaces.get(peer) if peer else None
        forwards = space.forwards if space is not None and peer != netns else None
        afar = not there and peer == 0
        return Place(netns, peer, shared, afar, forwards)

    def _find(self, event: Event, here: tuple[int, ...]) -> int:
        """The namespace, one of ``here`` where these are known to have the address; 0 unknown."""
        thread = self._people.netns(event.pid) if event.pid else None
        if here and thread not in here:
            thread = None
        if thread is not None and acts(event):
            return thread
        begins = event.kind == STATE and event.old in ("CLOSE", "LISTEN")
        known = self._of_socket.get(event.sk) if event.sk and not begins else None
        if known is not None and (not here or known in here):
            return known
        return self._by_ends(event, here, thread) or 0

    def _by_ends(self, event: Event, here: tuple[int, ...], thread: int | None) -> int | None:
        """By what else was seen of the connection, or by its listener.

        What a program sends to its own host is mostly answered while it waits: in its own thread.
        """
        local = within(event.src, event.dst) or any(
            inode in here for inode in self._spaces.of(event.dst)
        )
        seen = self._seen(self._connection(event, local=local), here)
        if local and thread in seen:
            return thread
        if seen:
            return max(seen, key=seen.__getitem__)
        listening = self._seen(_listeners(event), here)
        if len(listening) == 1:
            return next(iter(listening))
        return thread if local and here else None

    def _connection(self, event: Event, *, local: bool) -> Iterator[Ends]:
        src, sport, dst, dport = event.src, event.sport, event.dst, event.dport
        if dport:
            yield src, sport, dst, dport
        if local:
            yield dst, dport, src, sport
            yield dst, 0, src, sport  # a connecting socket that has no port yet

    def _seen(self, keys: Iterator[Ends], here: tuple[int, ...]) -> dict[int, int]:
        found: dict[int, int] = {}
        for ends in keys:
            for inode, time in self._of_ends.get(ends, {}).items():
                if not here or inode in here:
                    found[inode] = max(time, found.get(inode, 0))
        return found

    def _remember(self, event: Event, netns: int) -> None:
        if event.kind == DESTROY:
            self._of_socket.pop(event.sk, None)
        elif event.sk:
            self._of_socket[event.sk] = netns
            if len(self._of_socket) > _MOST:
                for old in list(self._of_socket)[: _MOST // 4]:
                    del self._of_socket[old]
        ends = (event.src, event.sport, event.dst, event.dport)
        seen = self._of_ends.pop(ends, None)
        if seen is None:
            seen = {}
            if len(self._of_ends) > _MOST:
                for first in list(self._of_ends)[: _MOST // 4]:
                    del self._of_ends[first]
        seen[netns] = event.time_ns
        if len(seen) > _MOST_NAMESPACES:
            del seen[min(seen, key=seen.__getitem__)]
        self._of_ends[ends] = seen


def _listeners(event: Event) -> Iterator[Ends]:
    nobody = bytes(len(event.src))
    yield event.src, event.sport, nobody, 0
    yield nobody, event.sport, nobody, 0
    yield bytes(16), event.sport, bytes(16), 0
