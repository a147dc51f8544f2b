from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.parse.errors import ParseError
from rstaudit.parse.trace_page import parse_page
from support.trace_pages import page, page_layout, word

LAYOUT = page_layout()
START = 1 << 60


def short(delta: int, words: int = 1) -> bytes:
    """A record of so many words."""
    return word(words, delta) + bytes(4 * words)


def long(delta: int, size: int) -> bytes:
    """A record whose length does not fit into its first word."""
    padded = -(-size // 4) * 4
    return word(0, delta) + struct.pack("=I", size + 4) + bytes(padded)


def times(body: bytes) -> list[int]:
    """When the records of a page with ``body`` happened, from its start."""
    return [time - START for time, _, _ in parse_page(page(body, START), LAYOUT).records]


def test_times_add_up() -> None:
    """Each record's delta counts from the one before."""
    assert times(short(5) + short(7, 28) + long(1, 200)) == [5, 12, 13]


def test_records_have_their_place() -> None:
    """Begin and end of a record are those of its bytes, without the words of its head."""
    found = parse_page(page(short(1, 2) + long(1, 120), START), LAYOUT).records
    assert [(begin, end) for _, begin, end in found] == [(20, 28), (36, 156)]


def test_long_gaps_have_records_of_their_own() -> None:
    """A time extension adds more than 27 bits; it is no event."""
    assert times(word(30, 3) + struct.pack("=I", 1) + short(4)) == [(1 << 27) + 7]


def test_an_absolute_time_replaces_the_time() -> None:
    """An absolute stamp carries 59 bits; the upper ones stay as they were."""
    body = short(9) + word(31, 2) + struct.pack("=I", 1 << 10) + short(1)
    base = START & ~((1 << 59) - 1)
    assert [time for time, _, _ in parse_page(page(body, START), LAYOUT).records] == [
        START + 9,
        base + (1 << 37) + 3,
    ]


def test_padding_is_skipped_and_ends_a_page() -> None:
    """A discarded event is skipped, with its time; padding without a time ends the page."""
    discarded = word(29, 6) + struct.pack("=I", 8) + bytes(4)
    assert times(discarded + short(1)) == [7]
    assert times(short(1) + word(29, 0) + bytes(4) + short(1)) == [1]


@pytest.mark.parametrize(("missed", "said"), [(0, 0), (7, 7), (None, None)])
def test_lost_events_are_told(missed: int | None, said: int | None) -> None:
    """A page says how many events were lost before it, or that some were."""
    parsed = parse_page(page(short(1), START, missed), LAYOUT)
    assert parsed.missed == said
    assert len(parsed.records) == 1


@pytest.mark.parametrize(
    "body",
    [word(28, 1) + bytes(8), word(0, 1), word(0, 1) + bytes(4), word(30, 1), b"\0" * 6,
     word(0, 1) + struct.pack("=I", 900)],
)  # fmt: skip
def test_a_record_that_does_not_fit_is_an_error(body: bytes) -> None:
    """A record that runs over the end of what was committed is a ParseError."""
    with pytest.raises(ParseError):
        parse_page(page(body, START), LAYOUT)


def test_a_page_cut_short_is_an_error() -> None:
    """Fewer bytes than the header says, or no header, are a ParseError."""
    whole = page(short(1), START)
    for size in (0, 7, 15, 16, 20):
        with pytest.raises(ParseError):
            parse_page(whole[:size], LAYOUT)


@given(st.binary(max_size=4096), st.integers(0, 4096))
def test_any_page_is_parsed_or_refused(data: bytes, committed: int) -> None:
    """Whatever the bytes, records lie within the page, one after the other."""
    raw = struct.pack("=QQ", 1, committed) + data
    try:
        found = parse_page(raw, LAYOUT).records
    except ParseError:
        return
    at = 16
    for _, begin, end in found:
        assert at < begin <= end <= len(raw)
        at = end


@given(st.integers(0, 1 << 32), st.binary(max_size=32))
def test_any_4096_bytes_are_parsed_or_refused(seed: int, head: bytes) -> None:
    """Not even a hostile header makes anything but ParseError."""
    try:
        parse_page(head + random.Random(seed).randbytes(4096 - len(head)), LAYOUT)
    except ParseError:
        return
