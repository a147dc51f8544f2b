"""Facts about resets worked out in columns equal those worked out one segment at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import RST, SegmentBatch
from rstaudit.resets.wire import tracker
from rstaudit.resets.wire.case import Case, Numbers
from rstaudit.resets.wire.tracker import Found, Tracker
from support.oracle import resets
from support.plain import plain
from support.segments import MS, segments


def tracked(rows: NDArray[np.void], cuts: Iterable[int] = ()) -> dict[int, Found]:
    """What the tracker finds, by frame, when the rows come in batches that end at ``cuts``."""
    engine = Tracker(keep_all=True)
    found: list[Found] = []
    for part in np.split(rows, sorted(cuts)):
        found += engine.feed(SegmentBatch(part))
    found += engine.finish()
    return {one.frame: one for one in found}


def compare(rows: NDArray[np.void], found: dict[int, Found]) -> None:
    """Each fact and figure of every reset is the oracle's."""
    assert len(found) == np.count_nonzero(rows["flags"] & RST)
    for segment, case, numbers in resets([plain(row) for row in rows]):
        one = found[segment.frame]
        assert differences(one.case, case) == {}, segment
        assert differences(one.numbers, numbers) == {}, segment


def differences(ours: Case | Numbers, theirs: Case | Numbers) -> dict[str, tuple[object, object]]:
    """Fields that differ: ours and the oracle's."""
    return {
        name: (mine, other)
        for name, mine, other in zip(ours._fields, ours, theirs, strict=True)
        if mine != pytest.approx(other)
    }


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), flows=st.integers(1, 3))
def test_facts_equal_those_of_the_oracle(seed: int, count: int, flows: int) -> None:
    """Whatever happens on a few four-tuples at once."""
    rows = segments(seed, count, flows)
    compare(rows, tracked(rows))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.sets(st.integers(1, 49), max_size=6))
def test_batches_may_end_anywhere(seed: int, cuts: set[int]) -> None:
    """Where one batch ends and the next begins changes no fact."""
    rows = segments(seed, 50, 2)
    whole, parts = tracked(rows), tracked(rows, cuts)
    assert {n: one.case for n, one in whole.items()} == {n: one.case for n, one in parts.items()}
    assert [one.numbers for one in whole.values()] == [parts[n].numbers for n in whole]


@pytest.mark.parametrize("seed", range(2))
def test_each_single_cut_gives_the_same(seed: int) -> None:
    """A capture cut in two at every place."""
    rows = segments(seed, 40, 2)
    whole = {n: (one.case, one.numbers) for n, one in tracked(rows).items()}
    for cut in range(1, len(rows)):
        assert {n: (one.case, one.numbers) for n, one in tracked(rows, [cut]).items()} == whole


@pytest.mark.parametrize("seed", range(6))
def test_what_is_dropped_from_long_flows_changes_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flows that are cut down again and again give the facts of whole ones."""
    monkeypatch.setattr(tracker, "LONG", 60)
    rows = segments(seed, 300, 1, gaps=(0, MS, 3 * MS, 25 * MS, 250 * MS))
    compare(rows, tracked(rows, range(10, len(rows), 10)))
