"""Flows over a whole capture: what is kept, what is forgotten, and when resets are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rstaudit.parse.capture.segments import (
    ACK,
    FIN,
    PSH,
    RST,
    SEGMENT,
    SYN,
    SegmentBatch,
)
from rstaudit.resets.wire import tracker
from rstaudit.resets.wire.case import Case
from rstaudit.resets.wire.facts import Scan
from rstaudit.resets.wire.found import address_text
from rstaudit.resets.wire.tracker import Found, Tracker
from support.rows_of import MAPPED, opened, rows_of


def run(packets: Sequence[tuple[Any, ...]], size: int = 1 << 20) -> tuple[Tracker, list[Found]]:
    """The tracker after these packets, fed ``size`` at a time, and all it found."""
    engine = Tracker(keep_all=True)
    rows = rows_of(packets)
    found: list[Found] = []
    for start in range(0, len(rows), size):
        found += engine.feed(SegmentBatch(rows[start : start + size]))
    return engine, found + engine.finish()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_syn_with_another_number_opens_a_new_flow(size: int) -> None:
    """Port reuse: the second connection knows nothing of the first, but that there was one."""
    packets = [
        *opened(0, 1), (0.1, 1, False, RST, 901, 0, 0),
        *opened(0.5, 1, isn=7000), (0.6, 1, False, RST, 901, 0, 0),
    ]  # fmt: skip
    engine, found = run(packets, size)
    assert engine.flows == 2
    assert [one.case.reused for one in found] == [0, 1]
    assert [one.case.sender_resets for one in found] == [0, 0]
    assert [len(one.steps()) for one in found] == [4, 4]


def test_a_repeated_syn_stays_in_its_flow() -> None:
    """A client that tries again sends the same number; it may do so after a refusal."""
    packets = [
        (0.0, 1, True, SYN, 100, 0, 0), (0.1, 1, False, RST | ACK, 0, 101, 0),
        (0.6, 1, True, SYN, 100, 0, 0), (0.7, 1, False, RST | ACK, 0, 101, 0),
    ]  # fmt: skip
    engine, found = run(packets)
    assert engine.flows == 1
    assert [one.case.peer_syns for one in found] == [1, 2]


def test_both_ends_may_open_at_once() -> None:
    """Two SYNs that cross are one flow; its client is who was first."""
    packets = [
        (0.0, 1, True, SYN, 100, 0, 0), (0.001, 1, False, SYN, 900, 0, 0),
        (0.01, 1, False, SYN | ACK, 900, 101, 0), (0.011, 1, True, SYN | ACK, 100, 901, 0),
        (0.2, 1, True, RST | ACK, 101, 901, 0),
    ]  # fmt: skip
    engine, (found,) = run(packets)
    assert engine.flows == 1
    assert found.from_client


def test_a_reset_is_given_once_two_seconds_have_passed() -> None:
    """Until then, what follows it may say something about it; a quiet live source ends the wait."""
    engine = Tracker()
    rows = rows_of(
        [*opened(0, 1), (1.0, 1, False, RST, 901, 0, 0), *opened(2.9, 2), *opened(3.1, 3)]
    )
    assert engine.feed(SegmentBatch(rows[:7])) == []
    assert [one.frame for one in engine.feed(SegmentBatch(rows[7:]))] == [4]
    more = rows_of([*opened(9, 4), (9.5, 4, False, RST, 901, 0, 0)], 11)
    engine.feed(SegmentBatch(more))
    waited = [engine.feed(SegmentBatch(rows[:0])) for _ in range(6)]
    assert [len(found) for found in waited] == [0, 0, 0, 0, 1, 0]


def test_each_reset_of_a_storm_is_found() -> None:
    """Thousands of resets of one flow, each with its own frame, in bounded time."""
    packets = [*opened(0, 1)]
    packets += [(1 + n / 1e4, 1, False, RST, 901 + n, 0, 0) for n in range(6000)]
    _, found = run(packets, 1000)
    assert [one.frame for one in found] == list(range(4, 6004))
    assert found[-1].case.sender_resets == 3
    assert found[-1].numbers.sender_resets == 5999


def test_memory_follows_open_flows_not_packets() -> None:
    """A connection with 60,000 segments is held with a few hundred of them."""
    packets = opened(0, 1)
    most = 0
    engine = Tracker()
    rows = rows_of(packets)
    engine.feed(SegmentBatch(rows))
    for start in range(0, 60_000, 6000):
        rows = rows_of(
            [(1 + n / 1e4, 1, True, ACK | PSH, 101 + n * 10, 901, 10)
             for n in range(start, start + 6000)],
            start + 4,
        )  # fmt: skip
        engine.feed(SegmentBatch(rows))
        most = max(most, engine.kept)
    assert most < 300
    reset = rows_of([(8, 1, False, RST | ACK, 901, 600_101, 0)], 60_004)
    engine.feed(SegmentBatch(reset))
    (found,) = engine.finish()
    assert found.numbers.peer_bytes == 600_000
    assert sum(step.skipped for step in found.steps()) == 60_004 - len(found.steps())
    assert found.case.ack == 2  # Ack.EXACT


def test_flows_that_have_ended_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many, the oldest go first; those that wait or are open stay."""
    monkeypatch.setattr(tracker, "ENDED_ROWS", 100)
    engine = Tracker()
    for start in range(0, 400, 40):
        packets: list[tuple[Any, ...]] = []
        for flow in range(start, start + 40):
            packets += [*opened(flow, flow), (flow + 0.1, flow, False, RST, 901, 0, 0)]
        found = engine.feed(SegmentBatch(rows_of(packets, 4 * start + 1)))
        assert found
        assert engine.kept < 100 + 40 * 4
    assert engine.evicted == 0


