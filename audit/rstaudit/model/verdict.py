"""What the lab found: a scenario, what had to be said of it and what was said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PASS, FAIL, SKIPPED = "pass", "fail", "skipped"

#: In a matrix: no reset where one belongs, or a reset where none belongs.
NOTHING = "(nothing)"


class SaidCall(NamedTuple):
    """A call of an end in one run, and what it returned: ``ok``, an errno name, ``12 bytes``."""

    end: str
    call: str
    result: str


class Verdict(NamedTuple):
    """A scenario judged, or only listed (``outcome`` is then empty).

    ``rows`` are the situations it stages (``S05``). ``expected_live`` maps places (``server
    sent``) to a cause id, ``expected_pcap`` the ends with a capture, ``expected_audit`` ends to
    rule ids. ``live`` and ``pcap`` map the same places to the cause ids named there, ``audit`` are
    the rule ids that failed. ``detail`` says what is wrong, or why it was skipped. ``calls`` are
    those of the first run, ``seconds`` about how long one takes.
    """

    id: str
    rows: tuple[str, ...]
    title: str
    story: str
    slow: bool
    expected_live: Mapping[str, str]
    expected_pcap: Mapping[str, str]
    expected_audit: Mapping[str, tuple[str, ...]]
    live: Mapping[str, tuple[str, ...]]
    pcap: Mapping[str, tuple[str, ...]]
    audit: tuple[str, ...]
    outcome: str
    detail: tuple[str, ...]
    calls: tuple[SaidCall, ...]


#: (what happened, what was named) -> how often.
Matrix = Mapping[tuple[str, str], int]
