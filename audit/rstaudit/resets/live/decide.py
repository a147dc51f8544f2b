"""The cause of one reset: a pure function of its event, the history and what else is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.parse.reset_event import RECEIVE, SEND, STATE, Event, Place
from rstaudit.resets.live import aborts, closing, gone, handshake, received
from rstaudit.resets.live.context import NOTHING, Context
from rstaudit.resets.live.crossings import Ends, reverse, within
from rstaudit.resets.live.history import History, Step
from rstaudit.resets.live.past import Past, connecting, read
from rstaudit.resets.live.scene import CERTAIN, LIKELY, Known, Scene, renamed

Decide = Callable[[Scene], Diagnosis]

#: How long a reset may be on its way between two namespaces of this host.
_TRAVEL_NS = 3_000_000_000
#: A sent reset is traced after it was handed on, so that its receipt may come first.
_OVERTAKEN_NS = 5_000_000
_FALSE_NS = 2_000_000
_HERE = "The other end is on this host. "


def decide(event: Event, history: History, context: Context = NOTHING) -> Diagnosis:
    """Why the reset of ``event`` (of kind ``send`` or ``receive``) was sent.

    ``history`` holds what came before it and what followed within some milliseconds, the event
    itself among it. Drop what `is_false` says before.
    """
    judge = _sent if event.kind == SEND else _received
    found = judge(event, history, context)
    if event.kind == SEND:
        history.verdicts.keep(event.time_ns, event.sk, found)
    if context.lost and found.confidence is CERTAIN and event.reason not in _ONE_CAUSE:
        return found._replace(confidence=LIKELY)  # what is not in the history may be lost
    return found


def is_false(event: Event, history: History) -> bool:
    """Whether a ``receive`` event reports a reset that this socket is about to send itself.

    tcp_reset() is called for one way of sending too (net/ipv4/tcp_input.c, data after a
    shutdown): then a sent reset of the same socket in the same direction follows at once. A
    subflow of MPTCP that was reset answers with a reset of its own, which proves nothing.
    """
    if event.kind != RECEIVE:
        return False
    return any(
        kind == SEND
        and sk == event.sk
        and 0 <= time - event.time_ns <= _FALSE_NS
        and not str(reason).startswith("MPTCP_")
        for time, kind, _, _, _, _, sk, reason, _ in reversed(
            history.steps(ends(event, history), event.place.netns)
        )
    )


def ends(event: Event, history: History) -> Ends:
    """The ends of a reset, ours first; a listener's peer is taken from the matching receipt."""
    if event.kind == SEND and event.dport == 0:
        peer = history.receipt_of_listener(event.src, event.sport, event.time_ns, event.place.netns)
        if peer is None:
            peer = handshake.just_connected(event, history)
        if peer is not None:
            return reverse(peer)
    return event.src, event.sport, event.dst, event.dport


def matching_send(event: Event, history: History) -> Event | None:
    """The event of the other end, on this host, that sent the reset ``event`` received."""
    own: Ends = (event.src, event.sport, event.dst, event.dport)
    place = event.place
    steps, theirs = history.steps(own, place.netns), history.steps(reverse(own), place.peer)
    begun = _begun(steps, event)
    for step in theirs:
        if step[1] == SEND and begun <= step[0] <= event.time_ns + _OVERTAKEN_NS:
            # the first one ended it, whatever came later
            return _event(step, reverse(own), place.peer, place.netns)
    peer = -1 if place.afar else place.peer  # a listener on any address has this one, or not
    denials = history.denials.between(event.dst, event.dport, begun, event.time_ns, peer)
    if denials:
        return _event(denials[-1][2], reverse(own), place.peer, place.netns)
    opened = _opened(steps, event)
    if within(event.src, event.dst) or any(s[1] == STATE and s[0] >= opened for s in theirs):
        return None  # the other end is known here under the very address that the reset came from
    return _translated_send(event, own, history) or _translated_denial(event, own, history)


def _translated_send(event: Event, own: Ends, history: History) -> Event | None:
    """The reset of a connection that NAT on this host turned into the received one."""
    origin = history.crossings.origin(own, event.time_ns)
    if origin is None:
        return None
    sends = [step for step in history.steps(origin) if step[1] == SEND]
    exact = history.steps(reverse(origin))
    if not sends or any(step[1] == RECEIVE for step in exact):
        return None
    return _event(sends[-1], origin, sends[-1][8], event.place.netns)


