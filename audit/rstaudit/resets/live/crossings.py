"""What one end sent and another received under other addresses: connections that NAT changed."""

from __future__ import annotations

from collections import deque

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


class Crossings:
    """The last resets, connects and accepts of the host by one of their ends only.

    Each index holds at most ``limit`` entries and is begun anew then.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sent_to: dict[_End, _Place] = {}
        self._sent_from: dict[tuple[bytes, int, int], _Place] = {}
        self._sent_at: dict[int, int] = {}
        self._refused: dict[bytes, deque[tuple[int, int]]] = {}
        self._received_at: dict[_End, _Place] = {}
        self._listeners_sent: deque[_Place] = deque(maxlen=64)
        self._received: deque[_Place] = deque(maxlen=64)
        self._connected: dict[int, deque[_Place]] = {}
        self._accepted: dict[tuple[int, int], _Place] = {}

    def sent(self, time: int, ends: Ends) -> None:
        """A reset was sent; by a listener, which does not know to whom, with port 0."""
        src, sport, dst, dport = ends
        if dport == 0:
            self._listeners_sent.append((time, ends))
            return
        if max(len(self._sent_to), len(self._sent_from)) >= self._limit:
            self._sent_to.clear()
            self._sent_from.clear()
            self._sent_at.clear()
        ports = self._refused.get(dst)
        if ports is None:
            if len(self._refused) >= self._limit // 10:
                self._refused.clear()
            ports = self._refused[dst] = deque(maxlen=_MOST_CONNECTS)
        ports.append((time, sport))
        self._sent_at[sport] = time
        self._sent_to[dst, dport] = self._sent_from[src, sport, dport] = (time, ends)

    def received(self, time: int, ends: Ends) -> None:
        """A reset was received."""
        if len(self._received_at) >= self._limit:
            self._received_at.clear()
        self._received_at[ends[0], ends[1]] = (time, ends)
        self._received.append((time, ends))

    def connected(self, time: int, ends: Ends) -> None:
        """A program of this host believes it has connected."""
        places = self._connected.get(ends[3])
        if places is None:
            if len(self._connected) >= self._limit // 10:
                self._connected.clear()
            places = self._connected[ends[3]] = deque(maxlen=_MOST_CONNECTS)
        places.append((time, ends))

    def accepted(self, time: int, ends: Ends) -> None:
        """A listener of this host has made a connection."""
        if len(self._accepted) >= self._limit:
            self._accepted.clear()
        self._accepted[ends[1], ends[3]] = (time, ends)

    def last_reset_at(self, port: int) -> int | None:
        """When a connection at that port of ours last sent a reset."""
        return self._sent_at.get(port)

    def ports_probed_by(self, peer: bytes, time: int) -> int:
        """At how many ports of ours, the last ones, resets went to that peer around ``time``."""
        ports = self._refused.get(peer, ())
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

    def listener_origin(self, time: int) -> list[Ends]:
        """The listeners that sent a reset just before ``time``, the last one first."""
        return [ends for when, ends in reversed(self._listeners_sent)
                if 0 <= time - when < _AT_ONCE_NS]  # fmt: skip

    def target(self, ends: Ends, time: int) -> Ends | None:
        """Who received a reset that was sent from ``ends``, if NAT changed its source."""
        place = self._received_at.get((ends[2], ends[3]))
        if place is None or place[1][2:] == ends[:2]:
            return None
        return place[1] if -_AT_ONCE_NS < place[0] - time < _PASSED_ON_NS else None

    def receipts_after(self, time: int) -> list[Ends]:
        """Who received a reset right after ``time``, the first one first."""
        return [ends for when, ends in self._received if 0 <= when - time < _AT_ONCE_NS]

    def connects_to(self, port: int) -> list[_Place]:
        """The last connects of this host to that port, the last one first."""
        return list(reversed(self._connected.get(port, ())))

    def accepted_as(self, ends: Ends, since: int) -> Ends | None:
        """Under which other address the peer of ``ends`` was accepted, if NAT kept its port."""
        place = self._accepted.get((ends[1], ends[3]))
        if place is None or place[1] == ends or place[0] < since:
            return None
        return place[1]


def reverse(ends: Ends) -> Ends:
    """The same connection seen from the other end."""
    return ends[2], ends[3], ends[0], ends[1]
