"""3xx: what programs have told their sockets about close()."""

from __future__ import annotations

from collections.abc import Iterator

from rstaudit.model.rule import Evidence, Finding, Severity
from rstaudit.model.sockets import LISTEN, Owner
from rstaudit.rules.asked import CONNECTED, Asked, admit_gaps, all_options, asked
from rstaudit.rules.context import Context, Family
from rstaudit.rules.processes import named, who

RULES = Family()

#: Addresses of listeners that a finding names.
_SHOWN = 5


@RULES.rule(
    "RST308",
    "linger-resets-on-close",
    "SO_LINGER changes what close() does: it resets the connection, or waits",
    Severity.WARNING,
)
def linger_resets_on_close(ctx: Context) -> Iterator[Finding]:
    """Name the processes that have set SO_LINGER, and say what it does to their connections.

    With time 0 close() sends a reset instead of a FIN and throws away what was not delivered
    yet; the peer reads ECONNRESET. There is no TIME_WAIT then, which is why some set it. On a
    listener it is worse: every accepted connection inherits it. With a positive time close()
    waits until the data is acknowledged or the time is over; that is said as information.

    Confirm: `nstat -az TcpExtTCPAbortOnData` grows as the program closes connections.

    Leave alone: a client that sets it just before it drops a connection whose data is worthless,
    such as a health check.

    References: net/ipv4/tcp.c __tcp_close(); net/ipv4/inet_connection_sock.c
    inet_csk_clone_lock(); socket(7); measured on 6.18: RST,ACK at close(), and accepted sockets
    have the listener's SO_LINGER
    """
    options = all_options(ctx)
    zero = [inode for inode, found in options.items() if found.linger == 0]
    for owner, sockets in asked(ctx, zero, LISTEN, *CONNECTED).items():
        yield _resets(ctx, owner, sockets)
    positive = [inode for inode, found in options.items() if found.linger]
    for owner, sockets in asked(ctx, positive, LISTEN, *CONNECTED).items():
        longest = max(found.linger or 0 for _, found in sockets)
        yield Finding(
            f"{who(ctx, owner)}: close() of {len(sockets)} sockets may wait up to {longest} s",
            sockets[0].socket.local,
            "leave SO_LINGER off, unless the program can afford to wait in close()",
            {"sockets": len(sockets), "linger_seconds": longest, **named(owner)},
            severity=Severity.INFO,
        )
    admit_gaps(ctx)


def _resets(ctx: Context, owner: Owner | None, sockets: list[Asked]) -> Finding:
    listeners = sorted({sock.local for sock, _ in sockets if sock.state == LISTEN})
    connections = sum(sock.state != LISTEN for sock, _ in sockets)
    parts = []
    if listeners:
        parts.append(
            f"on {len(listeners)} listeners, which every accepted connection inherits "
            f"({', '.join(listeners[:_SHOWN])})"
        )
    if connections:
        parts.append(f"on {connections} connections")
    evidence: Evidence = {
        "listening": len(listeners), "listeners": listeners[:_SHOWN],
        "connections": connections, "linger_seconds": 0, **named(owner),
    }  # fmt: skip
    return Finding(
        f"{who(ctx, owner)} has set SO_LINGER with time 0 {' and '.join(parts)}: close() resets",
        listeners[0] if listeners else sockets[0].socket.peer,
        "remove SO_LINGER from the program; it takes the reset for a way out of TIME_WAIT",
        evidence,
    )


@RULES.rule(
    "RST309",
    "linger2-negative",
    "TCP_LINGER2 is negative: closing ends with a reset instead of FIN_WAIT2",
    Severity.WARNING,
)
def linger2_negative(ctx: Context) -> Iterator[Finding]:
    """Name the processes whose sockets skip FIN_WAIT2.

    After close() a connection waits in FIN_WAIT2 for the peer's FIN. With a negative TCP_LINGER2
    the kernel resets it instead as soon as it gets there, so a peer that is still sending, or
    has not read yet, loses the connection. A listener hands the option on.

    Confirm: `nstat -az TcpExtTCPAbortOnLinger` grows as the program closes connections.

    Leave alone: nothing; tcp_fin_timeout already ends FIN_WAIT2.

    References: net/ipv4/tcp.c __tcp_close(), do_tcp_setsockopt() TCP_LINGER2; tcp(7); measured
    on 6.18: TCPAbortOnLinger or TCPAbortOnData counts each
    """
    negative = [inode for inode, found in all_options(ctx).items() if found.linger2 < 0]
    for owner, sockets in asked(ctx, negative, LISTEN, *CONNECTED).items():
        listening = sum(sock.state == LISTEN for sock, _ in sockets)
        yield Finding(
            f"{who(ctx, owner)}: {len(sockets)} sockets, {listening} of them listeners",
            sockets[0].socket.local,
            "do not set TCP_LINGER2 in the program",
            {"sockets": len(sockets), "listeners": listening, **named(owner)},
        )
    admit_gaps(ctx)
