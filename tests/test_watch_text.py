"""What `rstaudit watch` prints, from resets and counts made for it."""

from __future__ import annotations

import json

import pytest

from rstaudit.model.diagnosis import Diagnosis, LiveReset
from rstaudit.model.reset_filter import ResetFilter
from rstaudit.model.rule import Confidence
from rstaudit.model.sockets import Owner
from rstaudit.model.tally import Tally
from rstaudit.parse.socket_filter import parse_peer
from rstaudit.report import watch_json, watch_text
from rstaudit.report.layout import cells, plain
from rstaudit.report.watch_summary import Table
from test_report_json import validate

NGINX = Owner(12, "nginx", "www-data", None, None, "nginx.service", None)
UNREAD = Diagnosis(
    "close-unread",
    Confidence.CERTAIN,
    "close() with 904 bytes unread",
    (),
    evidence={"unread": 904},
)
LATE = Diagnosis(
    "late-segment", Confidence.LIKELY, "after a clean end", ("half-open",), benign=True
)
TALLY = Tally(
    "events", 30.2, 5, 7, 3, 2, {"close-unread": 2, "late-segment": 1}, 0, 99, 0, None, None
)


def reset(
    diagnosis: Diagnosis = UNREAD,
    direction: str = "sent",
    src: str = "192.0.2.1:80",
    dst: str = "198.51.100.7:40000",
    owner: Owner | None = NGINX,
) -> LiveReset:
    """A reset with what a test does not care about filled in."""
    return LiveReset(
        1_795_286_557_123_456_789, direction, src, dst, diagnosis, "TCP_ABORT_ON_CLOSE", owner, 9
    )


def shown(*resets: LiveReset, width: int = 100) -> str:
    """The text of resets one after the other."""
    writer = watch_text.Writer(width)
    return "".join(plain(writer.lines(one)) for one in resets)


def test_a_line_names_ends_cause_and_process() -> None:
    """Who, to whom, why, which process, what to do."""
    text = " ".join(shown(reset()).split())
    assert "sent 192.0.2.1:80 -> 198.51.100.7:40000 close-unread" in text
    for words in ("nginx (pid 12", "unit nginx.service", "904 bytes unread", "fix:", "explain"):
        assert words in text


def test_what_to_do_is_said_once_for_each_cause() -> None:
    """A thousand resets of one cause do not repeat the advice."""
    assert shown(reset(), reset(), reset()).count("fix:") == 1


def test_harmless_and_unsure_is_said() -> None:
    """A benign reset carries no advice; confidence and alternatives are there."""
    text = shown(reset(LATE))
    assert "(likely, harmless)" in text
    assert "or: half-open" in text
    assert "fix:" not in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Long IPv6 addresses and names are wrapped."""
    long = reset(src="[2001:db8:1111:2222:3333:4444:5555:6666]:50000", owner=NGINX)
    assert all(cells(line) <= width for line in shown(long, width=width).split("\n"))


def test_a_hostile_name_stays_text() -> None:
    """A process cannot send escape sequences to the terminal."""
    assert "\x1b" not in shown(reset(owner=Owner(1, "\x1b]0;evil\x07", "root")))


def test_json_lines_follow_the_schema() -> None:
    """Resets with and without a process, and the last line."""
    for line in (
        watch_json.line(reset()),
        watch_json.line(reset(LATE, "received", owner=None)),
        watch_json.ending(TALLY),
    ):
        assert line.endswith("}\n")
        validate("watch", json.loads(line))


def test_the_ending_says_what_is_missing() -> None:
    """Counts by cause, and everything that was lost or only counted."""
    tally = TALLY._replace(lost=3, undiagnosed=4, gap="tracefs is not mounted", command_status=7)
    text = plain(watch_text.ending(tally, 80))
    for words in (
        "3 resets in 30 s (of 12 on the host): 2 harmful, 1 harmless", "2  close-unread",
        "3 events were lost", "4 resets came too fast", "not mounted", "status 7",
    ):  # fmt: skip
        assert words in text


def test_the_table_groups_by_service_and_peer() -> None:
    """Ephemeral ports of the peers do not make rows of their own; harmless ones stand apart."""
    table = Table()
    for port in range(40_000, 40_030):
        table.add(reset(dst=f"198.51.100.7:{port}"), now=100.0)
    table.add(reset(LATE), now=101.0)
    lines = plain(table.lines(101.0, 120, 10)).split("\n")
    assert lines[0] == "harmful: 30"
    assert lines[2].split() == [
        "30", "3.0", "close-unread", "sent", "192.0.2.1:80", "198.51.100.7", "nginx"
    ]  # fmt: skip
    assert "harmless: 1" in lines


def test_the_table_forgets_rates_and_keeps_counts() -> None:
    """A rate is that of the last ten seconds."""
    table = Table()
    table.add(reset(), now=100.0)
    row = plain(table.lines(200.0, 120, 10)).split("\n")[2]
    assert row.split()[:2] == ["1", "0.0"]


def test_the_table_is_bounded() -> None:
    """A hundred thousand peers do not fill the memory: the rest is one row."""
    table = Table()
    for number in range(2500):
        peer = f"198.{number // 250}.{number % 250}.1:40000"
        table.add(reset(dst=peer), now=100.0)
    text = plain(table.lines(100.0, 120, 3000))
    assert "harmful: 2,500" in text
    assert "500" in next(line for line in text.split("\n") if "(more)" in line)


@pytest.mark.parametrize(
    ("chosen", "accepted"),
    [
        (ResetFilter(), True),
        (ResetFilter(pids=frozenset({12})), True),
        (ResetFilter(pids=frozenset({13})), False),
        (ResetFilter(ports=(range(80, 81),)), True),
        (ResetFilter(ports=(range(40000, 40001),)), True),
        (ResetFilter(ports=(range(81, 90),)), False),
        (ResetFilter(peers=(parse_peer("198.51.100.0/24"),)), True),
        (ResetFilter(peers=(parse_peer("192.0.2.1"),)), False),
        (ResetFilter(causes=frozenset({"close-unread"})), True),
        (ResetFilter(causes=frozenset({"linger-abort"})), False),
        (ResetFilter(pids=frozenset({12}), causes=frozenset({"linger-abort"})), False),
    ],
)
def test_filters(chosen: ResetFilter, *, accepted: bool) -> None:
    """Filters of several kinds must all hold; the peer is the other end."""
    assert chosen.accepts(reset()) is accepted


def test_the_peer_of_a_received_reset_is_its_sender() -> None:
    """Direction decides which end is ours."""
    chosen = ResetFilter(peers=(parse_peer("192.0.2.1"),))
    assert chosen.accepts(reset(direction="received"))
    assert not chosen.accepts(reset())


def test_a_command_is_reported_with_its_family_alone() -> None:
    """Resets of other processes, or of nobody known, are left out."""
    assert ResetFilter().accepts(reset(), family={12})
    assert not ResetFilter().accepts(reset(), family={13})
    assert not ResetFilter().accepts(reset(owner=None), family={13})
