"""Resets of captures as text: grouped, counted, with what to do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rstaudit.catalogue.causes import causes
from rstaudit.model.capture import Unreadable
from rstaudit.report.layout import cells, plain
from rstaudit.report.pcap_text import one_line, render
from rstaudit.report.pcap_words import frames, notes, when, who
from support.captured import (
    CERTAIN,
    LIKELY,
    POSSIBLE,
    TIME,
    MadeReset,
    grouped,
    half_open,
    made,
    summed,
)

SECOND = 10**9


def text(*resets: MadeReset, width: int = 80, limit: int | None = None) -> str:
    """The report on one capture that holds these resets."""
    return plain(render([summed(len(resets))], grouped(*resets), width, limit))


def refusals(count: int) -> list[MadeReset]:
    """As many closed-port resets, from one server to ten clients."""
    return [
        made("closed-port", frame=2 * n, client=f"198.51.100.{n % 10}:{40000 + n}",
             time_ns=TIME + n * SECOND, alternatives=("firewall-reject",))
        for n in range(1, count + 1)
    ]  # fmt: skip


def test_thousands_of_the_same_are_one_group() -> None:
    """3,000 identical resets: one count, one sentence, one advice."""
    report = text(*refusals(3000), width=150)
    assert report.count("closed-port") == 1
    assert "3,000 resets, certain, from server 192.0.2.5:8080 to 10 clients" in report
    assert ", frames 2, 4, 6, 8 and 2,996 more" in report
    assert len(report.splitlines()) < 20


def test_the_first_line_says_it_all() -> None:
    """File, packets, flows, resets, harmful and harmless."""
    report = text(*refusals(12), made("late-segment", benign=True))
    assert report.splitlines()[0] == (
        "web.pcap: 1,000 packets, 20 flows: 13 resets, 12 harmful, 1 harmless"
    )


def test_a_group_says_why_and_what_to_do() -> None:
    """The sentence, the evidence it does not hold, the alternatives, the catalogue's advice."""
    report = text(
        made(why="The probe was answered after 60.2 s.", alternatives=("idle-timeout",),
             confidence=LIKELY, evidence={"idle_seconds": 60.2, "ttl": 64}),
        width=120,
    )  # fmt: skip
    cause = causes()["half-open"]
    assert f"half-open: {cause.name}\n" in report
    assert "    why:    The probe was answered after 60.2 s.\n" in report
    assert "    seen:   ttl: 64\n" in report
    assert "    or:     idle-timeout (A device on the path forgot the idle connection)\n" in report
    for fix in cause.fixes:
        assert f"    fix:    {fix}\n" in report
    assert f"    next:   {cause.next_step}\n" in report
    assert "    ladder: rstaudit pcap web.pcap --ladder --flow 7\n" in report


def test_small_figures_are_not_rounded_away() -> None:
    """A gap of microseconds is evidence; 0 would be a lie."""
    report = text(made(evidence={"gap_seconds": 0.00021, "idle_seconds": 2105.5}), width=120)
    assert "seen:   gap_seconds: 0.00021; idle_seconds: 2105.5" in report


def test_confidence_is_told_apart_within_a_group() -> None:
    """How many of each degree; the sentence of each."""
    report = text(
        *(made(frame=n) for n in range(1, 4)),
        made(frame=9, confidence=POSSIBLE, why="One direction is missing."),
    )
    assert "4 resets, 3 certain, 1 possible, from server" in report
    assert "why:    3 certain: The server answered" in report
    assert "why:    1 possible: One direction is missing." in report


def test_harmless_ones_stand_apart_and_are_short() -> None:
    """After the harmful ones, a sentence each, without advice nobody needs."""
    report = text(
        *(made("data-to-closed", frame=n, benign=True, from_client=True) for n in range(1, 6)),
        made("half-open", frame=90),
        width=100,
    )
    harmful, harmless = report.split("Harmless: nothing was lost, and nobody needs to act\n")
    assert "half-open" in harmful
    assert "data-to-closed" not in harmful
    assert "5 resets, certain, from client 198.51.100.9 to server 192.0.2.5:8080" in harmless
    assert "fix:" not in harmless


def test_the_same_cause_from_the_other_end_is_another_group() -> None:
    """Who resets decides what is to be done."""
    report = text(made("app-abort"), made("app-abort", from_client=True))
    assert report.count("app-abort: ") == 2
    assert "from server 192.0.2.5:8080 to client 198.51.100.9:51234" in report
    assert "from client 198.51.100.9:51234 to server 192.0.2.5:8080" in report


def test_the_limit_says_what_it_leaves_out() -> None:
    """The largest kinds stay."""
    report = text(*refusals(5), made("half-open"), made("app-abort"), limit=1)
    assert "closed-port: " in report
    assert "half-open" not in report
    assert "and 2 more kinds with 2 resets (--limit 0 shows all)" in report


def test_no_resets_is_an_answer() -> None:
    """Said in the same line."""
    assert text() == "web.pcap: 1,000 packets, 20 flows: no resets\n"


