"""The facts of each reset, worked out slowly and plainly: what the fast extraction must equal.

Everything here follows the definitions in `rstaudit.resets.wire.case` word by word, one segment
after the other, without caring for time or memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from rstaudit.parse.capture import segments as seg
from rstaudit.resets.wire.case import Case, Numbers
from rstaudit.resets.wire.facts import (
    After,
    Content,
    Earlier,
    Fit,
    Gap,
    Late,
    PeerAfter,
    Side,
    Trigger,
)
from support.oracle_form import Form
from support.plain import MS, SECOND, Seg, idle_of, less, pace_of, split, unique


class Facts(Form):
    """The facts of one reset."""

    def case(self) -> Case:
        """All facts."""
        return Case(
            **self.handshake(), **self.traffic(), **self.form(), **self.trace(),
            **self.trigger_facts(), **self.silences(), **self.closing(), **self.unanswered(),
            **self.afterwards(),
        )  # fmt: skip

    def trigger_facts(self) -> dict[str, int]:
        """The peer's last segment, and what the sender made of it."""
        trigger = self.trigger
        if trigger is None:
            return {}
        at = self.before.index(trigger)
        since = [row for row in self.before[at + 1 :] if not row.rst]
        acked = any(row.acks and less(row.ack, trigger.end) >= 0 for row in since)
        return {
            "trigger": self.kind(trigger),
            "fit": self.fit(trigger),
            "gap": self.gap(trigger),
            "run_gap": self.gap(self.run(False)[0]) if self.run(False) else Gap.NONE,
            "trigger_acked": int(acked),
            "sender_since": min(len(since), 3),
        }

    def fit(self, trigger: Seg) -> Fit:
        """Whether the trigger's acknowledgement number belongs here."""
        if not trigger.acks:
            return Fit.NO_ACK
        nxt = self.nxt(self.mine)
        if nxt is None:
            return Fit.UNKNOWN
        off = less(trigger.ack, nxt)
        inside = off < 0 and less(trigger.ack, self.mine[0].seq) >= 0
        return Fit.EXACT if off == 0 else Fit.WITHIN if inside else Fit.OUTSIDE

    def gap(self, trigger: Seg) -> Gap:
        """How soon the reset came."""
        gap, rtt = self.reset.time - trigger.time, self.rtt
        if rtt is not None and rtt >= 4 * MS and 2 * gap < rtt:
            return Gap.EARLY
        limit = 400 * MS if rtt is None else 2 * rtt + 60 * MS
        return Gap.PROMPT if gap <= limit else Gap.SLOW if gap <= limit + SECOND else Gap.LATE

    def silences(self) -> dict[str, int]:
        """How long nothing happened."""
        return {
            "idle": idle_of(self.idle),
            "quiet": idle_of(self.quiet),
            "fin_idle": idle_of(self.fin_idle),
            "since_fin": idle_of(self.reset.time - self.fin.time if self.fin else None),
        }

    def closing(self) -> dict[str, int]:
        """FINs and earlier RSTs."""
        theirs = next((row for row in self.theirs if row.fin), None)
        earlier = [row for row in self.before if row.rst]
        own = [row for row in earlier if self.is_mine(row)]
        first = own[0] if own else None
        data = self.carries(self.theirs)
        return {
            "fins": self.fins(self.fin, theirs),
            "sender_fin_acked": int(self.covered(self.fin, self.theirs)),
            "peer_fin_acked": int(self.covered(theirs, self.mine)),
            "late": self.late(),
            "content": content(data[-1]) if data else Content.NONE,
            "sender_resets": min(sum(self.is_mine(row) for row in earlier), 3),
            "peer_resets": min(sum(not self.is_mine(row) for row in earlier), 3),
            "spoke_after_reset": int(first is not None and self.went_on(first)),
            "reset_moved": int(any(row.seq != self.reset.seq for row in own[-1:])),
            "first_reset": Earlier.NONE if first is None else earlier_form(first),
        }

    def fins(self, mine: Seg | None, theirs: Seg | None) -> Side:
        """Who closed, and in which order."""
        if mine and theirs:
            return Side.BOTH_SENDER_FIRST if self.first(mine, theirs) else Side.BOTH_PEER_FIRST
        return Side.SENDER if mine else Side.PEER if theirs else Side.NOBODY

    def late(self) -> Late:
        """The most telling segment of the peer after the sender's FIN."""
        if self.fin is None:
            return Late.NOTHING
        fresh = self.carries(self.theirs)
        found = [Late.NOTHING]
        for row in self.theirs:
            if self.first(self.fin, row):
                kind = self.kind(row)
                found.append(Late.DATA if row in fresh else Late.FIN if kind == Trigger.FIN
                             else Late.RETRY if kind == Trigger.RETRY else Late.ACK)  # fmt: skip
        return max(found)

    def went_on(self, first: Seg) -> bool:
        """Whether the sender sent something new after that earlier RST of its own."""
        at = self.before.index(first)
        earlier = [row for row in self.mine if self.before.index(row) < at]
        after = [row for row in self.mine if self.before.index(row) > at]
        return any(self.news(row, earlier, first) for row in after if not row.syn)

    def unanswered(self) -> dict[str, int]:
        """Probes and retries to which nobody answered."""
        facts: dict[str, int] = {}
        for who, mine in (("sender", True), ("peer", False)):
            tries = self.tries(mine)
            kinds = [self.kind(row) for row in tries]
            facts[f"{who}_probes"] = min(kinds.count(Trigger.PROBE), 15)
            facts[f"{who}_retries"] = min(len(kinds) - kinds.count(Trigger.PROBE), 15)
            facts[f"{who}_pace"] = pace_of([row.time for row in tries])
        interval = self.probe_interval or 0
        since = self.reset.time - self.mine[-1].time if self.mine else 0
        facts["probe_rhythm"] = int(interval > 0 and 93 * interval <= 100 * since <= 110 * interval)
        return facts

    def afterwards(self) -> dict[str, int]:
        """What happens within 2 s, and at the same instant."""
        reset = self.reset
        instants = [row for row in self.flow if row.rst and not self.is_mine(row)]
        both = any(abs(row.time - reset.time) <= 20 * MS for row in instants)
        return {
            "after": max((self.after(row) for row in self.later), default=After.NOTHING),
            "peer_after": max(map(self.peer_after, self.later), default=PeerAfter.NOTHING),
            "both_reset": int(both),
            "burst": min(self.burst, 3),
        }

    def after(self, row: Seg) -> After:
        """What one later segment says of the sender."""
        if not self.is_mine(row):
            return After.NOTHING
        if row.rst:
            return After.LADDER if self.climbs() else After.RESETS
        if row.syn:
            return After.SYN
        return After.NEW if self.news(row, self.mine, self.reset) else After.OLD

    def climbs(self) -> bool:
        """Whether the sender's next RST lies above this one and above what it sent."""
        following = next(row for row in self.later if row.rst and self.is_mine(row))
        nxt = self.nxt(self.mine)
        beyond = nxt is None or less(following.seq, nxt) > 0
        return beyond and less(following.seq, self.reset.seq) > 0

    def peer_after(self, row: Seg) -> PeerAfter:
        """What one later segment says of the peer."""
        if self.is_mine(row):
            return PeerAfter.NOTHING
        if row.rst:
            return PeerAfter.RESET
        nxt = self.nxt(self.theirs)
        new = bool(row.length) and (nxt is None or less(row.end, nxt) > 0)
        return PeerAfter.DATA if new else PeerAfter.OTHER

    @cached_property
    def burst(self) -> int:
        """How many flows of other four-tuples the same port resets within 20 ms."""
        firsts = [next((row for row in flow if row.rst), None) for flow in split(self.every)]
        return sum(
            row.source == self.reset.source
            and row.key != self.reset.key
            and abs(row.time - self.reset.time) <= 20 * MS
            for row in firsts
            if row is not None
        )

    def numbers(self) -> Numbers:
        """The figures behind it."""
        reset = self.reset
        nxt, other = self.nxt(self.mine), self.nxt(self.theirs)
        ttls = [row.ttl for row in self.mine]
        ids = [row.ip_id for row in self.mine if row.ip_id]
        trigger = self.trigger
        later = [row for row in self.later if self.is_mine(row)]
        return Numbers(
            frame=reset.frame,
            seq=reset.seq,
            ack=reset.ack if reset.acks else None,
            window=reset.window,
            ttl=reset.ttl,
            ttl_low=min(ttls, default=None),
            ttl_high=max(ttls, default=None),
            host_ttl=None if self.mine else max(self.host_ttls, default=None),
            ip_id=reset.ip_id if reset.family == 4 else None,
            last_ip_id=ids[-1] if ids else None,
            seq_off=None if nxt is None else less(reset.seq, nxt),
            ack_off=None if other is None or not reset.acks else less(reset.ack, other),
            gap=None if trigger is None else (reset.time - trigger.time) / SECOND,
            rtt=seconds(self.rtt),
            idle=seconds(self.idle),
            quiet=seconds(self.quiet),
            fin_idle=seconds(self.fin_idle),
            since_fin=None if self.fin is None else (reset.time - self.fin.time) / SECOND,
            synack_wait=seconds(self.synack_wait),
            trigger_frame=None if trigger is None else trigger.frame,
            trigger_length=0 if trigger is None else trigger.length,
            sender_bytes=sum(row.length for row in self.carries(self.mine)),
            peer_bytes=sum(row.length for row in self.carries(self.theirs)),
            sender_unacked=max(0, self.beyond(self.mine, self.theirs)),
            peer_unacked=max(0, self.beyond(self.theirs, self.mine)),
            peer_late_bytes=self.late_bytes(),
            sender_syns=sum(row.syn and not row.acks for row in self.mine),
            peer_syns=sum(row.syn and not row.acks for row in self.theirs),
            sender_synacks=sum(row.syn and row.acks for row in self.mine),
            peer_synacks=sum(row.syn and row.acks for row in self.theirs),
            sender_resets=sum(row.rst and self.is_mine(row) for row in self.before),
            peer_resets=sum(row.rst and not self.is_mine(row) for row in self.before),
            sender_probes=sum(self.kind(row) == Trigger.PROBE for row in self.tries(True)),
            sender_retries=sum(self.kind(row) != Trigger.PROBE for row in self.tries(True)),
            peer_probes=sum(self.kind(row) == Trigger.PROBE for row in self.tries(False)),
            peer_retries=sum(self.kind(row) != Trigger.PROBE for row in self.tries(False)),
            sender_tries_for=spread(self.tries(True)),
            probe_interval=seconds(self.probe_interval),
            peer_tries_for=spread(self.tries(False)),
            after_segments=sum(not row.rst for row in later),
            after_resets=sum(row.rst for row in later),
            burst=self.burst,
            targets=self.targets,
            mptcp_reason=reset.reason if reset.options & seg.OPT_MP_TCPRST else None,
            payload=(self.payload or b"")[:64],
        )

    def late_bytes(self) -> int:
        """How much the peer sent after the sender's FIN."""
        fin = self.fin
        fresh = self.carries(self.theirs)
        return sum(row.length for row in fresh if fin and self.first(fin, row))


