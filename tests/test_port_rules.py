"""1xx rules over real sockets: make the situation, see it fire, undo it, see it fall silent."""

from __future__ import annotations

import errno
import os
import socket
import time

import pytest

from rstaudit.model.names import OWNERS, SERVICES, SOCKETS
from rstaudit.model.rule import Outcome, Severity
from rstaudit.model.sockets import SocketTable
from rstaudit.rules.ports import RULES
from support.audit import fires, silent
from support.hosts import judge, make_host
from support.netns import connected, listener, write_sysctl

RANGE = "net.ipv4.ip_local_port_range"
REUSE = "net.ipv4.tcp_tw_reuse"
TIMESTAMPS = "net.ipv4.tcp_timestamps"
MAX_TW = "net.ipv4.tcp_max_tw_buckets"


def client_closes_first(server: socket.socket, count: int) -> None:
    """Leave ``count`` sockets in TIME_WAIT at the client's side."""
    for _ in range(count):
        client, accepted = connected(server)
        client.close()
        accepted.recv(1)
        accepted.close()


@pytest.mark.live
@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_ports_to_one_destination_run_out_and_come_back(address: str) -> None:
    """RST101 names the exhausted destination, not its neighbour, and stops when ports are free."""
    write_sysctl(RANGE, "40000 40039")
    write_sysctl(REUSE, 0)
    with listener(64, 8080, address) as busy, listener(64, 8081, address) as idle:
        client_closes_first(idle, 4)
        silent("RST101")
        client_closes_first(busy, 38)
        finding = fires("RST101")
        assert finding.subject.endswith(":8080")
        assert finding.evidence["ports"] == 40
        assert finding.evidence["free"] == 2
        assert finding.evidence["time_wait"] == 38
        assert finding.evidence["new_connections_per_second"] == pytest.approx(40 / 60, abs=0.05)
        write_sysctl(RANGE, "40000 41999")
        silent("RST101")


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_what_the_rule_calls_exhausted_is_when_connect_fails() -> None:
    """With no free port left by RST101's count, connect() fails with EADDRNOTAVAIL."""
    write_sysctl(RANGE, "40000 40009")
    write_sysctl(REUSE, 0)
    with listener(64, 8080) as server:
        client_closes_first(server, 10)
        assert fires("RST101").evidence["free"] == 0
        with pytest.raises(OSError, match="assign requested address") as failed:
            connected(server)
        assert failed.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_time_wait_that_may_be_reused_counts_as_free() -> None:
    """With tcp_tw_reuse=1 and timestamps, ports older than tcp_tw_reuse_delay are free again."""
    write_sysctl(RANGE, "40000 40039")
    write_sysctl(REUSE, 1)
    with listener(64, 8080) as server:
        client_closes_first(server, 39)
        assert fires("RST101").evidence["seconds_held"] == 1
        time.sleep(1.1)
        silent("RST101")
        write_sysctl(TIMESTAMPS, 0)
        assert fires("RST101").evidence["seconds_held"] == 60


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_reserved_ports_are_taken_off_the_budget() -> None:
    """Reserved ports shrink the range that RST101 counts, and open connections use it too."""
    write_sysctl(RANGE, "40000 40039")
    write_sysctl("net.ipv4.ip_local_reserved_ports", "40020-40039")
    with listener(64, 8080) as server:
        held = [connected(server) for _ in range(18)]
        finding = fires("RST101")
        assert finding.evidence["ports"] == 20
        assert finding.evidence["other_states"] == 18
        for client, accepted in held:
            accepted.close()
            client.recv(1)
            client.close()
        silent("RST101")  # the server closed first: no port of this side is held


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_tw_reuse_without_timestamps() -> None:
    """RST102 fires for tcp_tw_reuse=1 with timestamps off, and for nothing less."""
    write_sysctl(REUSE, 1)
    silent("RST102")
    write_sysctl(TIMESTAMPS, 0)
    assert fires("RST102").fix == f"sysctl -w {TIMESTAMPS}=1"
    write_sysctl(REUSE, 2)
    silent("RST102")


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_rfc1337_without_timestamps() -> None:
    """RST103 fires only for the pair of settings that hangs reconnects."""
    write_sysctl("net.ipv4.tcp_rfc1337", 1)
    silent("RST103")
    write_sysctl(TIMESTAMPS, 0)
    fires("RST103")
    write_sysctl("net.ipv4.tcp_rfc1337", 0)
    silent("RST103")


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_time_wait_overflow() -> None:
    """RST104 warns near the limit, and reports the overflow that the kernel counts."""
    write_sysctl(REUSE, 0)
    with listener(64, 8080) as server:
        client_closes_first(server, 9)
        silent("RST104")
        write_sysctl(MAX_TW, 10)
        assert fires("RST104").evidence == {"time_wait": 9, MAX_TW: 10}
        client_closes_first(server, 5)
        finding = fires("RST104")
        assert finding.evidence["overflows"] == 4
        assert finding.severity is Severity.WARNING


