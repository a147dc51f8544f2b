"""5xx: connection tracking and firewall rules."""

from __future__ import annotations

from collections.abc import Iterator

from rstaudit.model.names import FIREWALL
from rstaudit.model.rule import Confidence, Finding, Severity
from rstaudit.rules.context import Context, Family, NotApplicable

RULES = Family()

_COUNT = "net.netfilter.nf_conntrack_count"
_MAX = "net.netfilter.nf_conntrack_max"
_ESTABLISHED = "net.netfilter.nf_conntrack_tcp_timeout_established"
_CLOSE_WAIT = "net.netfilter.nf_conntrack_tcp_timeout_close_wait"
_LIBERAL = "net.netfilter.nf_conntrack_tcp_be_liberal"
_LOOSE = "net.netfilter.nf_conntrack_tcp_loose"
_KEEPALIVE = "net.ipv4.tcp_keepalive_time"

#: The kernel's own timeout for established connections, in seconds
#: (net/netfilter/nf_conntrack_proto_tcp.c, the same from 3.10 to 6.18).
_DEFAULT_ESTABLISHED = 432_000

#: What kube-proxy sets for half-closed connections, in seconds, and the kernel's default.
_LONG_CLOSE_WAIT, _DEFAULT_CLOSE_WAIT = 3600, 60


@RULES.rule(
    "RST501",
    "conntrack-table-nearly-full",
    "The connection tracking table is nearly full",
    Severity.WARNING,
)
def table_nearly_full(ctx: Context) -> Iterator[Finding]:
    """A full table drops the packets of every new connection: clients see timeouts, not resets.

    The kernel says "nf_conntrack: table full, dropping packet" in its log and counts the drops
    per processor, but no counter of the network stack moves. Above 95 percent the next burst
    of connections fills it.

    Confirm: compare net.netfilter.nf_conntrack_count with nf_conntrack_max again in a busy
    hour, and look for "table full" in dmesg.
    Leave alone: when the count is a peak that a load test made.
    References: Documentation/networking/nf_conntrack-sysctl.rst;
    net/netfilter/nf_conntrack_core.c (__nf_conntrack_alloc)
    """
    count, limit = ctx.host.integer(_COUNT), ctx.host.integer(_MAX)
    if limit == 0:
        raise NotApplicable("the connection tracking table has no limit")
    percent = 100 * count // limit
    if 100 * count <= 80 * limit:
        return
    fix = f"sysctl -w {_MAX}={2 * limit}"
    if ctx.host.initial is False:
        fix = f"Raise {_MAX} in the initial network namespace: the limit is the machine's."
    yield Finding(
        f"{count} of {limit} entries of the connection tracking table are in use ({percent} %);"
        " when it is full, new connections are dropped without an answer",
        _MAX,
        fix,
        {"count": count, "limit": limit, "percent": percent},
        severity=Severity.ERROR if 100 * count > 95 * limit else None,
    )


@RULES.rule(
    "RST502",
    "conntrack-forgets-before-keepalive",
    "Connection tracking forgets idle connections before keepalive probes them",
    Severity.ERROR,
)
def forgets_before_keepalive(ctx: Context) -> Iterator[Finding]:
    """An entry that expires takes its address translation and its firewall state with it.

    If the first packet after that comes from the server, the translating host has no entry for
    it and answers with a reset; a strict firewall drops it. A keepalive probe sent earlier than
    the timeout keeps the entry alive. RFC 5382 asks translators for at least 2 hours and 4
    minutes, just above the usual keepalive time of 2 hours.

    Confirm: `conntrack -L -p tcp` shows the seconds left of each entry; leave a connection
    idle for longer and send from the server's side.
    Leave alone: when every program with idle connections sets a shorter TCP_KEEPIDLE on its
    own sockets.
    References: RFC 5382 REQ-5; Documentation/networking/nf_conntrack-sysctl.rst;
    measured on 6.18: with 3 s timeout and 6 s idle, data from the server was answered by a reset
    from the translating host
    """
    timeout, keepalive = ctx.host.integer(_ESTABLISHED), ctx.host.integer(_KEEPALIVE)
    if timeout > keepalive:
        return
    _require_tracking(ctx)
    better = _DEFAULT_ESTABLISHED if keepalive < _DEFAULT_ESTABLISHED else 2 * keepalive
    yield Finding(
        f"connection tracking forgets a connection after {timeout} s without a packet, but the"
        f" first keepalive probe goes out after {keepalive} s",
        _ESTABLISHED,
        f"sysctl -w {_ESTABLISHED}={better}",
        {"established_timeout_s": timeout, "keepalive_time_s": keepalive},
    )


