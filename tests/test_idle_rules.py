"""4xx rules: idle connections, keepalive and silent peers."""

from __future__ import annotations

import os
import socket
import subprocess
import time

import pytest

from rstaudit.model.names import CLOUD, SOCKETS
from rstaudit.model.rule import Outcome, Severity
from rstaudit.model.setting import PathDevice
from rstaudit.model.sockets import ESTABLISHED
from rstaudit.rules.idle import RULES
from support.audit import fires, silent
from support.hosts import judge, make_context, make_host
from support.netns import connected, listener, write_sysctl
from support.rows import row, table_of

KEEPALIVE = "net.ipv4.tcp_keepalive_time"

DEVICES = (
    PathDevice("AWS NLB", 350, "reset", "test"),
    PathDevice("AWS ALB", 60, "reset", "test"),
    PathDevice("Azure load balancer", 240, "drop", "test"),
)


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_keepalive_against_a_given_path() -> None:
    """RST401 fires while keepalive starts later than --path-idle, and not when earlier."""
    finding = fires("RST401", path_idle=350)
    assert finding.evidence[KEEPALIVE] == 7200
    write_sysctl(KEEPALIVE, 349)
    silent("RST401", path_idle=350)
    write_sysctl(KEEPALIVE, 350)
    fires("RST401", path_idle=350)


@pytest.mark.parametrize(
    ("cloud", "seconds"), [("aws", 60), ("azure", 240), ("", None), ("gcp", None)]
)
def test_keepalive_against_the_devices_of_a_cloud(cloud: str, seconds: int | None) -> None:
    """Without --path-idle the shortest known device of the firmware's cloud counts, if any."""
    host = make_host(sysctls={KEEPALIVE: 7200}, facts={CLOUD: cloud})
    result = judge(RULES, "RST401", make_context(host, devices=DEVICES))
    if seconds is None:
        assert result.outcome is Outcome.NOT_APPLICABLE
    else:
        assert result.findings[0].evidence["path_idle"] == seconds


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_idle_connection_without_keepalive() -> None:
    """RST403 names the process of an idle connection until keepalive or data appears."""
    subprocess.run(["ip", "addr", "add", "192.0.2.1/32", "dev", "lo"], check=True)
    subprocess.run(["ip", "addr", "add", "192.0.2.2/32", "dev", "lo"], check=True)
    with listener(8, 8080, "192.0.2.1") as server:
        client = socket.socket()
        client.bind(("192.0.2.2", 0))
        client.connect(("192.0.2.1", 8080))
        accepted, _ = server.accept()
        silent("RST403", path_idle=1)
        time.sleep(1.2)
        finding = fires("RST403", path_idle=1)
        assert finding.evidence["sockets"] == 2
        assert finding.evidence["pid"] == os.getpid()
        assert finding.severity is Severity.WARNING
        silent("RST403")  # ten minutes where the path is not known
        for end in (client, accepted):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        silent("RST403", path_idle=1)
        client.close()
        accepted.close()


def test_long_idle_without_a_known_path_is_information() -> None:
    """Ten minutes without data count by themselves, as information; loopback never does."""
    far = row(ESTABLISHED, "192.0.2.1", 40000, "198.51.100.1", 5432, inode=1, idle_ms=700_000)
    near = row(ESTABLISHED, "127.0.0.1", 40000, "127.0.0.1", 5432, inode=2, idle_ms=700_000)
    result = judge(RULES, "RST403", make_host(facts={SOCKETS: table_of(far, near)}))
    assert result.severity is Severity.INFO
    assert result.findings[0].evidence["sockets"] == 1


def test_idle_times_are_unknown_without_sock_diag() -> None:
    """`/proc/net/tcp` shows no idle times: RST403 is unknown, not passed."""
    host = make_host(facts={SOCKETS: table_of(source="procfs")})
    assert judge(RULES, "RST403", host).outcome is Outcome.UNKNOWN


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_silent_peer() -> None:
    """RST404 fires while a segment is sent again and again, and stops when it is answered."""
    with listener(8, 8080) as server:
        client, accepted = connected(server)
        client.sendall(b"warm up")
        silent("RST404")
        drop = "add table inet t; add chain inet t c { type filter hook input priority 0; }; "
        subprocess.run(["nft", drop + "add rule inet t c tcp dport 8080 drop"], check=True)
        client.sendall(b"lost")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.3)
            if _retransmits(client) >= 3:
                break
        finding = fires("RST404")
        assert finding.subject == "127.0.0.1:8080"
        assert finding.evidence["pid"] == os.getpid()
        subprocess.run(["nft", "delete", "table", "inet", "t"], check=True)
        accepted.settimeout(20)
        while b"lost" not in accepted.recv(100):
            pass
        silent("RST404")
        client.close()
        accepted.close()


def _retransmits(sock: socket.socket) -> int:
    """tcpi_retransmits, the third byte of struct tcp_info."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[2]
