"""Resets that answer a segment for which there is no socket: which connection it was meant for.

The kernel says NO_SOCKET, or TCP_FLAGS where a listener met a segment of no connection it knows.
What had been at these ends before, and at the other end where it is on this host, tells why.
"""

from __future__ import annotations

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.parse.reset_event import RECEIVE, SEND, STATE
from rstaudit.resets.live.closing import data_to_closed, farewell
from rstaudit.resets.live.crossings import Ends, reverse, within
from rstaudit.resets.live.past import AT_ONCE_NS, Past, connecting
from rstaudit.resets.live.scene import CERTAIN, LIKELY, Scene, say

#: States of the other end that has not seen our FIN, and that has seen it but goes on.
_CONNECTED = ("ESTABLISHED", "SYN_RECV")
_WAITS = ("FIN_WAIT1", "FIN_WAIT2")
_GOES_ON = (*_CONNECTED, *_WAITS, "CLOSE_WAIT")
_BOTH_CLOSED = ("LAST_ACK", "CLOSING", "TIME_WAIT", "CLOSE")

#: errno of an error report that a timer or ICMP brought.
_TIMED_OUT = {110: "ETIMEDOUT", 113: "EHOSTUNREACH", 101: "ENETUNREACH", 111: "ECONNREFUSED"}
#: So many ports of ours that one peer asked for in vain are a scan.
_SCANNED = 3
#: Seconds that FIN_WAIT2 and TIME_WAIT last at most without settings of their own.
_LONGEST_S = 60.0


def no_socket(scene: Scene) -> Diagnosis:
    """Reason NO_SOCKET."""
    ours = scene.ours
    if ours is not None and ours.ended_ns is not None:
        return _after_end(scene, ours)
    if ours is not None and ours.state is not None and ours.opened != "listen":
        return _elsewhere(scene, ours)
    if translated(scene):
        return not_translated(scene)
    return _never_known(scene)


def translated(scene: Scene) -> bool:
    """Whether NAT stands between the ends, as far as this host shows it.

    Our reset arrived under another address; or the peer's connection was accepted here under
    another one; or the peer has a connection with us that no socket or listener here ever had.
    """
    own, crossings, peer = scene.ends, scene.history.crossings, scene.peer
    if within(own[0], own[2]):
        return False
    if target(scene) is not None:
        scene.known["translated"] = "the reset was received under another address"
        return True
    if peer is None or peer.opened is None or peer.opened_ns is None or peer.state == "SYN_SENT":
        return False
    if crossings.accepted_as(own, peer.opened_ns) is not None:
        scene.known["translated"] = "the peer was accepted here under another address"
        return True
    if scene.our_listener() or peer.state not in _GOES_ON:
        return False
    scene.known["translated"] = "no socket of this host ever had this connection"
    return True


def target(scene: Scene) -> Ends | None:
    """Who received our reset under another address, where that was no refused connect.

    Nobody received it as it was sent, and nobody sent what was received as it came.
    """
    found = scene.history.crossings.target(scene.ends, scene.event.time_ns)
    if found is None or connecting(scene.history.steps(found), scene.event.time_ns):
        return None
    return found if _its_receipt(scene, found) else None


def _its_receipt(scene: Scene, found: Ends) -> bool:
    history, now = scene.history, scene.event.time_ns
    theirs = history.steps(reverse(scene.ends), scene.event.place.peer)
    if any(step[1] == RECEIVE and step[0] > now - AT_ONCE_NS for step in theirs):
        return False
    return not any(step[1] == SEND for step in history.steps(reverse(found)))


def _refused_through(scene: Scene) -> Ends | None:
    """Whose connect our reset refused, where address translation handed it to us."""
    crossings, now = scene.history.crossings, scene.event.time_ns
    for found in (crossings.target(scene.ends, now), crossings.behind(scene.ends, now)):
        if found is not None and connecting(scene.history.steps(found), now):
            return found if _its_receipt(scene, found) else None
    return None


def _after_end(scene: Scene, ours: Past) -> Diagnosis:
    """Our socket is gone: how it went is the cause."""
    if ours.sent_ns is not None or ours.received_ns is not None:
        return _after_reset(scene, ours)
    if ours.ended_from == "SYN_SENT":
        return _given_up(scene, ours)
    if ours.error in _TIMED_OUT and ours.ended_irq:
        return _timed_out(scene, ours)
    if ours.closer == "we":
        return _we_closed_first(scene, ours)
    if ours.closer == "peer":
        return say(
            scene, "late-segment", CERTAIN, f"Both ends had closed {scene.ago(ours.ended_ns)} "
            "before; a straggler came after the end.", benign=True,
        )  # fmt: skip
    return _vanished(scene, ours)


