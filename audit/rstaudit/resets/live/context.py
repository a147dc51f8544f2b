"""What is known around a reset besides the events: counters, options, addresses, filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rstaudit.model.options import SocketOptions

#: Counter deltas by name, as `Counters` names them (``TcpExt.TCPAbortOnData``).
Deltas = Mapping[str, int]


class Quiet(NamedTuple):
    """Milliseconds since a socket sent data, and since anything of its peer came to it.

    By its tcp_info, read right after the reset: tcpi_last_data_sent, and the shorter of
    tcpi_last_data_recv and tcpi_last_ack_recv. A reset itself changes neither.
    """

    sent_ms: int
    heard_ms: int


class Context(NamedTuple):
    """Facts that `decide` may use; every one may be missing (None), and then proves nothing.

    ``counters`` are the moves of our end's network namespace between a sample before the reset
    and one after it, ``resets`` how many resets that namespace sent by events in between (so that
    ``TCPAbortOnData`` 1 with 3 resets is not taken for all three), and ``counters_from_ns`` when
    the sample before was taken, on the trace clock. ``peer_counters`` are the same
    of the other end's namespace, when that is on this host, with its ``peer_resets``.

    ``peer_local`` says whether the peer's address belongs to a namespace of this host: then a
    reset of its own kernel has a send event here, provided ``every_reset_traced`` (from 6.10 on;
    before, resets without a full socket have no event). ``forwards`` says whether our end's
    namespace forwards packets (a NAT host, a node of a cluster). ``rejects`` are firewall
    rules, known on this host, that reject with a tcp reset; () when there are none.

    ``drops_traced`` says whether packets dropped by filters are seen (kfree_skb with reasons, from
    5.17 on).

    ``options`` and ``unread`` (bytes in the receive queue) are the socket's, if it was read while
    it lived. ``idle_ms`` is how long neither end had sent data when the socket was last read, up
    to the reset. ``quiet`` is the same of this socket alone, if it was read right after the reset,
    and ``peer_quiet`` that of the other end, if that is on this host and was reset too.
    ``forgets_s`` is the shortest nf_conntrack_tcp_timeout_established of the namespaces of this
    host that the connection passes through. ``ephemeral`` is our namespace's ip_local_port_range,
    ``fin_timeout_s`` its tcp_fin_timeout. ``lost`` says that events were lost around this reset:
    what is not there proves nothing then.
    """

    counters: Deltas | None = None
    counters_from_ns: int | None = None
    resets: int = 1
    peer_counters: Deltas | None = None
    peer_resets: int = 1
    peer_local: bool | None = None
    every_reset_traced: bool = True
    drops_traced: bool = True
    forwards: bool | None = None
    rejects: tuple[str, ...] | None = None
    options: SocketOptions | None = None
    unread: int | None = None
    idle_ms: int | None = None
    quiet: Quiet | None = None
    peer_quiet: Quiet | None = None
    forgets_s: int | None = None
    ephemeral: tuple[int, int] = (32768, 60999)
    fin_timeout_s: int | None = None
    lost: bool = False


NOTHING = Context()
