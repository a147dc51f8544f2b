"""Resets that came in: what the other end says if it is on this host, else what ours was doing."""

from __future__ import annotations

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.parse.reset_event import RECEIVE
from rstaudit.resets.live.crossings import reverse
from rstaudit.resets.live.scene import LIKELY, POSSIBLE, Scene, say, unclear

_MISSING = "Only the sender can say why: run rstaudit watch there, or capture both directions."
#: A packet filter drops the packet that it answers with a reset, this long before at most.
_FILTER_NS = 300_000
#: So soon only this host itself answers; a filter that drops more than so often proves nothing.
_RIGHT_BEFORE_NS, _SELDOM_NS, _SELDOM = 100_000, 50_000_000, 3
_QUIET_S = 20.0
#: Two resets that one device sends; and a silence in which there is nothing to answer.
_TOGETHER_NS, _SILENT_MS = 10_000_000, 1000
_JUST_CONNECTED_S = 3.0


def unsent(scene: Scene) -> Diagnosis:
    """A reset in the name of an address of this host, whose kernel sent none.

    A packet filter builds its reset without an event (net/ipv4/netfilter/nf_reject_ipv4.c), and
    so does whoever forges one. The filter's drop of the answered packet is an event.
    """
    scene.known["sender"] = "an address of this host, whose kernel sent no reset"
    event, context = scene.event, scene.context
    dropped = scene.history.dropped(
        "NETFILTER_DROP", event.time_ns - _FILTER_NS, event.time_ns, cpu=event.cpu
    )
    idle = _idle_ms(scene)
    if idle is not None:
        return say(
            scene, "idle-timeout", LIKELY, "The connection had been quiet for {idle_s} s, and no "
            "kernel of this host sent the reset that met it then: a device between the ends did.",
            "firewall-reject", "injected", idle_s=round(idle / 1000, 1),
        )  # fmt: skip
    if _told_both(scene):
        return say(
            scene, "idle-timeout", LIKELY, "Both ends were reset at once, no kernel of this host "
            "sent either reset, and neither end had said anything for {silent_s} s: a device "
            "between them ends connections that are silent. A forger mostly answers what he sees.",
            "injected", "firewall-reject",
        )  # fmt: skip
    if _forgotten(scene) and (dropped is not None or not context.drops_traced):
        return say(
            scene, "idle-timeout", LIKELY, "The connection had been quiet for {quiet_s} s. The "
            "packet filter here forgets a connection after {forgets_s} s "
            "(nf_conntrack_tcp_timeout_established), and no kernel of this host sent the reset: "
            "the filter rejected what it did not know any more.", "firewall-reject", "injected",
        )  # fmt: skip
    if context.rejects:
        scene.known["rejects"] = list(context.rejects)
    if dropped is not None:
        return say(
            scene, "firewall-reject", LIKELY, "No kernel of this host sent this reset, and a "
            f"packet filter here dropped a packet {scene.ago(dropped, 'dropped')} before it.",
            "injected", *_later(scene),
        )  # fmt: skip
    if context.rejects or not context.drops_traced:
        return say(
            scene, "firewall-reject", LIKELY, "No kernel of this host sent this reset, as with a "
            "packet filter that rejects.", "injected", "idle-timeout",
        )  # fmt: skip
    return say(
        scene, "injected", LIKELY, "The reset claims to come from an address of this host, but no "
        "kernel here sent it and no packet filter dropped anything: it was forged.",
        "firewall-reject", "idle-timeout",
    )  # fmt: skip


def _idle_ms(scene: Scene) -> int | None:
    """How long a connection had been quiet, if that was long; sockets that never sent say none."""
    ours, idle = scene.ours, scene.context.idle_ms
    if idle is None or idle < _QUIET_S * 1000 or ours is None or ours.state == "SYN_SENT":
        return None
    age = scene.seconds_since(ours.opened_ns)
    return None if age is not None and idle > age * 1000 + 1000 else idle


def _forgotten(scene: Scene) -> bool:
    """Whether conntrack of this host had forgotten the connection by the time it was used again.

    What this end sends again and again passes through conntrack, which then remembers.
    """
    ours, quiet, forgets = scene.ours, scene.context.quiet, scene.context.forgets_s
    if ours is None or ours.state == "SYN_SENT" or ours.retransmits:
        return False
    if quiet is None or forgets is None or quiet.heard_ms < forgets * 1000:
        return False
    scene.known.update(quiet_s=round(quiet.heard_ms / 1000, 1), forgets_s=forgets)
    return True


def _told_both(scene: Scene) -> bool:
    """Whether both ends were reset at once, after a silence of both."""
    quiet, theirs = scene.context.quiet, scene.context.peer_quiet
    if quiet is None or theirs is None:
        return False
    now = scene.event.time_ns
    others = scene.history.steps(reverse(scene.ends))
    if not any(step[1] == RECEIVE and abs(step[0] - now) <= _TOGETHER_NS for step in others):
        return False
    silent_ms = min(*quiet, *theirs)
    if silent_ms < _SILENT_MS:
        return False
    scene.known["silent_s"] = round(silent_ms / 1000, 1)
    return True