def _after_reset(scene: Scene, ours: Past) -> Diagnosis:
    last = max(ours.sent_ns or 0, ours.received_ns or 0)
    return say(
        scene, "late-segment", CERTAIN, f"The connection had been reset {scene.ago(last)} before; "
        "a straggler came after it.", benign=True,
    )  # fmt: skip


def _given_up(scene: Scene, ours: Past) -> Diagnosis:
    after = scene.ago(ours.ended_ns)
    if ours.ended_irq:
        return say(
            scene, "connect-abort", LIKELY, f"The connect had failed {after} before, and the "
            "SYN-ACK came after that.", "connect-timeout",
        )  # fmt: skip
    waited = scene.lasted(ours.opened_ns, ours.ended_ns, "waited")
    return say(
        scene, "connect-abort", CERTAIN, f"The program gave the connect up after {waited}; the "
        f"SYN-ACK came {after} later.",
    )  # fmt: skip


def _timed_out(scene: Scene, ours: Past) -> Diagnosis:
    return say(
        scene, "retransmit-timeout", CERTAIN, "This end had given up with {error} "
        f"{scene.ago(ours.ended_ns)} before, because its data was never acknowledged; the peer "
        "still believed in it.", error=_TIMED_OUT[ours.error],
    )  # fmt: skip


def _we_closed_first(scene: Scene, ours: Past) -> Diagnosis:
    """FIN_WAIT2 or TIME_WAIT is over, or there was no room for it."""
    seconds, elapsed = scene.seconds_since(ours.ended_ns) or 0.0, scene.ago(ours.ended_ns)
    share, kept = scene.share("TcpExt.TCPTimeWaitOverflow"), scene.context.fin_timeout_s
    counted_from = scene.context.counters_from_ns
    if share == "none" and (counted_from is None or counted_from > (ours.ended_ns or 0)):
        share = "unknown"  # it would have moved before the counters were looked at
    # neither counted nor too soon: FIN_WAIT2 or TIME_WAIT had simply run out
    over = share == "none" or seconds >= (_LONGEST_S if kept is None else kept)
    if kept is not None:
        scene.known["tcp_fin_timeout"] = kept
    if not over and (share != "unknown" or kept is not None):
        return say(
            scene, "timewait-overflow", CERTAIN if share == "all" else LIKELY, "There was no room "
            "for TIME_WAIT (tcp_max_tw_buckets), so the closed connection was forgotten at once, "
            f"{elapsed} before.", *(() if share == "all" else ("data-to-closed",)),
        )  # fmt: skip
    others = () if over else ("timewait-overflow",)
    state = scene.peer_state
    if state == "CLOSE_WAIT":
        return data_to_closed(scene, *others)
    if state in _BOTH_CLOSED:
        return say(
            scene, "late-segment", LIKELY, f"Both ends had closed; a straggler came {elapsed} "
            "after this end was gone.", *others, "data-to-closed", benign=True,
        )  # fmt: skip
    return say(
        scene, "data-to-closed", LIKELY, f"This end had closed first and was gone {elapsed} "
        "before the peer sent again.", *others, "late-segment", benign=farewell(scene, seconds),
    )  # fmt: skip


def _vanished(scene: Scene, ours: Past) -> Diagnosis:
    """The socket went without FIN and without reset, as after a restore or a crash."""
    return say(
        scene, "half-open", LIKELY if ours.ended_irq else CERTAIN, "This end had lost the "
        f"connection {scene.ago(ours.ended_ns)} before without a FIN or a reset; the peer still "
        "believed in it.",
    )  # fmt: skip


def _elsewhere(scene: Scene, ours: Past) -> Diagnosis:
    """The socket was never seen to end, yet nobody answers for it here."""
    scene.known["our_state"] = ours.state
    if scene.context.forwards:
        return not_translated(scene)
    if scene.peer_state == "CLOSE_WAIT":
        return data_to_closed(scene)
    if ours.state == "SYN_SENT":
        return say(
            scene, "connect-abort", LIKELY, "A SYN-ACK came for a connect whose socket is gone.",
            "half-open",
        )  # fmt: skip
    return say(
        scene, "half-open", LIKELY, "A socket with these ends was last seen in {our_state}, but "
        "the kernel that got the segment has none.", "nat-invalid", "data-to-closed",
    )  # fmt: skip


def not_translated(scene: Scene) -> Diagnosis:
    """NAT between the ends is why this kernel does not know the connection."""
    return say(
        scene, "nat-invalid", LIKELY, "The kernel that got the segment never had this connection: "
        "address translation between the ends had forgotten it, or could not place the segment.",
        "idle-timeout", "half-open",
    )  # fmt: skip


