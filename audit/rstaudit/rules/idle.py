"""4xx: idle connections, keepalive, retransmission."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from rstaudit.model.names import CLOUD, SOCKETS
from rstaudit.model.options import SocketOptions
from rstaudit.model.rule import Evidence, Finding, Severity
from rstaudit.model.setting import PathDevice
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    LAST_ACK,
    SYN_SENT,
    TIMER_NONE,
    TIMER_RETRANSMIT,
    Owner,
    Socket,
    decode,
    idle_ms,
    is_loopback,
)
from rstaudit.rules.asked import options_of
from rstaudit.rules.context import Context, Family, NotApplicable
from rstaudit.rules.processes import by_owner, named, who
from rstaudit.rules.table import sock_diag_table

RULES = Family()

KEEPALIVE = "net.ipv4.tcp_keepalive_time"

#: How a loopback address begins in a row, by family.
_LOOPBACK: dict[int, tuple[bytes, ...]] = {
    socket.AF_INET: (b"\x7f",),
    socket.AF_INET6: (bytes(15) + b"\x01", bytes(10) + b"\xff\xff\x7f"),
}

#: Idle seconds from which a connection counts as long idle where the path is not known.
_LONG_IDLE = 600

#: States in which this end may be sending.
_SENDING = (ESTABLISHED, SYN_SENT, FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING)

#: Retransmissions of one segment from which the peer counts as not answering.
_BACKOFF = 3

_CLOUDS = {"aws": "AWS", "azure": "Azure", "gcp": "GCP"}


@RULES.rule(
    "RST401",
    "keepalive-later-than-path",
    "TCP keepalive starts after the path has forgotten the connection",
    Severity.WARNING,
)
def keepalive_later_than_path(ctx: Context) -> Iterator[Finding]:
    """Compare tcp_keepalive_time with the time after which the path forgets idle connections.

    Load balancers, NAT and firewalls drop idle connections without telling either end. The
    next segment is then answered with a reset, or with nothing. Keepalive probes prevent that
    only if they start earlier. The kernel's default of 7200 s is later than nearly every
    device. `--path-idle SECONDS` gives the shortest timeout of the path; without it the
    defaults of the cloud that this machine's firmware names are used.

    Confirm: leave a connection idle for longer than the timeout, then send.

    Leave alone: hosts whose long-lived connections stay within one network segment.

    References: RFC 5382 REQ-5; tcp(7); the devices that `rstaudit profiles --format json` lists
    with their sources
    """
    time = ctx.host.integer(KEEPALIVE)
    device = forgets_first(ctx)
    if time >= device.idle_seconds:
        wanted = max(1, device.idle_seconds * 3 // 4)
        yield Finding(
            f"the first probe comes after {time} s, {device.name} forgets after "
            f"{device.idle_seconds} s",
            KEEPALIVE,
            f"sysctl -w {KEEPALIVE}={min(wanted, 60)}",
            {KEEPALIVE: time, "path_idle": device.idle_seconds, "path": device.name},
        )


def forgets_first(ctx: Context) -> PathDevice:
    """The part of the path that forgets first; raises `NotApplicable` when none is known."""
    if ctx.path_idle is not None:
        return PathDevice("the path", ctx.path_idle, "", "--path-idle")
    prefix = _CLOUDS.get(ctx.host.need(CLOUD))
    known = [
        device
        for device in ctx.devices
        if prefix and device.probes_count and device.name.startswith(prefix)
    ]
    if not known:
        raise NotApplicable("no --path-idle given, and the firmware names no known cloud")
    return min(known, key=lambda device: device.idle_seconds)


@RULES.rule(
    "RST403",
    "idle-without-keepalive",
    "Long idle connections have no keepalive: nothing will notice when the peer is gone",
    Severity.INFO,
)
def idle_without_keepalive(ctx: Context) -> Iterator[Finding]:
    """Name the processes with idle ESTABLISHED connections that nothing watches over.

    When the peer crashes, or the path forgets the connection, such a socket stays ESTABLISHED
    until this host sends. A reader waits for ever; a writer learns of it minutes later.
    A connection counts as watched while its keepalive timer runs, or where the program has set
    SO_KEEPALIVE or TCP_USER_TIMEOUT. Connections within the host are left out. The limit is
    `--path-idle`, else 600 s.

    Confirm: `ss -tnoi state established` shows no `timer:(keepalive,...)` and the idle times
    lastsnd and lastrcv.

    Leave alone: protocols with heartbeats of their own slower than the limit.

    References: tcp(7) SO_KEEPALIVE; RFC 1122 section 4.2.3.6; RFC 9293 section 3.8.4
    """
    limit = ctx.path_idle or _LONG_IDLE
    table = sock_diag_table(ctx, "how long a connection has been idle")
    blob = table.blob
    idle = [
        decode(blob, start, end, details=True)
        for start, end in table.places(ESTABLISHED)
        if blob[start + 2] == TIMER_NONE
        and not _row_within_host(blob, start)
        and idle_ms(blob, start, end) >= limit * 1000
    ]
    bare = [sock for sock in idle if not _protected(options_of(ctx, sock))]
    for owner, sockets in by_owner(ctx, bare).items():
        yield _idle(ctx, owner, sockets, limit)


def _protected(options: SocketOptions | None) -> bool:
    return options is not None and (options.keepalive or options.user_timeout_ms > 0)


def within_host(sock: Socket) -> bool:
    """Whether a socket's two addresses are the same, or its own is a loopback address."""
    return sock.src == sock.dst or is_loopback(sock.src)


