"""Resets of captures as JSON: the contract, the schema, hostile strings, and the cost."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.model.capture import CaptureSummary, Unreadable
from rstaudit.report import pcap_json
from support.captured import LIKELY, TIME, MadeReset, made, summed
from test_report_json import validate


def document(
    *files: tuple[CaptureSummary, list[MadeReset]],
    unreadable: tuple[Unreadable, ...] = (),
    interrupted: bool = False,
) -> dict[str, Any]:
    """The document on these captures, valid by its schema."""
    parts = [pcap_json.beginning()]
    for number, (summary, resets) in enumerate(files):
        parts.append(pcap_json.file_beginning(summary.file, first=number == 0))
        parts += [pcap_json.reset_line(reset, first=n == 0) for n, reset in enumerate(resets)]
        parts.append(pcap_json.file_end(summary))
    parts.append(pcap_json.ending(unreadable, interrupted=interrupted))
    read: dict[str, Any] = json.loads("".join(parts))
    validate("pcap", read)
    return read


def test_a_reset_is_the_contract() -> None:
    """Names and order of what people script against."""
    reset = made(
        "idle-timeout", frame=12, confidence=LIKELY, alternatives=("half-open",), why="So.",
        evidence={"idle_seconds": 350.2, "words": ["a", "b"], "ttl": None},
    )  # fmt: skip
    read = document((summed(1), [reset]))
    assert list(read["files"][0]["resets"][0].items()) == [
        ("frame", 12),
        ("time", "2026-11-21T18:42:37.123456789Z"),
        ("src", "192.0.2.5:8080"),
        ("dst", "198.51.100.9:51234"),
        ("cause", "idle-timeout"),
        ("confidence", "likely"),
        ("alternatives", ["half-open"]),
        ("benign", False),
        ("why", "So."),
        ("evidence", {"idle_seconds": 350.2, "words": ["a", "b"], "ttl": None}),
    ]


def test_a_capture_is_the_contract() -> None:
    """Counts, whether it was cut short and where, what was skipped, its times."""
    (file,) = document((summed(5, truncated="offset 9: cut"), []))["files"]
    assert file == {
        "file": "web.pcap", "resets": [], "packets": 1000, "tcp_packets": 990, "flows": 20,
        "forgotten_flows": 0,
        "truncated": True, "problem": "offset 9: cut", "skipped": {"not TCP": 10},
        "first_time": "2026-11-21T18:42:37.123456789Z",
        "last_time": "2026-11-21T18:42:47.123456789Z", "all_resets": 5,
    }  # fmt: skip


def test_several_captures_and_unreadable_ones() -> None:
    """Each in its place; none at all is a document too."""
    read = document(
        (summed(1, "a"), [made()]), (summed(2, "b"), [made(), made()]),
        unreadable=(Unreadable("c", "a text file"),), interrupted=True,
    )  # fmt: skip
    assert [len(file["resets"]) for file in read["files"]] == [1, 2]
    assert read["unreadable"] == [{"file": "c", "reason": "a text file"}]
    assert read["interrupted"] is True
    assert document()["files"] == []


def test_ipv6_ends_and_empty_captures_follow_the_schema() -> None:
    """Brackets around the address; no time where there is no packet."""
    reset = made(client="[2001:db8::1]:80", server="[::ffff:10.0.0.1]:443")
    assert document((summed(1), [reset]))["files"][0]["resets"][0]["dst"] == "[2001:db8::1]:80"
    empty = CaptureSummary("-", 0, 0, 0, 0)
    assert document((empty, []))["files"][0]["first_time"] is None


@given(
    st.text(st.characters(exclude_categories=())).filter(bool),
    st.dictionaries(st.text(), st.text(st.characters(exclude_categories=())) | st.floats()),
)
def test_any_text_becomes_valid_json(words: str, evidence: dict[str, Any]) -> None:
    """Names of files, payload of resets: one line a reset, ASCII, no lone surrogates, no NaN."""
    line = pcap_json.reset_line(made(why=words, evidence=evidence), first=True)
    assert line.isascii()
    assert line.index("\n") == len(line) - 1

    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.dumps(json.loads(line, parse_constant=refuse), ensure_ascii=False).encode()
    json.loads(pcap_json.text(words)).encode()


@pytest.mark.parametrize("count", [50_000])
def test_many_resets_are_quick(count: int) -> None:
    """50,000 resets cost less than two seconds of processor time on a slow machine."""
    resets = [
        made(frame=n, time_ns=TIME + n * 1_000_003, alternatives=("firewall-reject",),
             evidence={"gap_ms": 0.03, "ttl": 64, "seq": 0, "idle_seconds": 1.5})
        for n in range(1, count + 1)
    ]  # fmt: skip
    start = time.process_time()
    size = sum(len(pcap_json.reset_line(reset, first=False)) for reset in resets)
    assert time.process_time() - start < 2
    assert size > 300 * count
