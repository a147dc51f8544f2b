"""Putting a verdict into words: one sentence, and every number in it as evidence."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.resets.wire.case import Case, Numbers
from rstaudit.resets.wire.device_codes import MEANINGS
from rstaudit.resets.wire.facts import Ack, Seq, Trigger
from rstaudit.resets.wire.shape import elsewhere, is_client, is_server, signs
from rstaudit.resets.wire.stories import STORIES
from rstaudit.resets.wire.verdict import Verdict

_Value = str | int | float

#: Fields that are seconds.
_SECONDS = frozenset(
    ("gap", "rtt", "idle", "quiet", "fin_idle", "since_fin", "synack_wait", "sender_tries_for",
     "peer_tries_for", "probe_interval")
)  # fmt: skip

_SEQ = {
    Seq.EXACT: "next in order",
    Seq.UNACKED: "not yet acknowledged",
    Seq.OLD: "acknowledged long ago",
    Seq.PROBE: "one below the next",
    Seq.BEYOND: "beyond the next",
    Seq.FAR: "far from the others",
}
_TRIGGER = {
    Trigger.SYN: "SYN",
    Trigger.SYN_ACK: "SYN-ACK",
    Trigger.PROBE: "keepalive probe",
    Trigger.FIN: "FIN",
    Trigger.DATA: "data",
    Trigger.RETRY: "retransmission",
    Trigger.ACK: "ACK",
}


class _Part(NamedTuple):
    """A piece of a sentence: text with ``{}`` for each of ``names``."""

    text: str
    names: tuple[str, ...]
    optional: bool


def explain_case(case: Case, numbers: Numbers, verdict: Verdict) -> Diagnosis:
    """The verdict with its sentence and evidence.

    Evidence: ``form`` and ``seq`` of the reset in words, ``window``, ``ttl``; what the other end
    had sent last and how long before; and every number of the sentence, times as
    ``..._seconds``. ``signs`` are what makes it look forged.
    """
    evidence = _form(case, numbers)
    role = "client" if is_client(case) else "server" if is_server(case) else ""
    why = "".join(_say(part, numbers, evidence) for part in _parts(verdict.story, role))
    if verdict.story in ("device_code", "text"):
        why += _quote(verdict.story, numbers, evidence)
    if verdict.cause == "injected":
        evidence["signs"] = ", ".join(signs(case)) or "none but the form"
    if verdict.story == "forged":
        why += f": {evidence['signs']}"
    return Diagnosis(
        verdict.cause, verdict.confidence, why + ".", verdict.alternatives, verdict.benign, evidence
    )


@cache
def _parts(story: str, role: str) -> tuple[_Part, ...]:
    """A sentence in its pieces, told of a sender that is ``client``, ``server`` or unknown."""
    text = re.sub(r"^It ", "The sender ", STORIES[story])
    if role:
        peer = "server" if role == "client" else "client"
        text = re.sub(r"\b([Tt])he sender\b", rf"\1he {role}", text)
        text = re.sub(r"\b([Tt])he other end\b", rf"\1he {peer}", text)
    pieces = re.split(r"(\[[^]]*\])", text)
    return tuple(
        _Part(re.sub(r"\{\w+\}", "{}", piece.strip("[]")),
              tuple(re.findall(r"\{(\w+)\}", piece)), piece.startswith("["))
        for piece in pieces
        if piece
    )  # fmt: skip


def _say(part: _Part, numbers: Numbers, evidence: dict[str, _Value]) -> str:
    """One piece with its numbers, which become evidence; nothing where it is to be left out."""
    if not part.names:
        return part.text
    values = [_figure(name, numbers) for name in part.names]
    if part.optional and not all(values):
        return ""
    shown = []
    for name, value in zip(part.names, values, strict=True):
        key = f"{name}_seconds" if name in _SECONDS else name
        evidence[key] = "unknown" if value is None else value
        shown.append(_text(evidence[key]))
    return part.text.format(*shown)


def _figure(name: str, numbers: Numbers) -> _Value | None:
    """A number as it stands in the evidence: times rounded to what a reader can use."""
    if name == "ttl_before":
        return _usual_ttl(numbers)
    value: int | float | None = getattr(numbers, name)
    if value is None or name not in _SECONDS:
        return value
    if value < 0:
        return None  # the capture's clock went backwards
    return round(value, 6 if value < 0.01 else 3 if value < 100 else 1)


def _text(value: _Value) -> str:
    """A number as a reader writes it."""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) and value >= 100_000 else str(value)


def _usual_ttl(numbers: Numbers) -> _Value | None:
    """The TTLs of the sender's other segments."""
    low, high = numbers.ttl_low, numbers.ttl_high
    if low is None or high is None or low <= numbers.ttl <= high:
        return None
    return low if low == high else f"{low} to {high}"


def _form(case: Case, numbers: Numbers) -> dict[str, _Value]:
    """What the reset looks like, and what came just before it."""
    answers = case.ack in (Ack.NONE, Ack.FIELD)
    found: dict[str, _Value] = {"form": "RST" if answers else "RST+ACK", "window": numbers.window}
    if case.seq in _SEQ:
        found["seq"] = _SEQ[Seq(case.seq)]
    if case.timestamp:
        found["timestamp"] = "yes"
    if numbers.ttl:
        found["ttl"] = numbers.ttl
    if elsewhere(case):
        found["ttl_before"] = _usual_ttl(numbers) or "unknown"
    if case.trigger in _TRIGGER and numbers.trigger_frame is not None:
        found["after"] = f"{_TRIGGER[Trigger(case.trigger)]} in frame {numbers.trigger_frame}"
        gap = _figure("gap", numbers)
        if gap is not None:
            found["gap_seconds"] = gap
    if case.burst:
        found["others_at_once"] = numbers.burst
    return found


def _quote(story: str, numbers: Numbers, evidence: dict[str, _Value]) -> str:
    """What a device says: the meaning of its code, or the beginning of its text."""
    if story == "device_code":
        meaning = MEANINGS.get(numbers.window)
        return f": {meaning}" if meaning else ""
    text = numbers.payload[:60].decode("ascii", "replace")
    evidence["payload"] = "".join(char if " " <= char <= "~" else "." for char in text)
    return f': "{evidence["payload"]}"'
