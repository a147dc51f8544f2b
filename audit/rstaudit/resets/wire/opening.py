"""The facts about how each reset's flow was opened, and who sent data over it."""

from __future__ import annotations

import numpy as np

from rstaudit.parse.capture.segments import OPT_MSS, OPT_TS
from rstaudit.resets.wire.ends import End
from rstaudit.resets.wire.facts import Trigger
from rstaudit.resets.wire.marks import Bools, Ints, Peaks, pick
from rstaudit.resets.wire.view import NOTHING, Facts, View, capped, flag, idle, signed


def handshake(view: View) -> Facts:
    """Who opened it, and how far that got."""
    sender, peer = view.sender, view.peer
    counts = {
        "sender_syns": view.count(sender.syns),
        "peer_syns": view.count(peer.syns),
        "sender_synacks": view.count(sender.synacks),
        "peer_synacks": view.count(peer.synacks),
    }
    view.figures.update(counts)
    wait = _synack_wait(view, sender, peer)
    wait = np.where(wait == NOTHING, _synack_wait(view, peer, sender), wait)
    view.figures["synack_wait"] = wait
    done = _finished(view, sender, peer) | _finished(view, peer, sender)
    return {
        "sender_segments": capped(view.count(sender.all), 3),
        "peer_segments": capped(view.count(peer.all), 3),
        **{name: capped(count, 3) for name, count in counts.items()},
        "handshake": flag(done),
        "synack_wait": idle(wait),
        "tsecr_off": _tsecr_off(view),
        "bare_syn": _bare_syn(view),
    }


def first_syn(view: View) -> Ints:
    """The flow's first SYN without ACK, the sender's rather than the peer's; -1: none."""
    mine = view.first(view.sender.syns)
    return np.where(mine >= 0, mine, view.first(view.peer.syns))


def _synack_wait(view: View, opener: End, other: End) -> Ints:
    """From the first SYN to the first SYN-ACK that answers it, in ns."""
    asked, answered = view.first(opener.syns), view.first(other.synacks)
    return np.where(asked < answered, view.between(asked, answered), NOTHING)


def _finished(view: View, opener: End, other: End) -> Bools:
    """Whether the opener acknowledged the SYN-ACK."""
    offer = view.first(other.synacks)
    first = np.where(offer >= 0, offer, view.start)
    highest, known = opener.answers.between(view.start, first, view.at)
    number = pick(opener.other_space.seq + view.table.takes, offer)
    enough = (highest >= number) & (highest - number < 2**30)
    return (view.count(opener.syns) > 0) & (offer >= 0) & known & enough


def _tsecr_off(view: View) -> Ints:
    """Whether the trigger is a SYN-ACK that echoes a timestamp the sender never sent."""
    rows, offer = view.table.rows, view.trigger
    first, last = view.first(view.sender.syns), view.last(view.sender.syns)
    there = (first >= 0) & (pick(view.peer.kind, offer) == Trigger.SYN_ACK)
    there &= pick(rows["options"], offer) & OPT_TS != 0
    there &= view.count(view.sender.bare_syns) == 0
    begin = pick(rows["tsval"], first).astype(np.int64)
    off = signed(pick(rows["tsecr"], offer) - begin)
    return flag(there & ((off < 0) | (off > signed(pick(rows["tsval"], last) - begin))))


def _bare_syn(view: View) -> Ints:
    """Whether the SYN looks like a scanner's."""
    at = first_syn(view)
    window = pick(view.table.column("window"), at, 0xFFFF)
    options = pick(view.table.column("options"), at)
    return flag((at >= 0) & (window < 5000) & (options & ~OPT_MSS == 0))


def traffic(view: View) -> Facts:
    """Who sent what, and what is outstanding."""
    sender, peer = view.sender, view.peer
    window = view.table.column("window")
    mine, theirs = view.last(sender.fresh), view.last(peer.fresh)
    ours, others = beyond(view, sender.nxt, peer.acked), beyond(view, peer.nxt, sender.acked)
    view.figures["sender_unacked"] = ours.clip(0)
    view.figures["peer_unacked"] = others.clip(0)
    view.figures["sender_bytes"] = _bytes(view, sender)
    view.figures["peer_bytes"] = _bytes(view, peer)
    return {
        "sender_data": flag(mine >= 0),
        "peer_data": flag(theirs >= 0),
        "peer_spoke_last": flag(theirs > mine),
        "sender_unacked": flag(ours > 0),
        "peer_unacked": flag(others > 0),
        "sender_missing": flag(ours < 0),
        "peer_missing": flag(others < 0),
        "sender_zero_window": flag(pick(window, view.last(sender.talk), 1) == 0),
        "peer_zero_window": flag(pick(window, view.last(peer.talk), 1) == 0),
    }


def beyond(view: View, sent: Peaks, acked: Peaks) -> Ints:
    """How much is not acknowledged; negative: more is than was seen; 0: nothing is known."""
    nxt, any_sent = sent.before(view.start, view.at)
    reached, any_acked = acked.before(view.start, view.at)
    return np.where(any_sent & any_acked, nxt - reached, 0)


def _bytes(view: View, end: End) -> Ints:
    """How much new data an end sent."""
    total = np.concatenate(([0], np.cumsum(view.table.length[end.fresh.index])))
    return total[end.fresh.rank(view.at)] - total[end.fresh.rank(view.start)]
