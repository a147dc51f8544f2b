"""The facts about the header of each reset: its numbers, window, options, TTL, IP ID."""

from __future__ import annotations

import numpy as np

from rstaudit.parse.capture import segments as seg
from rstaudit.resets.wire.device_codes import CODES
from rstaudit.resets.wire.ends import End
from rstaudit.resets.wire.facts import Ack, Df, IdHabit, IpId, Mptcp, Seq, Ttl, Window
from rstaudit.resets.wire.marks import Bools, Ints, pick
from rstaudit.resets.wire.stack import LINUX_ORDERS, stack_of
from rstaudit.resets.wire.view import NOTHING, TAIL, Facts, View, flag, signed

_OWN_FACTS = seg.OPT_TS | seg.OPT_MPTCP | seg.OPT_MP_FASTCLOSE | seg.OPT_MP_TCPRST

_CODES = np.zeros(1 << 16, dtype=np.bool_)
_CODES[list(CODES)] = True
_LINUX = np.zeros(1 << 16, dtype=np.bool_)
_LINUX[list(LINUX_ORDERS)] = True
_STACKS = np.array([[stack_of(ttl, linux) for linux in (False, True)] for ttl in range(256)])


def header(view: View) -> Facts:
    """The TCP header."""
    options, acks = view.column("options"), view.table.acks[view.at]
    number, answer = view.column("seq"), view.column("ack")
    last_acks, last_ends = _last_four(view)
    trigger = view.trigger
    short = (trigger >= 0) & acks & (answer == pick(view.table.seq, trigger))
    stamped = (view.count(view.sender.talk) > 0) & (view.count(view.sender.without_stamp) == 0)
    view.figures["mptcp_reason"] = np.where(
        options & seg.OPT_MP_TCPRST, view.column("mptcp_reason"), NOTHING
    )
    return {
        "seq": _seq(view),
        "seq_zero": flag(number == 0),
        "seq_echo": flag((last_acks == number[:, None]).any(axis=1)),
        "ack": _ack(view),
        "ack_echo": flag(acks & (last_ends == answer[:, None]).any(axis=1)),
        "ack_short": flag(short & (view.table.takes[trigger.clip(0)] > 0)),
        **_window(view),
        "timestamp": flag(options & seg.OPT_TS != 0),
        "sender_timestamps": flag(stamped),
        "other_options": flag(options & ~_OWN_FACTS != 0),
        "mptcp": np.where(
            options & seg.OPT_MP_FASTCLOSE, int(Mptcp.FASTCLOSE),
            np.where(options & seg.OPT_MP_TCPRST, int(Mptcp.TCPRST), int(Mptcp.NONE)),
        ),
    }  # fmt: skip


def _last_four(view: View) -> tuple[Ints, Ints]:
    """What the peer's last four segments acknowledge, and where they end; -1: nothing."""
    acks, ends = [], []
    for back in (1, 2, 3, 4):
        at = view.last(view.peer.all, back)
        ends.append(pick(view.table.raw_end, at, -1))
        acks.append(np.where(pick(view.table.acks, at) != 0, pick(view.table.ack, at), -1))
    return np.stack(acks, axis=1), np.stack(ends, axis=1)


def offset(view: View, end: End, values: Ints) -> tuple[Ints, Bools]:
    """Raw numbers less ``nxt`` of an end; and whether it sent anything."""
    nxt, known = end.nxt.before(view.start, view.at)
    last = view.last(end.all).clip(0)
    near = end.own_space.seq[last] + view.table.takes[last]
    raw = view.table.raw_end[last].astype(np.int64) + nxt - near
    return signed(values - raw), known


def _seq(view: View) -> Ints:
    """Where the sequence number lies."""
    off, known = offset(view, view.sender, view.column("seq"))
    view.figures["seq_off"] = np.where(known, off, NOTHING)
    nxt, _ = view.sender.nxt.before(view.start, view.at)
    acked, some = view.peer.acked.before(view.start, view.at)
    above = signed(off + nxt - acked)
    found = np.full(len(off), int(Seq.FAR))
    found[some & (above > -(2**30)) & (above < 0)] = Seq.OLD
    found[some & (above >= 0)] = Seq.UNACKED
    found[off > 0] = Seq.FAR
    found[(off > 0) & (off <= 2**20)] = Seq.BEYOND
    found[off == -1] = Seq.PROBE
    found[off == 0] = Seq.EXACT
    found[~known] = Seq.UNKNOWN
    return found


