"""Facts about the handshake, the traffic and the form of a reset, slowly and plainly."""

from __future__ import annotations

import itertools
from functools import cached_property

from rstaudit.parse.capture import segments as seg
from rstaudit.resets.wire.device_codes import CODES
from rstaudit.resets.wire.facts import (
    Ack,
    Df,
    IdHabit,
    IpId,
    Mptcp,
    Payload,
    Scan,
    Seq,
    Trigger,
    Ttl,
    Window,
)
from rstaudit.resets.wire.stack import stack_of
from support.oracle_before import LINGER, Before
from support.plain import SECOND, TAIL, Seg, idle_of, less

PRINTABLE = {9, 10, 13, *range(32, 127)}


class Form(Before):
    """The handshake, who sent what, and the reset's own headers."""

    def handshake(self) -> dict[str, int]:
        """Who opened it, and how far that got."""
        mine_syn = [row for row in self.mine if row.syn and not row.acks]
        their_syn = [row for row in self.theirs if row.syn and not row.acks]
        mine_both = [row for row in self.mine if row.syn and row.acks]
        their_both = [row for row in self.theirs if row.syn and row.acks]
        first = (mine_syn or their_syn)[:1]
        scan = Scan.FEW if self.targets < 8 else Scan.SEVERAL if self.targets < 30 else Scan.MANY
        return {
            "sender_segments": min(len(self.mine), 3),
            "peer_segments": min(len(self.theirs), 3),
            "sender_syns": min(len(mine_syn), 3),
            "peer_syns": min(len(their_syn), 3),
            "sender_synacks": min(len(mine_both), 3),
            "peer_synacks": min(len(their_both), 3),
            "handshake": int(self.done),
            "synack_wait": idle_of(self.synack_wait),
            "tsecr_off": int(self.tsecr_off()),
            "bare_syn": int(any(bare(row) for row in first)),
            "scan": scan if self.targets else Scan.UNKNOWN,
            "reused": int(self.reused),
        }

    @property
    def done(self) -> bool:
        """Whether the handshake was finished."""
        syns = [[r for r in rows if r.syn and not r.acks] for rows in (self.mine, self.theirs)]
        both = [[r for r in rows if r.syn and r.acks] for rows in (self.mine, self.theirs)]
        return self.finished(syns[0], both[1], self.mine) or self.finished(
            syns[1], both[0], self.theirs
        )

    def tsecr_off(self) -> bool:
        """Whether the trigger is a SYN-ACK that echoes a timestamp the sender never sent."""
        syns = [row for row in self.mine if row.syn and not row.acks]
        offer = self.trigger
        if not syns or offer is None or self.kind(offer) != Trigger.SYN_ACK:
            return False
        if not all(row.options & seg.OPT_TS for row in [*syns, offer]):
            return False
        return not 0 <= less(offer.tsecr, syns[0].tsval) <= less(syns[-1].tsval, syns[0].tsval)

    def finished(self, syns: list[Seg], both: list[Seg], rows: list[Seg]) -> bool:
        """Whether the side of ``rows``, which sent the SYNs, acknowledged the SYN-ACK."""
        if not syns or not both:
            return False
        finals = [row for row in rows if row.acks and not row.syn and self.first(both[0], row)]
        return any(0 <= less(row.ack, both[0].end) < 2**30 for row in finals)

    @cached_property
    def targets(self) -> int:
        """How many addresses and ports the client sent SYNs to about then; 0: not known."""
        syns = [row for row in self.mine + self.theirs if row.syn and not row.acks]
        if self.done or not syns or self.reset.time - syns[0].time > 5 * SECOND:
            return 0
        return len({row.target for row in self.every if self.near(row)})

    def near(self, row: Seg) -> bool:
        """Whether it is a SYN of this flow's client, sent about when this one was."""
        mine = next(old for old in self.mine + self.theirs if old.syn and not old.acks)
        same = row.source[0] == mine.source[0] and row.syn and not row.acks and not row.rst
        return same and -5 * SECOND <= row.time - mine.time <= LINGER

    def traffic(self) -> dict[str, int]:
        """Who sent what, and what is outstanding."""
        mine, theirs = self.carries(self.mine), self.carries(self.theirs)
        last = max([*mine, *theirs], key=self.before.index, default=None)
        windows = [[row.window for row in rows if not row.syn] for rows in (self.mine, self.theirs)]
        return {
            "sender_data": int(bool(mine)),
            "peer_data": int(bool(theirs)),
            "peer_spoke_last": int(last is not None and not self.is_mine(last)),
            "sender_unacked": int(self.beyond(self.mine, self.theirs) > 0),
            "peer_unacked": int(self.beyond(self.theirs, self.mine) > 0),
            "sender_missing": int(self.beyond(self.mine, self.theirs) < 0),
            "peer_missing": int(self.beyond(self.theirs, self.mine) < 0),
            "sender_zero_window": int(windows[0][-1:] == [0]),
            "peer_zero_window": int(windows[1][-1:] == [0]),
        }

    def form(self) -> dict[str, int]:
        """The reset's TCP header."""
        reset, last = self.reset, self.theirs[-4:]
        acks = [row.ack for row in last if row.acks]
        sent = [row for row in self.mine if not row.syn]
        known = sent and reset.window == sent[-1].window
        window = Window.ZERO if reset.window == 0 else Window.SAME if known else Window.OTHER
        ends = [row.end for row in last]
        short = self.trigger and reset.acks and reset.ack == self.trigger.seq != self.trigger.end
        plain = seg.OPT_TS | seg.OPT_MPTCP | seg.OPT_MP_FASTCLOSE | seg.OPT_MP_TCPRST
        return {
            "seq": self.seq(),
            "seq_zero": int(reset.seq == 0),
            "seq_echo": int(reset.seq in acks),
            "ack": self.ack(),
            "ack_echo": int(reset.acks and reset.ack in ends),
            "ack_short": int(bool(short)),
            "window": window,
            "device_code": int(reset.window in CODES and window == Window.OTHER),
            "timestamp": int(bool(reset.options & seg.OPT_TS)),
            "sender_timestamps": int(bool(sent) and all(r.options & seg.OPT_TS for r in sent)),
            "other_options": int(bool(reset.options & ~plain)),
            "mptcp": mptcp(reset),
            "payload": self.payload_kind(),
        }

    def seq(self) -> Seq:
        """Where the sequence number lies."""
        nxt, acked = self.nxt(self.mine), self.acked(self.theirs)
        if nxt is None:
            return Seq.UNKNOWN
        off = less(self.reset.seq, nxt)
        if off == 0 or off == -1:
            return Seq.EXACT if off == 0 else Seq.PROBE
        if off > 0:
            return Seq.BEYOND if off <= 2**20 else Seq.FAR
        if acked is not None and less(self.reset.seq, acked) >= 0:
            return Seq.UNACKED
        return Seq.OLD if acked is not None and less(acked, self.reset.seq) < 2**30 else Seq.FAR

    def ack(self) -> Ack:
        """Where the acknowledgement number lies."""
        if not self.reset.acks:
            return Ack.FIELD if self.reset.ack else Ack.NONE
        nxt = self.nxt(self.theirs)
        if nxt is None:
            return Ack.UNKNOWN
        off = less(self.reset.ack, nxt)
        if off > 0:
            return Ack.AHEAD if off <= 2**20 else Ack.FAR
        return Ack.EXACT if off == 0 else Ack.BEHIND if off > -(2**30) else Ack.FAR

    def payload_kind(self) -> Payload:
        """What the reset carries."""
        if not self.reset.length:
            return Payload.NONE
        if not self.payload:
            return Payload.CUT
        if self.payload[:2] == b"\x33\xaa":
            return Payload.DIAGNOSTIC
        return Payload.TEXT if set(self.payload[:4]) <= PRINTABLE else Payload.OTHER

    def trace(self) -> dict[str, int]:
        """What the IP header says of who sent it."""
        reset = self.reset
        flags = {bool(row.ip_flags & seg.IP_DF) for row in self.mine}
        df = bool(reset.ip_flags & seg.IP_DF)
        high = max((row.ttl for row in self.mine), default=0)
        v4 = reset.family == 4
        return {
            "ttl": ttl(reset.ttl, [row.ttl for row in self.mine]),
            "host_ttl": Ttl.UNKNOWN if self.mine else ttl(reset.ttl, self.host_ttls),
            "ip_id": self.ip_id() if v4 else IpId.UNKNOWN,
            "id_habit": self.id_habit() if v4 else IdHabit.UNKNOWN,
            "df": Df.UNKNOWN if not v4 or not flags else Df.DIFFERS if flags == {not df}
            else Df.SAME,
            "stack": stack_of(high, any(row.linux_order for row in self.mine if row.syn)),
        }  # fmt: skip

    @cached_property
    def host_ttls(self) -> list[int]:
        """TTLs of SYNs and SYN-ACKs that the sender's address sent so far."""
        source, frame = self.reset.source[0], self.reset.frame
        syns = [row for row in self.every if row.syn and not row.rst and row.frame < frame]
        return [row.ttl for row in syns if row.source[0] == source]

    def ip_id(self) -> IpId:
        """The reset's IP ID."""
        last = [row.ip_id for row in self.mine if row.ip_id]
        if self.reset.ip_id == 0:
            return IpId.ZERO
        ahead = (self.reset.ip_id - last[-1]) & 0xFFFF if last else 0
        return IpId.NEXT if 1 <= ahead <= 1024 else IpId.OTHER

    def id_habit(self) -> IdHabit:
        """How the sender counts."""
        rows = [row for row in self.before[-TAIL:] if self.is_mine(row) and not row.rst]
        ids = [row.ip_id for row in rows if row.ip_id]
        if rows and not ids:
            return IdHabit.ZERO
        if len(ids) < 2:
            return IdHabit.UNKNOWN
        steps = [(b - a) & 0xFFFF for a, b in itertools.pairwise(ids)]
        return IdHabit.COUNTS if all(1 <= step <= 2048 for step in steps) else IdHabit.MIXED


def bare(row: Seg) -> bool:
    """Whether a SYN looks like a scanner's."""
    return row.window < 5000 and not row.options & ~seg.OPT_MSS


def mptcp(row: Seg) -> Mptcp:
    """Its MPTCP option."""
    if row.options & seg.OPT_MP_FASTCLOSE:
        return Mptcp.FASTCLOSE
    return Mptcp.TCPRST if row.options & seg.OPT_MP_TCPRST else Mptcp.NONE


def ttl(value: int, usual: list[int]) -> Ttl:
    """A TTL against those seen before."""
    if not usual:
        return Ttl.UNKNOWN
    if min(usual) <= value <= max(usual):
        return Ttl.WITHIN
    if value > max(usual):
        return Ttl.ONE_MORE if value == max(usual) + 1 else Ttl.MORE
    return Ttl.ONE_LESS if value == min(usual) - 1 else Ttl.LESS
