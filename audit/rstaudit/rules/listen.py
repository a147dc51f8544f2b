"""2xx: SYN queues and accept queues."""

from __future__ import annotations

from collections.abc import Iterator

from rstaudit.model.facts import MissingFact, Rate
from rstaudit.model.names import PERSISTED, SOCKETS
from rstaudit.model.rule import Confidence, Evidence, Finding, Severity
from rstaudit.model.sockets import CLOSE, LISTEN, STATE_NAMES, TIME_WAIT, Socket
from rstaudit.rules.asked import options_of
from rstaudit.rules.context import Context, Family, NotApplicable
from rstaudit.rules.processes import named, owner_of, who
from rstaudit.rules.rates import hourly, pace
from rstaudit.rules.table import sock_diag_table

RULES = Family()

SOMAXCONN = "net.core.somaxconn"
SYNCOOKIES = "net.ipv4.tcp_syncookies"
MIGRATE = "net.ipv4.tcp_migrate_req"
SYN_BACKLOG = "net.ipv4.tcp_max_syn_backlog"

#: Share of the accept queue in use from which it counts as nearly full.
_NEAR = 0.8

#: What nginx, Apache and Redis ask for when nobody tells them otherwise.
_BUSY_BACKLOG = 511

#: somaxconn before 5.4. Programs built with the C library's constant of that time, and sshd to
#: this day, ask for exactly this many, so it does not show that they wanted more.
_OLD_CONSTANT = 128

_SSH = 22


@RULES.rule("RST201", "accept-queue-full", "An accept queue is full, or nearly so", Severity.ERROR)
def accept_queue_full(ctx: Context) -> Iterator[Finding]:
    """Name the listener whose program does not accept connections as fast as they come.

    A connection waits in the accept queue from the end of the handshake until accept(). When
    the queue is over its limit, the kernel drops the SYNs and last ACKs of new clients: they
    hang and retry. With tcp_abort_on_overflow they are reset, and with SYN cookies they may
    believe in a connection that the server does not have. The limit is the smaller of the
    listen() backlog and somaxconn at the time of the call; one more than the limit fits.

    Confirm: `ss -ltn` shows queue (Recv-Q) and limit (Send-Q) of each listener.

    Leave alone: a program stopped in a debugger, or one that accepts in rare batches.

    References: include/net/sock.h sk_acceptq_is_full(); net/ipv4/tcp_input.c
    tcp_conn_request(); measured on 6.18: backlog 1 holds 2 connections
    """
    for listener in _with_limits(ctx):
        queue, limit = listener.rqueue, listener.wqueue
        if queue > limit:
            yield _queue(ctx, listener, "full", Severity.ERROR)
        elif queue > 1 and queue >= limit * _NEAR:
            yield _queue(ctx, listener, "nearly full", Severity.WARNING)


def _queue(ctx: Context, listener: Socket, how: str, severity: Severity) -> Finding:
    owner = owner_of(ctx, listener)
    message = (
        f"the accept queue of {who(ctx, owner)} is {how}: "
        f"{listener.rqueue} waiting, limit {listener.wqueue}"
    )
    evidence: Evidence = {"queue": listener.rqueue, "limit": listener.wqueue, **named(owner)}
    somaxconn = ctx.host.integer(SOMAXCONN) if ctx.has(SOMAXCONN) else None
    if somaxconn is not None and listener.wqueue >= somaxconn:
        fix = f"sysctl -w {SOMAXCONN}={max(4096, somaxconn * 4)}  # then restart the program"
    else:
        fix = "give the program a larger listen backlog, or more workers that accept"
    return Finding(message, listener.local, fix, evidence, severity=severity)


def _with_limits(ctx: Context) -> list[Socket]:
    """All listeners; raises `MissingFact` where the table does not know their limits."""
    table = sock_diag_table(ctx, "the limit of an accept queue")
    return list(table.select(LISTEN, details=True))


@RULES.rule(
    "RST202",
    "listener-on-old-limit",
    "A listener still has the accept queue limit from before somaxconn was raised",
    Severity.WARNING,
)
def listener_on_old_limit(ctx: Context) -> Iterator[Finding]:
    """Name listeners whose limit equals the kernel's default although somaxconn is higher.

    somaxconn is read when the program calls listen(), never again. A limit that equals the
    default of this kernel to the number, on a host with a higher somaxconn, most likely
    belongs to a program that asked for more and started before the change. Before 5.4 the
    default is 128, a number that many programs ask for by themselves: only information there.

    Confirm: restart the program and look at its Send-Q in `ss -ltn`.

    Leave alone: a program that is told to ask for exactly that backlog.

    References: net/ipv4/af_inet.c __inet_listen_sk(); net/socket.c __sys_listen(); measured on
    6.18: raising somaxconn left the running listener as it was
    """
    now = ctx.host.integer(SOMAXCONN)
    setting = ctx.settings.get(SOMAXCONN)
    default = setting.default(ctx.host.kernel) if setting else None
    if default is None or now <= int(default):
        raise NotApplicable(f"{SOMAXCONN} is not above this kernel's default")
    unsure = int(default) == _OLD_CONSTANT
    for listener in _with_limits(ctx):
        if listener.wqueue == int(default) and not (unsure and listener.sport == _SSH):
            owner = owner_of(ctx, listener)
            yield Finding(
                f"{who(ctx, owner)} listens with limit {default} while {SOMAXCONN} is {now}",
                listener.local,
                "restart the program, or make it call listen() again (many do on reload)",
                {"limit": int(default), SOMAXCONN: now, **named(owner)},
                Confidence.POSSIBLE if unsure else Confidence.LIKELY,
                Severity.INFO if unsure else None,
            )


