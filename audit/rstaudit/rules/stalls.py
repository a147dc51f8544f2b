"""4xx: connections on which data waits - nobody here reads it, or the peer takes none."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rstaudit.model.rule import Finding, Severity
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    LAST_ACK,
    TIMER_PROBE0,
    Socket,
    decode,
)
from rstaudit.rules.context import Context, Family
from rstaudit.rules.processes import by_owner, named, who
from rstaudit.rules.table import sock_diag_table

RULES = Family()

#: Milliseconds for which data must have waited: longer than a busy program takes to come round.
_STALLED_MS = 10_000

#: The receive queue and the inode of a row.
_UNREAD = struct.Struct("=56xI8xI")


@RULES.rule(
    "RST409",
    "unread-data-stalls",
    "A process has not read what its peers sent: the connections stand still",
    Severity.WARNING,
)
def unread_data_stalls(ctx: Context) -> Iterator[Finding]:
    """Name the processes that leave bytes in the receive queues of open connections.

    The data has arrived and nothing has come after it for 10 s or more, so it has lain there
    that long at least. The program is stuck, or waits for something else. When the queue is
    full the peer must stop sending; and if the program closes such a connection, the unread
    bytes turn its FIN into a reset. Connections still waiting for accept() are not counted.

    Confirm: `ss -tnpi state established` (Recv-Q, lastrcv), twice.

    Leave alone: a program stopped in a debugger, one that holds clients back on purpose, or an
    idle TLS client that has not read the server's session tickets.

    References: net/ipv4/tcp.c tcp_get_info() tcpi_last_data_recv, __tcp_close(); RFC 9293
    section 3.8.6
    """
    table = sock_diag_table(ctx, "how long data has been waiting")
    blob = table.blob
    unread = (
        decode(blob, start, end, details=True)
        for start, end in table.places(ESTABLISHED)
        if all(_UNREAD.unpack_from(blob, start))
    )
    stalled = [sock for sock in unread if sock.info and sock.info.last_data_recv >= _STALLED_MS]
    for owner, sockets in by_owner(ctx, stalled).items():
        size = sum(sock.rqueue for sock in sockets)
        longest = max(sock.info.last_data_recv for sock in sockets if sock.info) // 1000
        yield Finding(
            f"{who(ctx, owner)}: {size} unread bytes on {len(sockets)} connections, "
            f"for up to {longest} s",
            sockets[0].peer,
            "find out what the program waits for (its stack, its log); a restart resets these",
            {
                "unread_bytes": size, "connections": len(sockets),
                "longest_seconds": longest, **named(owner),
            },
        )  # fmt: skip


@RULES.rule(
    "RST410",
    "peer-window-closed",
    "Peers do not read: their receive windows are closed and data waits to be sent",
    Severity.WARNING,
)
def peer_window_closed(ctx: Context) -> Iterator[Finding]:
    """Name the processes and peers of connections held up by a zero window for 10 s or more.

    The peer's receive queue is full because its program does not read. This host asks again
    and again with probes and waits as long as they are answered, so the connection can stand
    for ever. A program that has closed such a connection leaves an orphan, which
    tcp_orphan_retries ends soon.

    Confirm: `ss -tnoi` shows `timer:(persist,...)` and Send-Q; look at the peer's program.

    Leave alone: slow clients of large downloads, each for a short time.

    References: net/ipv4/tcp_timer.c tcp_probe_timer(); RFC 9293 section 3.8.6.1; measured on
    6.18: an orphan with 42 kB unsent was gone after 1.2 s with tcp_orphan_retries 1
    """
    table = sock_diag_table(ctx, "how long a window has been closed")
    blob = table.blob
    probing = (
        decode(blob, start, end, details=True)
        for start, end in table.places(ESTABLISHED, CLOSE_WAIT, FIN_WAIT1, LAST_ACK, CLOSING)
        if blob[start + 2] == TIMER_PROBE0
    )
    closed = [sock for sock in probing if sock.wqueue and _quiet_ms(sock) >= _STALLED_MS]
    for owner, sockets in by_owner(ctx, closed).items():
        size = sum(sock.wqueue for sock in sockets)
        longest = max(map(_quiet_ms, sockets)) // 1000
        yield Finding(
            f"{who(ctx, owner)}: {size} bytes wait on {len(sockets)} connections, "
            f"the longest for {longest} s",
            sockets[0].peer,
            "make the program at the peer read; TCP_USER_TIMEOUT here limits the wait",
            {
                "waiting_bytes": size, "connections": len(sockets), "longest_seconds": longest,
                "peers": sorted({sock.peer for sock in sockets})[:10], **named(owner),
            },
        )  # fmt: skip


def _quiet_ms(sock: Socket) -> int:
    """Milliseconds since data was sent last; probes carry none and do not count."""
    return sock.info.last_data_sent if sock.info else 0
