"""What one end sent and another received under other addresses: connections that NAT changed."""

from __future__ import annotations

from collections import deque

from rstaudit.parse.reset_event import Place

#: Our address, our port, the peer's address, the peer's port.
Ends = tuple[bytes, int, bytes, int]

#: An end of a connection.
_End = tuple[bytes, int]
_Place = tuple[int, Ends]

#: A reset that a namespace of this host passes on arrives within this time.
_PASSED_ON_NS = 1_000_000_000
#: The same where only the time tells that two resets are one.
_AT_ONCE_NS = 3_000_000
_MOST_CONNECTS = 16
_SCAN_NS = 2_000_000_000
_LOOPBACK_6 = bytes(15) + b"\x01"


class Crossings:
    """The last resets, connects and accepts of the host by one of their ends only.

    Each index holds at most ``limit`` entries and is begun anew then. What stays within its
    namespace is no crossing: loopback, and an address that talks to itself.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sent_to: dict[_End, _Place] = {}
        self._sent_from: dict[tuple[bytes, int, int], _Place] = {}
        self._sent_at: dict[tuple[int, int], int] = {}
        self._refused: dict[tuple[int, bytes], deque[tuple[int, int]]] = {}
        self._received_at: dict[_End, _Place] = {}
        self._received_from: dict[tuple[bytes, int, int], _Place] = {}
        self._listeners_sent: deque[tuple[int, Ends, int]] = deque(maxlen=64)
        self._received: deque[tuple[int, Ends, int]] = deque(maxlen=64)
        self._connected: dict[int, deque[tuple[int, Ends, int]]] = {}
        self._accepted: dict[tuple[bytes, int, int], _Place] = {}

    def sent(self, time: int, ends: Ends, place: Place) -> None:
        """A reset was sent; by a listener, which does not know to whom, with port 0."""
        src, sport, dst, dport = ends
        if dport == 0:
            self._listeners_sent.append((time, ends, place.netns))
            return
        if max(len(self._sent_to), len(self._sent_from), len(self._sent_at)) >= self._limit:
            self._sent_to.clear()
            self._sent_from.clear()
            self._sent_at.clear()
        self._sent_at[place.netns, sport] = time
        self._note_refused(time, sport, dst, place.netns)
        if not within(src, dst):
            self._sent_to[dst, dport] = self._sent_from[src, sport, dport] = (time, ends)

    def _note_refused(self, time: int, port: int, peer: bytes, netns: int) -> None:
        ports = self._refused.get((netns, peer))
        if ports is None:
            if len(self._refused) >= self._limit // 10:
                self._refused.clear()
            ports = self._refused[netns, peer] = deque(maxlen=_MOST_CONNECTS)
        ports.append((time, port))

    def received(self, time: int, ends: Ends, place: Place) -> None:
        """A reset was received."""
        if within(ends[0], ends[2]):
            return
        if max(len(self._received_at), len(self._received_from)) >= self._limit:
            self._received_at.clear()
            self._received_from.clear()
        src, sport, dst, dport = ends
        self._received_at[src, sport] = self._received_from[dst, dport, sport] = (time, ends)
        if place.peer_forwards is not False:
            self._received.append((time, ends, place.netns))

    def connected(self, time: int, ends: Ends, place: Place) -> None:
        """A program of this host believes it has connected."""
        places = self._connected.get(ends[3])
        if places is None:
            if len(self._connected) >= self._limit // 10:
                self._connected.clear()
            places = self._connected[ends[3]] = deque(maxlen=_MOST_CONNECTS)
        places.append((time, ends, -1 if place.afar else place.peer))

    def accepted(self, time: int, ends: Ends) -> None:
        """A listener of this host has made a connection."""
        if within(ends[0], ends[2]):
            return
        if len(self._accepted) >= self._limit:
            self._accepted.clear()
        self._accepted[ends[0], ends[1], ends[3]] = (time, ends)

    def last_reset_at(self, port: int, netns: int) -> int | None:
        """When a connection at that port of ours last sent a reset, in that namespace."""
        return self._sent_at.get((netns, port))

    def ports_probed_by(self, peer: bytes, time: int, netns: int) -> int:
        """At how many ports of ours, the last ones, resets went to that peer around ``time``."""
        ports = self._refused.get((netns, peer), ())
        return len({port for when, port in ports if abs(when - time) < _SCAN_NS})

    def origin(self, ends: Ends, time: int) -> Ends | None:
        """Who sent the reset that was received at ``ends``, if NAT changed one of its addresses.

        Ours is the receiver. The sent reset went to us from elsewhere, or from the peer to an
        address that NAT turned into ours.
        """
        src, sport, dst, dport = ends
        for place in (self._sent_to.get((src, sport)), self._sent_from.get((dst, dport, sport))):
            if place is not None and -_AT_ONCE_NS < time - place[0] < _PASSED_ON_NS:
                return place[1]
        return None

    def listeners_before(self, time: int) -> list[tuple[Ends, int]]:
        """The listeners that sent a reset just before ``time``, with their namespaces."""
        return [(ends, netns) for when, ends, netns in self._listeners_sent
                if 0 <= time - when < _AT_ONCE_NS]  # fmt: skip

    def target(self, ends: Ends, time: int) -> Ends | None:
        """Who received a reset that was sent from ``ends``, if NAT changed its source."""
        return _passed_on(self._received_at.get((ends[2], ends[3])), ends, time)

    def behind(self, ends: Ends, time: int) -> Ends | None:
        """Who received it if NAT changed its destination, but kept the port."""
        src, sport, _, dport = ends
        return _passed_on(self._received_from.get((src, sport, dport)), ends, time)

    def receipts_after(self, time: int) -> list[tuple[int, Ends, int]]:
        """Who received a reset right after ``time`` that a device may have passed on.

        When, the ends, and the namespace; the first one first.
        """
        return [one for one in self._received if 0 <= one[0] - time < _AT_ONCE_NS]

    def connects_to(self, port: int) -> list[tuple[int, Ends, int]]:
        """The last connects of this host to that port, the last one first.

        When, the ends, and the namespace that has the peer's address: 0 where unknown, -1 where
        none has it.
        """
        return list(reversed(self._connected.get(port, ())))

    def accepted_as(self, ends: Ends, since: int) -> Ends | None:
        """Under which other address the peer of ``ends`` was accepted, if NAT kept its port."""
        place = self._accepted.get((ends[0], ends[1], ends[3]))
        if place is None or place[1] == ends or place[0] < since:
            return None
        return place[1]


def _passed_on(place: _Place | None, ends: Ends, time: int) -> Ends | None:
    """The receipt, if it was soon and under other addresses than the reset was sent with."""
    if place is None or place[1] == reverse(ends) or within(ends[0], ends[2]):
        return None
    return place[1] if -_AT_ONCE_NS < place[0] - time < _PASSED_ON_NS else None


def within(src: bytes, dst: bytes) -> bool:
    """Whether a connection never leaves its namespace, by its addresses alone."""
    return src == dst or (is_loopback(src) and is_loopback(dst))


def is_loopback(address: bytes) -> bool:
    """Whether every namespace has the address: 127.0.0.0/8 or ::1."""
    return address[:1] == b"\x7f" if len(address) == 4 else address == _LOOPBACK_6


def reverse(ends: Ends) -> Ends:
    """The same connection seen from the other end."""
    return ends[2], ends[3], ends[0], ends[1]
