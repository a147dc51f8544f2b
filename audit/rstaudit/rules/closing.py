"""3xx: how connections end - CLOSE_WAIT, unread data, FIN_WAIT2, orphans, resets sent."""

from __future__ import annotations

from collections.abc import Iterator

from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.names import LIMITS, SOCKETS
from rstaudit.model.rule import Confidence, Evidence, Finding, Severity
from rstaudit.model.sockets import CLOSE_WAIT, FIN_WAIT2, Owner, Socket
from rstaudit.rules.context import Context, Family
from rstaudit.rules.growth import Growth, growth_of
from rstaudit.rules.processes import by_owner, named, owners_gap, who
from rstaudit.rules.rates import hourly, pace

RULES = Family()

#: CLOSE_WAIT of one process: this many are a leak, this many an emergency.
_LEAK, _MANY = 10, 100

#: One alone counts when it has lasted this long, in milliseconds.
_LASTING_MS = 60_000

#: Seconds to the descriptor limit, at the present pace, that make a leak an emergency.
_SOON = 600

#: Resets a second, caused by programs of this host, that make a warning.
_RESETS = 1.0


@RULES.rule(
    "RST301",
    "close-wait-held",
    "A process does not close connections that the other end has closed",
    Severity.WARNING,
)
def close_wait_held(ctx: Context) -> Iterator[Finding]:
    """Name the processes that hold sockets in CLOSE_WAIT, how many and for how long.

    CLOSE_WAIT means that the peer has sent its FIN and this program has not called close().
    No timer ends it and no setting helps: the program has forgotten the connection, most often
    on an error path or in an HTTP client whose response was never released. Each one holds a
    descriptor, and at the limit accept() and connect() fail. Where two samples were taken
    (`--interval`), the growth between them says when that will be.

    Confirm: `ss -tnp state close-wait`, twice, some minutes apart.

    Leave alone: a few that come and go; they belong to programs that are about to close.

    References: RFC 9293 section 3.3.2; net/ipv4/tcp_input.c tcp_fin()
    """
    waiting = ctx.host.need(SOCKETS).select(CLOSE_WAIT, details=True)
    unsure: Gap | None = None
    for owner, sockets in by_owner(ctx, waiting).items():
        oldest = max((s.info.last_ack_recv for s in sockets if s.info), default=None)
        limit = _descriptor_limit(ctx, owner)
        growth = growth_of(ctx, owner, len(sockets))
        severity = _leak_severity(len(sockets), oldest, limit, growth)
        if severity is not None:
            yield _leak(ctx, owner, sockets, oldest, limit, severity, growth)
        else:
            unsure = unsure or _unsure(ctx, owner, oldest, limit)
    if unsure is not None:
        raise MissingFact(unsure)


def _unsure(
    ctx: Context, owner: Owner | None, oldest_ms: int | None, limit: int | None
) -> Gap | None:
    """What is not known of a few sockets, without which nobody can say that they are harmless."""
    if oldest_ms is None:
        detail = "/proc/net/tcp does not show how long a socket has been in CLOSE_WAIT"
        return Gap(SOCKETS.name, "not-recorded", detail)
    if owner is None:
        return owners_gap(ctx)
    return None if limit is not None else _limits_gap(ctx)


def _limits_gap(ctx: Context) -> Gap | None:
    try:
        ctx.host.need(LIMITS)
    except MissingFact as missing:
        return missing.gap
    return ctx.host.gaps.get(LIMITS.name)


def _descriptor_limit(ctx: Context, owner: Owner | None) -> int | None:
    if owner is None:
        return None
    try:
        limits = ctx.host.need(LIMITS)
    except MissingFact:
        return None
    return next((entry.soft for entry in limits if entry.pid == owner.pid), None)


def _leak_severity(
    count: int, oldest_ms: int | None, limit: int | None, growth: Growth | None
) -> Severity | None:
    if count >= _MANY or (limit and count >= limit / 2):
        return Severity.ERROR
    if count >= _LEAK and growth and growth.left is not None and growth.left < _SOON:
        return Severity.ERROR
    if count >= _LEAK:
        return Severity.WARNING
    lasting = oldest_ms is not None and oldest_ms >= _LASTING_MS
    return Severity.INFO if lasting else None


