"""What the kernel's trace events say of a TCP socket: resets, and what leads to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

SEND, RECEIVE, STATE, DESTROY = "send", "receive", "state", "destroy"
ERROR, RETRANSMIT, DROP = "error", "retransmit", "drop"

#: What each event of the kernel is to us; inet_sock_set_state was called tcp_set_state in 4.15.
KINDS: Mapping[str, str] = {
    "tcp_send_reset": SEND, "tcp_receive_reset": RECEIVE, "inet_sock_set_state": STATE,
    "tcp_set_state": STATE, "tcp_destroy_sock": DESTROY, "inet_sk_error_report": ERROR,
    "tcp_retransmit_skb": RETRANSMIT, "kfree_skb": DROP,
}  # fmt: skip


class Place(NamedTuple):
    """Where an event happened, which the kernel does not say: the watch finds it out.

    ``netns`` is the network namespace (the inode number of its file) of our end, ``peer`` that of
    the other end; 0 where it is not known or not on this host. ``shared`` says that our address
    does not tell the namespace: several have it, or none that is known. ``afar`` says that no
    namespace which is known has the peer's address; ``peer_forwards`` whether the one that has it
    forwards packets, None where that is not known.
    """

    netns: int = 0
    peer: int = 0
    shared: bool = False
    afar: bool = False
    peer_forwards: bool | None = None


NOWHERE = Place()


class Event(NamedTuple):
    """One event of the kernel about a TCP socket.

    ``time_ns`` is the trace clock, CLOCK_MONOTONIC in nanoseconds. ``kind`` is one of ``send``
    (tcp_send_reset), ``receive`` (tcp_receive_reset), ``state`` (inet_sock_set_state),
    ``destroy`` (tcp_destroy_sock), ``error`` (inet_sk_error_report), ``retransmit``
    (tcp_retransmit_skb), ``drop`` (kfree_skb). ``irq`` is True in soft or hard interrupts, where
    ``pid`` is whoever was interrupted; ``pid`` is the id of a thread (0: the idle task).

    ``sk`` is the kernel's address of the socket, 0 where there is none or the event does not
    tell. It is used again for other sockets. ``src``/``sport`` are OUR end in every event
    (of a sent reset its source, of a received one its destination), ``dst``/``dport`` the peer;
    4 or 16 bytes, IPv4 in IPv6 always as 4, ``b""`` where the event has no addresses. The peer of
    a listener is 0.0.0.0:0 or its IPv6 sibling.

    ``state`` is the kernel's word without ``TCP_`` (``ESTABLISHED``), None where the event does
    not tell (UNKNOWN: no socket); of a ``state`` event it is the new one and ``old`` the one
    before. ``reason`` is the kernel's word (``NO_SOCKET``), None before 6.10. ``cookie`` is 0
    where the event has none. ``error`` is the errno of an ``error`` event. ``mptcp`` marks the
    MPTCP connection above its TCP subflows. ``place`` is no part of what the kernel says.
    """

    time_ns: int
    cpu: int
    kind: str
    irq: bool
    pid: int
    sk: int
    family: int
    src: bytes
    sport: int
    dst: bytes
    dport: int
    state: str | None = None
    old: str | None = None
    reason: str | None = None
    cookie: int = 0
    error: int = 0
    mptcp: bool = False
    place: Place = NOWHERE