def _never_known(scene: Scene) -> Diagnosis:
    """No socket was ever seen at our end."""
    state = scene.peer_state
    if state == "SYN_SENT":
        return say(
            scene, "closed-port", CERTAIN, "A program on this host connects to port {port}, and "
            "nothing listens there.", port=scene.event.sport,
        )  # fmt: skip
    if state is None and _refused_through(scene) is not None:
        return say(
            scene, "closed-port", LIKELY, "A program on this host connects through address "
            "translation to port {port} here, and nothing listens there.", "late-segment",
            port=scene.event.sport,
        )  # fmt: skip
    if state is None and scene.peer_connecting():
        return say(
            scene, "closed-port", LIKELY, "A program on this host is connecting to port {port}, "
            "and nothing listens there.", "late-segment", port=scene.event.sport,
        )  # fmt: skip
    if state in _CONNECTED or state in _WAITS:
        return _peer_goes_on(scene)
    if state == "CLOSE_WAIT":
        return data_to_closed(scene)
    if state in _BOTH_CLOSED:
        return say(
            scene, "late-segment", LIKELY, "The other end, on this host, had closed already; a "
            "straggler met no socket.", "data-to-closed",
            *(("closed-port",) if scene.context.lost else ()), benign=True,
        )  # fmt: skip
    if _answered_by_listener(scene):
        return _scan(scene)
    return _from_outside(scene)


def _peer_goes_on(scene: Scene) -> Diagnosis:
    scene.known["peer_state"] = scene.peer_state
    if scene.context.forwards:
        return not_translated(scene)
    return say(
        scene, "half-open", LIKELY, "The other end, on this host, is in {peer_state} and never "
        "saw a FIN or a reset; this end does not know the connection.",
        "nat-invalid", "idle-timeout",
    )  # fmt: skip


def _answered_by_listener(scene: Scene) -> bool:
    """Whether the segment came from a listener of this host that had been sent a SYN."""
    counters = scene.context.peer_counters
    if counters is not None and counters.get("TcpExt.EmbryonicRsts", 0) > 0:
        scene.known["peer:TcpExt.EmbryonicRsts"] = counters["TcpExt.EmbryonicRsts"]
        return True
    return False


def _scan(scene: Scene) -> Diagnosis:
    return say(
        scene, "syn-scan", LIKELY, "A SYN left this host without a socket, and the kernel reset "
        "the SYN-ACK that came back: a port scan with raw packets.", "connect-abort",
        "unsolicited-segment", benign=True,
    )  # fmt: skip


def _from_outside(scene: Scene) -> Diagnosis:
    """Nothing is known of either end: the ports are all there is."""
    _, port, _, peer_port = scene.ends
    low, high = scene.context.ephemeral
    scene.known["port"] = port
    stopped = _stopped_listening(scene)
    if stopped is not None:
        return say(
            scene, "closed-port", LIKELY, f"The listener on port {port} was closed "
            f"{scene.ago(stopped)} before.", "half-open", "late-segment",
        )  # fmt: skip
    if scene.peer_listens():
        return _scan(scene)
    probed = scene.history.crossings.ports_probed_by(
        scene.ends[2], scene.event.time_ns, scene.event.place.netns
    )
    if probed >= _SCANNED:
        return say(
            scene, "closed-port", LIKELY, "Nothing listens on port {port}; its peer met {probed} "
            "ports without a socket within a second or two, as a port scan does.",
            "unsolicited-segment", "late-segment", probed=probed,
        )  # fmt: skip
    if scene.context.peer_local and not scene.context.lost:
        return say(
            scene, "unsolicited-segment", LIKELY, "The segment claims to come from this host, but "
            "no socket here sent it: it was made with a raw socket, or forged.", "closed-port",
            "late-segment", benign=True,
        )  # fmt: skip
    if low <= port <= high and not low <= peer_port <= high:
        scene.known["peer_port"] = peer_port
        return say(
            scene, "unsolicited-segment", LIKELY, "A segment from port {peer_port} came for port "
            "{port}, which no socket of this host has used since the watch began.",
            "late-segment", "syn-scan", "connect-abort", "half-open", benign=True,
        )  # fmt: skip
    return say(
        scene, "closed-port", LIKELY, "Nothing listens on port {port}, and no connection was "
        "known there.", "half-open", "late-segment", "unsolicited-segment",
    )  # fmt: skip


def _stopped_listening(scene: Scene) -> int | None:
    """When the last listener of our port was closed; None where there was none."""
    for step in reversed(scene.our_listener()):
        if step[1] == STATE and step[2] == "CLOSE" and step[0] <= scene.event.time_ns:
            return step[0]
    return None
