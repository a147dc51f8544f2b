"""The kept segments of one flow as the steps of a ladder."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstaudit.model.ladder import Step
from rstaudit.parse.capture.segments import ACK, FIN, RST, SYN
from rstaudit.resets.wire.twins import twins

_NAMES = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE")
#: The order in which flags are read out; PSH says nothing about a reset.
_SHOWN = ("SYN", "FIN", "RST", "ACK", "URG", "ECE", "CWR", "AE")


class Flow(NamedTuple):
    """Segments of one flow (dtype SEGMENT) and which of its segments each was, from 0."""

    rows: NDArray[np.void]
    ordinal: NDArray[np.int64]


class _Side:
    """What one end has sent so far."""

    def __init__(self) -> None:
        self.base: int | None = None
        self.reached: int | None = None
        self.window = -1


def steps_of(flow: Flow) -> list[Step]:
    """The steps, in the capture's order, with notes on what is repeated or out of place."""
    sides = _Side(), _Side()
    client = client_side(flow.rows)
    same = twins(flow.rows, np.zeros(len(flow.rows), dtype=np.int64)).tolist()
    found = []
    last = -1
    for place, row in enumerate(flow.rows):
        number = int(flow.ordinal[place])
        again = same[place] != place
        found.append(_step(row, sides, client, again, number - last - 1))
        last = number
    return found


def client_side(rows: NDArray[np.void]) -> int:
    """The side that sent the first SYN, or got the first SYN-ACK, or has the higher port."""
    for wanted, of_client in ((SYN, True), (SYN | ACK, False)):
        some = np.flatnonzero(rows["flags"] & (SYN | ACK | RST) == wanted)
        if len(some):
            side = int(rows["side"][some[0]])
            return side if of_client else 1 - side
    first = rows[0]
    higher = int(first["sport"]) > int(first["dport"])
    return int(first["side"]) if higher else 1 - int(first["side"])


def _step(row: Any, sides: tuple[_Side, _Side], client: int, again: bool, skipped: int) -> Step:
    flags, side = int(row["flags"]), int(row["side"])
    own, other = sides[side], sides[1 - side]
    seq, ack, length = int(row["seq"]), int(row["ack"]), int(row["length"])
    end = seq + length + bool(flags & SYN) + bool(flags & FIN)
    note = "captured twice" if again else _note(flags, seq, end, length, own)
    window = int(row["window"])
    if not again and not flags & RST:
        if own.base is None:
            own.base = seq
        if other.base is None and flags & ACK:
            other.base = (ack - 1) & 0xFFFFFFFF
        if own.reached is None or signed(end - own.reached) > 0:
            own.reached = end & 0xFFFFFFFF
        if not flags & SYN:
            note = note or _window_note(window, own.window)
            own.window = window
    return Step(
        int(row["time"]), int(row["frame"]), side == client, names(flags),
        None if own.base is None else signed(seq - own.base),
        None if other.base is None or not flags & ACK else signed(ack - other.base),
        length, window, note, skipped,
    )  # fmt: skip


def _note(flags: int, seq: int, end: int, length: int, own: _Side) -> str:
    if own.reached is None or flags & RST:
        return ""
    probe = length <= 1 and not flags & (SYN | FIN) and signed(seq - own.reached) == -1
    if probe:
        return "keepalive probe"
    if end != seq and signed(end - own.reached) <= 0:
        return "retransmission"
    return "segments before it are missing" if signed(seq - own.reached) > 0 else ""


def _window_note(window: int, before: int) -> str:
    if window == 0 and before != 0:
        return "window closed"
    return "window open again" if window and before == 0 else ""


def names(flags: int) -> str:
    """``SYN,ACK``."""
    present = {name for bit, name in enumerate(_NAMES) if flags >> bit & 1}
    return ",".join(name for name in _SHOWN if name in present) or "none"


def signed(number: int) -> int:
    """The low 32 bits as a signed number (RFC 9293 section 3.4)."""
    return ((number + 2**31) & 0xFFFFFFFF) - 2**31
