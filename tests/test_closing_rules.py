"""3xx rules over real connections: make the situation, see it fire, undo it, see it silent."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from rstaudit.model.names import LIMITS, OWNERS, SOCKETS, Limits
from rstaudit.model.rule import Outcome, Severity
from rstaudit.model.sockets import CLOSE_WAIT, Owner
from rstaudit.rules.closing import RULES
from support.audit import fires, silent
from support.hosts import judge, make_host
from support.netns import connected, listener, settle, write_sysctl
from support.rows import row, table_of


def close_all(sockets: list[socket.socket]) -> None:
    """Close every socket of the list."""
    for sock in sockets:
        sock.close()


@pytest.mark.live
@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_close_wait_names_the_process_that_does_not_close(address: str) -> None:
    """RST301 counts the CLOSE_WAIT sockets of a process and stops when it closes them."""
    with listener(64, 8080, address) as server:
        pairs = [connected(server) for _ in range(12)]
        silent("RST301")
        close_all([client for client, _ in pairs])
        finding = fires("RST301")
        assert finding.evidence["close_wait"] == 12
        assert finding.evidence["pid"] == os.getpid()
        assert finding.severity is Severity.WARNING
        close_all([accepted for _, accepted in pairs])
        silent("RST301")


def test_close_wait_grades_by_count_share_of_descriptors_and_age() -> None:
    """Few and fresh: nothing. Lasting: information. Half the descriptors: an error."""
    owner = Owner(7, "app", "app")

    def severity(count: int, age_ms: int, limit: int) -> Severity | None:
        rows = [
            row(CLOSE_WAIT, "192.0.2.1", 80, "192.0.2.2", 1000 + i, inode=i + 1, idle_ms=age_ms)
            for i in range(count)
        ]
        facts = {
            SOCKETS: table_of(*rows),
            OWNERS: {i + 1: (owner,) for i in range(count)},
            LIMITS: (Limits(7, "app", count, limit, limit),),
        }
        result = judge(RULES, "RST301", make_host(facts=facts))
        return result.severity if result.outcome is Outcome.FAIL else None

    assert severity(3, 500, 1024) is None
    assert severity(3, 61_000, 1024) is Severity.INFO
    assert severity(10, 500, 1024) is Severity.WARNING
    assert severity(3, 500, 6) is Severity.ERROR
    assert severity(100, 500, 100_000) is Severity.ERROR


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_unread_bytes_on_close_wait_foretell_a_reset() -> None:
    """RST302 fires with unread bytes; its prediction comes true: close() resets, counted so."""
    with listener(8, 8080) as server:
        client, accepted = connected(server)
        client.sendall(b"12345")
        client.close()
        finding = fires("RST302")
        assert finding.evidence["unread_bytes"] == 5
        accepted.recv(100)
        silent("RST302")
        accepted.close()

        client, accepted = connected(server)
        client.sendall(b"12345")
        client.shutdown(socket.SHUT_WR)
        fires("RST302")
        silent("RST306")
        accepted.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert fires("RST306").evidence["close with unread data"] == 1
        client.close()


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_orphans_in_fin_wait2() -> None:
    """RST303 compares orphans whose peer does not close with tcp_max_tw_buckets."""
    with listener(64, 8080) as server:
        pairs = [connected(server) for _ in range(10)]
        close_all([client for client, _ in pairs])
        settle()
        silent("RST303")
        write_sysctl("net.ipv4.tcp_max_tw_buckets", 40)
        assert fires("RST303").evidence["fin_wait2"] == 10
        write_sysctl("net.ipv4.tcp_max_tw_buckets", 41)
        silent("RST303")
        close_all([accepted for _, accepted in pairs])


def test_orphans_near_the_limit() -> None:
    """RST304 warns from a quarter of tcp_max_orphans and is an error from a half."""
    key = "net.ipv4.tcp_max_orphans"

    def judged(orphans: int) -> tuple[Outcome, Severity]:
        host = make_host(sysctls={key: 1000}, counters={"sockstat.TCP.orphan": orphans})
        result = judge(RULES, "RST304", host)
        return result.outcome, result.severity

    assert judged(249)[0] is Outcome.PASS
    assert judged(250) == (Outcome.FAIL, Severity.WARNING)
    assert judged(500) == (Outcome.FAIL, Severity.ERROR)


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_resets_are_split_by_what_the_kernel_counted() -> None:
    """RST306 tells a linger abort, an unread close and a closed port apart by their counters."""
    silent("RST306")
    with listener(8, 8080) as server:
        for _ in range(2):
            client, accepted = connected(server)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            client.close()
        client, accepted = connected(server)
        client.sendall(b"unread")
        accepted.close()
        client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 9), timeout=5)
    evidence = fires("RST306").evidence
    assert evidence["resets_sent"] == 4
    assert evidence["SO_LINGER abort or data after close"] == 2
    assert evidence["close with unread data"] == 1
    assert evidence["percent closed port or late segment"] == 25.0


def test_resets_of_programs_at_a_rate_are_a_warning() -> None:
    """More than one reset a second by programs of this host makes RST306 a warning."""
    names = ("TCPAbortOnClose", "TCPAbortOnData", "TCPAbortOnTimeout", "TCPAbortOnMemory")
    still = dict.fromkeys((f"TcpExt.{name}" for name in (*names, "TCPAbortOnLinger")), 0)
    before = {**still, "Tcp.OutRsts": 100}
    program = {**still, "Tcp.OutRsts": 105, "TcpExt.TCPAbortOnClose": 5}
    result = judge(RULES, "RST306", make_host(counters=before, later=program))
    assert result.severity is Severity.WARNING
    scan = {**still, "Tcp.OutRsts": 105}
    result = judge(RULES, "RST306", make_host(counters=before, later=scan))
    assert result.severity is Severity.INFO
