"""Captures on several interfaces, which hold each packet before and after it was forwarded."""

from __future__ import annotations

import io
import random

import pytest

from rstaudit.collect.capture import open_capture
from rstaudit.resets.wire.decide import decide
from rstaudit.resets.wire.tracker import Tracker
from support.conversation import Conversation
from support.oracle import resets
from support.plain import plain
from support.wire import Packet, pcap

#: Where the TTL of an IPv4 packet in an Ethernet frame stands, and the hop limit of an IPv6 one.
TTL = {4: 14 + 8, 6: 14 + 7}


def forwarded(packet: Packet, family: int, after_ns: int = 3000) -> Packet:
    """The packet as the next link has it."""
    data = bytearray(packet.data)
    data[TTL[family]] -= 1
    return Packet(packet.time_ns + after_ns, bytes(data))


def routed(talk: Conversation, family: int) -> bytes:
    """The capture of a router on both its links."""
    return pcap(
        [one for each in talk.packets for one in (each, forwarded(each, family))], nano=True
    )


def causes(data: bytes) -> dict[int, str]:
    """Frame -> cause."""
    tracker = Tracker()
    batches = list(open_capture(io.BytesIO(data)))
    found = [one for batch in batches for one in tracker.feed(batch)] + list(tracker.finish())
    return {one.frame: one.diagnosis.cause for one in found}


def by_oracle(data: bytes) -> dict[int, str]:
    """The same by the slow oracle, which leaves the copies out."""
    rows = [plain(row) for batch in open_capture(io.BytesIO(data)) for row in batch.rows]
    return {reset.frame: decide(case).cause for reset, case, _ in resets(rows)}


def forgotten(family: int) -> Conversation:
    """Two segments in a row, each answered by a host that has lost the connection."""
    talk = Conversation(family=family, rtt=0.00003).talk().wait(3)
    return (
        talk.say("c", 1448, taken=False).answer("s").say("c", 100, taken=False)
        .answer("s", seq=talk.s.nxt)
    )  # fmt: skip


@pytest.mark.parametrize("family", [4, 6])
def test_equal_resets_that_were_each_seen_twice_stay_two(family: int) -> None:
    """Four frames, two of them copies; neither the second reset nor its copy is alone."""
    data = routed(forgotten(family), family)
    found = causes(data)
    assert sorted(found.values()) == ["half-open"] * 4
    assert len(by_oracle(data)) == 2
    assert by_oracle(data).items() <= found.items()


@pytest.mark.parametrize("family", [4, 6])
def test_a_copy_changes_no_answer(family: int) -> None:
    """What a router captures is judged as what one of its links shows."""
    talks = (
        Conversation(family=family).talk().abort("s"),
        Conversation(family=family).talk().close("s").say("c", 100, taken=False).answer("s"),
        Conversation(family=family).open().say("c", 5000).abort("s"),
        forgotten(family),
    )
    for talk in talks:
        once, twice = causes(talk.pcap()), causes(routed(talk, family))
        assert list(twice.values())[::2] == list(twice.values())[1::2] == list(once.values())


@pytest.mark.parametrize("seed", range(8))
def test_many_equal_resets_and_copies_in_any_order(seed: int) -> None:
    """Fast and slow agree on which are copies."""
    pick = random.Random(seed)
    talk = Conversation(rtt=0.00003).talk().say("c", 100, taken=False)
    for _ in range(12):
        talk.answer("s", ttl=pick.choice((60, 61, 62)), ip_id=pick.choice((0, 0, 0, 7)))
    data = talk.pcap()
    found = causes(data)
    assert len(found) == 12
    assert by_oracle(data).items() <= found.items()
