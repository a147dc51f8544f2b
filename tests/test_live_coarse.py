"""What counters alone say of resets, where there are no events."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.catalogue.causes import causes
from rstaudit.model.rule import Confidence
from rstaudit.resets.live.coarse import infer
from support.event_streams import load, recorded

NAMES = (
    "Tcp.OutRsts", "Tcp.EstabResets", "Tcp.AttemptFails", "TcpExt.TCPAbortOnClose",
    "TcpExt.TCPAbortOnData", "TcpExt.TCPAbortOnLinger", "TcpExt.TCPAbortOnMemory",
    "TcpExt.TCPAbortOnTimeout", "TcpExt.ListenOverflows", "TcpExt.EmbryonicRsts",
    "TcpExt.SyncookiesFailed", "TcpExt.TCPTimeWaitOverflow", "MPTcpExt.MPFastcloseTx",
)  # fmt: skip

#: What the counters of recorded streams prove, and where they leave several causes open.
NAMED = {
    "close-unread": "close-unread", "linger-abort": "linger-abort",
    "linger2-abort": "linger2-abort", "listen-overflow": "listen-overflow",
    "keepalive-timeout": "keepalive-timeout", "mptcp-fastclose": "mptcp-fastclose",
    "timewait-overflow": "timewait-overflow",
}  # fmt: skip


@pytest.mark.parametrize("name", recorded())
def test_the_counters_of_a_recorded_stream(name: str) -> None:
    """The cause itself, or a diagnosis that leaves it open; never a wrong one that is certain."""
    counters = load(name).counters
    if counters is None:
        return
    sent = [tally for tally in infer(counters) if tally.direction == "sent"]
    if name in NAMED:
        assert NAMED[name] in [tally.diagnosis.cause for tally in sent]
    for tally in sent:
        if tally.diagnosis.confidence is Confidence.CERTAIN:
            assert tally.diagnosis.cause == name


def test_no_counter_moved() -> None:
    """Nothing is said."""
    assert infer({}) == []


def test_resets_that_no_counter_explains() -> None:
    """They are counted, and it is said what would tell more."""
    (tally,) = infer({"Tcp.OutRsts": 3})
    assert (tally.direction, tally.number, tally.diagnosis.cause) == ("sent", 3, "undetermined")
    assert "closed-port" in tally.diagnosis.alternatives


def test_a_full_queue_without_a_reset() -> None:
    """With tcp_abort_on_overflow 0 the queue overflows in silence."""
    assert infer({"TcpExt.ListenOverflows": 5}) == []
    assert "listen-overflow" not in [
        tally.diagnosis.cause for tally in infer({"TcpExt.ListenOverflows": 5, "Tcp.OutRsts": 1})
    ]


def test_received_resets() -> None:
    """What our own aborts do not explain came from outside, or ran out of time."""
    (tally,) = infer({"Tcp.EstabResets": 4})
    assert (tally.direction, tally.number) == ("received", 4)
    refused = infer({"Tcp.AttemptFails": 2}, {"SYN_SENT": 1})
    assert [(one.number, one.diagnosis.cause) for one in refused] == [(1, "closed-port")]


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(-5, 1000)))
def test_the_sums_are_right(counters: dict[str, int]) -> None:
    """As many resets as were counted, labelled as counters, each number in its evidence."""
    tallies = infer(counters)
    sent = sum(tally.number for tally in tallies if tally.direction == "sent")
    assert sent == max(0, counters.get("Tcp.OutRsts", 0))
    for tally in tallies:
        diagnosis = tally.diagnosis
        assert tally.number > 0
        assert {diagnosis.cause, *diagnosis.alternatives} <= causes().keys()
        assert diagnosis.evidence["source"] == "counters"
        for number in re.findall(r"\b\d+\b", re.sub(r"\{1, 0\}|LINGER2", "", diagnosis.why)):
            assert int(number) in diagnosis.evidence.values()
