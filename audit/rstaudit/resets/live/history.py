"""What became of each socket, kept from events: bounded, and cheap for each event."""

from __future__ import annotations

from collections import deque
from itertools import islice

from rstaudit.parse.reset_event import (
    DESTROY,
    DROP,
    ERROR,
    RECEIVE,
    RETRANSMIT,
    SEND,
    STATE,
    Event,
    Place,
)
from rstaudit.resets.live.crossings import Crossings, Ends
from rstaudit.resets.live.denials import Denials
from rstaudit.resets.live.verdicts import Verdicts

#: What is kept of an event: time_ns, kind, state, old, irq, pid, sk, extra. ``extra`` is the
#: reason of a sent reset, the errno of an error report, the peer's port as a destroyed socket
#: printed it, how often data was sent again, or None. Last is the network namespace where the
#: addresses do not tell it, else 0.
Step = tuple[int, str, str | None, str | None, bool, int, int, "int | str | None", int]

#: The kind of a step that belongs to the MPTCP connection above its subflows.
MPTCP = "mptcp"

_MOST_STEPS, _KEPT_FIRST, _CUT = 40, 6, 14
_SOON_NS = 50_000_000
_ANY = {4: bytes(4), 16: bytes(16)}


class History:
    """The steps of the last connections of the whole host, by their ends.

    At most twice ``limit`` connections are kept, the ones that did nothing for longest go first.
    Namespaces that use the same addresses, as all do on loopback, are told apart by the `Place`
    of each event; a step whose namespace is not known may belong to any of them.
    """

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._young: dict[Ends, list[Step]] = {}
        self._old: dict[Ends, list[Step]] = {}
        self._ends_of: dict[int, Ends] = {}
        self._drops: deque[tuple[int, str | None, int, int]] = deque(maxlen=512)
        self.denials = Denials(limit)
        self.crossings = Crossings(limit)
        self.verdicts = Verdicts()

    def note(self, event: Event) -> None:
        """Remember ``event``; events come in the order of time."""
        (
            time, cpu, kind, irq, pid, sk, _, src, sport, dst, dport,
            state, old, reason, _, error, mptcp, place,
        ) = event  # fmt: skip
        ends = (src, sport, dst, dport)
        netns = place.netns if place.shared else 0
        if kind == STATE:
            if mptcp:
                self._add(ends, (time, MPTCP, state, old, irq, pid, sk, None, netns))
            else:
                step = (time, STATE, state, old, irq, pid, sk, None, netns)
                self._note_state(ends, step, place)
        elif kind == DESTROY:
            known = self._ends_of.pop(sk, ends)
            self._add(known, (time, DESTROY, None, None, irq, pid, sk, dport, netns))
        elif kind == ERROR:
            if dport and not mptcp:
                self._add(ends, (time, ERROR, None, None, irq, pid, sk, error, netns))
        elif kind == SEND:
            self._note_send(ends, (time, SEND, state, None, irq, pid, sk, reason, netns), place)
        elif kind == RECEIVE:
            self._add(ends, (time, RECEIVE, None, None, irq, pid, sk, None, netns))
            self.denials.received(time, ends, place)
            self.crossings.received(time, ends, place)
        elif kind == RETRANSMIT:
            self._note_retransmit(ends, (time, RETRANSMIT, state, None, irq, pid, sk, 1, netns))
        elif kind == DROP:
            self._drops.append((time, reason, sk, cpu))

    def steps(self, ends: Ends, netns: int = 0) -> list[Step]:
        """What happened at these ends, in the order of time; empty where nothing is known.

        With the port of ours 0: connects to that peer whose own port is not known yet. Where
        ``netns`` is not 0, what is known to have happened in another namespace is left out.
        """
        found = self._all(ends)
        if not netns or all(step[8] in (0, netns) for step in found):
            return found
        return [step for step in found if step[8] in (0, netns)]

    def _all(self, ends: Ends) -> list[Step]:
        return self._young.get(ends) or self._old.get(ends) or []

    def listener(self, address: bytes, port: int, netns: int = 0) -> list[Step]:
        """How listeners for this address and port came and went, in the order of time."""
        any_4, any_6 = _ANY[4], _ANY[16]
        own = any_6 if len(address) == 16 else any_4
        found = self.steps((address, port, own, 0), netns)
        for anywhere in (any_4, any_6):
            if anywhere != address:
                found = found + self.steps((anywhere, port, anywhere, 0), netns)
        return sorted(found)

    def connecting(self, ends: Ends, netns: int = 0) -> bool:
        """Whether a socket of this host is about to connect to the peer of ``ends``."""
        address, _, peer, port = ends
        if self.steps((address, 0, peer, port), netns):
            return True
        return bool(self.steps((_ANY.get(len(address), address), 0, peer, port), netns))

    def dropped(
        self,
        reason: str,
        since_ns: int,
        until_ns: int,
        *,
        sk: int | None = None,
        cpu: int | None = None,
    ) -> int | None:
        """When the kernel last dropped a packet for ``reason`` in that time.

        Of the socket ``sk`` or on the processor ``cpu`` where given. None when it did not, as far
        as is known.
        """
        for time, why, owner, where in reversed(self._drops):
            if time < since_ns:
                return None
            if why == reason and time <= until_ns and sk in (None, owner) and cpu in (None, where):
                return time
        return None

    def receipt_of_listener(
        self, address: bytes, port: int, time_ns: int, netns: int = 0
    ) -> Ends | None:
        """Who received the reset that a listener sent at ``time_ns``, if that is on this host."""
        return self.denials.receipt(address, port, time_ns, netns, self._of_a_connection)

    def _of_a_connection(self, time: int, ends: Ends, peer: int) -> bool:
        sent = self.steps((ends[2], ends[3], ends[0], ends[1]), peer)
        return any(step[1] == SEND and abs(step[0] - time) < _SOON_NS for step in sent)

    def drops(self, reason: str, since_ns: int) -> int:
        """How many packets the kernel dropped for ``reason`` since then, 512 at the most."""
        return sum(1 for time, why, *_ in self._drops if why == reason and time >= since_ns)

    def _note_state(self, ends: Ends, step: Step, place: Place) -> None:
        sk = step[6]
        if step[3] == "SYN_SENT":
            self._opening(ends, step)
            if step[2] == "ESTABLISHED":
                self.crossings.connected(step[0], ends, place)
        elif step[2] == "SYN_RECV":
            self.crossings.accepted(step[0], ends)
        self._ends_of[sk] = ends
        if len(self._ends_of) > 2 * self._limit:
            for socket in list(islice(self._ends_of, self._limit)):
                del self._ends_of[socket]
        self._add(ends, step)

    def _opening(self, ends: Ends, step: Step) -> None:
        """A connecting socket prints port 0 of its own until it is bound: move its first step."""
        before = self._ends_of.get(step[6])
        if before is None or before == ends or before[1] != 0:
            return
        waiting = self._all(before)
        for first in waiting:
            if first[6] == step[6]:
                waiting.remove(first)
                self._add(ends, first)
                break
        if not waiting:
            self._young.pop(before, None)
            self._old.pop(before, None)

    def _note_send(self, ends: Ends, step: Step, place: Place) -> None:
        self.crossings.sent(step[0], ends, place)
        if ends[3]:
            self._add(ends, step)
        else:
            self.denials.sent(ends, step, place)

    def _note_retransmit(self, ends: Ends, step: Step) -> None:
        """Only the last of several in a row is kept, with their number."""
        steps = self._all(ends)
        if steps and steps[-1][1] == RETRANSMIT and steps[-1][6] == step[6]:
            count = steps[-1][7]
            assert isinstance(count, int)
            steps[-1] = (*step[:7], count + 1, step[8])
        else:
            self._add(ends, step)

    def _add(self, ends: Ends, step: Step) -> None:
        steps = self._young.get(ends)
        if steps is None:
            steps = self._old.pop(ends, None)
            if steps is None:
                steps = []
            self._young[ends] = steps
            if len(self._young) > self._limit:
                self._old, self._young = self._young, {}
        steps.append(step)
        if len(steps) > _MOST_STEPS:
            del steps[_KEPT_FIRST:_CUT]