def _translated_denial(event: Event, own: Ends, history: History) -> Event | None:
    """The reset of a listener that NAT on this host turned into the received one.

    Only the time tells that, so there must be just one listener that it can be, of another
    namespace, and whatever has the sender's address must forward packets. A listener resets no
    SYN: what is refused while it connects has another origin.
    """
    place, found = event.place, []
    if place.peer_forwards is False or connecting(history.steps(own, place.netns), event.time_ns):
        return None
    for there, netns in set(history.crossings.listeners_before(event.time_ns)):
        if netns and netns in (place.netns, place.peer):
            continue
        for time, _, step, _ in history.denials.between(*there[:2], 0, event.time_ns, netns)[-1:]:
            if history.receipt_of_listener(*there[:2], time, netns) is None:
                found.append(_event(step, there, netns, 0))  # nobody else got that one
    return found[0] if len(found) == 1 else None


def _opened(steps: list[Step], event: Event) -> int:
    """When the connection of ``event`` was opened here, as far back as is known."""
    return max(
        (time for time, kind, state, *_ in steps
         if kind == STATE and state in ("SYN_SENT", "SYN_RECV") and time < event.time_ns),
        default=0,
    )  # fmt: skip


def _begun(steps: list[Step], event: Event) -> int:
    """When a reset that ``event`` received can have been sent at the earliest."""
    begun = event.time_ns - _TRAVEL_NS
    for time, kind, state, *_ in steps:
        if time >= event.time_ns:
            break
        if kind == RECEIVE or (kind == STATE and state in ("SYN_SENT", "SYN_RECV")):
            begun = max(begun, time)
    return begun


def _event(step: Step, ends: Ends, netns: int, peer: int) -> Event:
    time, _, state, _, irq, pid, sk, extra, _ = step
    reason = extra if isinstance(extra, str) else None
    return Event(
        time, 0, SEND, irq, pid, sk, 0, *ends, state=state, reason=reason, place=Place(netns, peer)
    )


def _scene(event: Event, history: History, context: Context) -> Scene:
    own = ends(event, history)
    sk = 0 if event.state in ("TIME_WAIT", "LISTEN") else event.sk
    ours = read(history.steps(own, event.place.netns), event.time_ns, sk)
    peer = read(history.steps(reverse(own), event.place.peer), event.time_ns)
    known: Known = {"source": "events"}
    if event.reason is not None:
        known["kernel_reason"] = event.reason
    if event.state is not None:
        known["state"] = event.state
    return Scene(event, own, ours, peer, history, context, known)


def _sent(event: Event, history: History, context: Context) -> Diagnosis:
    if event.state == "UNKNOWN":
        event = event._replace(state=None)
    scene = _scene(event, history, context)
    if peer_here(scene.peer):
        scene.known["peer"] = "this host"
    reason = event.reason
    if reason is None or reason == "NOT_SPECIFIED":
        return _without_reason(scene)
    if reason.startswith("MPTCP_"):
        return aborts.mptcp_reset(scene)
    return _BY_REASON.get(reason, _without_reason)(scene)


def peer_here(peer: Past | None) -> bool:
    """Whether the other end is on this host, as far as events tell."""
    return peer is not None and peer.state is not None


def _time_wait(scene: Scene) -> Diagnosis:
    """FIN_WAIT2 without a full socket, or TIME_WAIT, got data; rarely a SYN within its window."""
    if scene.peer_state == "SYN_SENT":
        return handshake.into_time_wait(scene)
    return closing.data_to_closed(scene)


def _without_reason(scene: Scene) -> Diagnosis:
    """Kernels before 6.10 give no reason, those before 6.12 none for a socket's own resets."""
    scene.known["kernel_reason"] = scene.event.reason or "none: the kernel gives no reason"
    event, ours = scene.event, scene.ours
    state = event.state or (ours.state if ours is not None and event.sk else None)
    if state == "LISTEN":
        return _listener_without_reason(scene)
    if state in ("SYN_SENT", "SYN_RECV", "NEW_SYN_RECV"):
        return handshake.in_handshake(scene)
    if state == "TIME_WAIT":
        return _time_wait(scene)
    if not event.sk:
        return gone.no_socket(scene)
    if _answers_data(scene):
        return closing.on_data(scene)
    if state == "CLOSE" or (event.state is None and not event.irq):
        return aborts.closing_by_counters(scene)
    return aborts.alive_by_counters(scene)


