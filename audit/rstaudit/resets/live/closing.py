"""Resets that answer data which came after our own end had closed."""

from __future__ import annotations

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.resets.live.past import AT_ONCE_NS
from rstaudit.resets.live.scene import CERTAIN, LIKELY, Scene, say

#: Ports where TLS is spoken from the first byte: a close_notify is the usual last word.
TLS_PORTS = frozenset({443, 465, 563, 636, 853, 989, 990, 992, 993, 995, 5061, 6443, 8443})
_FAREWELL_S = 1.0
#: An acknowledgement is delayed by 4 to 40 ms and a tick (include/net/tcp.h TCP_DELACK_MIN, ATO).
_DELAYED_NS, _LONGEST_DELAY_NS = 3_000_000, 45_000_000


def on_data(scene: Scene) -> Diagnosis:
    """Reason TCP_ABORT_ON_DATA (net/ipv4/tcp_input.c tcp_rcv_state_process).

    Data after close() or shutdown(SHUT_RD), or, with a negative TCP_LINGER2, the mere
    acknowledgement of our FIN. The kernel says the same of both; what the peer did can tell.
    """
    ours = scene.ours
    if ours is not None and ours.ended_from == "FIN_WAIT2" and _linger2(scene):
        return say(
            scene, "linger2-abort", LIKELY, "The program closed the socket with a negative "
            "TCP_LINGER2, and the peer's acknowledgement of the FIN ended it.", "data-to-closed",
        )  # fmt: skip
    possible = _linger2_possible(scene)
    others = ("linger2-abort",) if possible else ()
    return data_to_closed(scene, *others)


def _linger2(scene: Scene) -> bool:
    """Whether the trigger seems to have been the mere acknowledgement of our FIN.

    Where the peer is on this host: its timer for delayed acknowledgements went off, long enough
    after the FIN, and the reset was not sent while the peer's own thread was sending something.
    """
    options, peer = scene.context.options, scene.context.peer_counters
    if options is not None and options.linger2 < 0:
        scene.known["TCP_LINGER2"] = options.linger2
        return True
    if peer is None or scene.ours is None or scene.ours.fin_ns is None or scene.context.lost:
        return False
    delayed = peer.get("TcpExt.DelayedACKs", 0)
    waited = scene.event.time_ns - scene.ours.fin_ns
    if not delayed or not _DELAYED_NS < waited < 2 * _LONGEST_DELAY_NS:
        return False
    if scene.peer is not None and scene.peer.pid == scene.event.pid:
        return False
    scene.known["peer:TcpExt.DelayedACKs"] = delayed
    return _linger2_possible(scene)


def _linger2_possible(scene: Scene) -> bool:
    ours, counters, now = scene.ours, scene.context.counters, scene.event.time_ns
    if ours is not None:
        if ours.ended_from not in ("FIN_WAIT2", None):
            return False
        if ours.since_ns is not None and now - ours.since_ns > AT_ONCE_NS:
            return False  # the FIN had been acknowledged before
        if ours.received_ns is not None and now - ours.received_ns < AT_ONCE_NS:
            return False  # the false event that only late data causes
    if scene.context.options is not None:
        return scene.context.options.linger2 < 0
    # our own pure acknowledgements count too: only "none at all" says something
    return counters is None or counters.get("TcpExt.TCPPureAcks", 0) > 0


def data_to_closed(scene: Scene, *others: str) -> Diagnosis:
    """Data came after our FIN; harmless where it was only a farewell."""
    ours = scene.ours
    fin = ours.fin_ns if ours is not None else None
    benign = farewell(scene, scene.seconds_since(fin))
    confidence = LIKELY if others else CERTAIN
    end = "; the peer was closing too, so nobody waited for it." if benign else "."
    if fin is None:
        why = "The peer sent data after this end had closed"
    else:
        why = f"The peer sent data {scene.ago(fin)} after this end had closed and sent its FIN"
    return say(scene, "data-to-closed", confidence, why + end, *others, benign=benign)


def farewell(scene: Scene, elapsed: float | None) -> bool:
    """Whether the late data looks like a last word, such as a TLS close_notify.

    The peer, if on this host, had closed as well; else a port of TLS and a second at most.
    """
    peer = scene.peer
    if peer is not None and peer.state is not None:
        closed = peer.state in ("LAST_ACK", "CLOSING", "TIME_WAIT", "CLOSE")
        if closed:
            scene.known["peer_state"] = peer.state
        return closed
    tls = scene.ends[3] in TLS_PORTS or scene.ends[1] in TLS_PORTS
    return tls and elapsed is not None and elapsed <= _FAREWELL_S
