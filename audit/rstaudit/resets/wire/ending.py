"""The facts about FINs, earlier resets, and what came after each reset."""

from __future__ import annotations

import numpy as np

from rstaudit.parse.capture.segments import OPT_TS
from rstaudit.resets.wire.ends import End
from rstaudit.resets.wire.facts import After, Content, Earlier, Late, PeerAfter, Side
from rstaudit.resets.wire.form import offset
from rstaudit.resets.wire.marks import Bools, Ints, pick
from rstaudit.resets.wire.view import MS, Facts, View, capped, flag, signed


def closing(view: View) -> Facts:
    """FINs and earlier RSTs."""
    sender, peer = view.sender, view.peer
    mine, theirs = view.first(sender.fins), view.first(peer.fins)
    sent, received = view.count(sender.reset_rows), view.count(peer.reset_rows)
    view.figures["sender_resets"], view.figures["peer_resets"] = sent, received
    return {
        "fins": _fins(mine, theirs),
        "sender_fin_acked": flag(_covered(view, mine, sender, peer)),
        "peer_fin_acked": flag(_covered(view, theirs, peer, sender)),
        "late": _late(view, mine),
        "content": _content(view),
        "sender_resets": capped(sent, 3),
        "peer_resets": capped(received, 3),
        "spoke_after_reset": flag(_went_on(view)),
        "reset_moved": flag(_moved(view)),
        "first_reset": _first_form(view),
    }


def _fins(mine: Ints, theirs: Ints) -> Ints:
    """Who closed, and in which order."""
    both = np.where(mine < theirs, int(Side.BOTH_SENDER_FIRST), int(Side.BOTH_PEER_FIRST))
    found = np.where(theirs >= 0, both, int(Side.SENDER))
    found[mine < 0] = Side.PEER
    found[(mine < 0) & (theirs < 0)] = Side.NOBODY
    return found


def _covered(view: View, fin: Ints, owner: End, other: End) -> Bools:
    """Whether the other side acknowledged that FIN."""
    acked, known = other.acked.before(view.start, view.at)
    return (fin >= 0) & known & (acked >= pick(owner.own_space.seq + view.table.takes, fin))


def _late(view: View, fin: Ints) -> Ints:
    """The most telling segment of the peer after the sender's FIN."""
    peer, after = view.peer, np.where(fin >= 0, fin, view.at)
    found = np.full(len(fin), int(Late.NOTHING))
    for word, marks in (
        (Late.ACK, peer.all), (Late.RETRY, peer.retries),
        (Late.FIN, peer.first_fins), (Late.DATA, peer.fresh),
    ):  # fmt: skip
        found[marks.count(after, view.at) > 0] = word
    total = np.concatenate(([0], np.cumsum(view.table.length[peer.fresh.index])))
    view.figures["peer_late_bytes"] = (
        total[peer.fresh.rank(view.at)] - total[peer.fresh.rank(after)]
    )
    return found


def _content(view: View) -> Ints:
    """What the peer's last data is, by its first bytes (RFC 8446 section 5.1)."""
    at = view.last(view.peer.fresh)
    head = view.table.column("head")[at.clip(0)]
    octets = np.frombuffer(head.tobytes(), dtype=np.uint8).reshape(-1, 8).astype(np.int64)
    kind, length = octets[:, 0], view.table.length[at.clip(0)]
    sealed = (kind == 23) & (length == 24) & (octets[:, 3] * 256 + octets[:, 4] == 19)
    found = np.where(sealed, int(Content.ALERT_13), int(Content.RECORD))
    found[kind == 21] = Content.ALERT
    found[(kind < 20) | (kind > 23) | (octets[:, 1] != 3)] = Content.OTHER
    found[at < 0] = Content.NONE
    return found


def _went_on(view: View) -> Bools:
    """Whether the sender sent something new after an earlier RST of its own."""
    first = view.first(view.sender.reset_rows)
    return (first >= 0) & _news(view, np.where(first >= 0, first, view.at), view.at)