def _listener_without_reason(scene: Scene) -> Diagnosis:
    if scene.share("TcpExt.ListenOverflows") in ("all", "some"):
        return handshake.overflow(scene)
    return handshake.listener(scene)


def _answers_data(scene: Scene) -> bool:
    """Whether the reset answered data after our FIN: the socket was gone before it was sent."""
    event, ours = scene.event, scene.ours
    if event.state not in ("CLOSE", None):
        return False
    if ours is None or ours.ended_from not in ("FIN_WAIT1", "FIN_WAIT2"):
        return False
    return event.irq or (ours.destroyed_ns is not None and ours.destroyed_ns <= event.time_ns)


def _received(event: Event, history: History, context: Context) -> Diagnosis:
    sent = matching_send(event, history)
    if sent is not None:
        diagnosis = history.verdicts.get(sent.time_ns, sent.sk)
        if diagnosis is None:
            turned = _turned(context)
            if event.time_ns - sent.time_ns > _OVERTAKEN_NS:
                turned = turned._replace(counters=None)  # of the receipt, not of the sending
            diagnosis = _sent(sent, history, turned)
        return renamed(diagnosis, {"other_end": "this host"}, _HERE)
    scene = _scene(event, history, context)
    if not context.peer_local or context.lost:
        found = received.from_afar(scene)
        others = dict.fromkeys((*found.alternatives, "firewall-reject"))
        return found._replace(alternatives=tuple(one for one in others if one != found.cause))
    if context.every_reset_traced:
        return received.unsent(scene)
    return _untraced(event, history, context)


def _untraced(event: Event, history: History, context: Context) -> Diagnosis:
    """A reset of another namespace that had no event, because there was no full socket (< 6.10).

    It is taken for a sent one without a socket; a packet filter would look the same. Where a
    socket was there and lives, only a filter or a forger is left.
    """
    sent = Event(
        event.time_ns, 0, SEND, True, 0, 0, event.family, event.dst, event.dport, event.src,
        event.sport, place=Place(event.place.peer, event.place.netns),
    )  # fmt: skip
    scene = _scene(sent, history, _turned(context))
    if scene.ours is not None and scene.ours.ended_ns is None and scene.ours.opened != "listen":
        return received.unsent(_scene(event, history, context))
    scene.known["kernel_reason"] = "none: this kernel reports no reset without a socket"
    found = renamed(gone.no_socket(scene), {"other_end": "this host"}, _HERE)
    others = tuple(dict.fromkeys((*found.alternatives, "firewall-reject", "injected")))
    return found._replace(confidence=LIKELY, alternatives=others)


def _turned(context: Context) -> Context:
    """The same seen from the other end."""
    return context._replace(
        counters=context.peer_counters, resets=context.peer_resets, options=None, unread=None,
        peer_counters=context.counters, peer_resets=context.resets, fin_timeout_s=None,
        forwards=None, counters_from_ns=None,
    )  # fmt: skip


#: Reasons that need no history to stand for one cause.
_ONE_CAUSE = frozenset({
    "TCP_RFC7323_PAWS", "TCP_TOO_OLD_ACK", "TCP_ACK_UNSENT_DATA", "TCP_OLD_ACK",
    "TCP_ABORT_ON_LINGER", "TCP_ABORT_ON_MEMORY", "TCP_KEEPALIVE_TIMEOUT", "TCP_ABORT_ON_CLOSE",
})  # fmt: skip

_BY_REASON: Mapping[str, Decide] = {
    "NO_SOCKET": gone.no_socket,
    "TCP_INVALID_ACK_SEQUENCE": handshake.bad_ack,
    "TCP_RFC7323_PAWS": handshake.invalid,
    "TCP_TOO_OLD_ACK": handshake.invalid,
    "TCP_ACK_UNSENT_DATA": handshake.invalid,
    "TCP_OLD_ACK": handshake.invalid,
    "TCP_FLAGS": handshake.listener,
    "TCP_ABORT_ON_DATA": closing.on_data,
    "TCP_TIMEWAIT_SOCKET": _time_wait,
    "INVALID_SYN": handshake.overflow,
    "TCP_ABORT_ON_CLOSE": aborts.close_unread,
    "TCP_ABORT_ON_LINGER": aborts.linger2,
    "TCP_ABORT_ON_MEMORY": aborts.memory,
    "TCP_STATE": aborts.by_state,
    "TCP_KEEPALIVE_TIMEOUT": aborts.keepalive,
    "TCP_DISCONNECT_WITH_DATA": aborts.by_state,
}