def test_packets_that_could_not_be_read_are_counted() -> None:
    """Silence about them would be a pass by ignorance; what is not TCP is no loss."""
    lost = summed(0)._replace(skipped={"not TCP": 900, "unsupported link type": 50, "encrypted": 1})
    report = plain(render([lost, lost], grouped(), 200, None))
    assert "; 102 packets not read: 100 unsupported link type, 2 encrypted" in report


def test_several_captures_have_a_line_each_and_one_for_all() -> None:
    """A group's frames then carry their file's name."""
    groups = grouped(made(frame=3), file="a.pcap")
    groups.add("b.pcap", [made(frame=5)])
    report = plain(render([summed(1, "a.pcap"), summed(1, "b.pcap")], groups, 120, None))
    lines = report.splitlines()
    assert lines[0] == "a.pcap: 1,000 packets, 20 flows: 1 reset"
    assert lines[3] == "2 captures: 2,000 packets, 40 flows: 2 resets, 2 harmful"
    assert ", frames a.pcap:3, b.pcap:5" in report


def test_captures_without_resets_share_a_line() -> None:
    """Those that have some stand out."""
    report = plain(render([summed(0), summed(2, "b.pcap"), summed(0)], grouped(), 80, None))
    assert report.splitlines()[:2] == [
        "b.pcap: 1,000 packets, 20 flows: 2 resets",
        "2 others without resets",
    ]


def test_a_capture_cut_short_is_said_to_be() -> None:
    """In the report and on stderr; an unreadable one on stderr."""
    broken = summed(0, truncated="offset 24: the record ends in the middle")
    assert "; cut short: offset 24: the record ends in the middle" in plain(
        render([broken], grouped(), 200, None)
    )
    assert notes([broken], [Unreadable("x.txt", "a text file")]) == [
        "x.txt: a text file",
        "web.pcap: offset 24: the record ends in the middle; what comes before is reported",
    ]


def test_what_a_filter_leaves_out_is_said() -> None:
    """A report on some of the resets, or on none, does not look like one on all."""
    assert "flows: 0 of 10 resets" in plain(render([summed(10)], grouped(), 80, None))
    report = plain(render([summed(10)], grouped(made()), 80, None))
    assert "1 of 10 resets, 1 harmful" in report


def test_a_live_capture_gets_a_line_a_reset() -> None:
    """Time of day, frame, both ends, cause, confidence, why."""
    (line,) = plain(one_line(made(benign=True), 200)).splitlines()
    assert line == (
        "18:42:37.123456 frame 7 192.0.2.5:8080 > 198.51.100.9:51234 half-open"
        " (certain, harmless): The server answered data with a bare reset."
    )


def test_a_group_has_its_times_and_first_frames() -> None:
    """From the first to the last, whatever order they came in."""
    (group,) = grouped(made(time_ns=TIME + SECOND), made(time_ns=TIME)).ordered()
    assert when(group) == "2026-11-21T18:42:37.123456Z to 2026-11-21T18:42:38.123456Z"
    assert frames(group, several=False) == "frames 7, 7"


def test_addresses_without_number_cost_no_memory() -> None:
    """A scan from everywhere to everything is counted to the end, told apart to a limit."""
    groups = grouped(
        *(made(client=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:1") for n in range(12_000))
    )
    groups.add("more.pcap", [made(client=f"11.0.0.{n}:1") for n in range(10)])
    (group,) = groups.ordered()
    assert len(group.clients) <= 10_001
    assert sum(group.clients.values()) == group.count == 12_010
    assert "to 10,000 clients or more" in who(group)


@given(
    st.text(max_size=300), st.integers(60, 200),
    st.dictionaries(st.text(max_size=20), st.text(max_size=200), max_size=4),
)  # fmt: skip
def test_no_text_breaks_the_report(why: str, width: int, evidence: dict[str, str]) -> None:
    """Payload of a reset can stand in its evidence: no control characters, no wide lines."""
    report = text(made("half-open", why=why, evidence=evidence), width=width)
    for line in report.splitlines():
        assert line.isprintable()
        if not line.startswith(("    next:", "    ladder:")):
            assert cells(line) <= width


def test_stories_of_one_cause_are_told_apart() -> None:
    """The same cause for different reasons: each with its number, the rest counted."""
    report = text(
        *(made(frame=10 * n + k, why=f"Reason {n}.") for n in range(1, 8) for k in range(n))
    )
    assert report.count("half-open: ") == 1
    assert "why:    7 certain: Reason 7." in report
    assert "why:    3 certain: Reason 3." in report
    assert "why:    and 2 other reasons for 3 resets" in report


def test_a_reset_with_its_flow_is_the_better_example() -> None:
    """Of thousands only a few keep their flow; one of them is drawn."""
    step = half_open().steps[-1][0]
    (group,) = grouped(made(frame=1), made(frame=2, flow=(step,))).ordered()
    assert group.best()[1].frame == 2


def test_certain_examples_go_first() -> None:
    """The ladder shows the surest of a group."""
    (group,) = grouped(made(frame=1, confidence=POSSIBLE), made(frame=2)).ordered()
    assert group.best()[1].frame == 2
    assert group.sure == {POSSIBLE: 1, CERTAIN: 1}