@RULES.rule(
    "RST503",
    "nat-short-close-wait",
    "Address translation forgets half-closed connections early",
    Severity.WARNING,
)
def short_close_wait(ctx: Context) -> Iterator[Finding]:
    """A client that has sent its request may close its direction and wait for a long answer.

    The entry is then in CLOSE_WAIT and lives for 60 seconds by default after the last packet. An
    answer that begins later finds no entry: this host answers the server with a reset, and the
    client waits for ever. kube-proxy sets one hour for this reason.

    Confirm: `conntrack -L -p tcp --state CLOSE_WAIT` while a slow answer is under way.
    Leave alone: when nothing behind this host half-closes, or every answer begins well
    before the timeout.
    References: net/netfilter/nf_conntrack_proto_tcp.c; kube-proxy option
    --conntrack-tcp-timeout-close-wait; moby issue 29655; measured on 6.18: reset to the server,
    client hangs
    """
    timeout = ctx.host.integer(_CLOSE_WAIT)
    if timeout >= _LONG_CLOSE_WAIT:
        return
    _require_nat(ctx)
    yield Finding(
        f"this host translates addresses and forgets a half-closed connection after {timeout} s"
        " of silence; an answer that begins later is reset",
        _CLOSE_WAIT,
        f"sysctl -w {_CLOSE_WAIT}={_LONG_CLOSE_WAIT}",
        {"close_wait_timeout_s": timeout},
        severity=None if timeout <= _DEFAULT_CLOSE_WAIT else Severity.INFO,
    )


@RULES.rule(
    "RST504",
    "nat-answers-invalid-packets",
    "Packets that address translation cannot place are answered with a reset",
    Severity.WARNING,
)
def answers_invalid(ctx: Context) -> Iterator[Finding]:
    """Connection tracking checks sequence numbers and calls a segment outside the window INVALID.

    Such a segment is not translated back. It reaches a network stack that knows no such
    connection, which answers the real peer with a reset: a healthy connection dies over one
    late packet. Two things prevent it: `nf_conntrack_tcp_be_liberal = 1`, or a firewall rule
    that drops INVALID packets.

    Confirm: `conntrack -S` shows `invalid` rising, and Tcp.OutRsts of this host rises with it.
    Leave alone: when the resets do not occur. From 6.1 on segments below the window are
    ignored, and only those above it are INVALID.
    References: net/netfilter/nf_conntrack_proto_tcp.c; Kubernetes blog of 2019-03-29 on
    kube-proxy and connection resets; kube-proxy option --conntrack-tcp-be-liberal; measured on
    6.18: reset without, none with either remedy
    """
    liberal = ctx.host.integer(_LIBERAL)
    if liberal:
        return
    _require_nat(ctx)
    if ctx.host.need(FIREWALL).drops_invalid:
        return
    yield Finding(
        f"this host translates addresses, {_LIBERAL} is {liberal}, and no firewall rule drops"
        " packets of state INVALID: a late segment can reset a healthy connection",
        _LIBERAL,
        f"sysctl -w {_LIBERAL}=1",
        {"be_liberal": liberal, "firewall": list(ctx.host.need(FIREWALL).sources)},
        Confidence.LIKELY,
    )


@RULES.rule(
    "RST505",
    "nat-no-mid-stream-pickup",
    "Address translation refuses connections that it has forgotten",
    Severity.WARNING,
)
def no_pickup(ctx: Context) -> Iterator[Finding]:
    """With `nf_conntrack_tcp_loose = 0` only a SYN can make an entry.

    After an entry is lost (idle timeout, restart, a flushed table) the client's next packet goes
    out untranslated, and the server answers it with a reset. With 1, the default, plain masquerade
    picks the connection up again when the client speaks first.

    Confirm: `conntrack -D` on one idle connection, then send from the client.
    Leave alone: on a firewall that has to refuse connections that it has not seen begin; its
    idle timeout then has to be longer than every keepalive time.
    References: Documentation/networking/nf_conntrack-sysctl.rst; measured on 6.18: the client's
    packet left untranslated and was reset by the server
    """
    loose = ctx.host.integer(_LOOSE)
    if loose:
        return
    _require_nat(ctx)
    yield Finding(
        f"this host translates addresses and {_LOOSE} is {loose}: a connection whose entry is"
        " lost is reset by the server at the client's next packet",
        _LOOSE,
        f"sysctl -w {_LOOSE}=1",
        {"loose": loose},
    )


@RULES.rule(
    "RST506",
    "firewall-rejects-with-reset",
    "Firewall rules answer TCP with a reset",
    Severity.INFO,
)
def rejects_with_reset(ctx: Context) -> Iterator[Finding]:
    """A rule that rejects with tcp-reset looks to a client exactly like a closed port.

    Its connect() fails with ECONNREFUSED, and a connection that is cut while it is open fails
    with ECONNRESET. Neither the socket counters nor a trace of sent resets shows it on this host.

    Confirm: the packet counter of the rule rises as the resets occur.
    Leave alone: when the rule is meant: a reset tells clients at once what a drop would make
    them wait for.
    References: nft(8), reject statement; iptables-extensions(8), REJECT
    """
    for reject in ctx.host.need(FIREWALL).rejects:
        yield Finding(
            f"{reject.source}, chain {reject.chain}: {reject.text}",
            reject.chain,
            "Nothing, if the rule is meant; else delete it, or let it drop instead.",
            {"source": reject.source, "chain": reject.chain, "rule": reject.text},
        )


def _require_tracking(ctx: Context) -> None:
    """Go on only where connections are tracked: entries exist, or addresses are translated."""
    if ctx.host.integer(_COUNT) == 0 and not ctx.host.need(FIREWALL).nat:
        raise NotApplicable("connection tracking is loaded, but tracks nothing here")


def _require_nat(ctx: Context) -> None:
    if not ctx.host.need(FIREWALL).nat:
        raise NotApplicable("this host does not translate addresses")
