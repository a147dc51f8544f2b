"""The ladders that `rstaudit pcap` draws: of which flows, and with which resets explained."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rstaudit.model.ladder import UNKNOWN_STATE, Ladder, States, Step
from rstaudit.report.ladder_cut import cut
from rstaudit.resets.wire.states import states

if TYPE_CHECKING:
    from rstaudit.report.ladder import Pens
    from rstaudit.report.layout import Line
    from rstaudit.report.pcap_groups import Group, Groups, Reset
    from rstaudit.report.pcap_text import Draw

    #: A flow, and those of its resets that can be explained, by frame.
    Drawing = tuple[Ladder, dict[int, Reset]]


class Drawer:
    """Ladders of groups, no flow twice."""

    def __init__(self, groups: Groups, *, every: bool) -> None:
        """``every``: each flow that a group keeps, not only that of its best example."""
        self._every = every
        self._known = {
            (file, reset.frame): reset
            for group in groups.ordered()
            for file, reset in group.examples()
        }
        self._drawn: set[tuple[str, int]] = set()

    def text(self, group: Group, columns: int) -> list[Line]:
        """The ladders of ``group``, a blank line before each."""
        from rstaudit.report.ladder import render
        from rstaudit.report.layout import Span

        lines: list[Line] = []
        for ladder, resets in self.drawings(group):
            explained = {frame: reset.diagnosis for frame, reset in resets.items()}
            lines += [(), *render(ladder, explained, columns, _pens())]
        return lines or [(Span("    ladder: its flow is drawn above", "dim"),)]

    def text_at(self, columns: int) -> Draw:
        """`text` for lines of at most ``columns``."""
        return lambda group: self.text(group, columns)

    def drawings(self, group: Group) -> Iterator[Drawing]:
        """The flows to draw for ``group``, shortened to what explains their resets."""
        for file, reset in group.examples() if self._every else [group.best()]:
            if (file, reset.frame) in self._drawn:
                continue
            ladder = ladder_of(reset)
            frames = [step.frame for step, _ in ladder.steps]
            resets = {n: self._known[file, n] for n in frames if (file, n) in self._known}
            self._drawn.update((file, frame) for frame in resets)
            yield cut(ladder, resets), resets


def ladder_of(reset: Reset) -> Ladder:
    """The flow of ``reset`` with the states of both ends."""
    steps = list(reset.steps())
    client, server = (reset.src, reset.dst) if reset.from_client else (reset.dst, reset.src)
    begins = bool(steps) and steps[0].from_client and steps[0].flags == "SYN"
    before = States("CLOSE", "LISTEN") if begins else States(UNKNOWN_STATE, UNKNOWN_STATE)
    after = states(steps)
    if begins and _refused(steps):
        before, *after = (state._replace(server="CLOSE") for state in (before, *after))
    return Ladder(client, server, before, tuple(zip(steps, after, strict=True)))


def _refused(steps: Sequence[Step]) -> bool:
    """Whether the server only ever answered with resets: then it had no socket."""
    answers = [step.flags for step in steps if not step.from_client]
    return bool(answers) and all("RST" in flags for flags in answers)


def _pens() -> Pens:
    from rstaudit.report.ladder import ASCII, UNICODE

    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return UNICODE if encoding.lower().replace("-", "") == "utf8" else ASCII
