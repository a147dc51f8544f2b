"""What lies before a reset in its flow, in the words of `rstaudit.resets.wire.facts`."""

from __future__ import annotations

from functools import cached_property

from rstaudit.resets.wire.facts import Trigger
from support.plain import SECOND, TAIL, Seg, highest, less

LINGER = 2 * SECOND


class Before:
    """A reset and what stands before it: ``flow[index]`` of a flow without duplicates."""

    def __init__(
        self, flow: list[Seg], index: int, every: list[Seg], reused: bool, payload: bytes | None
    ) -> None:
        """``every`` are all segments of the capture; ``payload`` what is kept of the reset's."""
        self.flow, self.index, self.every = flow, index, every
        self.reused, self.payload = reused, payload
        self.reset = flow[index]
        self.before = flow[:index]
        self.mine = [row for row in self.before if self.is_mine(row) and not row.rst]
        self.theirs = [row for row in self.before if not self.is_mine(row) and not row.rst]
        limit = self.reset.time + LINGER
        self.later = []
        for row in flow[index + 1 :]:
            if row.time > limit:
                break
            self.later.append(row)
            if row.syn:
                break

    def is_mine(self, row: Seg) -> bool:
        """Whether the reset's sender sent it."""
        return row.side == self.reset.side

    def nxt(self, rows: list[Seg]) -> int | None:
        """`nxt` of the side that sent these."""
        return highest(row.end for row in rows)

    def acked(self, others: list[Seg]) -> int | None:
        """The highest acknowledgement in these."""
        return highest(row.ack for row in others if row.acks)

    @cached_property
    def trigger(self) -> Seg | None:
        """The peer's last segment."""
        return self.theirs[-1] if self.theirs else None

    @cached_property
    def runs(self) -> list[list[Seg]]:
        """The unbroken rows of segments from one side just before the reset, last one first."""
        found: list[list[Seg]] = []
        for row in reversed(self.before[-TAIL:]):
            if row.rst:
                continue
            if not found or row.side != found[-1][0].side:
                found.append([])
            found[-1].insert(0, row)
        return found

    def run(self, mine: bool) -> list[Seg]:
        """The run of the sender or the peer; empty where the other side spoke last."""
        return self.runs[0] if self.runs and self.is_mine(self.runs[0][0]) == mine else []

    def last_run(self, mine: bool) -> list[Seg]:
        """The last run of the sender or the peer."""
        return next((r for r in self.runs[:2] if self.is_mine(r[0]) == mine), [])

    def kind(self, row: Seg) -> Trigger:
        """What a segment is, given what its side sent before it."""
        rows = self.mine if self.is_mine(row) else self.theirs
        reached = self.nxt(rows[: rows.index(row)])
        if row.syn:
            return Trigger.SYN_ACK if row.acks else Trigger.SYN
        if reached is not None:
            if row.length <= 1 and not row.fin and less(row.seq, reached) == -1:
                return Trigger.PROBE
            if row.occupies and less(row.end, reached) <= 0:
                return Trigger.RETRY
        if row.fin:
            return Trigger.FIN
        return Trigger.DATA if row.length else Trigger.ACK

    def carries(self, rows: list[Seg]) -> list[Seg]:
        """Those with data that is new."""
        fresh = []
        for at, row in enumerate(rows):
            reached = self.nxt(rows[:at])
            new = reached is None or less(row.end, reached) > 0
            if row.length and new and self.kind(row) != Trigger.PROBE:
                fresh.append(row)
        return fresh

    @cached_property
    def rtt(self) -> int | None:
        """How fast the sender answered in the handshake, in ns."""
        synacks = [row for row in self.mine if row.syn and row.acks]
        syns = [row for row in self.theirs if row.syn and not row.acks]
        if synacks:
            ahead = [row for row in syns if self.first(row, synacks[0])]
            return synacks[0].time - ahead[-1].time if ahead else None
        offers = [row for row in self.theirs if row.syn and row.acks]
        if not offers:
            return None
        answers = [r for r in self.mine if r.acks and not r.syn and self.first(offers[0], r)]
        return answers[0].time - offers[0].time if answers else None

    def first(self, a: Seg, b: Seg) -> bool:
        """Whether ``a`` stands before ``b``."""
        return self.before.index(a) < self.before.index(b)

    def beyond(self, rows: list[Seg], others: list[Seg]) -> int:
        """How much of ``rows`` is not acknowledged; negative: more is than was seen."""
        nxt, acked = self.nxt(rows), self.acked(others)
        return 0 if nxt is None or acked is None else less(nxt, acked)

    @cached_property
    def fin(self) -> Seg | None:
        """The sender's first FIN."""
        return next((row for row in self.mine if row.fin), None)

    def tries(self, mine: bool) -> list[Seg]:
        """The probes and retries at the end of the last run of that side."""
        tries: list[Seg] = []
        for row in reversed(self.last_run(mine)):
            again = row.syn and self.kind_of_syn(row)
            if not again and self.kind(row) not in (Trigger.PROBE, Trigger.RETRY):
                break
            tries.insert(0, row)
        return tries

    def kind_of_syn(self, row: Seg) -> bool:
        """Whether a SYN or SYN-ACK is a repeated one."""
        rows = self.mine if self.is_mine(row) else self.theirs
        reached = self.nxt(rows[: rows.index(row)])
        return reached is not None and less(row.end, reached) <= 0

    def news(self, row: Seg, earlier: list[Seg], reset: Seg) -> bool:
        """Whether it sends or acknowledges what ``earlier`` and ``reset`` (of its side) did not."""
        nxt, acked = self.nxt(earlier), self.acked([*earlier, reset])
        beyond = row.occupies and (nxt is None or less(row.end, nxt) > 0)
        return beyond or (row.acks and acked is not None and less(row.ack, acked) > 0)

    @cached_property
    def probe_interval(self) -> int | None:
        """Between the sender's last two segments, where both are probes, in ns."""
        last = self.mine[-2:]
        if len(last) < 2 or any(self.kind(row) != Trigger.PROBE for row in last):
            return None
        return last[1].time - last[0].time

    @cached_property
    def idle(self) -> int | None:
        """The silence ahead of the peer's run, in ns."""
        run = self.run(False)
        begin = next((row for row in run if self.kind(row) != Trigger.ACK), None)
        until = begin or (run[-1] if run else self.reset)
        return self.silence(until)

    def silence(self, until: Seg) -> int | None:
        """How long there was nothing but RSTs ahead of that segment, in ns."""
        ahead = [row for row in self.flow[: self.flow.index(until)] if not row.rst]
        return until.time - ahead[-1].time if ahead else None

    @cached_property
    def quiet(self) -> int | None:
        """The silence ahead of the reset, in ns."""
        return self.silence(self.reset)

    @cached_property
    def fin_idle(self) -> int | None:
        """The silence ahead of it, in ns."""
        return self.silence(self.fin) if self.fin else None

    @cached_property
    def synack_wait(self) -> int | None:
        """From the first SYN to the first SYN-ACK of the other side, in ns."""
        for ours, others in ((self.mine, self.theirs), (self.theirs, self.mine)):
            syns = [row for row in ours if row.syn and not row.acks]
            both = [row for row in others if row.syn and row.acks]
            if syns and both and self.first(syns[0], both[0]):
                return both[0].time - syns[0].time
        return None

    def covered(self, fin: Seg | None, others: list[Seg]) -> bool:
        """Whether the other side acknowledged that FIN."""
        acked = self.acked(others)
        return fin is not None and acked is not None and less(acked, fin.end) >= 0