def earlier_form(row: Seg) -> Earlier:
    """The form of a RST."""
    if not row.acks:
        return Earlier.BARE
    return Earlier.FULL if row.window or row.options & seg.OPT_TS else Earlier.PLAIN


def seconds(nanoseconds: int | None) -> float | None:
    """As seconds."""
    return None if nanoseconds is None else nanoseconds / SECOND


def spread(rows: list[Seg]) -> float | None:
    """From the first to the last, in seconds."""
    return (rows[-1].time - rows[0].time) / SECOND if rows else None


def content(row: Seg) -> Content:
    """What a piece of data is, by its first bytes."""
    kind, major, size = row.head[0], row.head[1], int.from_bytes(row.head[3:5], "big")
    if not 20 <= kind <= 23 or major != 3:
        return Content.OTHER
    if kind == 21:
        return Content.ALERT
    sealed = kind == 23 and row.length == 24 and size == 19
    return Content.ALERT_13 if sealed else Content.RECORD


def resets(
    rows: Iterable[Seg], payloads: Mapping[int, bytes] | None = None
) -> list[tuple[Seg, Case, Numbers]]:
    """Every reset of a capture with its facts, by frame; those captured twice only once."""
    every = list(rows)
    found = []
    seen: set[int] = set()
    for flow in split(every):
        reused = flow[0].key in seen
        seen.add(flow[0].key)
        kept = unique(flow)
        for index, row in enumerate(kept):
            if row.rst:
                facts = Facts(kept, index, every, reused, (payloads or {}).get(row.frame))
                found.append((row, facts.case(), facts.numbers()))
    return sorted(found, key=lambda item: item[0].frame)
