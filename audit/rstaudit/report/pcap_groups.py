"""Resets of captures gathered into groups that one sentence describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.model.ladder import Step
from rstaudit.model.rule import Confidence

#: Frames that a group keeps, and resets that each of its stories does.
_KEPT = 4

#: Addresses that a group tells apart; beyond it they are only counted.
_TOLD_APART = 10_000

#: The entry that those share.
OTHERS = "others"


class Reset(Protocol):
    """A reset as the engine finds it: the cheap parts at once, the diagnosis when it is read.

    ``verdict`` is the diagnosis without its sentence and figures, shared by equal resets.
    """

    @property
    def frame(self) -> int:
        """Its number in the file, from 1."""

    @property
    def time_ns(self) -> int:
        """Nanoseconds since the epoch."""

    @property
    def src(self) -> str:
        """Who it claims to come from: ``192.0.2.1:80``."""

    @property
    def dst(self) -> str:
        """Who it goes to."""

    @property
    def from_client(self) -> bool:
        """Whether it claims to come from the client's end."""

    @property
    def verdict(self) -> Diagnosis:
        """Cause, confidence and alternatives."""

    @property
    def story(self) -> str:
        """The name of the sentence that says why; equal resets have the same."""

    @property
    def whole(self) -> bool:
        """Whether `steps` has its flow, and not the reset alone."""

    @property
    def diagnosis(self) -> Diagnosis:
        """With the sentence and the figures behind it."""

    def steps(self) -> Sequence[Step]:
        """The segments of its flow that were kept, in order."""


class Story:
    """Resets of a group of which the same sentence is true, equally sure.

    ``examples`` holds the first few with their files, those that have their flow before others.
    """

    __slots__ = ("confidence", "count", "examples")

    def __init__(self, confidence: Confidence) -> None:
        self.confidence = confidence
        self.count = 0
        self.examples: list[tuple[str, Reset]] = []

    def add(self, file: str, resets: Sequence[Reset]) -> None:
        """Count ``resets`` in."""
        self.count += len(resets)
        room = _KEPT - sum(reset.whole for _, reset in self.examples)
        if room > 0:
            whole = [reset for reset in resets if reset.whole][:room]
            some = [(file, reset) for reset in whole or resets[:room]]
            self.examples = sorted([*self.examples, *some], key=lambda pair: not pair[1].whole)
            del self.examples[_KEPT:]


class Group:
    """Resets with one cause, from one kind of end.

    ``servers`` counts resets by the server's address and port, ``clients`` by the client's
    address. ``stories`` has a `Story` for each confidence and sentence. ``others`` counts what
    else they could be. ``first_ns`` and ``last_ns`` are the earliest and latest time, nanoseconds
    since the epoch; ``frames`` file and frame of the first few.
    """

    __slots__ = (
        "benign", "cause", "clients", "count", "first_ns", "frames", "from_client", "last_ns",
        "others", "servers", "stories",
    )  # fmt: skip

    def __init__(self, cause: str, *, benign: bool, from_client: bool) -> None:
        self.cause = cause
        self.benign = benign
        self.from_client = from_client
        self.count = 0
        self.first_ns = self.last_ns = 0
        self.frames: list[tuple[str, int]] = []
        self.servers: dict[str, int] = {}
        self.clients: dict[str, int] = {}
        self.stories: dict[tuple[Confidence, str], Story] = {}
        self.others: dict[str, int] = {}

    def add(self, file: str, resets: Sequence[Reset]) -> None:
        """Count in ``resets``, which share their verdict and their story."""
        verdict = resets[0].verdict
        times = [reset.time_ns for reset in resets]
        self.first_ns = min([*times, *([self.first_ns] if self.count else [])])
        self.last_ns = max(self.last_ns, *times)
        self._note_frames(file, [reset.frame for reset in resets])
        sources, targets = [reset.src for reset in resets], [reset.dst for reset in resets]
        clients, servers = (sources, targets) if self.from_client else (targets, sources)
        _count(self.servers, servers)
        _count(self.clients, [client[: client.rindex(":")] for client in clients])
        self.count += len(resets)
        key = verdict.confidence, resets[0].story
        self.stories.setdefault(key, Story(verdict.confidence)).add(file, resets)
        for other in verdict.alternatives:
            self.others[other] = self.others.get(other, 0) + len(resets)

    def _note_frames(self, file: str, frames: list[int]) -> None:
        """Keep the first few: of earlier files, then of this one in order."""
        earlier = [pair for pair in self.frames if pair[0] != file]
        here = sorted([*(frame for name, frame in self.frames if name == file), *frames])
        self.frames = [*earlier, *((file, frame) for frame in here[:_KEPT])][:_KEPT]

    @property
    def sure(self) -> dict[Confidence, int]:
        """How many there are of each confidence, surest first."""
        counts: Counter[Confidence] = Counter()
        for story in self.stories.values():
            counts[story.confidence] += story.count
        return {degree: counts[degree] for degree in Confidence if counts[degree]}

    def told(self) -> list[Story]:
        """The stories, surest first, then by number."""
        degrees = list(Confidence)
        return sorted(
            self.stories.values(), key=lambda one: (degrees.index(one.confidence), -one.count)
        )

    def best(self) -> tuple[str, Reset]:
        """The file and the reset to show for the whole group: one of the surest with its flow."""
        first = [story.examples[0] for story in self.told()]
        return next((pair for pair in first if pair[1].whole), first[0])

    def examples(self) -> list[tuple[str, Reset]]:
        """All that are kept, with their files."""
        return [pair for story in self.told() for pair in story.examples]

    def alternatives(self) -> list[str]:
        """What else they could be, most often named first."""
        return sorted(self.others, key=lambda other: -self.others[other])


class Groups:
    """All groups, as they fill."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, bool, bool], Group] = {}

    def add(self, file: str, resets: Iterable[Reset]) -> None:
        """Sort ``resets`` of ``file`` into their groups."""
        alike: dict[tuple[int, bool], list[Reset]] = {}
        for reset in resets:  # equal resets share their verdict
            alike.setdefault((id(reset.verdict), reset.from_client), []).append(reset)
        for part in alike.values():
            verdict = part[0].verdict
            key = (verdict.cause, verdict.benign, part[0].from_client)
            group = self._groups.get(key)
            if group is None:
                cause, benign, from_client = key
                group = self._groups[key] = Group(cause, benign=benign, from_client=from_client)
            group.add(file, part)

    def ordered(self) -> list[Group]:
        """Harmful ones first, then by number, most first."""
        return sorted(self._groups.values(), key=lambda group: (group.benign, -group.count))

    def harmful(self) -> int:
        """How many resets somebody may have to act on."""
        return _total(group for group in self._groups.values() if not group.benign)

    def harmless(self) -> int:
        """How many resets nobody needs to act on."""
        return _total(group for group in self._groups.values() if group.benign)


def _total(groups: Iterable[Group]) -> int:
    return sum(group.count for group in groups)


def _count(counts: dict[str, int], names: Iterable[str]) -> None:
    """Count ``names``; those beyond the first 10,000 share the entry `OTHERS`."""
    for name, number in Counter(names).items():
        known = name if name in counts or len(counts) < _TOLD_APART else OTHERS
        counts[known] = counts.get(known, 0) + number
