"""1xx: ephemeral ports and TIME_WAIT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rstaudit.model.facts import NOTHING_TO_JUDGE, Gap, MissingFact
from rstaudit.model.names import SERVICES, SOCKETS
from rstaudit.model.ports import Peer, Use, older_than, port_flags, use_by_peer
from rstaudit.model.rule import Evidence, Finding, Severity
from rstaudit.model.sockets import LISTEN, Socket, is_loopback
from rstaudit.parse.errors import ParseError
from rstaudit.parse.portlist import format_ports, parse_ports
from rstaudit.rules.context import Context, Family, NotApplicable
from rstaudit.rules.processes import named, owner_of, owners_gap, who
from rstaudit.rules.rates import pace

RULES = Family()

RANGE = "net.ipv4.ip_local_port_range"
RESERVED = "net.ipv4.ip_local_reserved_ports"
TW_REUSE = "net.ipv4.tcp_tw_reuse"
TIMESTAMPS = "net.ipv4.tcp_timestamps"
MAX_TW = "net.ipv4.tcp_max_tw_buckets"

#: Share of the ports still free, below which the rule speaks.
_FEW, _VERY_FEW = 0.25, 0.10

#: The lower end of the kernel's own port range: no listener gets a lower port by chance.
_KERNEL_LOW = 32768


class Budget(NamedTuple):
    """The local ports connect() may choose from, and how TIME_WAIT gives them back."""

    low: int
    high: int
    reserved: frozenset[int]
    reuse: int
    timestamps: int
    delay_ms: int

    @property
    def size(self) -> int:
        """How many ports connect() may choose from."""
        taken = sum(self.low <= port <= self.high for port in self.reserved)
        return self.high - self.low + 1 - taken

    def reuses(self, peer: Peer) -> bool:
        """Whether connect() may take over a port in TIME_WAIT towards ``peer``."""
        if not self.timestamps or not self.reuse:
            return False
        return self.reuse == 1 or is_loopback(peer.src) or is_loopback(peer.dst)


def budget_of(ctx: Context) -> Budget:
    """The port budget of the host; raises `MissingFact`."""
    host = ctx.host
    span = host.integers(RANGE)
    if len(span) != 2 or not 0 <= span[0] <= span[1] <= 65535:
        raise MissingFact(Gap(f"sysctl:{RANGE}", "malformed", f"{RANGE} is not a port range"))
    return Budget(
        *span, _reserved(ctx), host.integer(TW_REUSE), host.integer(TIMESTAMPS), _delay(ctx)
    )  # fmt: skip


def _delay(ctx: Context) -> int:
    """Milliseconds; a kernel without the key waits one second (net/ipv4/tcp_ipv4.c)."""
    key = f"{TW_REUSE}_delay"
    setting = ctx.settings.get(key)
    try:
        return ctx.host.integer(key)
    except MissingFact as missing:
        older = setting is None or setting.exists(ctx.host.kernel) is not True
        if missing.gap.reason in NOTHING_TO_JUDGE or older:
            return 1000
        raise


def _reserved(ctx: Context) -> frozenset[int]:
    try:
        return parse_ports(ctx.host.sysctl(RESERVED))
    except ParseError as error:
        raise MissingFact(Gap(f"sysctl:{RESERVED}", "malformed", str(error))) from None


@RULES.rule(
    "RST101",
    "peer-port-exhaustion",
    "Ephemeral ports towards a destination are running out",
    Severity.ERROR,
)
def peer_port_exhaustion(ctx: Context) -> Iterator[Finding]:
    """Say which destination is close to using up the local ports of this host.

    A local port is taken once per source address, destination address and destination port,
    not once per host: one backend can be out of ports while every other one is fine. When none
    is left, connect() fails with EADDRNOTAVAIL, or bind() of a source address with EADDRINUSE.
    The end that closes first keeps the port in TIME_WAIT for 60 s; no setting shortens that.
    A port in TIME_WAIT is counted as free where tcp_tw_reuse, tcp_timestamps and
    tcp_tw_reuse_delay let connect() take it over.

    Confirm: `ss -tan dst ADDRESS:PORT | awk '{print $1}' | sort | uniq -c` counts the states
    towards the destination that the finding names.

    Leave alone: a short batch that opens many connections and then ends, if its errors are
    retried a minute later.

    References: net/ipv4/inet_hashtables.c __inet_hash_connect(); net/ipv4/tcp_ipv4.c
    tcp_twsk_unique(); measured on 6.18: 10 ports, 11th connect fails with EADDRNOTAVAIL,
    one destination being exhausted leaves the next one untouched
    """
    budget = budget_of(ctx)
    table = ctx.host.need(SOCKETS)
    usable = port_flags(budget.low, budget.high, budget.reserved)
    floor = max(1, int(budget.size * (1 - _FEW)))
    for peer, use in sorted(use_by_peer(table, usable, floor).items()):
        free = budget.size - use.time_wait - use.other
        if budget.reuses(peer):
            free += older_than(table, usable, budget.delay_ms, peer)
        if free <= budget.size * _FEW:
            yield _exhausted(budget, peer, use, max(0, free))


def _exhausted(budget: Budget, peer: Peer, use: Use, free: int) -> Finding:
    seconds = budget.delay_ms / 1000 if budget.reuses(peer) else 60
    rate = round(max(0, budget.size - use.other) / seconds, 1)
    evidence: Evidence = {
        "ports": budget.size, "free": free, "time_wait": use.time_wait, "other_states": use.other,
        "new_connections_per_second": rate, "seconds_held": seconds,
    }  # fmt: skip
    first = "this host closes first and" if use.time_wait else "if this host closes first it"
    message = (
        f"{free} of {budget.size} ephemeral ports are free: {use.time_wait} in TIME_WAIT, "
        f"{use.other} in other states; {first} keeps each port {seconds:g} s, "
        f"so {rate:g} new connections a second can be sustained"
    )
    severity = Severity.ERROR if free <= budget.size * _VERY_FEW else Severity.WARNING
    return Finding(message, peer.label, _more_ports(budget, use), evidence, severity=severity)


def _more_ports(budget: Budget, use: Use) -> str:
    if use.other >= use.time_wait:
        return "keep fewer connections open to it, or connect from a second source address"
    if budget.reuse != 1 and budget.timestamps:
        return f"sysctl -w {TW_REUSE}=1"
    if not budget.timestamps:
        return f"sysctl -w {TIMESTAMPS}=1 {TW_REUSE}=1"
    return "keep connections open and reuse them, or let the other end close first"


@RULES.rule(
    "RST102",
    "tw-reuse-without-timestamps",
    "tcp_tw_reuse is on but does nothing, because TCP timestamps are off",
    Severity.WARNING,
)
def tw_reuse_without_timestamps(ctx: Context) -> Iterator[Finding]:
    """Say that tcp_tw_reuse has no effect while tcp_timestamps is 0.

    connect() takes over a port in TIME_WAIT only when the old connection carried timestamps:
    they are what tells its late segments from those of the new connection.

    Confirm: `nstat -az TcpExtTWRecycled` does not move while the host opens connections.

    Leave alone: nothing to keep; with timestamps off PAWS is off too.

    References: net/ipv4/tcp_ipv4.c tcp_twsk_unique(); measured on 6.18: 50 ports, 120 connects,
    timestamps 0 and reuse 1 gave 70 times EADDRNOTAVAIL
    """
    if ctx.host.integer(TW_REUSE) == 1 and ctx.host.integer(TIMESTAMPS) == 0:
        yield Finding(
            f"{TW_REUSE} is 1 while {TIMESTAMPS} is 0",
            TW_REUSE,
            f"sysctl -w {TIMESTAMPS}=1",
            {TW_REUSE: 1, TIMESTAMPS: 0},
        )


@RULES.rule(
    "RST103",
    "rfc1337-without-timestamps",
    "tcp_rfc1337 is on while TCP timestamps are off: quick reconnects hang",
    Severity.ERROR,
)
def rfc1337_without_timestamps(ctx: Context) -> Iterator[Finding]:
    """Say that a reconnect from the same port can hang for more than a minute.

    Without timestamps a new SYN for a port in TIME_WAIT may look old and is answered with an
    ACK; the client resets, and that reset should clear the TIME_WAIT socket. tcp_rfc1337
    ignores it, so the client keeps trying until TIME_WAIT ends.

    Confirm: `ss -tan state time-wait` shows the four-tuple that the client retries.

    Leave alone: tcp_rfc1337 with timestamps on is harmless.

    References: net/ipv4/tcp_minisocks.c tcp_timewait_state_process(); RFC 1337; measured on
    6.18: the reconnect took 68.4 s with both, 0.01 s with tcp_rfc1337 off
    """
    if ctx.host.integer("net.ipv4.tcp_rfc1337") and ctx.host.integer(TIMESTAMPS) == 0:
        yield Finding(
            f"net.ipv4.tcp_rfc1337 is on while {TIMESTAMPS} is 0",
            TIMESTAMPS,
            f"sysctl -w {TIMESTAMPS}=1",
            {"net.ipv4.tcp_rfc1337": ctx.host.integer("net.ipv4.tcp_rfc1337"), TIMESTAMPS: 0},
        )


@RULES.rule(
    "RST104",
    "time-wait-overflow",
    "The TIME_WAIT table overflows: connections end without TIME_WAIT",
    Severity.ERROR,
)
def time_wait_overflow(ctx: Context) -> Iterator[Finding]:
    """Say that tcp_max_tw_buckets is, was, or is about to be exceeded.

    Over the limit the kernel drops the connection at once instead of keeping it in TIME_WAIT.
    The peer's late data, and even its FIN, are then answered with a reset. Nothing is logged;
    only a counter tells.

    Confirm: `nstat -az TcpExtTCPTimeWaitOverflow` and `ss -tan state time-wait | wc -l`.

    Leave alone: a total that has not moved for days, after a load test.

    References: net/ipv4/inet_timewait_sock.c inet_twsk_alloc(); measured on 6.18: limit 5, 20
    closes left 5 TIME_WAIT and 15 overflows, late data and FIN were reset
    """
    limit = ctx.host.integer(MAX_TW)
    fix = f"sysctl -w {MAX_TW}={max(262144, limit * 2)}"
    rate = ctx.rate("TcpExt.TCPTimeWaitOverflow")
    if rate.total:
        text, moves = pace(rate, "overflows")
        yield Finding(
            f"{text}; the limit is {limit}",
            MAX_TW,
            fix,
            {**moves, MAX_TW: limit},
            severity=None if rate.now else Severity.WARNING,
        )
    waiting = ctx.host.need(SOCKETS).time_wait_count
    if waiting >= limit * 0.9:
        message = f"{waiting} sockets are in TIME_WAIT, the limit is {limit}"
        found = {"time_wait": waiting, MAX_TW: limit}
        yield Finding(message, MAX_TW, fix, found, severity=Severity.WARNING)


@RULES.rule(
    "RST106",
    "port-range-over-services",
    "Outgoing connections may take the port of a service while it restarts",
    Severity.WARNING,
)
def port_range_over_services(ctx: Context) -> Iterator[Finding]:
    """Name the listeners whose port lies in the ephemeral range and is not reserved.

    connect() never chooses the port of a live listener. While the service is down, an outgoing
    connection can take it, and the restart fails with EADDRINUSE. Only ports that a service
    keeps are named: those below 32768 (the range was widened over them), those held by
    systemd for a socket unit, and those that /etc/services lists.

    Confirm: `ss -ltnp` against `sysctl net.ipv4.ip_local_port_range
    net.ipv4.ip_local_reserved_ports`.

    Leave alone: a listener that picks a free port at each start.

    References: ip-sysctl.rst ip_local_reserved_ports; measured on 6.18: range 40000-40003 with a
    listener on 40001, connect() used the three others and then failed
    """
    budget = budget_of(ctx)
    unsure: Gap | None = None
    for port, listener in sorted(_listeners(ctx).items()):
        if not budget.low <= port <= budget.high or port in budget.reserved:
            continue
        if _keeps_its_port(ctx, port, listener):
            yield _unreserved(ctx, budget, port, listener)
        elif owner_of(ctx, listener) is None:
            unsure = unsure or owners_gap(ctx)
    if unsure is not None:
        raise MissingFact(unsure)


def _listeners(ctx: Context) -> dict[int, Socket]:
    return {sock.sport: sock for sock in ctx.host.need(SOCKETS).select(LISTEN)}


def _keeps_its_port(ctx: Context, port: int, listener: Socket) -> bool:
    owner = owner_of(ctx, listener)
    return (
        port < _KERNEL_LOW
        or (owner is not None and owner.pid == 1 and owner.comm == "systemd")
        or port in ctx.host.need(SERVICES)
    )


def _unreserved(ctx: Context, budget: Budget, port: int, listener: Socket) -> Finding:
    owner = owner_of(ctx, listener)
    span = f"{budget.low}-{budget.high}"
    return Finding(
        f"port {port} of {who(ctx, owner)} lies in the ephemeral range {span}, not reserved",
        listener.local,
        f"sysctl -w {RESERVED}={format_ports(budget.reserved | {port})}",
        {"port": port, "range": span, **named(owner)},
    )


@RULES.rule(
    "RST107",
    "tw-reuse-on-a-server",
    "tcp_tw_reuse is 1 on a host that only accepts connections, where it does nothing",
    Severity.INFO,
)
def tw_reuse_on_a_server(ctx: Context) -> Iterator[Finding]:
    """Say that the setting has no effect here: it acts in connect(), never in accept().

    A server that closes first holds TIME_WAIT on its own listening port. Those sockets are
    neither fewer nor shorter-lived with tcp_tw_reuse, and they cost it no ephemeral port.

    Confirm: `ss -tan` shows only local ports that `ss -ltn` lists too.

    Leave alone: it does no harm here; set it back to 2 when the file is edited anyway.

    References: net/ipv4/tcp_ipv4.c tcp_twsk_unique(), called only from
    net/ipv4/inet_hashtables.c for connect(); Bernat, Coping with the TCP TIME-WAIT state
    """
    if ctx.host.integer(TW_REUSE) != 1:
        return
    listening = set(_listeners(ctx))
    served, outgoing = _directions(ctx, listening)
    if not listening or not served:
        raise NotApplicable("no accepted connection to judge by")
    if not outgoing:
        yield Finding(
            f"{TW_REUSE} is 1; all {served} connections came in, none went out",
            TW_REUSE,
            f"sysctl -w {TW_REUSE}=2",
            {TW_REUSE: 1, "incoming": served, "outgoing": 0},
        )


def _directions(ctx: Context, listening: set[int]) -> tuple[int, int]:
    """Sockets on a listening port, and on any other, leaving out those within this host."""
    every = port_flags(0, 65535)
    served = port_flags(0, 65535, frozenset(range(65536)) - listening)
    table = ctx.host.need(SOCKETS)
    here, total = (
        sum(
            use.time_wait + use.other
            for peer, use in use_by_peer(table, flags).items()
            if not is_loopback(peer.dst)
        )
        for flags in (served, every)
    )
    return here, total - here
