"""1xx: how programs use ports - restarts, bind() before connect(), connections not reused."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.names import OPTIONS, OWNERS, SOCKETS
from rstaudit.model.ports import Peer, Use, port_flags, time_wait_on, use_by_peer
from rstaudit.model.rule import Confidence, Finding, Severity
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LISTEN,
    SYN_SENT,
    Owner,
    Socket,
    SocketTable,
    bracket,
    decode,
)
from rstaudit.rules.asked import CONNECTED, admit_gaps, all_options, asked
from rstaudit.rules.context import Context, Family, NotApplicable
from rstaudit.rules.ports import budget_of
from rstaudit.rules.processes import by_owner, named, owners_gap, who

RULES = Family()

#: So many ports of one parity are no accident.
_SAME_PARITY = 8

#: Share of the ephemeral ports from which using them up is near enough for a warning.
_MANY_PORTS = 0.1

#: TIME_WAIT towards one destination below this is nothing to speak of: 8 a second.
_NOT_REUSED = 500

_OUTGOING = (ESTABLISHED, SYN_SENT, CLOSE_WAIT, FIN_WAIT1, FIN_WAIT2)

#: Of a row: local port as it lies there, and inode.
_PORT_INODE = struct.Struct("=4xH62xI")

#: A process, and the family and source address of its connections as packed in a row.
_Source = tuple[Owner, bytes]


def _listening(table: SocketTable) -> frozenset[int]:
    return frozenset(sock.sport for sock in table.select(LISTEN))


@RULES.rule(
    "RST113",
    "listener-without-reuseaddr",
    "A listener cannot be started again while its port holds connections in TIME_WAIT",
    Severity.WARNING,
)
def listener_without_reuseaddr(ctx: Context) -> Iterator[Finding]:
    """Name listeners without SO_REUSEADDR whose port has connections in TIME_WAIT now.

    A server that closes connections first keeps them in TIME_WAIT for 60 s on its own port. If
    it is restarted in that time, its bind() fails with EADDRINUSE, unless the old and the new
    listener both set SO_REUSEADDR. Listeners whose port has no TIME_WAIT are not named.

    Confirm: `ss -tan state time-wait sport = :PORT` shows them; stop the program and start it
    again at once.

    Leave alone: a listener that systemd holds for the program, because it is never closed.

    References: net/ipv4/inet_connection_sock.c inet_csk_get_port(); socket(7); measured on 6.18:
    bind() succeeded only where both listeners had set SO_REUSEADDR
    """
    options = all_options(ctx)
    bare = [inode for inode, found in options.items() if not found.reuse_address]
    table = ctx.host.need(SOCKETS)
    for owner, listeners in asked(ctx, bare, LISTEN).items():
        for listener in (sock for sock, _ in listeners):
            waiting = time_wait_on(table, listener.src, listener.sport)
            if waiting:
                yield Finding(
                    f"{who(ctx, owner)} listens without SO_REUSEADDR while {waiting} connections "
                    "on its port are in TIME_WAIT; a restart within 60 s fails with EADDRINUSE",
                    listener.local,
                    "set SO_REUSEADDR before bind() in the program",
                    {"time_wait": waiting, "seconds_held": 60, **named(owner)},
                )
    admit_gaps(ctx)


@RULES.rule(
    "RST114",
    "bind-before-connect",
    "A client binds its source address and so uses up ports that connect() could share",
    Severity.WARNING,
)
def bind_before_connect(ctx: Context) -> Iterator[Finding]:
    """Name clients that call bind() with port 0 before connect(), without IP_BIND_ADDRESS_NO_PORT.

    bind() picks a port before the destination is known, so the port must be free towards all
    destinations, and none in TIME_WAIT is taken over: bind() fails with EADDRINUSE while
    connect() alone would have tens of thousands of ports for each destination. The call itself
    is over and cannot be seen; but bind() takes every second port that connect() leaves, so 8 or
    more connections on such ports alone give it away. That is information until the process
    has a tenth of all ephemeral ports.

    Confirm: `strace -f -e trace=bind,connect -p PID`.

    Leave alone: a client with few connections in all.

    References: net/ipv4/inet_connection_sock.c inet_csk_find_open_port(); ip(7)
    IP_BIND_ADDRESS_NO_PORT; measured on 6.18: of 100 ports 100 were of the other parity with
    bind(), none without, none with the option
    """
    if ctx.host.kernel.version < (4, 6, 0):
        raise NotApplicable("before kernel 4.6 bind() and connect() chose from the same ports")
    table, budget = ctx.host.need(SOCKETS), budget_of(ctx)
    low = budget.low
    if not _any_of_other_parity(table, low):
        return
    for (owner, _), places in _by_source(ctx).items():
        ports = _ports(table, places, 4)
        if not _chosen_by_bind(ports, _ports(table, places, 6), low):
            continue
        sockets = [decode(table.blob, *place, details=True) for place in places]
        if not _leaves_port_to_connect(ctx, sockets):
            yield _bound(ctx, owner, sockets, len(ports), budget.size)
    if gap := owners_gap(ctx):
        raise MissingFact(gap)


def _any_of_other_parity(table: SocketTable, low: int) -> bool:
    """A quick look at the last byte of each local port: without bind() the answer is mostly no.

    Accepted connections, which have their listener's port, are passed over.
    """
    blob = table.blob
    listening = {blob[start + 4 : start + 6] for start, _ in table.places(LISTEN)}
    other = (
        blob[start + 4 : start + 6]
        for start, _ in table.places(*_OUTGOING)
        if (blob[start + 5] ^ low) & 1
    )
    enough = islice((port for port in other if port not in listening), _SAME_PARITY)
    return sum(1 for _ in enough) == _SAME_PARITY


def _chosen_by_bind(ports: set[int], services: set[int], low: int) -> bool:
    """Whether bind() has chosen ``ports``, for connections to ``services``.

    As many of those as of the others would be the clients of a server of passive FTP, whose
    listeners are gone.
    """
    enough = len(ports) >= _SAME_PARITY and len(services) <= len(ports) / 2
    return enough and all((port - low) % 2 for port in ports)


def _ports(table: SocketTable, places: list[tuple[int, int]], offset: int) -> set[int]:
    """The ports at ``offset`` of each row: 4 the local ones, 6 the peer's."""
    blob = table.blob
    return {int.from_bytes(blob[start + offset : start + offset + 2], "big") for start, _ in places}


