"""Resets as they were found: the cheap parts at once, words and segments when asked for."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.model.ladder import Step
from rstaudit.resets.wire.case import Case, Numbers
from rstaudit.resets.wire.decide import decide
from rstaudit.resets.wire.extract import Extracted
from rstaudit.resets.wire.hashing import bytewise
from rstaudit.resets.wire.marks import Ints
from rstaudit.resets.wire.steps import Flow, steps_of
from rstaudit.resets.wire.verdict import Verdict
from rstaudit.resets.wire.view import NOTHING

#: Figures that are nanoseconds, and seconds in `Numbers`.
_TIMES = frozenset(
    ("gap", "rtt", "idle", "quiet", "fin_idle", "since_fin", "synack_wait", "sender_tries_for",
     "peer_tries_for", "probe_interval")
)  # fmt: skip
_MAPPED = b"\0" * 10 + b"\xff\xff"
#: Addresses and cases remembered, at most.
_MANY = 1 << 16
#: Flows kept whole for each kind of reset.
_EXAMPLES = 4

_addresses: dict[bytes, str] = {}


class Story:
    """What was decided about all resets with the same case."""

    __slots__ = ("case", "diagnosis", "verdict")

    def __init__(self, case: Case, verdict: Verdict) -> None:
        self.case = case
        self.verdict = verdict
        self.diagnosis = Diagnosis(
            verdict.cause, verdict.confidence, "", verdict.alternatives, verdict.benign
        )


class Found:
    """One reset. ``verdict`` is the diagnosis without its sentence and figures.

    ``from_client``: its sender opened the connection, as far as the packets show.
    """

    __slots__ = ("_flow", "_group", "_place", "_story", "frame", "from_client", "time_ns")

    def __init__(
        self, group: Group, place: int, frame: int, time_ns: int, from_client: bool, story: Story
    ) -> None:
        self._group, self._place, self._story = group, place, story
        self._flow: Flow | None = None
        self.frame, self.time_ns, self.from_client = frame, time_ns, from_client

    @property
    def story_id(self) -> int:
        """The same for resets with the same case."""
        return id(self._story)

    @property
    def story(self) -> str:
        """The name of its sentence."""
        return self._story.verdict.story

    @property
    def whole(self) -> bool:
        """Whether `steps` has its flow, not the reset alone."""
        return self._flow is not None

    @property
    def case(self) -> Case:
        """The facts it was decided on."""
        return self._story.case

    @property
    def verdict(self) -> Diagnosis:
        """What was decided, shared by equal resets."""
        return self._story.diagnosis

    @property
    def diagnosis(self) -> Diagnosis:
        """What was decided, with the sentence and the evidence of this reset."""
        from rstaudit.resets.wire.explain import explain_case

        return explain_case(self._story.case, self.numbers, self._story.verdict)

    @property
    def numbers(self) -> Numbers:
        """The figures behind it."""
        return self._group.numbers(self._place)

    @property
    def src(self) -> str:
        """Address and port of its sender."""
        return self._group.src[self._place]

    @property
    def dst(self) -> str:
        """Address and port it was sent to."""
        return self._group.dst[self._place]

    def keep(self, flow: Flow) -> None:
        """Keep the segments of its flow, so that `steps` can show them."""
        self._flow = flow

    def steps(self) -> Sequence[Step]:
        """The segments of its flow in order, those left out counted.

        Of many resets that look the same only the first few have them; else the reset alone.
        """
        if self._flow is not None:
            return steps_of(self._flow)
        alone = self._group.rows[self._place : self._place + 1]
        return steps_of(Flow(alone, np.zeros(1, dtype=np.int64)))


class Group:
    """Resets decided together. ``rows`` are they themselves, dtype SEGMENT."""

    def __init__(
        self, rows: NDArray[np.void], extracted: Extracted, payloads: Sequence[bytes]
    ) -> None:
        self.rows, self._payloads = rows, payloads
        self._figures = extracted.figures
        self._numbers: list[Numbers] | None = None

    @cached_property
    def src(self) -> list[str]:
        """Address and port of the senders."""
        return endpoints(self.rows, "src", "sport")

    @cached_property
    def dst(self) -> list[str]:
        """Address and port of the receivers."""
        return endpoints(self.rows, "dst", "dport")

    def numbers(self, place: int) -> Numbers:
        """The figures behind one of them."""
        if self._numbers is None:
            self._numbers = self._all_numbers()
        return self._numbers[place]

    def _all_numbers(self) -> list[Numbers]:
        size = len(self.rows)
        columns: list[Sequence[object]] = []
        for name in Numbers._fields:
            if name == "payload":
                columns.append([payload[:64] for payload in self._payloads])
            else:
                columns.append(_values(name, self._column(name, size)))
        return list(map(Numbers._make, zip(*columns, strict=True)))

    def _column(self, name: str, size: int) -> Ints:
        if name in self._figures:
            return self._figures[name]
        if name in ("frame", "seq", "window", "ttl"):
            return self.rows[name].astype(np.int64)
        if name == "ack":
            return np.where(self.rows["flags"] & 16, self.rows["ack"].astype(np.int64), NOTHING)
        default = Numbers._field_defaults[name]
        return np.full(size, NOTHING if default is None else default)


class Decisions:
    """What was decided about every case so far."""

    def __init__(self) -> None:
        self._stories: dict[int, Story] = {}

    def stories(self, cases: NDArray[np.uint8]) -> list[Story]:
        """For each row of a matrix of cases what was decided about it."""
        if len(self._stories) > _MANY:
            self._stories.clear()
        hashes = bytewise(cases)
        _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        each = [self._story(int(hashes[row]), cases[row]) for row in first]
        return [each[number] for number in inverse.tolist()]

    def _story(self, code: int, row: NDArray[np.uint8]) -> Story:
        story = self._stories.get(code)
        if story is None:
            case = Case(*row.tolist())
            story = self._stories[code] = Story(case, decide(case))
        return story


class Examples:
    """How many flows of each kind of reset have been kept whole."""

    def __init__(self, every: bool) -> None:
        self._every = every
        self._kept: dict[tuple[object, ...], int] = {}

    def choose(self, found: list[Found]) -> list[int]:
        """The places of those whose flow shall be kept: the first few of each kind."""
        if self._every:
            return list(range(len(found)))
        stories: dict[tuple[int, bool], int] = {}
        chosen = []
        for place, one in enumerate(found):
            story = one.story_id, one.from_client
            number = stories.get(story, 0)
            if number < _EXAMPLES:
                stories[story] = number + 1
                if self._wants(one):
                    chosen.append(place)
        return chosen

    def _wants(self, found: Found) -> bool:
        verdict = found.verdict
        kind = (
            verdict.cause, verdict.confidence.value, verdict.benign, found.from_client, found.story
        )  # fmt: skip
        number = self._kept.get(kind, 0)
        self._kept[kind] = number + 1
        return number < _EXAMPLES


def endpoints(rows: NDArray[np.void], address: str, port: str) -> list[str]:
    """``192.0.2.1:80``, ``[2001:db8::1]:80`` for each row."""
    packed = rows[address].tobytes()
    each = [packed[at : at + 16] for at in range(0, len(packed), 16)]
    texts = [_addresses.get(one) or address_text(one) for one in each]
    ports = rows[port].tolist()
    return [f"{text}:{number}" for text, number in zip(texts, ports, strict=True)]


def address_text(packed: bytes) -> str:
    """An address as it stands before a port."""
    text = _addresses.get(packed)
    if text is None:
        if len(_addresses) > _MANY:
            _addresses.clear()
        if packed[:12] == _MAPPED:
            text = socket.inet_ntop(socket.AF_INET, packed[12:])
        else:
            text = f"[{socket.inet_ntop(socket.AF_INET6, packed)}]"
        _addresses[packed] = text
    return text


def _values(name: str, column: Ints) -> list[object]:
    """A column of figures as those of `Numbers`."""
    values: list[int] = column.tolist()
    if Numbers._field_defaults[name] is not None:
        return list(values)
    missing = int(NOTHING)
    if name in _TIMES:
        return [None if value == missing else value / 1e9 for value in values]
    return [None if value == missing else value for value in values]
