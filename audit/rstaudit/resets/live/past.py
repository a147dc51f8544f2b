"""One socket's past in a few facts, read from its steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rstaudit.parse.reset_event import DESTROY, ERROR, RECEIVE, RETRANSMIT, SEND, STATE
from rstaudit.resets.live.history import MPTCP, Step

#: Two events within this time belong to one act of the kernel.
AT_ONCE_NS = 5_000_000

_FIRST = {("CLOSE", "SYN_SENT"), ("LISTEN", "SYN_RECV"), ("CLOSE", "LISTEN")}


class Past(NamedTuple):
    """What a socket had done by the time of a reset; times in nanoseconds of the trace clock.

    ``opened`` is ``connect``, ``accept`` or ``listen``; None where the watch began later.
    ``state`` is its state just before the reset (None where unknown), ``since_ns`` when it came
    into it. ``closer`` is who sent FIN first, ``we`` or ``peer``, at ``fin_ns``.

    ``ended_ns`` is the change to CLOSE, if any, until shortly after the reset: from the state
    ``ended_from``, in an interrupt or not, and by the thread ``pid`` when not. ``destroyed_ns``
    is when the socket went away; ``disconnected`` that it had lost its peer before, as
    tcp_disconnect() leaves it. ``error`` is the errno reported at the end, 0 for none.

    ``sent_ns``/``received_ns`` are resets before this one that the socket itself sent or got;
    not those that answered for want of a socket. ``retransmits`` counts data sent again
    since the last change of state.
    """

    sk: int = 0
    opened: str | None = None
    opened_ns: int | None = None
    state: str | None = None
    since_ns: int | None = None
    closer: str | None = None
    fin_ns: int | None = None
    ended_ns: int | None = None
    ended_from: str | None = None
    ended_irq: bool = False
    pid: int | None = None
    destroyed_ns: int | None = None
    disconnected: bool = False
    error: int = 0
    sent_ns: int | None = None
    sent_reason: str | None = None
    received_ns: int | None = None
    retransmits: int = 0
    mptcp: bool = False


def read(steps: Sequence[Step], at_ns: int, sk: int = 0) -> Past | None:
    """The past of the socket ``sk``, or of the last one at these ends, up to a reset at ``at_ns``.

    Also what follows at once is taken in: the kernel reports a reset before, within or after what
    it does to the socket. None where nothing was known before.
    """
    own = incarnation(steps, at_ns, sk)
    return _fold(own, at_ns) if own else None


def incarnation(steps: Sequence[Step], at_ns: int, sk: int = 0) -> list[Step]:
    """The steps of one socket of those that had these ends one after the other."""
    if not sk:
        sk = next((s[6] for s in reversed(steps) if s[1] in (STATE, DESTROY) and s[0] <= at_ns), 0)
    if not sk:
        return [step for step in steps if step[0] <= at_ns]
    own = [
        step
        for step in steps
        if step[0] <= at_ns + AT_ONCE_NS and (step[6] in (sk, 0) or step[1] == MPTCP)
    ]
    for place in range(len(own) - 1, -1, -1):
        time, kind, state, old, *_ = own[place]
        if kind == STATE and (old, state) in _FIRST and time <= at_ns:
            return own[place:]
    return own if any(step[6] == sk for step in own) else []


def connecting(steps: Sequence[Step], at_ns: int) -> bool:
    """Whether the socket at these ends had sent a SYN and no more, before a reset at ``at_ns``."""
    past = read(steps, at_ns)
    return past is not None and past.state == "SYN_SENT"


def _fold(steps: Iterable[Step], at_ns: int) -> Past:  # noqa: C901 - one pass, for speed
    opened = state = closer = ended_from = sent_reason = None
    opened_ns = since = fin = ended = destroyed = sent = received = None
    owner: int | None = None
    ended_irq = disconnected = mptcp = False
    socket = error = retransmits = 0
    for time, kind, new, old, irq, pid, sk, extra, _ in steps:
        if kind == STATE:
            socket = sk
            if state is None and time > at_ns:
                state = old  # nothing was seen before: the change itself tells the state
            if new == "CLOSE":
                ended, ended_from, ended_irq = time, old, irq
                owner = owner if irq else pid
                if time <= at_ns + AT_ONCE_NS and old is not None and _near(time, at_ns):
                    state = old
                elif time <= at_ns:
                    state, since = new, time
                continue
            if time > at_ns:
                continue
            if (old, new) in _FIRST:
                opened_ns = time
                opened = {"SYN_SENT": "connect", "SYN_RECV": "accept"}.get(str(new), "listen")
            elif new in ("FIN_WAIT1", "CLOSE_WAIT") and closer is None:
                closer, fin = ("we" if new == "FIN_WAIT1" else "peer"), time
            state, since, retransmits = new, time, 0
            owner = owner if irq else pid
        elif kind == DESTROY:
            destroyed, disconnected = time, extra == 0
        elif kind == ERROR:
            if isinstance(extra, int):
                error = extra
        elif kind == RETRANSMIT:
            retransmits += extra if isinstance(extra, int) else 1
        elif kind == MPTCP:
            mptcp = True
        elif time < at_ns:
            if kind == SEND and sk:
                sent, sent_reason = time, extra if isinstance(extra, str) else None
            elif kind == RECEIVE:
                received = time
    return Past(
        socket, opened, opened_ns, state, since, closer, fin, ended, ended_from, ended_irq, owner,
        destroyed, disconnected, error, sent, sent_reason, received, retransmits, mptcp,
    )  # fmt: skip


def _near(time: int, at_ns: int) -> bool:
    return abs(time - at_ns) <= AT_ONCE_NS