def _by_source(ctx: Context) -> dict[_Source, list[tuple[int, int]]]:
    """Where the outgoing connections of each process are in the table, by source address."""
    table, owners, budget = ctx.host.need(SOCKETS), ctx.host.need(OWNERS), budget_of(ctx)
    usable = port_flags(budget.low, budget.high, _listening(table))
    blob = table.blob
    found: dict[_Source, list[tuple[int, int]]] = {}
    for start, end in table.places(*_OUTGOING):
        port, inode = _PORT_INODE.unpack_from(blob, start)
        if usable[port] and inode in owners:
            source = blob[start : start + 1] + blob[start + 8 : start + 24]
            found.setdefault((min(owners[inode]), source), []).append((start, end))
    return found


def _leaves_port_to_connect(ctx: Context, sockets: list[Socket]) -> bool:
    """Whether any has IP_BIND_ADDRESS_NO_PORT: the kernel's word first, then the process's.

    Raises `MissingFact` where neither is known of any.
    """
    told = [sock.bind_address_no_port for sock in sockets]
    if all(word is None for word in told):
        options = all_options(ctx)
        told = [options[s.inode].bind_address_no_port for s in sockets if s.inode in options]
        if not told:
            detail = "none of the sockets in question was among those read"
            raise MissingFact(Gap(OPTIONS.name, "sampled", detail))
    return any(told)


def _bound(ctx: Context, owner: Owner, sockets: list[Socket], ports: int, size: int) -> Finding:
    return Finding(
        f"{who(ctx, owner)}: the {ports} local ports of its connections are all of the kind that "
        f"bind() chooses, out of {size}",
        bracket(sockets[0].src),
        "set IP_BIND_ADDRESS_NO_PORT before bind() in the program, or do not bind",
        {
            "connections": len(sockets), "ports": ports, "port_range": size,
            "source": sockets[0].src, **named(owner),
        },
        Confidence.LIKELY,
        Severity.INFO if ports < size * _MANY_PORTS else None,
    )  # fmt: skip


@RULES.rule(
    "RST115",
    "no-connection-reuse",
    "Connections to one destination are opened and closed one after the other, not reused",
    Severity.INFO,
)
def no_connection_reuse(ctx: Context) -> Iterator[Finding]:
    """Name the destination of a quarter or more of all TIME_WAIT, and who connects to it.

    Each connection that this host opens and closes first stays in TIME_WAIT for 60 s. So 500 of
    them towards one destination are more than 8 new connections a second where a pool would
    keep a few open: a handshake each time, and local ports that run out (RST101). The kernel
    does not say who left a socket in TIME_WAIT; the process is named when it is the only one
    with open connections to that destination.

    Confirm: `ss -tan state time-wait dst ADDRESS:PORT | wc -l`.

    Leave alone: load tests, health checks, protocols that need a connection for each request.

    References: RFC 9293 section 3.3.2; RFC 9112 section 9.3; include/net/tcp.h TCP_TIMEWAIT_LEN
    """
    table, budget = ctx.host.need(SOCKETS), budget_of(ctx)
    floor = max(_NOT_REUSED, table.time_wait_count // 4)
    if floor > min(table.time_wait_count, budget.high - budget.low + 1):
        return
    usable = port_flags(budget.low, budget.high, _listening(table))
    for peer, use in sorted(use_by_peer(table, usable, floor).items()):
        if use.time_wait >= floor:
            yield _not_reused(ctx, table, peer, use)


def _not_reused(ctx: Context, table: SocketTable, peer: Peer, use: Use) -> Finding:
    here = [sock for sock in table.select(*CONNECTED) if _towards(sock, peer)]
    owners = [owner for owner in by_owner(ctx, here) if owner is not None]
    only = owners[0] if len(owners) == 1 else None
    rate = round(use.time_wait / 60, 1)
    by = f"; only {who(ctx, only)} has connections to it" if only else ""
    return Finding(
        f"{use.time_wait} in TIME_WAIT and {use.other} open, so about {rate:g} new connections "
        f"a second{by}",
        peer.label,
        "keep connections open and reuse them (keep-alive, a pool) in the program",
        {
            "time_wait": use.time_wait, "other_states": use.other,
            "new_connections_per_second": rate, **named(only),
        },
        Confidence.LIKELY,
    )  # fmt: skip


def _towards(sock: Socket, peer: Peer) -> bool:
    return (sock.src, sock.dst, sock.dport) == (peer.src, peer.dst, peer.dport)
