"""What the catalogue says each end sees of a cause is what this kernel does, call by call."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from rstaudit.catalogue.causes import causes
from support import staging
from support.netns import write_sysctl
from support.staging import (
    Call,
    calls,
    connect,
    listener,
    packet_filter,
    pair,
    port,
    read,
    run,
    sockets_in,
    tcp,
    wait_until,
    write,
)

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("netns")]

#: Side, call and result, as in a report of the catalogue.
Seen = tuple[str, str, str]
Stage = Callable[[], Iterator[Seen]]

STAGES: dict[str, Stage] = {}

#: Causes that no program notices, and one that needs two hosts and a NAT between them.
NOT_STAGED = {
    "syn-scan", "unsolicited-segment", "late-segment", "memory-pressure", "mptcp-reset",
    "undetermined", "nat-invalid",
}  # fmt: skip

READ_FIRST, WRITE_FIRST = ("read", "write"), ("write", "write")
USER_TIMEOUT_MS = 500


@pytest.fixture(autouse=True)
def sockets() -> Iterator[None]:
    """Every socket of a test is closed at its end."""
    yield
    staging.close_all()


def stage(function: Stage) -> Stage:
    """Register a generator named after the cause that it brings about."""
    STAGES[function.__name__.replace("_", "-")] = function
    return function


@pytest.mark.parametrize("cause", sorted(causes().keys() - NOT_STAGED))
def test_each_end_sees_what_the_catalogue_says(cause: str) -> None:
    """Everything seen is a report of the cause, and every report of the cause was seen."""
    assert set(STAGES[cause]()) == {(r.side, r.call, r.result) for r in causes()[cause].reports}


def at(side: str, seen: list[Call]) -> Iterator[Seen]:
    """The calls as seen from one side."""
    for call, result in seen:
        yield side, call, result


def aborted(how: Callable[[socket.socket], None], protocol: int = 0) -> Iterator[Seen]:
    """What the client sees after ``how`` ended the accepted side, read first and write first."""
    for order in (READ_FIRST, WRITE_FIRST):
        client, end = pair(protocol)
        how(end)
        yield from at("reset", calls(client, *order))


def meeting(client: socket.socket, order: tuple[str, ...]) -> Iterator[Seen]:
    """A first write, which meets the reset, then the calls of ``order``."""
    yield "reset", "write", write(client)
    yield from at("reset", calls(client, *order))


@stage
def closed_port() -> Iterator[Seen]:
    """Connect to a port that had a listener a moment ago."""
    with listener() as server:
        address = server.getsockname()
    yield "reset", "connect", connect(tcp(), address)


@stage
def firewall_reject() -> Iterator[Seen]:
    """Reject new connections in three ways, and an established one with a reset."""
    server = listener()
    for how in ("tcp reset", "icmp type admin-prohibited", "icmp type net-unreachable"):
        with packet_filter(f"tcp dport {port(server)} reject with {how}"):
            yield "reset", "connect", connect(tcp(), server.getsockname())
    for order in (READ_FIRST, WRITE_FIRST):
        client, end = pair()
        with packet_filter(f"tcp dport {port(end)} reject with tcp reset"):
            yield from meeting(client, order)


@stage
def listen_overflow() -> Iterator[Seen]:
    """Hold a client's final ACK back until the accept queue is full."""
    write_sysctl("net.ipv4.tcp_abort_on_overflow", 1)
    for order in (READ_FIRST, WRITE_FIRST):
        server, client = listener(backlog=1), tcp()
        with held_back(client):
            yield "reset", "connect", connect(client, server.getsockname())
            for _ in range(2):
                assert connect(tcp(), server.getsockname()) == "ok"
        yield from meeting(client, order)


def held_back(client: socket.socket) -> AbstractContextManager[None]:
    """Bind the client, and drop its ACKs but not its SYN."""
    client.bind(("127.0.0.1", 0))
    return packet_filter(f"tcp sport {port(client)} tcp flags & (syn|ack) == ack drop")


@stage
def handshake_timeout() -> Iterator[Seen]:
    """Hold a client's final ACK back until the server has forgotten the request."""
    write_sysctl("net.ipv4.tcp_synack_retries", 0)
    for order in (READ_FIRST, WRITE_FIRST):
        server, client = listener(), tcp()
        with held_back(client):
            yield "reset", "connect", connect(client, server.getsockname())
            wait_until(lambda: not sockets_in("03"))
        yield from meeting(client, order)


@stage
def connect_abort() -> Iterator[Seen]:
    """Let SO_SNDTIMEO run out while the SYN-ACK is withheld."""
    server, client = listener(), tcp()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200_000))
    with packet_filter(f"tcp sport {port(server)} drop"):
        yield "resetter", "connect", connect(client, server.getsockname())


