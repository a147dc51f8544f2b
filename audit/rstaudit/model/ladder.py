"""A captured flow, step by step, as a ladder draws it: who sent what, and where each end stood."""

from __future__ import annotations

from typing import NamedTuple

#: An end whose state the packets do not tell (the flow begins before the capture).
UNKNOWN_STATE = "?"


class Step(NamedTuple):
    """One segment.

    ``time_ns`` is nanoseconds since the epoch, ``frame`` counts from 1. ``flags`` are the names
    of RFC 9293 joined by commas (``SYN,ACK``). ``seq`` is relative to the first sequence number
    of its sender, ``ack`` to that of the other end; None where there is none to relate to or no
    ACK flag. ``length`` is payload bytes, ``window`` the raw field. ``note`` says what the
    numbers alone do not (``retransmission``, ``keepalive probe``), and may be empty.
    ``skipped`` counts the segments of the flow left out between the step before and this one.
    """

    time_ns: int
    frame: int
    from_client: bool
    flags: str
    seq: int | None
    ack: int | None
    length: int
    window: int
    note: str = ""
    skipped: int = 0


class States(NamedTuple):
    """TCP states of both ends after a step, as the kernel spells them (``FIN_WAIT2``), or ``?``."""

    client: str
    server: str


class Ladder(NamedTuple):
    """A flow to draw: both ends, the state of each before the first step, and the steps."""

    client: str
    server: str
    before: States
    steps: tuple[tuple[Step, States], ...]