def _leak(
    ctx: Context,
    owner: Owner | None,
    sockets: list[Socket],
    oldest_ms: int | None,
    limit: int | None,
    severity: Severity,
    growth: Growth | None,
) -> Finding:
    evidence: Evidence = {"close_wait": len(sockets), **named(owner)}
    message = f"{who(ctx, owner)} holds {len(sockets)} in CLOSE_WAIT"
    if oldest_ms is not None:
        message += f", the oldest for {oldest_ms // 1000} s"
        evidence = {**evidence, "oldest_seconds": oldest_ms // 1000}
    if limit:
        percent = round(100 * len(sockets) / limit, 1)
        message += f"; that is {percent:g} % of its {limit} descriptors"
        evidence = {**evidence, "percent": percent, "descriptor_limit": limit}
    if growth is not None:
        message += growth.words
        evidence = {**evidence, **growth.evidence}
    fix = "make the program close() what it has read to the end; a restart frees them meanwhile"
    return Finding(message, sockets[0].peer, fix, evidence, severity=severity)


@RULES.rule(
    "RST302",
    "close-will-reset",
    "A process holds unread data on connections the peer has closed: its close() will reset",
    Severity.WARNING,
)
def close_will_reset(ctx: Context) -> Iterator[Finding]:
    """Name the processes whose next close() sends a reset instead of a FIN.

    close() with unread bytes in the receive queue resets the connection. The queue of a
    CLOSE_WAIT socket counts the peer's FIN as one, so 2 or more means unread bytes.

    Confirm: `ss -tnp state close-wait` (Recv-Q).

    Leave alone: when the peer is gone for good, nobody is hurt by the reset.

    References: net/ipv4/tcp.c __tcp_close(); RFC 2525 section 2.17; measured on 6.18: 5 unread
    bytes and a FIN show as 6
    """
    closed = ctx.host.need(SOCKETS).select(CLOSE_WAIT)
    unread = [sock for sock in closed if sock.rqueue >= 2]
    for owner, sockets in by_owner(ctx, unread).items():
        waiting = sum(sock.rqueue - 1 for sock in sockets)
        yield Finding(
            f"{who(ctx, owner)}: {waiting} unread bytes on {len(sockets)} such connections",
            sockets[0].peer,
            "make the program read to the end before it closes",
            {"unread_bytes": waiting, "sockets": len(sockets), **named(owner)},
        )


@RULES.rule(
    "RST303",
    "fin-wait2-piling-up",
    "Orphaned connections pile up in FIN_WAIT2: peers do not close",
    Severity.WARNING,
)
def fin_wait2_piling_up(ctx: Context) -> Iterator[Finding]:
    """Say how much of the TIME_WAIT table connections in FIN_WAIT2 take up.

    This host closed, the peer acknowledged and never sent its own FIN. An orphan waits
    tcp_fin_timeout for it in a minisocket that counts against tcp_max_tw_buckets. When that
    ends, the peer's late data is answered with a reset.

    Confirm: `ss -tan state fin-wait-2`; the peers are in CLOSE_WAIT.

    Leave alone: half-closed connections that a program still reads from; they have an owner
    and are not counted here.

    References: net/ipv4/tcp.c tcp_fin_time(); net/ipv4/tcp_minisocks.c tcp_time_wait(); measured
    on 6.18: gone after 61 s with tcp_fin_timeout 60, late data then reset
    """
    key = "net.ipv4.tcp_max_tw_buckets"
    limit = ctx.host.integer(key)
    orphans = [sock for sock in ctx.host.need(SOCKETS).select(FIN_WAIT2) if not sock.inode]
    if orphans and len(orphans) >= limit / 4:
        percent = round(100 * len(orphans) / limit, 1) if limit > 0 else 100
        yield Finding(
            f"{len(orphans)} orphans in FIN_WAIT2, {percent:g} % of {key} {limit}",
            orphans[0].peer,
            "make the peer close its side; leave tcp_fin_timeout at 60",
            {"fin_wait2": len(orphans), "percent": percent, key: limit},
        )


@RULES.rule(
    "RST304",
    "orphans-near-limit",
    "Orphans are near tcp_max_orphans: beyond it connections are reset at once",
    Severity.WARNING,
)
def orphans_near_limit(ctx: Context) -> Iterator[Finding]:
    """Compare the orphans of the host with the limit from which the kernel resets them.

    An orphan is a connection that its program has closed and that still has something to send
    or to wait for. Over the limit the kernel resets it and its data is lost. It may count an
    orphan two or four times when the peer does not answer, so a quarter is worth a look.

    Confirm: `cat /proc/net/sockstat` (orphan) and `nstat -az TcpExtTCPAbortOnMemory`.

    Leave alone: a burst that is gone with the next look.

    References: net/ipv4/tcp_timer.c tcp_out_of_resources(); net/ipv4/tcp.c tcp_check_oom();
    ip-sysctl.rst tcp_max_orphans
    """
    key = "net.ipv4.tcp_max_orphans"
    limit = ctx.host.integer(key)
    orphans = ctx.rate("sockstat.TCP.orphan").total
    if orphans and orphans >= limit / 4:
        severe = orphans >= limit / 2
        yield Finding(
            f"{orphans} orphans, the limit is {limit}",
            key,
            f"sysctl -w {key}={limit * 2}",
            {"orphans": orphans, key: limit},
            severity=Severity.ERROR if severe else None,
        )


@RULES.rule(
    "RST306",
    "resets-sent",
    "This host sends resets; the counters say why",
    Severity.INFO,
)
def resets_sent(ctx: Context) -> Iterator[Finding]:
    """Split the resets this host has sent by what the kernel counted beside them.

    Unread data at close(), SO_LINGER with time 0 together with data after close, memory, and
    TCP_LINGER2 have counters of their own. Timeouts have one too, but only an expired
    keepalive sends a reset, so that share is an upper bound. What no counter explains went to
    closed ports or late segments. AttemptFails and EstabResets are no resets received: the
    kernel does not count those.

    Confirm: `nstat -az TcpOutRsts 'TcpExtTCPAbort*'`, twice.

    Leave alone: many resets are harmless, such as those to a TLS close_notify that arrives
    after close(), to port scans, or of a proxy: HAProxy resets its kept connections to servers
    when the clients are gone, unless `http-reuse always` shares them.

    References: net/ipv4/tcp.c __tcp_close(); net/ipv4/tcp_timer.c tcp_write_err(); measured on
    6.18: each kind moved exactly its own counter
    """
    sent = ctx.rate("Tcp.OutRsts")
    rare = sent.average is not None and hourly(sent) < 1
    if not sent.total or (rare and not sent.now):
        return
    causes = {label: ctx.rate(f"TcpExt.{name}") for label, name in _CAUSES.items()}
    shares = _shares(sent.total, {label: rate.total for label, rate in causes.items()})
    programs = sum(causes[label].now or 0 for label in _BY_PROGRAMS)
    text, evidence = pace(sent, "resets_sent")
    text += ": " + ", ".join(f"{share:g} % {label}" for label, share in shares.items())
    evidence |= {f"percent {label}": share for label, share in shares.items()}
    evidence |= {label: rate.total for label, rate in causes.items() if rate.total}
    yield Finding(
        text,
        "Tcp.OutRsts",
        "rstaudit explain ECONNRESET",
        evidence,
        Confidence.LIKELY,
        Severity.WARNING if programs >= _RESETS else None,
    )


_CAUSES = {
    "close with unread data": "TCPAbortOnClose",
    "SO_LINGER abort or data after close": "TCPAbortOnData",
    "keepalive expired, at most": "TCPAbortOnTimeout",
    "out of memory or orphans": "TCPAbortOnMemory",
    "negative TCP_LINGER2": "TCPAbortOnLinger",
}

_BY_PROGRAMS = (
    "close with unread data",
    "SO_LINGER abort or data after close",
    "negative TCP_LINGER2",
)


def _shares(sent: int, counted: dict[str, int]) -> dict[str, float]:
    """Percent of the resets by cause, largest first; what is left went to nobody's socket."""
    known = {label: min(count, sent) for label, count in counted.items() if count}
    rest = max(0, sent - sum(known.values()))
    parts = {**known, "closed port or late segment": rest}
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    return {label: round(100 * count / sent, 1) for label, count in ordered if count}
