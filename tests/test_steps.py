"""The steps of a ladder and the state of both ends after each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rstaudit.model.ladder import Step
from rstaudit.parse.capture.segments import ACK, FIN, PSH, RST, SYN
from rstaudit.resets.wire.states import states
from rstaudit.resets.wire.steps import Flow, names, steps_of
from support.rows_of import opened, rows_of


def steps(packets: list[tuple[Any, ...]]) -> list[Step]:
    """The steps of one flow."""
    return steps_of(Flow(rows_of(packets), np.arange(len(packets))))


def walked(packets: list[tuple[Any, ...]]) -> list[str]:
    """The states after each packet, as ``client/server``."""
    return [f"{one.client}/{one.server}" for one in states(steps(packets))]


def test_numbers_are_relative_to_each_ends_first() -> None:
    """As capture tools show them, wrapping or not."""
    packets = [*opened(0, 1, isn=0xFFFFFFF0), (0.1, 1, True, ACK | PSH, 0xFFFFFFF1, 901, 20)]
    packets += [(0.2, 1, True, ACK | PSH, 5, 901, 20)]
    found = steps(packets)
    assert [(step.seq, step.ack) for step in found] == [(0, None), (0, 1), (1, 1), (1, 1), (21, 1)]
    assert [step.flags for step in found] == ["SYN", "SYN,ACK", "ACK", "ACK", "ACK"]
    assert [step.from_client for step in found] == [True, False, True, True, True]


def test_what_numbers_do_not_say_stands_in_the_note() -> None:
    """Repetitions, probes, windows, gaps, and packets that were captured twice."""
    packets = [
        *opened(0, 1),
        (0.1, 1, True, ACK | PSH, 101, 901, 10),
        (0.4, 1, True, ACK | PSH, 101, 901, 10),
        (9.0, 1, True, ACK, 110, 901, 0),
        (9.5, 1, True, ACK | PSH, 200, 901, 10),
        (9.5, 1, True, ACK | PSH, 200, 901, 10),
    ]
    rows = rows_of(packets)
    rows["ip_id"][7], rows["interface"][7] = rows["ip_id"][6], 1
    found = steps_of(Flow(rows, np.arange(len(rows))))
    assert [step.note for step in found[3:]] == [
        "", "retransmission", "keepalive probe", "segments before it are missing", "captured twice",
    ]  # fmt: skip
    rows = rows_of([*opened(0, 1), (1, 1, True, ACK, 101, 901, 0), (2, 1, True, ACK, 101, 901, 0)])
    rows["window"][3] = 0
    found = steps_of(Flow(rows, np.arange(len(rows))))
    assert [step.note for step in found[3:]] == ["window closed", "window open again"]


def test_what_was_left_out_is_counted() -> None:
    """A long flow is kept in part; the step after a gap says how many segments it hides."""
    flow = Flow(rows_of(opened(0, 1)), np.array([0, 1, 90]))
    assert [step.skipped for step in steps_of(flow)] == [0, 0, 88]


def test_the_client_is_who_opened_or_has_the_higher_port() -> None:
    """Without a SYN, a SYN-ACK tells; without either, the port."""
    assert steps(opened(0, 1)[1:])[0].from_client is False
    assert steps(opened(0, 1)[2:])[0].from_client is True


def test_flags_are_named_as_the_standard_names_them() -> None:
    """PSH says nothing here; a segment without flags says so."""
    assert names(SYN | ACK) == "SYN,ACK"
    assert names(RST | ACK | PSH) == "RST,ACK"
    assert names(0) == "none"


ENDINGS = {
    "the server refuses": (
        [(0, 1, True, SYN, 100, 0, 0), (1, 1, False, RST | ACK, 0, 101, 0)],
        ["SYN_SENT/LISTEN", "CLOSE/CLOSE"],
    ),
    "the client closes first": (
        [
            *opened(0, 1),
            (1, 1, True, FIN | ACK, 101, 901, 0),
            (2, 1, False, ACK, 901, 102, 0),
            (3, 1, False, FIN | ACK, 901, 102, 0),
            (4, 1, True, ACK, 102, 902, 0),
        ],
        ["FIN_WAIT1/CLOSE_WAIT", "FIN_WAIT2/CLOSE_WAIT", "TIME_WAIT/LAST_ACK", "TIME_WAIT/CLOSE"],
    ),
    "both close at once": (
        [
            *opened(0, 1),
            (1, 1, True, FIN | ACK, 101, 901, 0),
            (1, 1, False, FIN | ACK, 901, 101, 0),
            (2, 1, True, ACK, 102, 902, 0),
            (2, 1, False, ACK, 902, 102, 0),
        ],
        ["FIN_WAIT1/CLOSE_WAIT", "CLOSING/CLOSING", "CLOSING/TIME_WAIT", "TIME_WAIT/TIME_WAIT"],
    ),
    "a reset ends it": (
        [*opened(0, 1), (1, 1, False, RST | ACK, 901, 101, 0)],
        ["CLOSE/CLOSE"],
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_states_follow_the_standard(name: str) -> None:
    """The diagram of RFC 9293 section 3.3.2, each end on its own."""
    packets, wanted = ENDINGS[name]
    assert walked(packets)[-len(wanted) :] == wanted


def test_a_handshake_takes_both_ends_to_established() -> None:
    """Each end's state changes when it sends, or has received."""
    assert walked(opened(0, 1)) == [
        "SYN_SENT/LISTEN", "ESTABLISHED/SYN_RECV", "ESTABLISHED/ESTABLISHED",
    ]  # fmt: skip


def test_both_may_open_at_once() -> None:
    """Two SYNs that cross: SYN_RECV on both ends."""
    packets = [
        (0.0, 1, True, SYN, 100, 0, 0),
        (0.0, 1, False, SYN, 900, 0, 0),
        (0.1, 1, True, SYN | ACK, 100, 901, 0),
        (0.1, 1, False, SYN | ACK, 900, 101, 0),
    ]
    assert walked(packets)[-1] == "ESTABLISHED/ESTABLISHED"


def test_what_began_before_the_capture_is_unknown_until_it_speaks() -> None:
    """An end shows that it is connected by what it sends."""
    packets = [(0, 1, True, ACK | PSH, 101, 901, 10), (1, 1, False, RST, 901, 0, 0)]
    assert walked(packets) == ["ESTABLISHED/?", "CLOSE/CLOSE"]