def _moved(view: View) -> Bools:
    """Whether the sender's RST before has another sequence number."""
    last = view.last(view.sender.reset_rows)
    moved: Bools = (last >= 0) & (pick(view.table.seq, last) != view.column("seq"))
    return moved


def _first_form(view: View) -> Ints:
    """The form of the sender's first RST before the reset."""
    at, rows = view.first(view.sender.reset_rows), view.table.rows
    full = (pick(rows["window"], at) != 0) | (pick(rows["options"], at) & OPT_TS != 0)
    found = np.where(full, int(Earlier.FULL), int(Earlier.PLAIN))
    found[pick(view.table.acks, at) == 0] = Earlier.BARE
    found[at < 0] = Earlier.NONE
    return found


def _news(view: View, reset: Ints, until: Ints) -> Bools:
    """Whether the sender sent or acknowledged what neither that reset nor it before did."""
    sender, peer, start = view.sender, view.peer, view.start
    nxt, sent = sender.nxt.before(start, reset)
    moved, any_moved = sender.moves.before(start, until)
    beyond = any_moved & (~sent | (moved > nxt))
    acked, any_acked = sender.acked.before(start, reset)
    answered, any_answered = sender.answers.before(start, until)
    # The number in the reset itself, put into the stretch that the others lie in.
    near = sender.answers.marks.last(start, until).clip(0)
    raw = view.table.ack.astype(np.int64)
    given = peer.own_space.seq[near] + signed(raw[reset] - raw[near])
    has = view.table.acks[reset]
    acked = np.where(has & (~any_acked | (given > acked)), given, acked)
    return beyond | ((any_acked | has) & any_answered & (answered > acked))


def afterwards(view: View) -> Facts:
    """What happens after the reset, and at the same instant."""
    sender, peer, after = view.sender, view.peer, view.at + 1
    found = np.full(len(after), int(After.NOTHING))
    found[view.later(sender.talk)] = After.OLD
    found[view.later(sender.syns) | view.later(sender.synacks)] = After.SYN
    found[view.later(sender.reset_rows)] = After.RESETS
    found[_ladder(view)] = After.LADDER
    found[view.later(sender.talk) & _news(view, view.at, view.until)] = After.NEW
    other = np.full(len(after), int(PeerAfter.NOTHING))
    other[view.later(peer.all)] = PeerAfter.OTHER
    other[view.later(peer.reset_rows)] = PeerAfter.RESET
    other[_goes_on(view)] = PeerAfter.DATA
    view.figures["after_segments"] = sender.all.count(after, view.until)
    view.figures["after_resets"] = sender.reset_rows.count(after, view.until)
    return {"after": found, "peer_after": other, "both_reset": flag(_both(view))}


def _goes_on(view: View) -> Bools:
    """Whether the peer sends new data afterwards."""
    nxt, known = view.peer.nxt.before(view.start, view.at)
    reached, _ = view.peer.carried.before(view.start, view.until)
    return view.later(view.peer.carried.marks) & (~known | (reached > nxt))


def _ladder(view: View) -> Bools:
    """Whether the sender's next RST lies above this one and above what it sent."""
    following = view.sender.reset_rows.first(view.at + 1, view.until)
    seq = pick(view.table.seq, following)
    off, known = offset(view, view.sender, seq)
    climbs: Bools = (signed(seq - view.column("seq")) > 0) & (~known | (off > 0))
    return (following >= 0) & climbs


def _both(view: View) -> Bools:
    """Whether the peer sent a RST within 20 ms."""
    marks, table = view.peer.reset_rows, view.table
    before = view.last(marks)
    after = marks.first(view.at, table.end[view.at])
    near = [abs(pick(table.time, row) - view.time) <= 20 * MS for row in (before, after)]
    return ((before >= 0) & near[0]) | ((after >= 0) & near[1])