def _filtered_here(scene: Scene) -> int | None:
    """When a packet filter of this host dropped a packet right before, if it seldom does."""
    now, history = scene.event.time_ns, scene.history
    if history.drops("NETFILTER_DROP", now - _SELDOM_NS) > _SELDOM:
        return None
    return history.dropped("NETFILTER_DROP", now - _RIGHT_BEFORE_NS, now, cpu=scene.event.cpu)


def _later(scene: Scene) -> tuple[str, ...]:
    """Once connected, a filter that rejects may have forgotten the connection."""
    connecting = scene.ours is not None and scene.ours.state == "SYN_SENT"
    return () if connecting else ("idle-timeout",)


def from_afar(scene: Scene) -> Diagnosis:
    """The sender is another host: infer from the state our end was in."""
    state = scene.ours.state if scene.ours is not None else None
    scene.known["state"] = state
    filtered = _filtered_here(scene)
    if filtered is not None:
        others = ("closed-port",) if state == "SYN_SENT" else ("app-abort", "half-open")
        return say(
            scene, "firewall-reject", LIKELY, "A packet filter of this host dropped a packet "
            f"{scene.ago(filtered, 'dropped')} before, sooner than an answer can come from afar.",
            *others,
        )  # fmt: skip
    if state == "SYN_SENT":
        return _refused(scene)
    if state == "CLOSE_WAIT":
        return _after_their_fin(scene)
    if state in ("LAST_ACK", "CLOSING", "TIME_WAIT"):
        return say(
            scene, "data-to-closed", LIKELY, "Both ends had closed; the peer had nothing left to "
            "receive it with.", "late-segment", benign=True,
        )  # fmt: skip
    if state in ("FIN_WAIT1", "FIN_WAIT2"):
        return _after_our_fin(scene)
    if state == "SYN_RECV":
        return say(
            scene, "connect-abort", LIKELY, "The peer reset the connection before the handshake "
            "was over.", "syn-scan",
        )  # fmt: skip
    if state == "ESTABLISHED":
        return _established(scene)
    return unclear(
        scene, "The connection is older than the watch, so what it was doing is not known. "
        + _MISSING, "app-abort",
    )  # fmt: skip


def _refused(scene: Scene) -> Diagnosis:
    return say(
        scene, "closed-port", LIKELY, "The connect to port {port} was refused: nothing listens "
        "there, or a firewall rejects it.", "firewall-reject", "injected",
        port=scene.event.dport,
    )  # fmt: skip


def _after_their_fin(scene: Scene) -> Diagnosis:
    fin = scene.ours.fin_ns if scene.ours is not None else None
    return say(
        scene, "data-to-closed", LIKELY, f"The peer's FIN came {scene.ago(fin)} before, and this "
        "end went on sending.", "timewait-overflow", "close-unread", "linger2-abort",
        "finwait2-timeout",
    )  # fmt: skip


def _after_our_fin(scene: Scene) -> Diagnosis:
    fin = scene.ours.fin_ns if scene.ours is not None else None
    return say(
        scene, "app-abort", LIKELY, f"This end had closed first, {scene.ago(fin)} before, and the "
        "peer ended its side with a reset. " + _MISSING, "close-unread", "linger-abort",
        "half-open",
    )  # fmt: skip


def _established(scene: Scene) -> Diagnosis:
    ours, idle = scene.ours, _idle_ms(scene)
    assert ours is not None
    if ours.retransmits:
        return say(
            scene, "half-open", LIKELY, "This end had sent its data again {retransmits} times "
            "without an answer before the reset came. " + _MISSING, "idle-timeout",
            "retransmit-timeout", "firewall-reject", retransmits=ours.retransmits,
        )  # fmt: skip
    if idle is not None:
        return say(
            scene, "idle-timeout", LIKELY, "The connection had been quiet for {idle_s} s when it "
            "was used again. " + _MISSING, "half-open", "keepalive-timeout", "app-abort",
            idle_s=round(idle / 1000, 1),
        )  # fmt: skip
    seconds = scene.seconds_since(ours.opened_ns)
    others: tuple[str, ...] = (
        "close-unread", "linger-abort", "listener-closed", "injected", "half-open",
    )  # fmt: skip
    if ours.opened == "connect" and seconds is not None and seconds <= _JUST_CONNECTED_S:
        others = ("listen-overflow", *others)
    return say(
        scene, "app-abort", POSSIBLE, "The peer ended the established connection with a reset "
        "and sent no FIN before. " + _MISSING, *others,
    )  # fmt: skip
