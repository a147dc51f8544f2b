"""Resets whose time has come: flows gathered, facts worked out, causes decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import picked
from rstaudit.resets.wire.around import Around, scan
from rstaudit.resets.wire.extract import Extracted
from rstaudit.resets.wire.facts import Payload, Ttl
from rstaudit.resets.wire.form import ttl
from rstaudit.resets.wire.found import Decisions, Examples, Found, Group
from rstaudit.resets.wire.log import Log
from rstaudit.resets.wire.marks import Ints, pick
from rstaudit.resets.wire.order import changes, distinct
from rstaudit.resets.wire.steps import Flow
from rstaudit.resets.wire.trim import LOST
from rstaudit.resets.wire.view import NOTHING, SECOND
from rstaudit.resets.wire.work import Piece, Spread, Worked, work

#: A reset that waits. ``low``/``high``: TTLs of its sender in other flows, `NOTHING` if none.
PENDING = np.dtype(
    [
        ("frame", "<i8"), ("time", "<i8"), ("flow", "<i8"), ("low", "<i8"), ("high", "<i8"),
        ("reused", "?"),
    ]
)  # fmt: skip

#: Segments worked on at once, where no single flow has more; fewer where they are few in all, so
#: that two can work on them.
_PIECE, _SMALL = 1 << 16, 1 << 12
#: A flow's SYN says something about scanning for so long.
_SCAN_AGE = 5 * SECOND
_PRINTABLE = frozenset((9, 10, 13, *range(32, 127)))


class History(NamedTuple):
    """What is known of the capture so far.

    ``payloads`` are those of resets by frame, ``lost`` the what was in segments no longer in the
    log by flow (see `superfluous`).
    """

    log: Log
    around: Around
    payloads: Mapping[int, bytes]
    lost: Mapping[int, Ints]


class Diagnoser:
    """Judges resets of one capture."""

    def __init__(self, keep_all: bool, spread: Spread) -> None:
        """``keep_all``: every reset keeps its flow. ``spread`` does work on several pieces."""
        self._spread = spread
        self._decisions = Decisions()
        self._examples = Examples(keep_all)

    def judge(self, waiting: NDArray[np.void], history: History) -> list[Found]:
        """Diagnose ``waiting`` (dtype `PENDING`), by frame."""
        numbers = distinct(waiting["flow"])
        pieces = list(_pieces(history.log, numbers, waiting))
        found: list[Found] = []
        for worked in self._spread(work, pieces):
            found += self._piece(worked, history)
        found.sort(key=lambda one: one.frame)
        return found

    def _piece(self, worked: Worked, history: History) -> list[Found]:
        waiting, extracted = worked.piece.waiting, worked.extracted
        itself = picked(worked.piece.rows, worked.resets)
        _add_lost(extracted, itself, waiting, history.lost)
        frames = waiting["frame"].tolist() if history.payloads else []
        texts = [history.payloads.get(frame, b"") for frame in frames] or [b""] * len(itself)
        _add_surroundings(extracted, worked.piece.rows, itself, waiting, history.around)
        extracted.set("payload", _payload_kinds(itself, texts))
        return self._found(worked.piece, itself, extracted, worked.resets, texts)

    def _found(
        self,
        piece: Piece,
        itself: NDArray[np.void],
        extracted: Extracted,
        resets: Ints,
        payloads: list[bytes],
    ) -> list[Found]:
        group = Group(itself, extracted, payloads)
        stories = self._decisions.stories(extracted.cases)
        frames, times = itself["frame"].tolist(), itself["time"].tolist()
        clients = extracted.from_client.tolist()
        found = [
            Found(group, place, *values)
            for place, values in enumerate(zip(frames, times, clients, stories, strict=True))
        ]
        flows: dict[int, Flow] = {}
        for place in self._examples.choose(found):
            number = int(piece.flow[resets[place]])
            if number not in flows:
                low, high = np.searchsorted(piece.flow, (number, number + 1))
                flows[number] = Flow(piece.rows[low:high].copy(), piece.ordinal[low:high].copy())
            found[place].keep(flows[number])
        return found


def _pieces(log: Log, numbers: Ints, waiting: NDArray[np.void]) -> Iterator[Piece]:
    """The flows of these resets, some at a time."""
    rows, flow, ordinal = log.of(numbers)
    starts = np.append(changes(flow), len(flow))
    owner = np.searchsorted(numbers, waiting["flow"])
    size = min(max(len(flow) * 3 // 5, _SMALL), _PIECE)
    first = 0
    while first < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[first] + size, side="right")) - 1
        last = min(max(last, first + 1), len(starts) - 1)
        part = slice(int(starts[first]), int(starts[last]))
        some = waiting[(owner >= first) & (owner < last)]
        for begin in range(0, len(some), _PIECE // 4):
            yield Piece(
                rows[part], flow[part] - first, ordinal[part], some[begin : begin + _PIECE // 4]
            )
        first = last


def _add_lost(
    extracted: Extracted,
    resets: NDArray[np.void],
    waiting: NDArray[np.void],
    lost: Mapping[int, Ints],
) -> None:
    """Count what was in segments that are no longer kept."""
    if not lost:
        return
    for place, (number, side) in enumerate(
        zip(waiting["flow"].tolist(), resets["side"].tolist(), strict=True)
    ):
        amount = lost.get(number)
        if amount is not None:
            for name, mine, theirs in zip(LOST, amount[side], amount[1 - side], strict=True):
                if name != "late_bytes":
                    extracted.figures[f"sender_{name}"][place] += mine
                extracted.figures[f"peer_{name}"][place] += theirs


def _add_surroundings(
    extracted: Extracted,
    rows: NDArray[np.void],
    resets: NDArray[np.void],
    waiting: NDArray[np.void],
    around: Around,
) -> None:
    """The facts that rest on other flows. ``rows`` are those ``extracted`` came from."""
    low, high = waiting["low"], waiting["high"]
    lone = extracted.figures["ttl_high"] == NOTHING
    extracted.figures["host_ttl"] = np.where(lone, high, NOTHING)
    extracted.set(
        "host_ttl", np.where(lone, ttl(resets["ttl"].astype(np.int64), low, high), int(Ttl.UNKNOWN))
    )
    extracted.set("reused", waiting["reused"].astype(np.int64))
    bursts = around.bursts(resets)
    extracted.figures["burst"] = bursts
    extracted.set("burst", np.minimum(bursts, 3))
    age = resets["time"] - pick(rows["time"], extracted.syn)
    known = (extracted.syn >= 0) & (age <= _SCAN_AGE) & (extracted.get("handshake") == 0)
    targets = np.zeros(len(resets), dtype=np.int64)
    targets[known] = around.targets(picked(rows, extracted.syn[known]))
    extracted.figures["targets"] = targets
    extracted.set("scan", scan(targets, known))


def _payload_kinds(resets: NDArray[np.void], payloads: list[bytes]) -> Ints:
    found = np.full(len(resets), int(Payload.NONE))
    for place in np.flatnonzero(resets["length"]):
        payload = payloads[place]
        if not payload:
            found[place] = Payload.CUT
        elif payload[:2] == b"\x33\xaa":
            found[place] = Payload.DIAGNOSTIC
        else:
            text = _PRINTABLE.issuperset(payload[:4])
            found[place] = Payload.TEXT if text else Payload.OTHER
    return found
