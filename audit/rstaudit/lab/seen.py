"""Resets as the two engines named them, in the one form that the lab compares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from rstaudit.model.diagnosis import Diagnosis, LiveReset


class Seen(NamedTuple):
    """A reset at one place: ``server sent`` and the like (live), ``client`` or ``server`` (pcap).

    ``time_ns`` since the epoch; ``frame`` only in a capture, else 0; ``evidence`` as JSON has it.
    """

    place: str
    cause: str
    confidence: str
    alternatives: tuple[str, ...]
    benign: bool
    why: str
    time_ns: int
    src: str
    dst: str
    kernel_reason: str | None = None
    process: str | None = None
    frame: int = 0
    evidence: Mapping[str, object] = MappingProxyType({})


def to_line(reset: LiveReset) -> str:
    """A live reset as one line of JSON: how the watching process tells the lab."""
    owner = reset.owner
    process = f"{owner.comm} ({owner.pid})" if owner is not None else None
    fields = _named(reset.diagnosis) | {
        "direction": reset.direction,
        "time_ns": reset.time_ns,
        "src": reset.src,
        "dst": reset.dst,
        "kernel_reason": reset.kernel_reason,
        "process": process,
    }
    return json.dumps(fields, default=str)


class Said(NamedTuple):
    """A live reset before it is known whose addresses these are; ``reset`` has no place yet."""

    ours: str
    other: str
    direction: str
    reset: Seen


def from_line(line: str) -> Said:
    """The reset of a line; raises ValueError or KeyError for one that `to_line` did not make."""
    fields = json.loads(line)
    direction = fields.pop("direction")
    alternatives = tuple(fields.pop("alternatives"))
    reset = Seen(place="", alternatives=alternatives, **fields)
    ends = address(reset.src), address(reset.dst)
    ours, other = ends if direction == "sent" else ends[::-1]
    return Said(ours, other, direction, reset)


def place(said: Said, names: Mapping[str, str]) -> Seen:
    """The reset with its place: ``server sent`` where the server has our end's address."""
    end = names.get(said.ours, "elsewhere")
    return said.reset._replace(place=f"{end} {said.direction}")


def captured(
    end: str, frame: int, time_ns: int, ends: tuple[str, str], diagnosis: Diagnosis
) -> Seen:
    """A reset of the capture at ``end``."""
    return Seen(
        end,
        diagnosis.cause,
        diagnosis.confidence.value,
        tuple(diagnosis.alternatives),
        diagnosis.benign,
        diagnosis.why,
        time_ns,
        *ends,
        frame=frame,
        evidence=dict(diagnosis.evidence),
    )


def _named(diagnosis: Diagnosis) -> dict[str, object]:
    return {
        "cause": diagnosis.cause,
        "confidence": diagnosis.confidence.value,
        "alternatives": list(diagnosis.alternatives),
        "benign": diagnosis.benign,
        "why": diagnosis.why,
        "evidence": dict(diagnosis.evidence),
    }


def address(socket: str) -> str:
    """The address of ``192.0.2.1:80`` or ``[2001:db8::1]:80``."""
    return socket.rpartition(":")[0].strip("[]")