@RULES.rule(
    "RST204",
    "backlog-low",
    "A busy listener has a smaller accept queue than its role needs",
    Severity.INFO,
)
def backlog_low(ctx: Context) -> Iterator[Finding]:
    """Name listeners in use whose limit is below 511, on web servers and proxies.

    511 is what nginx, Apache and Redis ask for by themselves; frameworks and hand-written
    servers often ask for 5, 10, 100 or 128. Such a queue overflows in a burst that lasts less
    than a scheduling delay.

    Confirm: `ss -ltn` (Send-Q is the limit), and `nstat -az TcpExtListenOverflows` in a burst.

    Leave alone: a port for administration, or a server with few clients.

    References: net/socket.c __sys_listen(); the documentation of nginx listen, Apache
    ListenBackLog, Redis tcp-backlog
    """
    if not {ctx.profile.name, ctx.profile.extends} & {"web", "proxy"}:
        raise NotApplicable(f"profile {ctx.profile.name} does not judge the listen backlog")
    busy = _ports_in_use(ctx)
    for listener in _with_limits(ctx):
        port, limit = listener.sport, listener.wqueue
        if limit < _BUSY_BACKLOG and port in busy and port != _SSH:
            owner = owner_of(ctx, listener)
            yield Finding(
                f"{who(ctx, owner)} listens with limit {limit}, below {_BUSY_BACKLOG}",
                listener.local,
                f"give the program a listen backlog of {_BUSY_BACKLOG} or more",
                {"limit": limit, "expected": _BUSY_BACKLOG, **named(owner)},
            )


def _ports_in_use(ctx: Context) -> set[int]:
    """Local ports with at least one connection that is open."""
    table = ctx.host.need(SOCKETS)
    every = [state for state in STATE_NAMES if state not in (LISTEN, CLOSE, TIME_WAIT)]
    return {
        int.from_bytes(table.blob[start + 4 : start + 6], "big")
        for start, _ in table.places(*every)
    }


@RULES.rule(
    "RST205",
    "listen-overflows",
    "Connections were dropped because an accept queue was full",
    Severity.WARNING,
)
def listen_overflows(ctx: Context) -> Iterator[Finding]:
    """Say how many handshakes the kernel dropped at a full accept queue, and at which listener.

    Each dropped SYN or last ACK counts, and clients retry, so the number is higher than that
    of the clients concerned. A listener counts its own drops, of which overflow is the usual
    kind; they are shown where the kernel gives them.

    Confirm: `nstat -az TcpExtListenOverflows TcpExtListenDrops`, twice.

    Leave alone: a total that stands still, left by a restart or a load test.

    References: net/ipv4/tcp_ipv4.c tcp_v4_syn_recv_sock(); net/ipv4/tcp_input.c
    tcp_conn_request(); SK_MEMINFO_DROPS in include/uapi/linux/sock_diag.h
    """
    rate = ctx.rate("TcpExt.ListenOverflows")
    if not rate.total:
        return
    where = _dropping_listeners(ctx)
    text, moves = pace(rate, "overflows")
    if where:
        text += f"; listeners with drops: {', '.join(where)}"
    drops = ctx.rate("TcpExt.ListenDrops").total
    yield Finding(
        text,
        "accept queues",
        "raise the backlog of the listener and somaxconn, or accept faster",
        {**moves, "drops": drops, "listeners": where},
        severity=_overflow_severity(rate),
    )


def _overflow_severity(rate: Rate) -> Severity:
    """An error while it happens; a warning where it happens every hour; else information."""
    if rate.now:
        return Severity.ERROR
    return Severity.WARNING if hourly(rate) >= 1 else Severity.INFO


def _dropping_listeners(ctx: Context) -> list[str]:
    try:
        table = ctx.host.need(SOCKETS)
    except MissingFact:
        return []
    return [
        f"{sock.local} ({who(ctx, owner_of(ctx, sock))}: {sock.memory.drops})"
        for sock in table.select(LISTEN, details=True)
        if sock.memory is not None and sock.memory.drops
    ]