@stage
def connect_timeout() -> Iterator[Seen]:
    """SYNs that are dropped, a network without a route, and one that answers by ICMP."""
    write_sysctl("net.ipv4.tcp_syn_retries", 1)
    with packet_filter("tcp dport 9 drop"):
        yield "waiting", "connect", connect(tcp(), ("127.0.0.1", 9))
    yield "waiting", "connect", connect(tcp(), ("192.0.2.1", 9))
    run("ip", "route", "add", "unreachable", "192.0.2.0/24")
    yield "waiting", "connect", connect(tcp(), ("192.0.2.1", 9))


@stage
def invalid_segment() -> Iterator[Seen]:
    """A client that believes in a connection which the listener has never heard of."""
    for order in (READ_FIRST, WRITE_FIRST):
        server, client = listener(), tcp()
        client.setsockopt(socket.IPPROTO_TCP, staging.TCP_REPAIR, staging.REPAIR_ON)
        client.bind(("127.0.0.1", 0))
        assert connect(client, server.getsockname()) == "ok"
        client.setsockopt(socket.IPPROTO_TCP, staging.TCP_REPAIR, 0)  # sends a window probe
        yield from at("reset", calls(client, *order))


@stage
def stale_connection() -> Iterator[Seen]:
    """A new SYN from the port of a connection that the server still holds."""
    for half_closed, order in ((False, READ_FIRST), (False, WRITE_FIRST), (True, READ_FIRST)):
        server, client, old = staging.accepted()
        address = client.getsockname()
        if half_closed:
            client.shutdown(socket.SHUT_WR)
            staging.closing(old)
        staging.vanish(client)
        again = tcp()
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(address)
        yield "resetter", "connect", connect(again, server.getsockname())
        yield from at("reset", calls(old, *order))


@stage
def close_unread() -> Iterator[Seen]:
    """Close over unread data: plainly, after an answer, and after a FIN."""
    for order in (("read", "read", "write"), WRITE_FIRST):
        client, end = pair()
        client.send(b"request")
        if order is not WRITE_FIRST:
            end.send(b"answer")
        end.close()
        yield from at("reset", calls(client, *order))
    client, end = pair()
    client.send(b"request")
    end.shutdown(socket.SHUT_WR)
    staging.closing(client)
    end.close()
    yield from at("reset", calls(client, *READ_FIRST))


@stage
def linger_abort() -> Iterator[Seen]:
    """Close with SO_LINGER {1, 0}, with and without data on the way before."""
    yield from aborted(staging.abort)
    client, end = pair()
    end.send(b"payload")
    staging.abort(end)
    yield from at("reset", calls(client, "read", "read", "write"))


@stage
def listener_closed() -> Iterator[Seen]:
    """Close a listener whose queue holds a connection."""
    for order in (READ_FIRST, WRITE_FIRST):
        server, client = listener(), tcp()
        yield "reset", "connect", connect(client, server.getsockname())
        server.close()
        yield from at("reset", calls(client, *order))


@stage
def admin_destroy() -> Iterator[Seen]:
    """Destroy the accepted end with ss -K; both ends look."""
    for order in (READ_FIRST, WRITE_FIRST):
        client, end = pair()
        run("ss", "-K", "sport", "=", str(port(end)), "dport", "=", str(port(client)))
        yield from at("resetter", calls(end, *order))
        yield from at("reset", calls(client, *order))


@stage
def disconnect() -> Iterator[Seen]:
    """connect(AF_UNSPEC) on the accepted end."""
    yield from aborted(staging.disconnect)
    _, end = pair()
    staging.disconnect(end)
    yield from at("resetter", calls(end, "read", "read", "write"))


@stage
def linger2_abort() -> Iterator[Seen]:
    """A negative TCP_LINGER2, after the FIN is acknowledged."""
    client, end = pair()
    end.setsockopt(socket.IPPROTO_TCP, staging.TCP_LINGER2, -1)
    end.shutdown(socket.SHUT_WR)
    wait_until(lambda: bool(sockets_in("05")))
    end.close()
    yield from at("reset", calls(client, *READ_FIRST))


@stage
def finwait2_timeout() -> Iterator[Seen]:
    """Lower tcp_fin_timeout while the socket waits for the second beyond 60 s."""
    write_sysctl("net.ipv4.tcp_fin_timeout", 61)
    client, end = pair()
    end.close()
    wait_until(lambda: bool(sockets_in("05")))
    write_sysctl("net.ipv4.tcp_fin_timeout", 60)
    yield from at("reset", calls(client, *READ_FIRST))


