"""Everything one decision looks at, and the words it is given in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rstaudit.model.diagnosis import UNDETERMINED, Diagnosis
from rstaudit.model.rule import Confidence
from rstaudit.parse.reset_event import STATE, Event
from rstaudit.resets.live.context import Context
from rstaudit.resets.live.crossings import Ends, reverse
from rstaudit.resets.live.history import History, Step
from rstaudit.resets.live.past import Past

Known = dict[str, "str | int | float | list[str] | None"]

CERTAIN, LIKELY, POSSIBLE = Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE

#: The ways a program or an operator aborts a connection, likeliest first; one on the wire.
ABORTS = ("close-unread", "linger-abort", "listener-closed", "admin-destroy", "disconnect")


class Scene(NamedTuple):
    """One reset with the pasts of its ends.

    ``ends`` are ours first; ``ours`` is the past of our socket, ``peer`` that of the other end
    where that is on this host too. ``known`` is the evidence gathered so far.
    """

    event: Event
    ends: Ends
    ours: Past | None
    peer: Past | None
    history: History
    context: Context
    known: Known

    @property
    def peer_state(self) -> str | None:
        """The state of the other end when the reset was sent, if it is on this host."""
        return self.peer.state if self.peer is not None else None

    def share(self, counter: str) -> str:
        """How many of the resets a counter stands for: ``all``, ``some``, ``none``, ``unknown``.

        What counters say is put into the evidence.
        """
        counters = self.context.counters
        if counters is None:
            return "unknown"
        moved = counters.get(counter, 0)
        if moved <= 0:
            return "none"
        self.known[counter] = moved
        return "all" if moved >= self.context.resets else "some"

    def our_listener(self) -> list[Step]:
        """How listeners for our end came and went, in the order of time."""
        return self.history.listener(*self.ends[:2], self.event.place.netns)

    def peer_connecting(self) -> bool:
        """Whether a socket of the other end is about to connect to ours."""
        return self.history.connecting(reverse(self.ends), self.event.place.peer)

    def peer_listens(self) -> bool:
        """Whether somebody listens at the other end on this host, as far as events told."""
        last = None
        for step in self.history.listener(*self.ends[2:], self.event.place.peer):
            if step[0] > self.event.time_ns:
                break
            if step[1] == STATE:
                last = step[2]
        return last == "LISTEN"

    def seconds_since(self, time_ns: int | None) -> float | None:
        """Seconds from ``time_ns`` to the reset."""
        return None if time_ns is None else (self.event.time_ns - time_ns) / 1e9

    def ago(self, time_ns: int | None, name: str = "elapsed") -> str:
        """The time from ``time_ns`` to the reset as words, ``1.5 s``; the evidence gets it too."""
        return self.lasted(time_ns, self.event.time_ns, name)

    def lasted(self, start_ns: int | None, end_ns: int | None, name: str) -> str:
        """The time between two moments as words; the evidence gets it as ``name``_s or _ms."""
        if start_ns is None or end_ns is None:
            return "some time"
        span = max(end_ns - start_ns, 0)
        if span >= 1_000_000_000:
            self.known[f"{name}_s"] = seconds = round(span / 1e9, 1)
            return f"{seconds:g} s"
        self.known[f"{name}_ms"] = number = round(span / 1e6, 1 if span > 100_000 else 4)
        return f"{number:g} ms"


def say(
    scene: Scene,
    cause: str,
    confidence: Confidence,
    why: str,
    *alternatives: str,
    benign: bool = False,
    **more: str | int | float | list[str] | None,
) -> Diagnosis:
    """A diagnosis whose sentence takes its numbers, in braces, from the evidence."""
    known = scene.known
    if more:
        known.update(more)
    if "{" in why:
        why = why.format_map(known)
    others = tuple(other for other in alternatives if other != cause)
    return Diagnosis(cause, confidence, why, others, benign, known)


def unclear(scene: Scene, missing: str, *alternatives: str) -> Diagnosis:
    """``undetermined``, with what is missing."""
    return Diagnosis(
        UNDETERMINED, POSSIBLE, missing, alternatives, benign=False, evidence=scene.known
    )


def renamed(diagnosis: Diagnosis, evidence: Mapping[str, str], prefix: str) -> Diagnosis:
    """The same diagnosis told from the other end."""
    return diagnosis._replace(
        why=prefix + diagnosis.why, evidence={**diagnosis.evidence, **evidence}
    )
