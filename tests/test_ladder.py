"""The ladder in the terminal: what a reader sees of a flow, in every width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.model.ladder import Ladder, States, Step
from rstaudit.report.ladder import ASCII, UNICODE, Pens, render
from rstaudit.report.ladder_cut import cut
from rstaudit.report.layout import cells, plain
from rstaudit.report.moment import gap, offset, rfc3339
from support.captured import LIKELY, TIME, half_open

WHY = "The server answered the probe after 60.2 s of silence and had sent no FIN."

RESET = {1241: Diagnosis("half-open", LIKELY, WHY, ("idle-timeout",))}


def text(ladder: Ladder, width: int = 80, pens: Pens = UNICODE) -> str:
    """The drawing without colours."""
    return plain(render(ladder, RESET, width, pens))


def row(drawing: str, frame: int) -> str:
    """The line of a frame."""
    return next(line for line in drawing.splitlines() if line.split()[:1] == [str(frame)])


def test_each_row_has_time_states_and_the_segment() -> None:
    """Frame, seconds since the first, both ends' states after it, flags, numbers, bytes."""
    assert row(text(half_open()), 4).split() == [
        "4", "0.000090", "ESTABLISHED", "│─", "PSH,ACK", "seq", "1", "ack", "1", "len", "512",
        "──────▶│", "ESTABLISHED",
    ]  # fmt: skip
    assert "◀─ SYN,ACK seq 0 ack 1 ─" in row(text(half_open()), 2)


def test_the_states_before_the_first_segment_are_shown() -> None:
    """Where each end stood when the drawing begins."""
    fourth = text(half_open()).splitlines()[3]
    assert fourth.split() == ["CLOSE", "│", "│", "LISTEN"]


def test_the_reset_is_marked_and_explained() -> None:
    """Drawn with a line of its own kind; below it cause, confidence and the sentence."""
    drawing = text(half_open())
    assert "◀━ RST seq 1236027 ━" in row(drawing, 1241)
    below = " ".join(drawing.partition("━│ CLOSE\n")[2].split())
    assert below == f"^ half-open (likely): {WHY}"


def test_what_is_left_out_is_counted() -> None:
    """Segments of the middle, with their number and time; only where none is, it is silence."""
    drawing = text(half_open())
    assert "│     … 1,234 segments in 1.1 s …     │" in drawing
    assert "1.1 s without" not in drawing
    assert "│      60.2 s without a segment       │" in drawing


def test_numbers_that_do_not_fit_on_the_arrow_stand_below_it() -> None:
    """In a narrow terminal nothing is cut off; in a wide one all is on the arrow."""
    lines = text(half_open(), 60).splitlines()
    at = lines.index(next(line for line in lines if line.startswith(" 1239 ")))
    assert "PSH,ACK len 1460" in lines[at]
    assert "seq 1234567 ack 513" in lines[at + 1]
    assert "PSH,ACK seq 1234567 ack 513 len 1460" in row(text(half_open(), 120), 1239)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    """The same drawing, every character one that any terminal has."""
    drawing = text(half_open(), 80, ASCII)
    assert drawing.isascii()
    assert "|<= RST seq 1236027 ===" in drawing


def test_a_note_is_shown() -> None:
    """What the numbers alone do not say, on the arrow or below it."""
    assert "len 1, keepalive probe" in row(text(half_open(), 120), 1240)
    assert "│           keepalive probe           │" in text(half_open(), 80)


STATES = st.builds(States, st.sampled_from(["?", "ESTABLISHED", "CLOSE"]), st.just("FIN_WAIT2"))

STEPS = st.builds(
    Step,
    time_ns=st.integers(TIME, TIME + 10**15),
    frame=st.integers(1, 10**9),
    from_client=st.booleans(),
    flags=st.sampled_from(["SYN", "PSH,ACK", "RST", "RST,ACK", "FIN,ACK,ECE,CWR", ""]),
    seq=st.none() | st.integers(0, 2**40),
    ack=st.none() | st.integers(0, 2**32),
    length=st.integers(0, 65535),
    window=st.integers(0, 65535),
    note=st.sampled_from(["", "retransmission", "zero window \x1b[31m"]),
    skipped=st.integers(0, 10**7),
)

LADDERS = st.builds(
    Ladder,
    st.just("[2001:db8:1111:2222:3333:4444:5555:6666]:51234"),
    st.just("[2001:db8:1111:2222:3333:4444:5555:7777]:443"),
    STATES,
    st.lists(st.tuples(STEPS, STATES), max_size=12).map(tuple),
)


@given(LADDERS, st.integers(60, 200), st.sampled_from([ASCII, UNICODE]))
def test_no_line_is_wider_than_the_terminal(ladder: Ladder, width: int, pens: Pens) -> None:
    """Whatever the numbers: 80 columns for what is usual, never more than is needed beyond."""
    needed = max(
        [8, *(len(offset(s.time_ns - ladder.steps[0][0].time_ns)) for s, _ in ladder.steps)]
    )
    frame = max([5, *(len(str(step.frame)) for step, _ in ladder.steps)])
    room = max(width, frame + needed + 11 + 9 + 7 + 24)
    for line in plain(render(ladder, {}, width, pens)).splitlines():
        assert cells(line) <= room
        assert line.isprintable()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_an_ordinary_flow_fits_its_terminal(width: int) -> None:
    """80 columns suffice."""
    assert max(map(cells, text(half_open(), width).splitlines())) <= width


def long_flow(length: int) -> Ladder:
    """Frames 1 to ``length``, one second apart."""
    steps = [Step(TIME + n, n, True, "ACK", n, 1, 0, 1) for n in range(1, length + 1)]
    states = States("ESTABLISHED", "ESTABLISHED")
    return Ladder("a", "b", states, tuple((step, states) for step in steps))


def test_a_long_flow_is_cut_to_its_beginning_and_its_resets() -> None:
    """What lies between is counted, and nothing is lost count of."""
    short = cut(long_flow(60), [50])
    frames = [step.frame for step, _ in short.steps]
    assert frames == [1, 2, 3, 4, *range(40, 55)]
    assert [step.skipped for step, _ in short.steps if step.skipped] == [35]


@given(st.integers(1, 80), st.lists(st.integers(1, 80), max_size=4))
def test_cutting_keeps_count(length: int, resets: list[int]) -> None:
    """Kept and left out are all there were, up to the last one kept; never just one left out."""
    short = cut(long_flow(length), resets)
    kept = [step for step, _ in short.steps]
    assert len(kept) + sum(step.skipped for step in kept) == kept[-1].frame
    assert all(step.skipped != 1 for step in kept)
    assert {frame for frame in sorted(set(resets))[:2] if frame <= length} <= {
        step.frame for step in kept
    }


def test_a_moment_is_spelled_to_the_nanosecond() -> None:
    """RFC 3339 in UTC, also before 1970 and when moments come in any order."""
    assert rfc3339(TIME) == "2026-11-21T18:42:37.123456789Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000000000Z"
    assert rfc3339(-1) == "1969-12-31T23:59:59.999999999Z"
    assert rfc3339(TIME + 1) == "2026-11-21T18:42:37.123456790Z"


def test_offsets_and_gaps_are_short() -> None:
    """Digits where they tell something, a unit that suits."""
    assert [offset(31_000), offset(60_192_050_000), offset(-5_000)] == [
        "0.000031", "60.192050", "-0.000005"
    ]  # fmt: skip
    assert offset(86_400 * 10**9) == "86400.000"
    assert [gap(31_000), gap(4_200_000), gap(60_200_000_000)] == ["31 us", "4.2 ms", "60.2 s"]