def test_too_many_open_flows_cost_the_idlest(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted, and a segment of one that was forgotten begins a new flow."""
    monkeypatch.setattr(tracker, "ALL_ROWS", 300)
    packets = [packet for flow in range(200) for packet in opened(flow / 10, flow)]
    packets += [(50.0, 0, False, RST | ACK, 901, 101, 0)]
    engine, (found,) = run(packets, 50)
    assert engine.evicted > 0
    assert engine.flows > 200
    assert found.case.sender_segments == 0


def test_a_scan_is_seen_by_its_targets() -> None:
    """The same client asks for many ports within seconds."""
    rows = rows_of([(n / 100, n, True, SYN, 100, 0, 0) for n in range(40)])
    rows["dport"] = np.arange(40) + 1
    answer = rows_of([(0.5, 39, False, RST | ACK, 0, 101, 0)])
    answer["frame"], answer["sport"] = 41, 40
    engine = Tracker()
    engine.feed(SegmentBatch(np.concatenate((rows, answer))))
    (found,) = engine.finish()
    assert found.case.scan == Scan.MANY
    assert found.numbers.targets == 40


def test_resets_of_one_port_at_one_instant_are_a_burst() -> None:
    """A listener that goes away resets all that waited for it."""
    packets = [packet for flow in range(5) for packet in opened(flow / 100, flow)]
    packets += [(1 + flow / 1e4, flow, False, RST | ACK, 901, 101, 0) for flow in range(5)]
    _, found = run(packets)
    assert [one.case.burst for one in found] == [3] * 5
    assert [one.numbers.burst for one in found] == [4] * 5


def test_equal_resets_share_their_verdict() -> None:
    """What was decided is decided once for all resets with the same facts."""
    packets = [
        packet for n in range(3)
        for packet in (*opened(10 * n, n), (10 * n + 5, n, True, RST | ACK, 101, 901, 0))
    ]  # fmt: skip
    _, found = run(packets)
    assert len({one.case for one in found}) == 1
    assert found[0].verdict is found[1].verdict is found[2].verdict
    assert found[0].diagnosis.why


def test_only_the_first_few_alike_keep_their_flow() -> None:
    """So that fifty thousand equal resets cost no more memory than four."""
    packets = [
        packet for n in range(9)
        for packet in (*opened(10 * n, n), (10 * n + 5, n, True, RST | ACK, 101, 901, 0))
    ]  # fmt: skip
    engine = Tracker()
    found = engine.feed(SegmentBatch(rows_of(packets))) + engine.finish()
    assert [len(one.steps()) for one in found] == [4] * 4 + [1] * 5


def test_addresses_are_written_as_before_a_port() -> None:
    """IPv4 as such, IPv6 in brackets."""
    assert address_text(MAPPED + bytes([192, 0, 2, 1])) == "192.0.2.1"
    assert address_text(bytes.fromhex("20010db8" + "00" * 11 + "01")) == "[2001:db8::1]"


def test_an_empty_capture_has_no_flows() -> None:
    """Nothing in, nothing out."""
    engine = Tracker()
    assert engine.finish() == []
    assert (engine.flows, engine.tcp_packets, engine.kept) == (0, 0, 0)


def test_facts_fit_into_bytes() -> None:
    """A case is packed into a row of bytes to be told apart."""
    assert all(0 <= int(value) < 256 for value in Case())
    assert FIN < 256


@pytest.mark.parametrize("seed", range(15))
def test_garbage_raises_nothing(seed: int) -> None:
    """Whatever the fields hold: any times, numbers and flags; each reset is still found."""
    chance = np.random.default_rng(seed)
    engine = Tracker()
    found: list[Found] = []
    resets = 0
    for batch in range(3):
        rows = np.frombuffer(chance.bytes(200 * SEGMENT.itemsize), dtype=SEGMENT).copy()
        rows["frame"] = np.arange(batch * 200, batch * 200 + 200)
        rows["key"] = chance.integers(1, 4, 200)
        rows["side"] &= 1
        rows["family"] = 4
        if seed % 3:
            rows["time"] = np.sort(chance.integers(0, 10 ** (6 * (seed % 3)), 200))
        resets += int(np.count_nonzero(rows["flags"] & RST))
        found += engine.feed(SegmentBatch(rows))
    found += engine.finish()
    assert len({one.frame for one in found}) == len(found) == resets
    assert all(one.diagnosis.cause and one.steps() for one in found)


def test_a_storm_over_many_flows_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resets wait for what follows them, but not more of them than memory allows."""
    monkeypatch.setattr(tracker, "WAITING", 100)
    rows = rows_of([(0, flow, False, RST, 1, 0, 0) for flow in range(5000)])
    engine = Tracker()
    found = engine.feed(SegmentBatch(rows))
    assert [one.frame for one in found] == list(range(1, 4901))
    assert len(engine.finish()) == 100
    assert found[0].numbers.burst == 4999