def test_time_wait_overflow_happening_now_is_an_error() -> None:
    """A counter that moves between the samples makes RST104 an error, with its rate."""
    host = make_host(
        sysctls={MAX_TW: 100},
        counters={"TcpExt.TCPTimeWaitOverflow": 5},
        later={"TcpExt.TCPTimeWaitOverflow": 12},
        facts={SOCKETS: SocketTable()},
    )
    result = judge(RULES, "RST104", host)
    assert result.severity is Severity.ERROR
    assert result.findings[0].evidence["per_second"] == 7


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_widened_range_over_a_service_port() -> None:
    """RST106 names a listener below 32768 in a widened range until its port is reserved."""
    with listener(8, 12345):
        silent("RST106")
        write_sysctl(RANGE, "10240 60999")
        finding = fires("RST106")
        assert finding.evidence["pid"] == os.getpid()
        assert finding.fix == "sysctl -w net.ipv4.ip_local_reserved_ports=12345"
        write_sysctl("net.ipv4.ip_local_reserved_ports", "12345")
        silent("RST106")


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_ephemeral_listener_is_left_alone() -> None:
    """RST106 says nothing of a listener that took any free port of the kernel's own range."""
    with listener(8, 0):
        silent("RST106")


def test_service_port_of_etc_services_counts_as_kept() -> None:
    """A port in the kernel's own range counts when /etc/services gives it to a service."""
    from support.rows import listen_row, table_of

    facts = {SOCKETS: table_of(listen_row(50000)), SERVICES: frozenset({50000}), OWNERS: {}}
    sysctls = {
        RANGE: "32768 60999", "net.ipv4.ip_local_reserved_ports": "", REUSE: 2, TIMESTAMPS: 1,
    }  # fmt: skip
    result = judge(RULES, "RST106", make_host(sysctls=sysctls, facts=facts))
    assert result.outcome is Outcome.FAIL
    facts[SERVICES] = frozenset()
    result = judge(RULES, "RST106", make_host(sysctls=sysctls, facts=facts))
    assert result.outcome is Outcome.PASS


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_tw_reuse_on_a_pure_server() -> None:
    """RST107 fires on a host that only accepts, and not where anything goes out."""
    # 127/8 is within the host and does not count: give loopback a second, public address
    os.system("ip addr add 192.0.2.1/32 dev lo")
    write_sysctl(REUSE, 1)
    with listener(8, 8080, "192.0.2.1") as server:
        silent("RST107")
        pair = connected(server)
        silent("RST107")  # the client's end is on this host too: it goes out
        for end in pair:
            end.close()


def test_tw_reuse_on_a_pure_server_from_rows() -> None:
    """Only sockets on listening ports: RST107 fires; one outgoing connection silences it."""
    from support.rows import listen_row, row, table_of

    sysctls = {REUSE: 1}
    served = [listen_row(80), row(1, "198.51.100.1", 80, "198.51.100.9", 50001)]
    host = make_host(sysctls=sysctls, facts={SOCKETS: table_of(*served)})
    assert judge(RULES, "RST107", host).outcome is Outcome.FAIL
    outgoing = row(1, "198.51.100.1", 40000, "198.51.100.7", 5432)
    host = make_host(sysctls=sysctls, facts={SOCKETS: table_of(*served, outgoing)})
    assert judge(RULES, "RST107", host).outcome is Outcome.PASS