def _row_within_host(blob: bytes, start: int) -> bool:
    """As `within_host`, of the row at ``start``."""
    source = blob[start + 8 : start + 24]
    return source == blob[start + 24 : start + 40] or source.startswith(_LOOPBACK[blob[start]])


def _idle(ctx: Context, owner: Owner | None, sockets: list[Socket], limit: int) -> Finding:
    infos = [sock.info for sock in sockets if sock.info]
    longest = max(min(info.last_data_sent, info.last_data_recv) for info in infos) // 1000
    count = len(sockets)
    evidence: Evidence = {
        "sockets": count, "longest_idle_seconds": longest, "limit_seconds": limit, **named(owner),
    }  # fmt: skip
    return Finding(
        f"{who(ctx, owner)}: {count} idle for {limit} s or more, the longest for {longest} s",
        sockets[0].peer,
        "switch on SO_KEEPALIVE in the program, with TCP_KEEPIDLE below the path's timeout",
        evidence,
        severity=Severity.WARNING if ctx.path_idle is not None else None,
    )


@RULES.rule(
    "RST404",
    "peer-not-answering",
    "Connections are in retransmission back-off: the peer or the path does not answer",
    Severity.WARNING,
)
def peer_not_answering(ctx: Context) -> Iterator[Finding]:
    """Name the processes and peers of sockets whose last segment is being sent again and again.

    Linux gives up after tcp_retries2 (or tcp_syn_retries while connecting) with ETIMEDOUT and
    sends no reset. The reset comes later, when the peer speaks to the socket that is gone.

    Confirm: `ss -tnoi` shows `timer:(on,...)` with a growing count, and `backoff`.

    Leave alone: one or two towards clients on mobile links.

    References: net/ipv4/tcp_timer.c tcp_retransmit_timer(); RFC 6298; measured on 6.18:
    tcp_retries2 3 ended after 6.6 s without a reset
    """
    table = ctx.host.need(SOCKETS)
    blob = table.blob
    silent = [
        decode(blob, start, end)
        for start, end in table.places(*_SENDING)
        if blob[start + 2] == TIMER_RETRANSMIT and blob[start + 3] >= _BACKOFF
    ]
    for owner, group in by_owner(ctx, silent).items():
        worst = max(group, key=lambda sock: sock.retransmits)
        connecting = sum(sock.state == SYN_SENT for sock in group)
        peers = sorted({sock.peer for sock in group})
        yield Finding(
            f"{who(ctx, owner)}: {len(group)} sockets, {connecting} of them connecting; "
            f"one segment was sent again {worst.retransmits} times",
            worst.peer,
            "find out why the peer or the path is silent; TCP_USER_TIMEOUT shortens the wait",
            {
                "sockets": len(group), "connecting": connecting,
                "retransmits": worst.retransmits, "peers": peers[:10], **named(owner),
            },
        )  # fmt: skip
