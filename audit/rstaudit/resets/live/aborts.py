"""Resets that a socket sends of itself: closed in a way that aborts, destroyed, timed out."""

from __future__ import annotations

from rstaudit.model.diagnosis import Diagnosis
from rstaudit.parse.reset_event import DESTROY, STATE
from rstaudit.resets.live.past import AT_ONCE_NS
from rstaudit.resets.live.scene import ABORTS, CERTAIN, LIKELY, POSSIBLE, Scene, say

_LISTENER_NS = 5_000_000_000


def close_unread(scene: Scene) -> Diagnosis:
    """Reason TCP_ABORT_ON_CLOSE (net/ipv4/tcp.c __tcp_close, net/mptcp/protocol.c).

    tcp_close() sets the state to CLOSE before it resets; the fast close of MPTCP does not.
    """
    event, unread = scene.event, scene.context.unread
    if event.state not in ("CLOSE", None) or (scene.ours is not None and scene.ours.mptcp):
        return say(
            scene, "mptcp-fastclose", CERTAIN, "An MPTCP socket was closed with data unread or "
            "with SO_LINGER {{1, 0}}, and reset its subflow.",
        )  # fmt: skip
    if unread:
        return say(
            scene, "close-unread", CERTAIN, "The program closed the socket while {unread} received "
            "bytes were unread.", unread=unread,
        )  # fmt: skip
    return say(
        scene, "close-unread", CERTAIN, "The program closed the socket, or ended, while received "
        "data was unread.",
    )  # fmt: skip


def linger2(scene: Scene) -> Diagnosis:
    """Reason TCP_ABORT_ON_LINGER."""
    return say(
        scene, "linger2-abort", CERTAIN, "The program closed the socket with a negative "
        "TCP_LINGER2, so the kernel did not wait for the peer's FIN.",
    )  # fmt: skip


def memory(scene: Scene) -> Diagnosis:
    """Reason TCP_ABORT_ON_MEMORY."""
    return say(
        scene, "memory-pressure", CERTAIN, "The kernel gave the closed socket up: too many "
        "orphans, or TCP used more memory than tcp_mem allows.",
    )  # fmt: skip


def keepalive(scene: Scene) -> Diagnosis:
    """Reason TCP_KEEPALIVE_TIMEOUT."""
    return say(
        scene, "keepalive-timeout", CERTAIN, "The peer answered no keepalive probe, and this end "
        "gave the connection up.",
    )  # fmt: skip


def mptcp_reset(scene: Scene) -> Diagnosis:
    """Reasons MPTCP_RST_*."""
    return say(
        scene, "mptcp-reset", CERTAIN, "MPTCP reset one subflow and said why: {code}.",
        code=scene.event.reason,
    )  # fmt: skip


def by_state(scene: Scene) -> Diagnosis:
    """Reasons TCP_STATE and TCP_DISCONNECT_WITH_DATA: five causes share them.

    tcp_abort() resets in the state the socket was in, tcp_disconnect() after it set CLOSE.
    """
    event = scene.event
    if event.state not in ("CLOSE", None):
        return _not_closing(scene)
    if listener_closing(scene):
        return listener_closed(scene)
    return disconnected(scene)


def _not_closing(scene: Scene) -> Diagnosis:
    event, ours = scene.event, scene.ours
    if event.irq and event.state == "FIN_WAIT2":
        since = ours.fin_ns or ours.since_ns if ours is not None else None
        return say(
            scene, "finwait2-timeout", CERTAIN, f"The peer did not close for {scene.ago(since)}, "
            "and the timer of FIN_WAIT2 ended the connection.",
        )  # fmt: skip
    if event.irq:
        return say(
            scene, "admin-destroy", LIKELY, "The kernel destroyed a living socket from an "
            "interrupt, as a BPF program can.", "finwait2-timeout", "app-abort",
        )  # fmt: skip
    return say(
        scene, "admin-destroy", CERTAIN, "The socket was destroyed from outside in state {state}, "
        "as ss -K, SOCK_DESTROY and BPF programs do.", state=event.state,
    )  # fmt: skip


