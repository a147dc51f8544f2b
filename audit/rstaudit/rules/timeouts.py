"""4xx: times that programs have set for their sockets, too short or too long for the path."""

from __future__ import annotations

from collections.abc import Iterator

from rstaudit.model.names import SOCKETS
from rstaudit.model.rule import Confidence, Evidence, Finding, Severity
from rstaudit.model.sockets import ESTABLISHED, LISTEN, SYN_SENT, Owner
from rstaudit.rules.asked import Asked, admit_gaps, all_options, asked
from rstaudit.rules.context import Context, Family
from rstaudit.rules.idle import forgets_first, within_host
from rstaudit.rules.processes import named, who

RULES = Family()

#: The kernel sends a lost SYN again after this many milliseconds (TCP_TIMEOUT_INIT, RFC 6298).
_SYN_AGAIN_MS = 1000


@RULES.rule(
    "RST406",
    "timeout-shorter-than-handshake",
    "A program gives up connecting before the handshake can be over",
    Severity.WARNING,
)
def timeout_shorter_than_handshake(ctx: Context) -> Iterator[Finding]:
    """Compare SO_SNDTIMEO of outgoing connections with the time that a handshake takes.

    SO_SNDTIMEO limits connect(): when it is over, connect() returns EINPROGRESS. The program
    closes the socket, and the SYN-ACK that comes late is answered with a reset. A timeout below
    the round trip time, measured on connections to the same peer, fails every time. One below
    1000 ms fails whenever a SYN is lost, since the kernel sends it again after that time; this
    is information, unless the program is connecting now. SO_RCVTIMEO does not limit connect().
    Connections within the host are left out.

    Confirm: `strace -f -e trace=setsockopt,connect -p PID`, and `nstat -az TcpAttemptFails`.

    Leave alone: a program that sets it only after connect(), to limit its writes.

    References: net/ipv4/af_inet.c __inet_stream_connect(); socket(7) SO_SNDTIMEO; RFC 6298;
    measured on 6.18: with a SYN-ACK after 1.0 s, SO_SNDTIMEO 0.3 s gave EINPROGRESS and a reset
    to the SYN-ACK, SO_RCVTIMEO 0.3 s gave a connection
    """
    limited = [i for i, found in all_options(ctx).items() if found.send_timeout_ms]
    listening = {sock.sport for sock in ctx.host.need(SOCKETS).select(LISTEN)} if limited else set()
    for owner, group in asked(ctx, limited, ESTABLISHED, SYN_SENT, details=True).items():
        outgoing = [
            entry
            for entry in group
            if entry.socket.sport not in listening and not within_host(entry.socket)
        ]
        yield from _too_short(ctx, owner, outgoing)
    admit_gaps(ctx)


def _too_short(ctx: Context, owner: Owner | None, group: list[Asked]) -> Iterator[Finding]:
    """One finding a process, of the socket for which its timeout is worst."""
    trips = _round_trips(ctx, {sock.dst for sock, _ in group})
    short = [
        (trips.get(sock.dst, 0.0) > options.send_timeout_ms, sock.state == SYN_SENT, sock, options)
        for sock, options in group
        if options.send_timeout_ms < max(_SYN_AGAIN_MS, trips.get(sock.dst, 0.0))
    ]
    if not short:
        return
    below_trip, connecting, sock, options = max(short, key=lambda entry: entry[:2])
    timeout, trip = options.send_timeout_ms, round(trips.get(sock.dst, 0.0), 1)
    evidence: Evidence = {
        "send_timeout_ms": timeout, "sockets": len(short),
        "connecting": sum(entry[1] for entry in short), **named(owner),
    }  # fmt: skip
    if below_trip:
        why, number = f"the round trip takes {trip:g} ms", {"round_trip_ms": trip}
    else:
        why, number = f"a lost SYN is sent again after {_SYN_AGAIN_MS} ms", {"syn_again_ms": 1000}
    yield Finding(
        f"{who(ctx, owner)}: SO_SNDTIMEO is {timeout} ms on {len(short)} sockets, {why}",
        sock.peer,
        "give connect() 3 s or more; set SO_SNDTIMEO after it if writes need a shorter one",
        {**evidence, **number},
        Confidence.CERTAIN if below_trip or connecting else Confidence.POSSIBLE,
        None if below_trip or connecting else Severity.INFO,
    )


def _round_trips(ctx: Context, peers: set[str]) -> dict[str, float]:
    """The shortest smoothed round trip to each of ``peers`` that is known, in milliseconds."""
    found: dict[str, float] = {}
    table = ctx.host.need(SOCKETS)
    for sock in table.select(ESTABLISHED, details=True) if peers else ():
        if sock.dst in peers and sock.info and sock.info.rtt_us:
            trip = sock.info.rtt_us / 1000
            found[sock.dst] = min(trip, found.get(sock.dst, trip))
    return found


@RULES.rule(
    "RST408",
    "keepalive-set-too-late",
    "A program's keepalive starts after the path has forgotten the connection",
    Severity.WARNING,
)
def keepalive_set_too_late(ctx: Context) -> Iterator[Finding]:
    """Name the processes that use keepalive with a first probe later than the path allows.

    The program asked for keepalive, so its connections are meant to last. A load balancer, NAT
    or firewall that forgets idle connections sooner than the first probe makes it useless: the
    next segment meets a reset, or silence. The path is known from `--path-idle`, or from the
    cloud that the firmware names. Connections within the host are left out.

    Confirm: `ss -tno state established` shows `timer:(keepalive,...)` with more than the path's
    timeout left.

    Leave alone: connections that stay within one network segment.

    References: tcp(7) TCP_KEEPIDLE; RFC 5382 REQ-5; the devices that `rstaudit profiles
    --format json` lists
    """
    path = forgets_first(ctx)
    late = [
        inode
        for inode, found in all_options(ctx).items()
        if found.keepalive and found.keepidle >= path.idle_seconds
    ]
    for owner, group in asked(ctx, late, ESTABLISHED).items():
        sockets = [entry for entry in group if not within_host(entry.socket)]
        if not sockets:
            continue
        latest = max(found.keepidle for _, found in sockets)
        yield Finding(
            f"{who(ctx, owner)}: {len(sockets)} connections are probed after {latest} s, "
            f"{path.name} forgets after {path.idle_seconds} s",
            sockets[0].socket.peer,
            f"set TCP_KEEPIDLE below {path.idle_seconds} in the program, or lower "
            "net.ipv4.tcp_keepalive_time if it sets none",
            {
                "connections": len(sockets), "keepidle": latest,
                "path_idle": path.idle_seconds, "path": path.name, **named(owner),
            },
        )  # fmt: skip
    admit_gaps(ctx)