@stage
def data_to_closed() -> Iterator[Seen]:
    """Go on writing to an end that has closed, and to one that has shut down both ways."""
    client, end = pair()
    end.close()
    staging.closing(client)
    yield "reset", "read", read(client)
    yield from meeting(client, ("write", "read"))
    client, end = pair()
    end.shutdown(socket.SHUT_RDWR)
    staging.closing(client)
    yield from meeting(client, ("write", "read"))
    yield "resetter", "read", read(end)


@stage
def timewait_overflow() -> Iterator[Seen]:
    """No room for TIME_WAIT at all: late data meets no socket."""
    write_sysctl("net.ipv4.tcp_max_tw_buckets", 0)
    client, end = pair()
    end.close()
    wait_until(lambda: counter("TCPTimeWaitOverflow") == 1)
    yield "reset", "read", read(client)
    yield from meeting(client, ("write",))


def counter(name: str) -> int:
    """A counter of /proc/net/netstat's TcpExt line in this namespace."""
    rows = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    names, values = (row.split() for row in rows if row.startswith("TcpExt:"))
    return int(values[names.index(name)])


@stage
def half_open() -> Iterator[Seen]:
    """The other end disappears without a packet."""
    for order in (READ_FIRST, WRITE_FIRST):
        client, end = pair()
        staging.vanish(end)
        yield from meeting(client, order)


@stage
def keepalive_timeout() -> Iterator[Seen]:
    """Probes go out, their answers are dropped; the reset reaches the peer."""
    pairs = [pair(), pair()]
    rules = [f"tcp dport {port(prober)} drop" for prober, _ in pairs]
    with packet_filter(*rules):
        for prober, _ in pairs:
            keepalive(prober)
        for (prober, peer), order in zip(pairs, (READ_FIRST, WRITE_FIRST), strict=True):
            yield from at("resetter", calls(prober, *READ_FIRST))
            yield from at("reset", calls(peer, *order))


def keepalive(end: socket.socket) -> None:
    """Probe after 1 s, give up 1 s later."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
        end.setsockopt(socket.IPPROTO_TCP, option, 1)


@stage
def retransmit_timeout() -> Iterator[Seen]:
    """Data that is dropped or answered by ICMP until TCP_USER_TIMEOUT; then the peer speaks."""
    fates = {
        "drop": READ_FIRST, "counter drop": WRITE_FIRST, "reject": ("read",),
        "reject with icmp type host-unreachable": ("read",),
        "reject with icmp type net-unreachable": ("read",),
    }  # fmt: skip
    pairs = [pair() for _ in fates]
    with packet_filter(
        *(f"tcp sport {port(a)} {fate}" for (a, _), fate in zip(pairs, fates, strict=True))
    ):
        for end, _ in pairs:
            user_timeout(end)
            assert write(end) == "ok"
        for (end, _), order in zip(pairs, fates.values(), strict=True):
            yield from at("waiting", calls(end, *order))
    yield from meeting(pairs[0][1], READ_FIRST)
    yield from meeting(pairs[1][1], WRITE_FIRST)


def user_timeout(end: socket.socket) -> None:
    """Give unacknowledged data half a second."""
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


@stage
def idle_timeout() -> Iterator[Seen]:
    """A filter that begins to reset or drop an established flow, and a balancer that closes."""
    for order in (READ_FIRST, WRITE_FIRST):
        client, end = pair()
        with packet_filter(f"tcp dport {port(end)} reject with tcp reset"):
            yield from meeting(client, order)
    client, end = pair()
    user_timeout(client)
    with packet_filter(f"tcp dport {port(end)} drop"):
        yield from meeting(client, ("read",))
    client, balancer = pair()
    balancer.close()
    staging.closing(client)
    yield "reset", "read", read(client)
    yield from meeting(client, ("write",))


def forged(payload: bytes) -> Iterator[Seen]:
    """Forge a reset to one end of a connection."""
    for order in (READ_FIRST, WRITE_FIRST):
        client, _ = pair()
        staging.forge(client, payload)
        yield from at("reset", calls(client, *order))


@stage
def injected() -> Iterator[Seen]:
    """Forge a reset to one end of a connection, and one to a SYN."""
    yield from forged(b"")
    target, client = ("127.0.0.1", 9), tcp()
    client.bind(("127.0.0.1", 0))
    client.setblocking(False)
    with packet_filter("tcp dport 9 drop"):
        assert connect(client, target) == "EINPROGRESS"
        staging.forge_refusal(client, target)
        staging.over(client)
        yield "reset", "connect", connect(client, target)


STAGES["app-abort"] = lambda: aborted(staging.abort)  # any of its kinds shows it
STAGES["mptcp-fastclose"] = lambda: aborted(staging.abort, staging.MPTCP)
STAGES["proxied-reset"] = lambda: forged(b"closed by policy 17")