def _ack(view: View) -> Ints:
    """Where the acknowledgement number lies."""
    values, acks = view.column("ack"), view.table.acks[view.at]
    off, known = offset(view, view.peer, values)
    view.figures["ack_off"] = np.where(known & acks, off, NOTHING)
    found = np.full(len(off), int(Ack.FAR))
    found[(off > 0) & (off <= 2**20)] = Ack.AHEAD
    found[(off < 0) & (off > -(2**30))] = Ack.BEHIND
    found[off == 0] = Ack.EXACT
    found[~known] = Ack.UNKNOWN
    return np.where(acks, found, np.where(values != 0, int(Ack.FIELD), int(Ack.NONE)))


def _window(view: View) -> Facts:
    """The raw window."""
    value = view.column("window")
    last = pick(view.table.column("window"), view.last(view.sender.talk), -1)
    found = np.where(value == last, int(Window.SAME), int(Window.OTHER))
    found[value == 0] = Window.ZERO
    return {"window": found, "device_code": flag(_CODES[value] & (found == Window.OTHER))}


def trace(view: View) -> Facts:
    """The IP header, against those of the sender's other packets."""
    number = view.table.flow[view.at] * 256
    highest, known = view.sender.ttl_high.before(view.start, view.at)
    lowest, _ = view.sender.ttl_low.before(view.start, view.at)
    high = np.where(known, highest - number, NOTHING)
    low = np.where(known, 255 - (lowest - number), NOTHING)
    view.figures["ttl_low"], view.figures["ttl_high"] = low, high
    v4 = view.column("family") == 4
    return {
        "ttl": ttl(view.column("ttl"), low, high),
        "ip_id": np.where(v4, _ip_id(view), int(IpId.UNKNOWN)),
        "id_habit": np.where(v4, _id_habit(view), int(IdHabit.UNKNOWN)),
        "df": np.where(v4, _df(view), int(Df.UNKNOWN)),
        "stack": _stack(view, np.where(known, high, 0)),
    }


def ttl(value: Ints, low: Ints, high: Ints) -> Ints:
    """A TTL against a range; ``high`` is `NOTHING` where there is none."""
    found = np.full(len(value), int(Ttl.WITHIN))
    found[value > high] = Ttl.MORE
    found[value == high + 1] = Ttl.ONE_MORE
    found[value < low] = Ttl.LESS
    found[value == low - 1] = Ttl.ONE_LESS
    found[high == NOTHING] = Ttl.UNKNOWN
    return found


def _ip_id(view: View) -> Ints:
    value = view.column("ip_id")
    at = view.last(view.sender.numbered)
    last = pick(view.table.column("ip_id"), at)
    v4 = view.column("family") == 4
    view.figures["ip_id"] = np.where(v4, value, NOTHING)
    view.figures["last_ip_id"] = np.where(at >= 0, last, NOTHING)
    ahead = (value - last) & 0xFFFF
    following = (at >= 0) & (ahead >= 1) & (ahead <= 1024)
    found = np.where(following, int(IpId.NEXT), int(IpId.OTHER))
    found[value == 0] = IpId.ZERO
    return found


def _id_habit(view: View) -> Ints:
    tail = np.maximum(view.start, view.at - TAIL)
    sender = view.sender
    low, high = sender.numbered.rank(tail), sender.numbered.rank(view.at)
    leaps = np.append(sender.leaps, 0)
    irregular = leaps[(high - 1).clip(0)] > leaps[low.clip(max=len(leaps) - 1)]
    found = np.where(irregular, int(IdHabit.MIXED), int(IdHabit.COUNTS))
    found[high - low < 2] = IdHabit.UNKNOWN
    found[(high == low) & (sender.all.count(tail, view.at) > 0)] = IdHabit.ZERO
    return found


def _df(view: View) -> Ints:
    total, without = view.count(view.sender.all), view.count(view.sender.without_df)
    mine = view.column("ip_flags") & seg.IP_DF != 0
    differs = np.where(mine, without == total, without == 0)
    found = np.where(differs, int(Df.DIFFERS), int(Df.SAME))
    found[total == 0] = Df.UNKNOWN
    return found


def _stack(view: View, high: Ints) -> Ints:
    linux = np.zeros(len(high), dtype=np.bool_)
    for syns in (view.sender.syns, view.sender.synacks):
        at = view.first(syns)
        linux |= (at >= 0) & _LINUX[pick(view.table.column("order"), at)]
    found: Ints = _STACKS[high, linux.astype(np.int64)].astype(np.int64)
    return found
