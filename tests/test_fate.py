"""What a socket will do, in words, from its row and its options."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from rstaudit.model.listing import ORPHAN, PROCESS, UNACCEPTED
from rstaudit.model.options import SocketOptions
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT2,
    LISTEN,
    SYN_SENT,
    TIMER_KEEPALIVE,
    TIMER_PROBE0,
    TIMER_RETRANSMIT,
    Socket,
    decode,
)
from rstaudit.rules.fate import Around, will
from support.rows import row

PLAIN = SocketOptions(
    linger=None, keepalive=False, keepidle=7200, keepintvl=75, keepcnt=9, user_timeout_ms=0,
    linger2=60, send_timeout_ms=0, receive_timeout_ms=0, reuse_address=False, reuse_port=False,
    defer_accept=0, fastopen=0, bind_address_no_port=False,
)  # fmt: skip

NONE: Mapping[str, Any] = MappingProxyType({})

AROUND = Around({("192.0.2.1", 80): 3, ("2001:db8::1", 80): 2}, 15, migrates=False)


def sock(
    state: int = ESTABLISHED, *, src: str = "192.0.2.1", port: int = 80,
    queues: tuple[int, int] = (0, 0), timer: tuple[int, int, int] = (0, 0, 0), idle_ms: int = 0,
) -> Socket:  # fmt: skip
    """A socket with a peer on another host."""
    peer = "2001:db8::9" if ":" in src else "192.0.2.9"
    packed = row(state, src, port, peer, 5000, timer=timer, queues=queues, inode=7, idle_ms=idle_ms)
    return decode(packed, 0, len(packed), details=True)


def said(
    of: Socket, options: Mapping[str, Any] = NONE, *, holder: str = PROCESS, others: int = 0
) -> str:
    """All that is said of a socket with these options."""
    return "\n".join(will(of, PLAIN._replace(**options), AROUND, holder, others))


@pytest.mark.parametrize(
    ("of", "options", "words"),
    [
        (sock(queues=(5, 0)), {}, "close() will reset: 5 unread bytes"),
        (sock(queues=(1, 0)), {}, "close() will reset: 1 unread byte"),
        (sock(queues=(5, 0), idle_ms=60_000), {}, "5 unread bytes, the last came 60 s ago"),
        (sock(CLOSE_WAIT, queues=(6, 0)), {}, "close() will reset: 5 unread bytes"),
        (sock(), {"linger": 0}, "close() will reset: SO_LINGER 0"),
        (sock(queues=(0, 9)), {"linger": 30}, "close() may block for 30 s"),
        (sock(FIN_WAIT2), {"linger2": -1}, "TCP_LINGER2 is negative"),
        (sock(), {}, "nothing will notice a dead peer: no keepalive"),
        (sock(), {"keepalive": True}, "first probe after 7200 s, reset after 7875 s"),
        (sock(timer=(TIMER_KEEPALIVE, 1, 0)), {"keepalive": True, "keepidle": 60, "keepintvl": 10,
         "user_timeout_ms": 75_000}, "first probe after 60 s, reset after 80 s"),
        (sock(CLOSE_WAIT), {}, "stays until the program calls close()"),
        (sock(FIN_WAIT2), {}, "half closed"),
        (sock(queues=(0, 9), timer=(TIMER_RETRANSMIT, 12_000, 4)), {},
         "no answer: sent again 4 times, next in 12 s; ETIMEDOUT after tcp_retries2 15"),
        (sock(queues=(0, 9), timer=(TIMER_RETRANSMIT, 500, 1)), {"user_timeout_ms": 30_000},
         "sent again once, next in 0.5 s; ETIMEDOUT after 30 s: TCP_USER_TIMEOUT"),
        (sock(queues=(0, 9), timer=(TIMER_PROBE0, 500, 1)), {}, "window is closed: 9 bytes wait"),
        (sock(SYN_SENT, timer=(TIMER_RETRANSMIT, 3000, 2)), {"send_timeout_ms": 800},
         "SYN sent again 2 times, next in 3 s\nconnect() gives up after 0.8 s: SO_SNDTIMEO"),
        (sock(LISTEN, queues=(9, 8)), {}, "drops new connections: accept queue full, 9 waiting"),
        (sock(LISTEN, queues=(2, 8)), {}, "waiting for accept(): 2"),
        (sock(LISTEN), {"linger": 0}, "SO_LINGER 0 is inherited"),
        (sock(LISTEN), {"linger": 9}, "may block for 9 s"),
        (sock(LISTEN), {}, "restart will fail: no SO_REUSEADDR and 3 in TIME_WAIT on its port"),
        (sock(LISTEN, src="0.0.0.0"), {}, "3 in TIME_WAIT"),
        (sock(LISTEN, src="::"), {}, "5 in TIME_WAIT"),
    ],
)  # fmt: skip
def test_what_a_socket_will_do(of: Socket, options: dict[str, Any], words: str) -> None:
    """Each trouble is said, in words that name the option or the bytes."""
    assert words in said(of, options)


@pytest.mark.parametrize(
    ("of", "options", "words"),
    [
        (sock(CLOSE_WAIT, queues=(1, 0)), {}, "reset"),
        (sock(), {"keepalive": True}, "nothing will notice"),
        (sock(src="127.0.0.1"), {}, "nothing will notice"),
        (sock(timer=(TIMER_RETRANSMIT, 200, 0), queues=(0, 5)), {}, "no answer"),
        (sock(timer=(TIMER_RETRANSMIT, 200, 0), queues=(0, 5)), {}, "nothing will notice"),
        (sock(), {"linger": 30}, "block"),
        (sock(LISTEN), {"reuse_address": True}, "restart"),
        (sock(LISTEN, src="192.0.2.2"), {}, "restart"),
        (sock(LISTEN, port=81), {}, "restart"),
    ],
)
def test_what_is_in_order_is_not_mentioned(of: Socket, options: dict[str, Any], words: str) -> None:
    """A FIN is no unread byte, loopback has no dead peers, and so on."""
    assert words not in said(of, options)


def test_without_options_only_what_the_row_shows_is_said() -> None:
    """Unread bytes and the lack of a keepalive timer show; SO_LINGER and SO_REUSEADDR do not."""
    assert will(sock(queues=(5, 0)), None, AROUND, PROCESS)[0].startswith("close() will reset: 5")
    assert will(sock(LISTEN), None, AROUND, PROCESS) == ()
    assert will(sock(timer=(TIMER_KEEPALIVE, 1, 0)), None, AROUND, PROCESS) == ("keepalive is on",)
    busy = sock(timer=(TIMER_RETRANSMIT, 200, 0), queues=(0, 5))
    assert will(busy, None, AROUND, PROCESS) == ()


def test_a_shared_socket_needs_the_last_close() -> None:
    """Said only where there is something to say about close()."""
    shared = "only the last close() counts: 3 processes hold it"
    assert shared in said(sock(queues=(5, 0)), others=2)
    assert "only the last" not in said(sock(), others=2)


def test_sockets_of_nobody() -> None:
    """Those in an accept queue and those whose program has closed them already."""
    waiting = "waits for accept(): will be reset when its listener closes"
    assert said(sock(), holder=UNACCEPTED) == waiting
    assert said(sock(CLOSE_WAIT), holder=UNACCEPTED).startswith("the peer has closed already; ")
    around = AROUND._replace(migrates=True)
    assert "tcp_migrate_req" in will(sock(), None, around, UNACCEPTED)[0]
    assert "late data" in said(sock(FIN_WAIT2, timer=(3, 40_000, 0)), holder=ORPHAN)
