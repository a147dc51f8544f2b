"""A long flow shortened to what explains its resets: its beginning and what is around them."""

from __future__ import annotations

from collections.abc import Collection

from rstaudit.model.ladder import Ladder, States, Step

#: Segments kept at the beginning, before each reset, and after it.
_FIRST, _BEFORE, _AFTER = 4, 10, 4


def cut(ladder: Ladder, resets: Collection[int]) -> Ladder:
    """``ladder`` without the segments far from its beginning and from the ``resets`` (frames).

    What is left out is counted in the ``skipped`` of the step that follows. A single segment is
    never left out: the line that says so would take as much room. The end of the flow is not
    counted, for no step follows it.
    """
    rows = ladder.steps
    at = [place for place, (step, _) in enumerate(rows) if step.frame in resets]
    near = at[:2] or [len(rows) - 1]
    wanted = set(range(_FIRST))
    for place in near:
        wanted.update(range(place - _BEFORE, place + _AFTER + 1))
    wanted.update(place for place in range(len(rows)) if {place - 1, place + 1} <= wanted)
    kept: list[tuple[Step, States]] = []
    skipped = 0
    for place, (step, states) in enumerate(rows):
        if place in wanted:
            kept.append((step._replace(skipped=step.skipped + skipped), states))
            skipped = 0
        else:
            skipped += 1 + step.skipped
    return ladder._replace(steps=tuple(kept))