@RULES.rule(
    "RST207",
    "syncookies-in-use",
    "SYN queues overflow and SYN cookies are being sent",
    Severity.WARNING,
)
def syncookies_in_use(ctx: Context) -> Iterator[Finding]:
    """Say that SYN cookies stand in for a full SYN queue: a flood, or a backlog too small.

    Cookies keep a server reachable under a flood of SYNs. They are no substitute for a queue:
    with the accept queue full too, clients believe they are connected while the server knows
    nothing of them, and their data goes unanswered without any reset.

    Confirm: `nstat -az TcpExtSyncookiesSent TcpExtTCPReqQFullDoCookies`, and
    `ss -tn state syn-recv` for where the SYNs come from.

    Leave alone: nothing to switch off; tcp_syncookies 1 is right.

    References: net/ipv4/tcp_input.c tcp_syn_flood_action(); measured on 6.18: four of six
    clients were ESTABLISHED without a socket at the server, no reset in 140 s
    """
    sent = ctx.rate("TcpExt.SyncookiesSent")
    if not sent.total:
        return
    text, evidence = pace(sent, "syncookies_sent")
    yield Finding(
        text,
        SYNCOOKIES,
        "raise the backlog of the flooded listener (ss -tn state syn-recv names it)",
        evidence,
        severity=None if sent.now else Severity.INFO,
    )


@RULES.rule(
    "RST209",
    "reuseport-without-migration",
    "Reloading a SO_REUSEPORT server resets the connections queued at its old listeners",
    Severity.INFO,
)
def reuseport_without_migration(ctx: Context) -> Iterator[Finding]:
    """Name addresses with several listeners while tcp_migrate_req is 0.

    With SO_REUSEPORT each worker has a listener and a queue of its own. Closing one of them
    resets every connection still in its queue, as happens at each reload that replaces workers.
    With tcp_migrate_req the kernel hands them to a sibling. Listeners that are known not to have
    SO_REUSEPORT (one for each interface) are left out.

    Confirm: `ss -ltn` shows the same address several times; clients see ECONNRESET at reloads.

    Leave alone: workers whose listeners differ in settings, or that drain before they close.

    References: net/core/sock_reuseport.c reuseport_migrate_sock(); ip-sysctl.rst; measured on
    6.18: of 20 queued clients 9 were reset with 0, none with 1
    """
    if ctx.host.integer(MIGRATE) != 0:
        return
    groups: dict[str, list[Socket]] = {}
    for listener in ctx.host.need(SOCKETS).select(LISTEN):
        groups.setdefault(listener.local, []).append(listener)
    busy_role = {ctx.profile.name, ctx.profile.extends} & {"web", "proxy"}
    for local, group in sorted(groups.items()):
        if len(group) > 1 and not _known_apart(ctx, group):
            owner = owner_of(ctx, group[0])
            yield Finding(
                f"{who(ctx, owner)}: {len(group)} listeners on one address, {MIGRATE} is 0",
                local,
                f"sysctl -w {MIGRATE}=1",
                {"listeners": len(group), MIGRATE: 0, **named(owner)},
                severity=Severity.WARNING if busy_role else None,
            )


def _known_apart(ctx: Context, group: list[Socket]) -> bool:
    """Whether none of the listeners has SO_REUSEPORT; False where their options are not known."""
    return not any(
        found is None or found.reuse_port for found in (options_of(ctx, sock) for sock in group)
    )


@RULES.rule(
    "RST210",
    "syn-backlog-moot",
    "tcp_max_syn_backlog is tuned, but SYN cookies leave it without effect",
    Severity.INFO,
)
def syn_backlog_moot(ctx: Context) -> Iterator[Finding]:
    """Say that a tuned tcp_max_syn_backlog does nothing while tcp_syncookies is on.

    The kernel consults it only where SYN cookies are off. With them on, the SYN queue ends
    at the listener's own limit, the smaller of backlog and somaxconn.

    Confirm: `nstat -az TcpExtTCPReqQFullDoCookies` counts the cookies sent in its place.

    Leave alone: it does no harm.

    References: net/ipv4/tcp_input.c tcp_conn_request(); measured on 6.18: listen(4) took 5 of
    20 connections with 128 and with 65536
    """
    if ctx.host.initial is False:
        raise NotApplicable("files below /etc set the initial network namespace, not this one")
    winner = ctx.host.need(PERSISTED).boot_values.get(SYN_BACKLOG)
    if winner is not None and ctx.host.integer(SYNCOOKIES):
        cookies = ctx.host.integer(SYNCOOKIES)
        yield Finding(
            f"{winner.origin} sets it to {winner.value} while {SYNCOOKIES} is {cookies}",
            SYN_BACKLOG,
            f"remove the line at {winner.origin}; raise the backlog and {SOMAXCONN} instead",
            {"origin": str(winner.origin), "value": winner.value, SYNCOOKIES: cookies},
        )
