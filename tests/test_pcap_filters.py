"""What users type to choose resets of a capture: flows, frames and times."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.parse.capture_filter import parse_flow, parse_moment
from rstaudit.parse.errors import ParseError

CLIENT, SERVER = "198.51.100.9:51234", "192.0.2.5:80"


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("7", True),
        ("8", False),
        ("198.51.100.9:51234-192.0.2.5:80", True),
        ("192.0.2.5:80-198.51.100.9:51234", True),
        ("192.0.2.5-198.51.100.9", True),
        ("192.0.2.5:80-198.51.100.9", True),
        ("192.0.2.5", True),
        (" 192.0.2.5:80 ", True),
        ("192.0.2.0/24-198.51.100.0/24:51234", True),
        ("192.0.2.5:81-198.51.100.9", False),
        ("192.0.2.5:80-192.0.2.5:80", False),
        ("198.51.100.9:80", False),
        ("2001:db8::1", False),
    ],
)
def test_a_flow_is_given_by_its_ends_or_a_frame(text: str, accepted: bool) -> None:
    """Either end first, ports and one end left out, or a block of addresses."""
    chosen = parse_flow(text)
    assert chosen.accepts(7, SERVER, CLIENT) is accepted
    if chosen.frame is None:
        assert chosen.accepts(9, CLIENT, SERVER) is accepted


def test_ipv6_ends_stand_in_brackets_before_a_port() -> None:
    """As everywhere."""
    chosen = parse_flow("[2001:db8::1]:443-2001:db8::2")
    assert chosen.accepts(1, "[2001:db8::2]:9", "[2001:db8::1]:443")
    assert not chosen.accepts(1, "[2001:db8::2]:443", "[2001:db8::1]:9")


def test_ipv4_in_an_ipv6_capture_is_the_same_address() -> None:
    """As `rstaudit sockets --peer` has it."""
    assert parse_flow("192.0.2.5").accepts(1, "[::ffff:192.0.2.5]:80", "[2001:db8::1]:443")


@pytest.mark.parametrize(
    ("text", "nanoseconds", "relative"),
    [
        ("2026-11-21T18:42:37Z", 1_795_286_557_000_000_000, False),
        ("2026-11-21T18:42:37.123456789Z", 1_795_286_557_123_456_789, False),
        ("2026-11-21t18:42:37.5z", 1_795_286_557_500_000_000, False),
        ("2026-11-21 18:42:37", 1_795_286_557_000_000_000, False),
        ("2026-11-21T19:42:37.25+01:00", 1_795_286_557_250_000_000, False),
        ("2026-11-21", 1_795_219_200_000_000_000, False),
        ("1795286557", 1_795_286_557_000_000_000, False),
        ("1795286557.123456789", 1_795_286_557_123_456_789, False),
        ("+12.5", 12_500_000_000, True),
        ("+0", 0, True),
    ],
)
def test_a_time_keeps_its_nanoseconds(text: str, nanoseconds: int, relative: bool) -> None:
    """What JSON printed can be given back as it is."""
    assert parse_moment(text) == (nanoseconds, relative)


def test_a_relative_time_counts_from_the_beginning() -> None:
    """Of the capture."""
    assert parse_moment("+1.5").since_epoch(10**9) == 2_500_000_000
    assert parse_moment("5").since_epoch(10**9) == 5_000_000_000


@pytest.mark.parametrize("text", ["", "a-b", "1.2.3.4-", "1-2-3", "10.0.0.1:99999", "host:80"])
def test_what_is_no_flow_is_refused_with_an_example(text: str) -> None:
    """One line that says what to give."""
    with pytest.raises(ParseError, match=r"is no flow; give 10\.0\.0\.9:51234-10\.0\.0\.5:80"):
        parse_flow(text)


@pytest.mark.parametrize("text", ["", "yesterday", "-5", "+", "2026-13-01", "1e9", "12:00"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    """One line that says what to give."""
    with pytest.raises(ParseError, match=r"is no time; give 2026-11-21T18:42:37Z"):
        parse_moment(text)


@given(st.text(max_size=60) | st.from_regex(r"[0-9T:.+\-Zz ]{0,40}"))
def test_no_text_raises_anything_else(text: str) -> None:
    """A value or ParseError, whatever was typed."""
    for parse in (parse_flow, parse_moment):
        with suppress(ParseError):
            parse(text)
