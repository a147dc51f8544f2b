"""Resets within a handshake, and those of listeners."""

from __future__ import annotations

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.parse.reset_event import SEND, Event
from rstaudit.resets.live import gone
from rstaudit.resets.live.crossings import Ends, reverse
from rstaudit.resets.live.history import History
from rstaudit.resets.live.past import connecting
from rstaudit.resets.live.scene import CERTAIN, LIKELY, POSSIBLE, Scene, say

_DROP_NS = 1_000_000
#: A request for a connection waits this long at least, with tcp_synack_retries 0.
_REQUEST_NS = 1_000_000_000
#: A reset that was sent this long before may be the one that is received now.
_RECENT_NS = 1_000_000_000
#: A connect longer ago than this is not taken for the one that a listener denies.
_BELIEVED_NS = 120_000_000_000
#: TIME_WAIT lasts 60 s after the last segment; twice that leaves room for segments.
_TIME_WAIT_NS = 120_000_000_000
_REASONS = {
    "TCP_RFC7323_PAWS": "the SYN-ACK echoed a timestamp this end never sent",
    "TCP_TOO_OLD_ACK": "the acknowledgement is older than the largest window",
    "TCP_OLD_ACK": "the acknowledgement is an old one",
    "TCP_ACK_UNSENT_DATA": "the acknowledgement is for data that was never sent",
}


def invalid(scene: Scene) -> Diagnosis:
    """Reasons that only a segment which does not fit the handshake has."""
    return say(
        scene, "invalid-segment", CERTAIN, "A segment does not fit the handshake: {misfit}.",
        misfit=_REASONS.get(scene.event.reason or "", "its numbers are out of range"),
    )  # fmt: skip


def bad_ack(scene: Scene) -> Diagnosis:
    """Reason TCP_INVALID_ACK_SEQUENCE: our SYN was acknowledged with a number that is not its.

    An old connection of the same ends answers so (RFC 5961 section 4); so does a broken device.
    """
    old = _old_connection(scene)
    if old is not None:
        return say(
            scene, "stale-connection", CERTAIN, "The peer still holds an older connection with the "
            "same ports ({old}) and answered the new SYN with its numbers.", old=old,
        )  # fmt: skip
    if scene.context.peer_local and scene.peer is None and scene.peer_listens():
        return _misnumbered(scene)
    if scene.ours is not None and scene.ours.sent_reason == scene.event.reason:
        return say(
            scene, "invalid-segment", LIKELY, "The SYN was acknowledged with a wrong number again, "
            f"{scene.ago(scene.ours.sent_ns)} after the last reset, which would have ended an "
            "older connection.", "stale-connection",
        )  # fmt: skip
    counters = scene.context.peer_counters
    if counters is not None:
        challenges = counters.get("TcpExt.TCPChallengeACK", 0)
        if challenges > 0:
            return say(
                scene, "stale-connection", CERTAIN, "The peer challenged the new SYN "
                "({challenges} challenge ACKs there): it still holds an older connection.",
                challenges=challenges,
            )  # fmt: skip
        if counters.get("TcpExt.TCPACKSkippedTimeWait", 0) > 0:
            return say(
                scene, "stale-connection", LIKELY, "The peer holds TIME_WAIT of an older "
                "connection with the same ports.", "invalid-segment",
            )  # fmt: skip
        return _misnumbered(scene)
    return say(
        scene, "stale-connection", LIKELY, "The SYN was acknowledged with a number that is not "
        "its, as a peer does that still holds an older connection with the same ports.",
        "invalid-segment",
    )  # fmt: skip


def into_time_wait(scene: Scene) -> Diagnosis:
    """A SYN met what is left of an older connection with the same ports, and was reset."""
    return say(
        scene, "stale-connection", LIKELY, "A new connection from port {peer_port} met what is "
        "left of an older one.", "data-to-closed", peer_port=scene.ends[3],
    )  # fmt: skip


def _misnumbered(scene: Scene) -> Diagnosis:
    return say(
        scene, "invalid-segment", LIKELY, "The SYN was acknowledged with a number that is not "
        "its, and the other end, on this host, holds no older connection.", "stale-connection",
    )  # fmt: skip


def _old_connection(scene: Scene) -> str | None:
    """The state of an older connection with these ends at the peer, where it is on this host."""
    peer, ours = scene.peer, scene.ours
    if peer is None or peer.state in (None, "SYN_SENT", "SYN_RECV", "LISTEN"):
        return None
    begun = ours.opened_ns if ours is not None else None
    if begun is not None and peer.opened_ns is not None and peer.opened_ns > begun:
        return None
    if peer.state == "CLOSE":
        over = peer.ended_ns is None or scene.event.time_ns - peer.ended_ns > _TIME_WAIT_NS
        return "TIME_WAIT" if peer.closer == "we" and not over else None
    return peer.state


def overflow(scene: Scene) -> Diagnosis:
    """Reason INVALID_SYN (net/ipv4/tcp_minisocks.c tcp_check_req)."""
    event = scene.event
    drop = scene.history.dropped(
        "TCP_LISTEN_OVERFLOW", event.time_ns, event.time_ns + _DROP_NS, sk=event.sk
    )
    share = scene.share("TcpExt.ListenOverflows")
    if drop is not None:
        scene.known["drop_reason"] = "TCP_LISTEN_OVERFLOW"
    sure = drop is not None or share == "all"
    if share == "none" and drop is None and not scene.context.lost:
        return invalid(scene)
    return say(
        scene, "listen-overflow", CERTAIN if sure else LIKELY, "The accept queue of the listener "
        "on port {port} was full, and tcp_abort_on_overflow resets the client.",
        *(() if sure else ("invalid-segment",)), port=event.sport,
    )  # fmt: skip