def listener_closing(scene: Scene) -> bool:
    """Whether the sending thread was in the middle of closing the listener of this connection.

    inet_csk_listen_stop() runs between the listener's change to CLOSE and its end, and resets
    what waits in the queue.
    """
    event, ours = scene.event, scene.ours
    if event.irq or (ours is not None and ours.opened == "connect"):
        return False
    inside = False
    for time, kind, state, old, irq, pid, *_ in scene.history.listener(
        event.src, event.sport, event.place.netns
    ):
        if time > event.time_ns:
            break
        if pid != event.pid or irq:
            continue
        if kind == STATE and (old, state) == ("LISTEN", "CLOSE"):
            inside = event.time_ns - time < _LISTENER_NS
        elif kind == DESTROY:
            inside = False
    return inside


def listener_closed(scene: Scene) -> Diagnosis:
    """A child of a listener that is being closed."""
    return say(
        scene, "listener-closed", CERTAIN, "The listener on port {port} was closed while this "
        "connection waited in its accept queue.", port=scene.event.sport,
    )  # fmt: skip


def disconnected(scene: Scene) -> Diagnosis:
    """tcp_disconnect() in a program: close() with SO_LINGER {1, 0}, or connect(AF_UNSPEC).

    Only the first counts TCPAbortOnData, and it destroys the socket within the same call.
    """
    lingering = "The program closed the socket with SO_LINGER {{1, 0}}."
    unspecified = (
        "The program called connect() with AF_UNSPEC on the connected socket, which disconnects it."
    )
    share = scene.share("TcpExt.TCPAbortOnData")
    if not _destroyed_at_once(scene) and not scene.context.lost:
        return say(scene, "disconnect", CERTAIN, unspecified, socket="lives on")
    if share == "none":
        return say(scene, "disconnect", CERTAIN, unspecified)
    if share == "all" or _lingers(scene):
        return say(scene, "linger-abort", CERTAIN, lingering)
    return say(scene, "linger-abort", LIKELY, lingering, "disconnect")


def _destroyed_at_once(scene: Scene) -> bool:
    ours = scene.ours
    if ours is None or ours.destroyed_ns is None:
        return False
    return 0 <= ours.destroyed_ns - scene.event.time_ns <= AT_ONCE_NS


def _lingers(scene: Scene) -> bool:
    options = scene.context.options
    if options is None or options.linger != 0:
        return False
    scene.known["SO_LINGER"] = "{1, 0}"
    return True


def closing_by_counters(scene: Scene) -> Diagnosis:
    """A program closed with a reset and the kernel gave no reason (before 6.12).

    The counters tell; else how the socket went: tcp_disconnect() takes the peer's port from it,
    a close over unread data does not.
    """
    if listener_closing(scene):
        return listener_closed(scene)
    for counter, decide in _COUNTED:
        if scene.share(counter) == "all":
            return decide(scene)
    ours = scene.ours
    if ours is None or ours.sk != scene.event.sk:
        return say(
            scene, "app-abort", LIKELY, "The program aborted the connection; the counters do not "
            "say in which way.", *ABORTS,
        )  # fmt: skip
    if ours.destroyed_ns is not None and not ours.disconnected:
        return say(
            scene, "close-unread", LIKELY, "The program closed the socket and the kernel reset "
            "with its peer still known, as it does over unread data.",
            "memory-pressure", "linger2-abort",
        )  # fmt: skip
    return disconnected(scene)


_COUNTED = (
    ("TcpExt.TCPAbortOnClose", close_unread),
    ("TcpExt.TCPAbortOnLinger", linger2),
    ("TcpExt.TCPAbortOnMemory", memory),
)


def alive_by_counters(scene: Scene) -> Diagnosis:
    """A living socket was reset and the kernel gave no reason: a timer, or somebody outside."""
    event, ours = scene.event, scene.ours
    if not event.irq and ours is not None and ours.mptcp:
        return close_unread(scene)
    if not event.irq:
        return _not_closing(scene)
    if event.state == "FIN_WAIT2":
        return _not_closing(scene)
    if scene.share("TcpExt.TCPAbortOnTimeout") == "all" or _timed_out(scene):
        return keepalive(scene)
    return say(
        scene, "keepalive-timeout", POSSIBLE, "A timer ended the connection; keepalive is the one "
        "that resets.", "admin-destroy",
    )  # fmt: skip


def _timed_out(scene: Scene) -> bool:
    ours = scene.ours
    if ours is None or ours.error != 110:
        return False
    scene.known["error"] = "ETIMEDOUT"
    return True
