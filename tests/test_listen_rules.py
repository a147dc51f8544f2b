"""2xx rules over real listeners: make the situation, see it fire, undo it, see it fall silent."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from rstaudit.model.names import PERSISTED, SOCKETS
from rstaudit.model.persisted import Assignment, Origin, Persisted, Reader
from rstaudit.model.rule import Outcome, Severity
from rstaudit.model.setting import Profile
from rstaudit.rules.listen import RULES
from support.audit import fires, live_result, silent
from support.hosts import judge, make_context, make_host
from support.netns import connected, listener, write_sysctl
from support.rows import listen_row, table_of

SOMAXCONN = "net.core.somaxconn"


@contextlib.contextmanager
def queued(server: socket.socket, count: int) -> Iterator[list[socket.socket]]:
    """``count`` clients that have been sent a SYN and are never accepted."""
    clients = []
    try:
        for _ in range(count):
            client = socket.socket(server.family, socket.SOCK_STREAM)
            client.setblocking(False)
            client.connect_ex(server.getsockname()[:2])
            clients.append(client)
        yield clients
    finally:
        for client in clients:
            client.close()


def wait_for_queue(rule: str, outcome: Outcome) -> None:
    """Loopback handshakes are done when connect_ex returns; this only guards against a slow CPU."""
    for _ in range(50):
        if live_result(rule).outcome is outcome:
            return
    raise AssertionError(live_result(rule))


@pytest.mark.live
@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_full_accept_queue_names_the_listener(address: str) -> None:
    """RST201 fires while a queue is over its limit, with the process, and stops when drained."""
    with listener(2, 8080, address) as server, queued(server, 3):
        wait_for_queue("RST201", Outcome.FAIL)
        finding = fires("RST201")
        assert finding.severity is Severity.ERROR
        assert finding.evidence["queue"] == 3
        assert finding.evidence["limit"] == 2
        assert finding.evidence["pid"] == os.getpid()
        for _ in range(3):
            server.accept()[0].close()
        silent("RST201")


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_nearly_full_accept_queue_is_a_warning() -> None:
    """Four fifths of the limit make RST201 a warning; less than that is nothing."""
    with listener(10, 8080) as server, queued(server, 8):
        wait_for_queue("RST201", Outcome.FAIL)
        assert fires("RST201").severity is Severity.WARNING
        server.accept()[0].close()
        silent("RST201")


def test_listener_limits_are_unknown_without_sock_diag() -> None:
    """`/proc/net/tcp` has no limits: RST201, RST202 and RST204 are unknown, not passed."""
    facts = {SOCKETS: table_of(listen_row(80), source="procfs")}
    host = make_host(sysctls={SOMAXCONN: 65535}, facts=facts)
    web = Profile("web", "", None, {}, "test")
    for rule in ("RST201", "RST202", "RST204"):
        result = judge(RULES, rule, make_context(host, profile=web))
        assert result.outcome is Outcome.UNKNOWN, rule
        assert "limit of an accept queue" in (result.reason or "")


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_listener_from_before_somaxconn_was_raised() -> None:
    """RST202 names a listener on the old limit until it calls listen() again."""
    with listener(65535, 8080) as server:
        silent("RST202")
        write_sysctl(SOMAXCONN, 8192)
        finding = fires("RST202")
        assert finding.evidence["limit"] == 4096
        assert finding.evidence[SOMAXCONN] == 8192
        server.listen(65535)
        silent("RST202")


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_small_backlog_of_a_busy_listener() -> None:
    """RST204 judges web servers and proxies only, and only listeners that are in use."""
    with listener(5, 8080) as server:
        silent("RST204", profile="web")
        pair = connected(server)
        assert fires("RST204", profile="web").evidence["limit"] == 5
        assert silent("RST204").outcome is Outcome.NOT_APPLICABLE
        server.listen(511)
        silent("RST204", profile="web")
        for end in pair:
            end.close()


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_listen_overflows_are_counted_and_located() -> None:
    """RST205 reports dropped handshakes and the listener that dropped them."""
    silent("RST205")
    with listener(1, 8080) as server, queued(server, 4):
        finding = fires("RST205")
        overflows = finding.evidence["overflows"]
        assert isinstance(overflows, int)
        assert overflows >= 2
        assert str(finding.evidence["listeners"]).startswith("['127.0.0.1:8080")


def test_listen_overflows_now_are_an_error_and_old_ones_are_not() -> None:
    """The same total is an error while it moves, a warning when frequent, else information."""
    name = "TcpExt.ListenOverflows"
    counters = {name: 10, "TcpExt.ListenDrops": 10}
    moving = make_host(counters=counters, later={**counters, name: 15})
    assert judge(RULES, "RST205", moving).severity is Severity.ERROR
    often = make_host(counters=counters, later=counters, age=3600.0)
    assert judge(RULES, "RST205", often).severity is Severity.WARNING
    rare = make_host(counters=counters, later=counters, age=360_000.0)
    assert judge(RULES, "RST205", rare).severity is Severity.INFO
    none = make_host(counters=dict.fromkeys(counters, 0))
    assert judge(RULES, "RST205", none).outcome is Outcome.PASS


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_syncookies_in_use() -> None:
    """RST207 reports cookies that the kernel really sent, and nothing before."""
    silent("RST207")
    write_sysctl("net.ipv4.tcp_syncookies", 2)
    with listener(8, 8080) as server:
        for end in connected(server):
            end.close()
        finding = fires("RST207")
        assert finding.evidence["syncookies_sent"] == 1
        assert finding.severity is Severity.INFO


def test_syncookies_being_sent_now_are_a_warning() -> None:
    """A moving counter makes RST207 a warning with its rate."""
    name = "TcpExt.SyncookiesSent"
    host = make_host(counters={name: 1}, later={name: 4})
    result = judge(RULES, "RST207", host)
    assert result.severity is Severity.WARNING
    assert result.findings[0].evidence["per_second"] == 3


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_reuseport_group_without_migration() -> None:
    """RST209 fires for two listeners on one address until tcp_migrate_req is on."""
    first, second = socket.socket(), socket.socket()
    with first, second:
        for server in (first, second):
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("127.0.0.1", 8080))
            server.listen(8)
        finding = fires("RST209")
        assert finding.evidence["listeners"] == 2
        assert finding.severity is None
        assert fires("RST209", profile="web").severity is Severity.WARNING
        write_sysctl("net.ipv4.tcp_migrate_req", 1)
        silent("RST209")
        write_sysctl("net.ipv4.tcp_migrate_req", 0)
        second.close()
        silent("RST209")


def persisted(value: str | None) -> Persisted:
    """A host whose files set tcp_max_syn_backlog to ``value``, or not at all."""
    key = "net.ipv4.tcp_max_syn_backlog"
    origin = Origin("/etc/sysctl.d/10-net.conf", 3)
    lines = () if value is None else (Assignment(key, value, origin, key, False, None),)
    winners = {line.key: line for line in lines}
    reader = Reader("systemd-sysctl", winners, lines, (), ())
    return Persisted(reader, reader, winners)


def test_syn_backlog_tuned_while_cookies_are_on() -> None:
    """RST210 needs both the line in a file and SYN cookies; a namespace has no such files."""
    key = "net.ipv4.tcp_syncookies"

    def outcome(value: str | None, cookies: int, *, initial: bool = True) -> Outcome:
        host = make_host(
            sysctls={key: cookies}, facts={PERSISTED: persisted(value)}, initial=initial
        )
        return judge(RULES, "RST210", host).outcome

    assert outcome("65535", 1) is Outcome.FAIL
    assert outcome("65535", 0) is Outcome.PASS
    assert outcome(None, 1) is Outcome.PASS
    assert outcome("65535", 1, initial=False) is Outcome.NOT_APPLICABLE
