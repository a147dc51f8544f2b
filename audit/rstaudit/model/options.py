"""Socket options of a running process, as getsockopt(2) gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class SocketOptions(NamedTuple):
    """How one socket is set up. Seconds and milliseconds are said in the names.

    ``linger`` is the time of SO_LINGER in seconds, None when it is off; 0 makes close() reset.
    The keepalive times are what the socket would use, its own or the namespace's.
    ``linger2`` is TCP_LINGER2 in seconds, negative when FIN_WAIT2 is skipped by a reset.
    The timeouts of 0 mean none. ``fastopen`` is the listener's queue length.
    """

    linger: int | None
    keepalive: bool
    keepidle: int
    keepintvl: int
    keepcnt: int
    user_timeout_ms: int
    linger2: int
    send_timeout_ms: int
    receive_timeout_ms: int
    reuse_address: bool
    reuse_port: bool
    defer_accept: int
    fastopen: int
    bind_address_no_port: bool


class OptionTable(NamedTuple):
    """Options by socket inode, with what was left out.

    ``wanted`` sockets could have been asked, ``read`` were; fewer where they were closed
    meanwhile, where one of the ``denied`` processes did not let us look, or, when ``cut``, where
    the budget of time or number ran out; then the sockets of each process were sampled alike.
    """

    by_inode: Mapping[int, SocketOptions]
    wanted: int
    read: int
    denied: int
    seconds: float
    cut: bool = False