def listener(scene: Scene) -> Diagnosis:
    """Reason TCP_FLAGS: a listener got an ACK, or data, of a connection it does not know."""
    if scene.share("TcpExt.SyncookiesFailed") == "all":
        return say(
            scene, "invalid-segment", CERTAIN, "The acknowledgement carried a SYN cookie that did "
            "not check out.",
        )  # fmt: skip
    ours, peer = scene.ours, scene.peer
    if ours is not None and ours.opened != "listen" and ours.ended_ns is not None:
        return gone.no_socket(scene)
    if peer is not None and peer.state is not None:
        return _known_peer(scene)
    if scene.ends[3] == 0 and _just_reset(scene):
        return say(
            scene, "late-segment", LIKELY, "A connection at port {port} had been reset "
            f"{scene.ago(_last_reset(scene))} before, and "
            "what its peer had sent until then came to the listener.", "unsolicited-segment",
            "half-open", benign=True, port=scene.event.sport,
        )  # fmt: skip
    if _receipt_elsewhere(scene):
        return gone.not_translated(scene)
    return say(
        scene, "unsolicited-segment", LIKELY, "A segment came to the listener on port {port} that "
        "belongs to no connection it knows.", "half-open", "handshake-timeout", "invalid-segment",
        benign=True, port=scene.event.sport,
    )  # fmt: skip


def _just_reset(scene: Scene) -> bool:
    """Whether a connection at the listener's port was reset so lately that segments of it come."""
    last = _last_reset(scene)
    return last is not None and 0 <= scene.event.time_ns - last < _RECENT_NS


def _last_reset(scene: Scene) -> int | None:
    event = scene.event
    return scene.history.crossings.last_reset_at(event.sport, event.place.netns)


def _receipt_elsewhere(scene: Scene) -> bool:
    """Whether somebody got this reset under another address at once, as NAT makes it.

    A connected socket of another namespace, since a listener resets no SYN.
    """
    history, now, netns = scene.history, scene.event.time_ns, scene.event.place.netns
    for time, ends, there in history.crossings.receipts_after(now):
        if (netns and netns == there) or connecting(history.steps(ends, there), time):
            continue
        sent = history.steps(reverse(ends))
        denied = history.denials.between(ends[2], ends[3], now - _RECENT_NS, now, netns)
        if not denied and not any(step[1] == SEND for step in sent):
            scene.known["translated"] = "the reset was received under another address"
            return True
    return False


def just_connected(event: Event, history: History) -> Ends | None:
    """A program of this host that believes it connected lately, to a listener that denies it.

    From its own end, when the listener sends the reset ``event``; the last such program.
    """
    netns = event.place.netns
    for time, ends, peer in history.crossings.connects_to(event.sport):
        if not 0 <= event.time_ns - time < _BELIEVED_NS:
            continue
        here = ends[2] == event.src or (not any(event.src) and (not netns or peer in (0, netns)))
        if here and not history.steps(reverse(ends), netns):
            return ends
    return None


def _denied_at_once(scene: Scene, connected_ns: int) -> bool:
    """Whether the listener had denied the connection before its request could have expired."""
    soon = min(connected_ns + _REQUEST_NS - 1, scene.event.time_ns)
    netns = scene.event.place.netns
    return bool(scene.history.denials.between(*scene.ends[:2], connected_ns, soon, netns))


def _misfit(scene: Scene) -> Diagnosis:
    return say(
        scene, "invalid-segment", LIKELY, "The other end believes that it has connected, but what "
        "it sent does not fit any handshake that the listener knows.", "handshake-timeout",
        "half-open",
    )  # fmt: skip


def _known_peer(scene: Scene) -> Diagnosis:
    """The other end is on this host: what it believed in tells what the listener had forgotten."""
    peer, ours = scene.peer, scene.ours
    assert peer is not None
    scene.known["peer_state"] = peer.state
    if peer.state == "SYN_SENT":
        return say(
            scene, "invalid-segment", LIKELY, "An acknowledgement that does not fit met the "
            "listener while the other end was still connecting.", "unsolicited-segment",
        )  # fmt: skip
    if ours is not None and ours.opened == "accept":
        return gone.no_socket(scene)
    if gone.translated(scene):
        return gone.not_translated(scene)
    if peer.opened != "connect":
        return say(
            scene, "half-open", LIKELY, "The other end, on this host, is in {peer_state}; the "
            "listener on port {port} does not know the connection.", "handshake-timeout",
            "invalid-segment", port=scene.event.sport,
        )  # fmt: skip
    if peer.opened_ns is not None and _denied_at_once(scene, peer.opened_ns):
        return _misfit(scene)
    age = scene.ago(peer.opened_ns, "connected")
    return say(
        scene, "handshake-timeout", LIKELY, f"The other end believes it connected {age} ago, "
        "but its last ACK never counted here and the request was given up.", "half-open",
        "invalid-segment",
    )  # fmt: skip


def in_handshake(scene: Scene) -> Diagnosis:
    """A reset in SYN_RECV or SYN_SENT for which the kernel gives no reason."""
    if scene.event.state == "SYN_SENT":
        return bad_ack(scene)
    return say(
        scene, "invalid-segment", POSSIBLE, "A segment did not fit the handshake.",
        "unsolicited-segment",
    )  # fmt: skip
