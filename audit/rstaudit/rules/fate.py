"""What a socket is going to do, in words: reset, block, wait, give up, or notice nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rstaudit.model.listing import ORPHAN, UNACCEPTED
from rstaudit.model.options import SocketOptions
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LAST_ACK,
    LISTEN,
    NEW_SYN_RECV,
    SYN_RECV,
    SYN_SENT,
    TIMER_KEEPALIVE,
    TIMER_NONE,
    TIMER_PROBE0,
    TIMER_RETRANSMIT,
    Socket,
)
from rstaudit.rules.idle import within_host

#: Seconds after which unread bytes count as left lying.
_LYING = 10

_ANY = ("0.0.0.0", "::")


class Around(NamedTuple):
    """What bears on every socket of the namespace.

    ``waiting`` counts TIME_WAIT of accepted connections by local address and port; ``retries``
    is tcp_retries2, None where it was not read. ``migrates`` is whether tcp_migrate_req is on.
    """

    waiting: Mapping[tuple[str, int], int]
    retries: int | None
    migrates: bool


def will(
    sock: Socket, options: SocketOptions | None, around: Around, holder: str, others: int = 0
) -> tuple[str, ...]:
    """What ``sock`` will do. ``options`` is None where they were not read: less is said then.

    ``others`` counts further processes that hold it.
    """
    if holder == UNACCEPTED:
        words = list(_unaccepted(sock, around))
    elif holder == ORPHAN:
        words = list(_orphan(sock))
    else:
        words = list(_held(sock, options, around))
        if others and any(word.startswith("close() ") for word in words):
            words.append(f"only the last close() counts: {_others(others)} hold it")
    return tuple(words)


def _others(count: int) -> str:
    return "2 processes" if count == 1 else f"{count + 1} processes"


def _held(sock: Socket, options: SocketOptions | None, around: Around) -> Iterator[str]:
    if sock.state == LISTEN:
        yield from _listener(sock, options, around)
    elif sock.state == SYN_SENT:
        yield from _connecting(sock, options)
    elif sock.state in (ESTABLISHED, CLOSE_WAIT, FIN_WAIT1, FIN_WAIT2):
        yield from _on_close(sock, options)
        yield from _silence(sock, options, around)
        if sock.state == ESTABLISHED:
            yield from _dead_peer(sock, options)
        else:
            yield from _half_closed(sock)
    elif sock.state in (LAST_ACK, CLOSING):
        yield from _silence(sock, options, around)


def _listener(sock: Socket, options: SocketOptions | None, around: Around) -> Iterator[str]:
    if sock.rqueue > sock.wqueue > 0:
        yield f"drops new connections: accept queue full, {sock.rqueue} waiting"
    elif sock.rqueue:
        yield f"waiting for accept(): {sock.rqueue}"
    if options is None:
        return
    if options.linger == 0:
        yield "close() of what it accepts will reset: SO_LINGER 0 is inherited"
    elif options.linger:
        yield f"close() of what it accepts may block for {options.linger} s: SO_LINGER is inherited"
    if options.linger2 < 0:
        yield "what it accepts will reset instead of waiting in FIN_WAIT2: TCP_LINGER2 is negative"
    waiting = _waiting_on(sock, around)
    if waiting and not options.reuse_address:
        yield f"restart will fail: no SO_REUSEADDR and {waiting} in TIME_WAIT on its port"


def _waiting_on(sock: Socket, around: Around) -> int:
    """Sockets in TIME_WAIT that a bind() to the listener's address would meet."""
    if sock.src not in _ANY:
        return around.waiting.get((sock.src, sock.sport), 0)
    ipv4 = sock.src == "0.0.0.0"
    return sum(
        count
        for (address, port), count in around.waiting.items()
        if port == sock.sport and not (ipv4 and ":" in address)
    )


def _connecting(sock: Socket, options: SocketOptions | None) -> Iterator[str]:
    if sock.retransmits:
        again = f"{_times(sock.retransmits)}, next in {_seconds(sock.expires_ms)}"
        yield f"connect() has no answer: SYN sent again {again}"
    if options is None:
        return
    if options.send_timeout_ms:
        yield f"connect() gives up after {_seconds(options.send_timeout_ms)}: SO_SNDTIMEO"
    if options.user_timeout_ms:
        yield f"connect() gives up after {_seconds(options.user_timeout_ms)}: TCP_USER_TIMEOUT"


def _on_close(sock: Socket, options: SocketOptions | None) -> Iterator[str]:
    """What close() does (net/ipv4/tcp.c, __tcp_close)."""
    linger = options.linger if options else None
    if unread := unread_bytes(sock):
        yield f"close() will reset: {_bytes(unread, 'unread ')}{_lying(sock)}"
    elif linger == 0:
        yield "close() will reset: SO_LINGER 0"
    elif linger and sock.wqueue:
        yield f"close() may block for {linger} s: SO_LINGER and {_bytes(sock.wqueue)} not yet acked"
    if options and options.linger2 < 0 and sock.state != CLOSE_WAIT and linger != 0:
        yield "close() will reset instead of waiting in FIN_WAIT2: TCP_LINGER2 is negative"


