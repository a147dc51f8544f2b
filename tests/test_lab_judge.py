"""How the lab judges: what is right, what is wrong, and what was taken for what."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.lab import judge, packets
from rstaudit.lab.perform import Run
from rstaudit.lab.results import judged, matrix, skipped, verdict
from rstaudit.lab.scenario import Draw, Named, Scenario, both, from_to
from rstaudit.lab.seen import Seen, from_line, place, to_line
from rstaudit.model.diagnosis import Diagnosis, LiveReset
from rstaudit.model.rule import Confidence
from rstaudit.model.verdict import FAIL, NOTHING, PASS, SKIPPED
from rstaudit.report import lab as report
from rstaudit.report.layout import plain

DRAW = Draw(1, 4, 20001, 100, 0.05)


def seen(where: str, cause: str, *others: str, benign: bool = False) -> Seen:
    """A reset of 10.64.0.1:1 at a place, named so."""
    ends = "10.64.0.1:1", "10.64.0.2:2"
    return Seen(where, cause, "likely", others, benign, "why", 5, *ends)


def scenario(**changes: object) -> Scenario:
    """A scenario in which the server resets with SO_LINGER."""
    made = Scenario(
        "linger-x", ("S08",), "A title", "A story.", _nothing, _nothing,
        live=from_to("server", "linger-abort"), pcap=both("linger-abort", "app-abort"),
    )  # fmt: skip
    return made._replace(**changes)  # type: ignore[arg-type]  # fields by name


def _nothing(*_: object) -> None:
    """Stages nothing."""


def run(
    live: tuple[Seen, ...] | None,
    pcap: tuple[Seen, ...] = (),
    *,
    twin: bool = False,
    audit: Mapping[str, tuple[str, ...]] | None = None,
    broken: str | None = None,
) -> Run:
    """What was seen of one run."""
    return Run(DRAW, twin, broken, (), live, pcap, audit or {}, {}, (), {})


RIGHT = (seen("server sent", "linger-abort"), seen("client received", "linger-abort"))
RIGHT_PCAP = (
    seen("client", "app-abort", "close-unread", "linger-abort"),
    seen("server", "linger-abort"),
)


def outcome(*runs: Run, ordinary: frozenset[str] = frozenset(), **changes: object) -> str:
    """The verdict on the runs of a scenario."""
    return judged(scenario(**changes), runs, ordinary).outcome


def test_the_right_answers_pass() -> None:
    """The cause itself, or an equal that names it among the alternatives."""
    assert outcome(run(RIGHT, RIGHT_PCAP), run((), twin=True)) == PASS


@pytest.mark.parametrize(
    ("live", "pcap"),
    [
        (RIGHT[:1], RIGHT_PCAP),
        (RIGHT, RIGHT_PCAP[:1]),
        ((), ()),
        ((*RIGHT, seen("middle sent", "nat-invalid")), RIGHT_PCAP),
        ((RIGHT[0], seen("client received", "undetermined", "linger-abort")), RIGHT_PCAP),
        ((RIGHT[0], seen("client received", "app-abort", "linger-abort")), RIGHT_PCAP),
        (RIGHT, (RIGHT_PCAP[0], seen("server", "app-abort", "close-unread"))),
        ((*RIGHT, seen("server sent", "disconnect")), RIGHT_PCAP),
        (None, RIGHT_PCAP),
    ],
    ids=[
        "an end missing", "a capture without a reset", "nothing at all", "a reset too many",
        "undetermined", "a parent live", "a parent without the cause", "one of two wrong",
        "nobody watched",
    ],
)  # fmt: skip
def test_anything_else_fails(live: tuple[Seen, ...] | None, pcap: tuple[Seen, ...]) -> None:
    """One wrong or missing answer at one end is enough."""
    assert outcome(run(live, pcap), run((), twin=True)) == FAIL


def test_what_may_follow_is_allowed_but_does_not_stand_for_the_cause() -> None:
    """Stragglers pass beside the cause, not instead of it."""
    named = {"server sent": Named("data-to-closed", also=("late-segment",))}
    cause, straggler = seen("server sent", "data-to-closed"), seen("server sent", "late-segment")
    assert judge.faults(named, (cause, straggler)) == []
    assert judge.faults(named, (straggler,)) != []


def test_harm_is_judged_where_the_scenario_says_so() -> None:
    """A harmless reset that is called harmful is a wrong answer."""
    named = {"server sent": Named("data-to-closed", benign=True)}
    assert judge.faults(named, (seen("server sent", "data-to-closed", benign=True),)) == []
    assert judge.faults(named, (seen("server sent", "data-to-closed"),)) != []


def test_a_healthy_twin_has_no_reset_and_no_finding() -> None:
    """Whatever it is named; rules that fail on every host do not count."""
    good = run(RIGHT, RIGHT_PCAP)
    assert outcome(good, run(RIGHT[:1], twin=True)) == FAIL
    assert outcome(good, run((), RIGHT_PCAP[:1], twin=True)) == FAIL
    sick = run((), twin=True, audit={"server": ("RST302",)})
    assert outcome(good, sick) == FAIL
    assert outcome(good, sick, ordinary=frozenset({"RST302"})) == PASS


def test_rules_that_should_have_spoken_are_missed() -> None:
    """At the end where they are expected."""
    rules = {"server": ("RST308",)}
    silent = run(RIGHT, RIGHT_PCAP, audit={"client": ("RST308",)})
    assert outcome(silent, audit=rules) == FAIL
    assert outcome(run(RIGHT, RIGHT_PCAP, audit=rules), audit=rules) == PASS


def test_what_could_not_be_staged_fails() -> None:
    """With the reason in the detail."""
    result = judged(scenario(), [run((), broken="Broken: nobody connected")], frozenset())
    assert result.outcome == FAIL
    assert "nobody connected" in result.faults[0]


def test_the_matrix_counts_what_was_taken_for_what() -> None:
    """Missing resets and resets too many have a row of their own."""
    runs = [run((RIGHT[0], seen("middle sent", "nat-invalid")), RIGHT_PCAP)]
    counts = matrix([judged(scenario(), runs, frozenset())], "live")
    assert counts == {
        ("linger-abort", "linger-abort"): 1,
        ("linger-abort", NOTHING): 1,
        (NOTHING, "nat-invalid"): 1,
    }


def test_a_verdict_is_one_line_with_live_pcap_and_audit() -> None:
    """What was named, at the line of the scenario; what is wrong below it."""
    good = judged(scenario(), [run(RIGHT, RIGHT_PCAP)], frozenset())
    text = plain(report.line(verdict(good), 120))
    assert text == "pass     linger-x live: linger-abort, pcap: app-abort linger-abort\n"
    bad = judged(scenario(), [run((), RIGHT_PCAP)], frozenset())
    text = plain(report.line(verdict(bad), 120))
    assert text.startswith("fail     linger-x")
    assert "server sent: no reset seen, linger-abort expected" in text
    out = plain(report.line(verdict(skipped(scenario(), "takes minutes")), 120))
    assert out.split() == [SKIPPED, "linger-x", "takes", "minutes"]


def test_a_reset_crosses_the_pipe_of_the_observer_whole() -> None:
    """The lab reads what the watching process has written, and finds the end by its address."""
    diagnosis = Diagnosis("linger-abort", Confidence.LIKELY, "why", ("disconnect",))
    ends = "[fd52::1]:80", "[fd52::2]:4000"
    reset = LiveReset(7, "sent", *ends, diagnosis, "TCP_STATE", None, 4026531840)
    said = from_line(json.dumps(json.loads(to_line(reset))))
    found = place(said, {"fd52::1": "server"})
    assert (found.place, found.cause) == ("server sent", "linger-abort")
    assert (found.alternatives, found.time_ns) == (("disconnect",), 7)
    assert place(said._replace(ours="192.0.2.1"), {}).place == "elsewhere sent"


_ADDRESSES = st.sampled_from([("10.0.0.1", "10.0.0.2"), ("fd52::1", "fd52::2")])


@given(
    _ADDRESSES,
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.binary(max_size=40).map(lambda options: options[: len(options) // 4 * 4]),
    st.binary(max_size=99),
)
def test_a_segment_is_read_as_it_was_written(
    ends: tuple[str, str], seq: int, ack: int, flags: int, window: int, options: bytes, data: bytes
) -> None:
    """Forged segments are what the scenario says they are."""
    segment = packets.Segment(
        ends[0], 1, ends[1], 2, seq, ack, flags, window, options, data, ttl=61
    )
    assert packets.read(packets.write(segment)) == segment


@given(st.binary(max_size=120))
def test_any_packet_is_read_or_left_alone(data: bytes) -> None:
    """The wire carries what is no TCP too."""
    segment = packets.read(data)
    assert segment is None or segment.flags <= 255
