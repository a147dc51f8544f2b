"""The facts about time: what set each reset off, silences, and tries that nobody answered."""

from __future__ import annotations

import numpy as np

from rstaudit.resets.wire.ends import End
from rstaudit.resets.wire.facts import Fit, Gap, Pace, Trigger
from rstaudit.resets.wire.marks import Bools, Ints, pick
from rstaudit.resets.wire.view import MS, NOTHING, SECOND, TAIL, Facts, View, capped, flag, idle


def trigger(view: View) -> Facts:
    """The peer's last segment, and what the sender made of it."""
    at, sender = view.trigger, view.sender
    there = at >= 0
    since = np.where(there, sender.all.count(at.clip(0), view.at), 0)
    view.figures["trigger_frame"] = pick(view.table.column("frame"), at, NOTHING)
    view.figures["trigger_length"] = pick(view.table.length, at)
    gap, rtt = view.since(at), _rtt(view)
    view.figures["gap"], view.figures["rtt"] = gap, rtt
    run = view.run(view.peer)
    return {
        "trigger": pick(view.peer.kind, at).astype(np.int64),
        "fit": _fit(view),
        "gap": _gap(gap, rtt),
        "run_gap": _gap(view.since(run), rtt),
        "trigger_acked": flag(there & _acked_since(view, at)),
        "sender_since": capped(since, 3),
    }


def _acked_since(view: View, at: Ints) -> Bools:
    """Whether the sender acknowledged the trigger, in a segment after it."""
    number = pick(view.peer.own_space.seq + view.table.takes, at)
    after = np.where(at >= 0, at, view.start)
    highest, known = view.sender.acked.between(view.start, after, view.at)
    acked: Bools = known & (highest >= number)
    return acked


def _fit(view: View) -> Ints:
    """The trigger's acknowledgement number against the sender's numbers."""
    at, space = view.trigger, view.sender.own_space
    nxt, known = view.sender.nxt.before(view.start, view.at)
    number = pick(space.seq, at)
    first = pick(space.seq, view.first(view.sender.all))
    found = np.full(len(at), int(Fit.OUTSIDE))
    found[(number < nxt) & (number >= first)] = Fit.WITHIN
    found[number == nxt] = Fit.EXACT
    found[~known] = Fit.UNKNOWN
    found[pick(view.table.acks, at) == 0] = Fit.NO_ACK
    return found


def _rtt(view: View) -> Ints:
    """How fast the sender answered in the handshake, in ns."""
    sender, peer = view.sender, view.peer
    offered, asked = view.first(sender.synacks), view.first(peer.synacks)
    before = peer.syns.last(view.start, offered.clip(0))
    answered = sender.answers.marks.first(asked.clip(0), view.at)
    answered = np.where(asked >= 0, answered, -1)
    return np.where(offered >= 0, view.between(before, offered), view.between(asked, answered))


def _gap(gap: Ints, rtt: Ints) -> Ints:
    """How soon the reset came, in ns, as `Gap`."""
    limit = np.where(rtt == NOTHING, 400 * MS, 2 * rtt + 60 * MS)
    found = np.full(len(gap), int(Gap.LATE))
    found[gap <= limit + SECOND] = Gap.SLOW
    found[gap <= limit] = Gap.PROMPT
    found[(rtt >= 4 * MS) & (2 * gap < rtt)] = Gap.EARLY
    found[gap == NOTHING] = Gap.NONE
    return found


def silences(view: View) -> Facts:
    """How long nothing happened."""
    run = view.run(view.peer)
    there = run >= 0
    begin = view.peer.telling.first(np.where(there, run, view.at), view.at)
    until = np.where(begin >= 0, begin, np.where(there, view.trigger, view.at))
    fin = view.first(view.sender.fins)
    figures = {
        "idle": _silence(view, until),
        "quiet": _silence(view, view.at),
        "fin_idle": np.where(fin >= 0, _silence(view, np.where(fin >= 0, fin, view.at)), NOTHING),
        "since_fin": view.since(fin),
    }
    view.figures.update(figures)
    return {name: idle(gap) for name, gap in figures.items()}


def _silence(view: View, until: Ints) -> Ints:
    """How long there was nothing but RSTs ahead of these rows, in ns."""
    ahead = view.table.spoken.last(view.start, until)
    return np.where(ahead >= 0, view.table.time[until] - pick(view.table.time, ahead), NOTHING)


def unanswered(view: View) -> Facts:
    """Probes and retries to which nobody answered."""
    tries = (view.sender.is_try | view.peer.is_try)[view.table.spoken.index]
    since = np.maximum.accumulate(np.where(tries, 0, np.arange(1, len(tries) + 1)))
    since = np.append(since, 0)
    return {
        **_tries(view, "sender", view.sender, since),
        **_tries(view, "peer", view.peer, since),
        "probe_rhythm": _rhythm(view),
    }


def _rhythm(view: View) -> Ints:
    """Whether the reset came when the sender's next keepalive probe was due."""
    kind = view.sender.kind
    last, earlier = view.last(view.sender.all), view.last(view.sender.all, 2)
    probes = (pick(kind, last) == Trigger.PROBE) & (pick(kind, earlier) == Trigger.PROBE)
    interval = np.where(probes, view.between(earlier, last), NOTHING)
    view.figures["probe_interval"] = interval
    since = 100 * (view.time - pick(view.table.time, last))
    known = interval.clip(0)
    return flag((interval > 0) & (93 * known <= since) & (since <= 110 * known))


def _tries(view: View, who: str, end: End, since: Ints) -> Facts:
    """Those at the end of the last run of one end; ``since``: where unbroken tries begin."""
    first, stop = view.last_run(end)
    begin = np.where(first < stop, np.maximum(since[stop - 1], first), stop)
    there = begin < stop
    spoken = view.table.spoken.index
    earliest, latest = (
        pick(spoken, np.where(there, place, -1), -1) for place in (begin, stop - 1)
    )  # fmt: skip
    probes = np.where(there, end.probes.count(earliest.clip(0), latest + 1), 0)
    retries = stop - begin - probes
    view.figures[f"{who}_probes"], view.figures[f"{who}_retries"] = probes, retries
    view.figures[f"{who}_tries_for"] = view.between(earliest, latest)
    return {
        f"{who}_probes": capped(probes, 15),
        f"{who}_retries": capped(retries, 15),
        f"{who}_pace": _pace(view, begin, stop),
    }


def _pace(view: View, begin: Ints, end: Ints) -> Ints:
    """How the gaps between some segments develop, by their places among ``table.spoken``."""
    found = np.full(len(begin), int(Pace.NONE))
    chosen = np.flatnonzero(end - begin >= 3)
    if not len(chosen):
        return found
    rows = begin[chosen, None] + np.arange(TAIL)
    last = end[chosen, None] - 1
    times = view.table.time[view.table.spoken.index[np.minimum(rows, last)]]
    gaps = np.diff(times, axis=1)
    there = rows[:, 1:] <= last
    longest = np.where(there, gaps, NOTHING).max(axis=1)
    shortest = np.where(there, gaps, np.iinfo(np.int64).max).min(axis=1)
    final = gaps[np.arange(len(chosen)), (last - begin[chosen, None])[:, 0] - 1]
    shrinks = (there[:, 1:] & (10 * gaps[:, 1:] < 7 * gaps[:, :-1])).any(axis=1)
    grows = (2 * final >= 3 * gaps[:, 0]) & ~shrinks
    pace = np.where(grows, int(Pace.GROWING), int(Pace.OTHER))
    pace[10 * longest <= 13 * shortest] = Pace.EVEN
    found[chosen] = pace
    return found