def unread_bytes(sock: Socket) -> int:
    """Bytes that no read() has taken; where the peer has closed, its FIN counts as one.

    Measured on 6.18: 5 unread bytes and a FIN show as 6, and as 0 once the end has been read.
    """
    return max(0, sock.rqueue - 1) if sock.state == CLOSE_WAIT else sock.rqueue


def _lying(sock: Socket) -> str:
    if sock.info is None or sock.info.last_data_recv < _LYING * 1000:
        return ""
    return f", the last came {_seconds(sock.info.last_data_recv)} ago"


def _silence(sock: Socket, options: SocketOptions | None, around: Around) -> Iterator[str]:
    """What happens when the peer does not answer, or reads nothing."""
    if sock.timer == TIMER_PROBE0:
        yield f"peer's window is closed: {_bytes(sock.wqueue)} wait until it reads"
    elif sock.timer == TIMER_RETRANSMIT and sock.retransmits:
        words = f"no answer: sent again {_times(sock.retransmits)}"
        words += f", next in {_seconds(sock.expires_ms)}"
        if options and options.user_timeout_ms:
            words += f"; ETIMEDOUT after {_seconds(options.user_timeout_ms)}: TCP_USER_TIMEOUT"
        elif around.retries is not None:
            words += f"; ETIMEDOUT after tcp_retries2 {around.retries}"
        yield words


def _dead_peer(sock: Socket, options: SocketOptions | None) -> Iterator[str]:
    """Who notices when the peer of an idle connection is gone."""
    if sock.timer == TIMER_KEEPALIVE and sock.info and sock.info.probes:
        yield f"no answer to keepalive probes: {sock.info.probes} so far"
    if options is not None and options.keepalive:
        lost = _noticed_after(options)
        yield f"first probe after {options.keepidle} s, reset after {lost} s without an answer"
    elif sock.timer == TIMER_KEEPALIVE:
        yield "keepalive is on"
    elif sock.timer == TIMER_NONE and not within_host(sock):
        yield "nothing will notice a dead peer: no keepalive"


def _noticed_after(options: SocketOptions) -> int:
    """Seconds of silence after which keepalive gives up (tcp_timer.c, tcp_keepalive_timer).

    TCP_USER_TIMEOUT takes the place of the number of probes; it is looked at with each probe
    after the first.
    """
    idle, gap = options.keepidle, max(1, options.keepintvl)
    if not options.user_timeout_ms:
        return idle + gap * options.keepcnt
    beyond = options.user_timeout_ms / 1000 - idle
    return idle + gap * max(1, int(-(-beyond // gap)))


def _half_closed(sock: Socket) -> Iterator[str]:
    if sock.timer == TIMER_KEEPALIVE:
        return
    if sock.state == CLOSE_WAIT:
        yield "stays until the program calls close(): no timer ends it"
    elif sock.state == FIN_WAIT2:
        yield "half closed: stays until the peer closes or the program calls close()"


def _unaccepted(sock: Socket, around: Around) -> Iterator[str]:
    if sock.state in (SYN_RECV, NEW_SYN_RECV):
        if sock.retransmits:
            yield f"handshake without an answer: SYN-ACK sent again {_times(sock.retransmits)}"
        return
    closed = "the peer has closed already; " if sock.state == CLOSE_WAIT else ""
    moved = "; tcp_migrate_req may move it to another listener" if around.migrates else ""
    yield f"{closed}waits for accept(): will be reset when its listener closes{moved}"


def _orphan(sock: Socket) -> Iterator[str]:
    if sock.state == FIN_WAIT2:
        yield "late data will be answered with a reset"
    elif sock.timer == TIMER_RETRANSMIT and sock.retransmits:
        yield (
            f"no answer: sent again {_times(sock.retransmits)}, next in "
            f"{_seconds(sock.expires_ms)}; gone after tcp_orphan_retries"
        )
    elif sock.timer == TIMER_PROBE0:
        yield f"peer's window is closed: {_bytes(sock.wqueue)} wait until it reads"
    elif sock.state == FIN_WAIT1:
        yield "waits until the peer acknowledges its FIN"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _bytes(count: int, kind: str = "") -> str:
    return f"1 {kind}byte" if count == 1 else f"{count} {kind}bytes"


def _seconds(milliseconds: int) -> str:
    """``0.2 s``, ``45 s``."""
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 10 and milliseconds % 1000 else f"{seconds:.0f} s"
