"""Hosts on which everything is wrong: between them every rule fires."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rstaudit.catalogue.user_profile import parse_profile
from rstaudit.model.facts import HostState
from rstaudit.model.names import (
    CLOUD,
    FIREWALL,
    HOST_SYSCTLS,
    LIMITS,
    OPTIONS,
    OWNERS,
    PERSISTED,
    SERVICES,
    SOCKETS,
    Firewall,
    Limits,
    RejectRule,
)
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT2,
    SYN_SENT,
    TIME_WAIT,
    Owner,
    SocketTable,
)
from rstaudit.rules.context import Context
from support.hosts import make_context, make_host, make_kernel
from support.rows import listen_row, option_table, row, table_of
from support.trees import persisted_in
from support.tuned import untouched

KERNEL = "6.18.44"

_PROXY = parse_profile(
    b"name: mine\nextends: proxy\nsettings:\n  net.core.rmem_max: {at_least: 4096}\n", "mine.yaml"
)

_WRONG = {
    "net.ipv4.tcp_timestamps": "0", "net.ipv4.tcp_rfc1337": "1", "net.ipv4.tcp_tw_reuse": "2",
    "net.ipv4.tcp_max_tw_buckets": "40", "net.ipv4.tcp_tw_reuse_delay": "1",
    "net.ipv4.ip_local_port_range": "40000\t40009", "net.ipv4.ip_local_reserved_ports": "",
    "net.core.somaxconn": "64", "net.ipv4.tcp_syncookies": "2",
    "net.ipv4.tcp_abort_on_overflow": "1", "net.ipv4.tcp_migrate_req": "0",
    "net.ipv4.tcp_syn_retries": "1", "net.ipv4.tcp_synack_retries": "0",
    "net.ipv4.tcp_orphan_retries": "1", "net.ipv4.tcp_max_orphans": "100",
    "net.ipv4.tcp_fin_timeout": "-1", "net.ipv4.tcp_keepalive_time": "7200",
    "net.ipv4.tcp_keepalive_probes": "1", "net.ipv4.tcp_retries2": "3", "net.ipv4.tcp_ecn": "1",
    "net.ipv4.tcp_mtu_probing": "0", "net.ipv4.tcp_mem": "1\t2\t3", "net.core.rmem_max": "1",
    "net.netfilter.nf_conntrack_count": "99", "net.netfilter.nf_conntrack_max": "100",
    "net.netfilter.nf_conntrack_tcp_timeout_established": "600",
    "net.netfilter.nf_conntrack_tcp_loose": "0", "fs.file-nr": "99\t0\t100",
}  # fmt: skip

_FILES = {
    "/etc/sysctl.conf": "net.ipv4.tcp_retries2 = 4\n",
    "/etc/sysctl.d/10-a.conf": "net.ipv4.tcp_fin_timeout = 20\nnet.core.somaxconn = 300s\n",
    "/etc/sysctl.d/20-b.conf": "net.ipv4.tcp_fin_timeout = 10\nnet.ipv4.tcp_tw_recycle = 1\n"
    "net.ipv4.tcp_fin_timout = 30\nnet.ipv4.tcp_max_syn_backlog = 8192\n",
    "/proc/cmdline": "quiet sysctl.net.ipv4.tcp_fin_timeout=30\n",
    "/proc/modules": "x 1 0 - Live 0x0\n",
}

_COUNTERS = {
    "Tcp.OutRsts": 9000, "TcpExt.TCPAbortOnClose": 4000, "TcpExt.TCPAbortOnData": 100,
    "TcpExt.TCPAbortOnTimeout": 10, "TcpExt.TCPAbortOnMemory": 0, "TcpExt.TCPAbortOnLinger": 0,
    "TcpExt.TCPMemoryPressures": 0, "TcpExt.TCPTimeWaitOverflow": 15,
    "TcpExt.ListenOverflows": 44, "TcpExt.ListenDrops": 50, "TcpExt.SyncookiesSent": 44,
    "sockstat.TCP.orphan": 60, "sockstat.TCP.mem": 9,
}  # fmt: skip
_LATER = {"TcpExt.TCPAbortOnMemory": 3, "TcpExt.TCPAbortOnClose": 4010}

_US, _BACKEND, _CLIENT = "10.0.0.5", "10.0.0.9", "192.0.2.7"


def _everything() -> SocketTable:
    """Every trouble that sockets can show."""
    exhausted = [
        row(TIME_WAIT, _US, port, _BACKEND, 5432, timer=(3, 50_000, 0))
        for port in range(40000, 40009)
    ]
    closed = [
        row(CLOSE_WAIT, _US, 8080, _CLIENT, 50000 + n, queues=(6, 0), inode=300 + n, idle_ms=90_000)
        for n in range(12)
    ]
    half = [row(FIN_WAIT2, _US, 8080, _CLIENT, 51000 + n) for n in range(12)]
    return table_of(
        listen_row(8080, queue=6, limit=5, inode=1), listen_row(8080, limit=5, inode=2),
        listen_row(40005, limit=64, inode=3), *exhausted, *closed, *half,
        row(ESTABLISHED, _US, 8080, _CLIENT, 52000, inode=20, idle_ms=900_000),
        row(ESTABLISHED, _US, 8080, _CLIENT, 52002, queues=(9, 0), inode=23, idle_ms=20_000),
        row(ESTABLISHED, _US, 8080, _CLIENT, 52003, timer=(4, 100, 0), queues=(0, 9), inode=24,
            idle_ms=20_000),
        row(SYN_SENT, _US, 45000, _CLIENT, 443, timer=(1, 100, 5), inode=21),
    )  # fmt: skip


_BAD_OPTIONS = option_table({
    1: {"linger": 0, "reuse_port": True}, 2: {"linger2": -1}, 3: {"reuse_address": False},
    20: {}, 21: {"send_timeout_ms": 300}, 23: {}, 24: {"keepalive": True},
})  # fmt: skip


def _facts(root: Path, running: dict[str, str]) -> dict[object, object]:
    worker = Owner(77, "worker", "app")
    return {
        SOCKETS: _everything(),
        OWNERS: dict.fromkeys((1, 2, 3, 20, 21, 23, 24, *range(300, 312)), (worker,)),
        OPTIONS: _BAD_OPTIONS,
        LIMITS: (Limits(77, "worker", 99, 100, 100),),
        FIREWALL: Firewall(("nft",), (RejectRule("nft", "input", "reject"),), True, False),
        SERVICES: frozenset({40005}),
        CLOUD: "",
        PERSISTED: persisted_in(root, _FILES, running, make_kernel(KERNEL)),
    }


def worst_host(root: Path) -> HostState:
    """Nearly every rule fires here, seen through `context_of`."""
    running = {**untouched(KERNEL), **_WRONG}
    return make_host(
        kernel=KERNEL, sysctls=running, counters=_COUNTERS, later=_LATER, age=1000.0,
        facts=_facts(root, running),
    )  # fmt: skip


def context_of(host: HostState) -> Context:
    """``host`` through a profile of a user's own that extends `proxy`, with a known path."""
    return make_context(host, profile=_PROXY, path_idle=350)


def _variants(host: HostState) -> list[HostState]:
    """What cannot be wrong at the same time as the rest."""
    server = table_of(
        listen_row(8080, limit=4096, inode=1),
        row(ESTABLISHED, _US, 8080, _CLIENT, 52000, inode=20, idle_ms=1),
        row(CLOSE_WAIT, _US, 8080, _CLIENT, 52001, inode=22, idle_ms=90_000),
    )
    slow_ports = table_of(*(
        row(TIME_WAIT, _US, port, _BACKEND, 5432, timer=(3, 50_000, 0))
        for port in range(40000, 40010)
    ))  # fmt: skip
    unit = {3: (Owner(1, "systemd", "root"),)}
    of_systemd = {SOCKETS.name: table_of(listen_row(40005, inode=3)), OWNERS.name: unit,
                  SERVICES.name: frozenset[int]()}  # fmt: skip
    small = {SOCKETS.name: table_of(*(
                 row(CLOSE_WAIT, _US, 8080, _CLIENT, 1000 + n, inode=40 + n) for n in range(6))),
             OWNERS.name: {40 + n: (Owner(5, "tiny", "app"),) for n in range(6)},
             LIMITS.name: (Limits(5, "tiny", 8, 12, 12),)}  # fmt: skip
    bound = {SOCKETS.name: table_of(*(
                 row(ESTABLISHED, _US, 32769 + 2 * n, _BACKEND, 5432, inode=60 + n)
                 for n in range(8))),
             OWNERS.name: {60 + n: (Owner(6, "client", "app"),) for n in range(8)},
             OPTIONS.name: option_table({60 + n: {} for n in range(8)})}  # fmt: skip
    not_reused = {SOCKETS.name: table_of(*(
        row(TIME_WAIT, _US, 32768 + n, _BACKEND, 5432, timer=(3, 50_000, 0)) for n in range(500)
    ))}  # fmt: skip
    not_tuned = {HOST_SYSCTLS.name: {"net.ipv4.tcp_tw_reuse": "1"}}
    wide = {"net.ipv4.ip_local_port_range": "32768\t60999"}
    return [
        _with(host, {"net.ipv4.tcp_tw_reuse": "2"}, not_tuned)._replace(
            initial=False, netns="net:[1]"),
        _with(host, wide, bound),
        _with(host, wide, not_reused),
        _with(host, {"net.ipv4.tcp_tw_reuse": "1", "net.core.somaxconn": "8192"},
              {SOCKETS.name: server}),
        _with(host, {"net.ipv4.tcp_tw_reuse": "1", "net.ipv4.tcp_timestamps": "1",
                     "net.ipv4.tcp_tw_reuse_delay": "60000"}, {SOCKETS.name: slow_ports}),
        _with(host, {}, of_systemd),
        _with(host, {}, small),
        _with(host, {"net.ipv4.tcp_challenge_ack_limit": "50"}, {})._replace(
            kernel=make_kernel("5.10.0")),
        _with(host, {"net.ipv4.tcp_tw_recycle": "1"}, {})._replace(
            kernel=make_kernel("3.10.0-1160.el7")),
    ]  # fmt: skip


def _with(host: HostState, sysctls: dict[str, str], facts: Mapping[str, object]) -> HostState:
    return host._replace(
        sysctls={**host.sysctls, **sysctls}, facts={**host.facts, **facts}
    )  # fmt: skip


def bad_hosts(root: Path) -> list[HostState]:
    """All of them."""
    worst = worst_host(root)
    return [worst, *_variants(worst)]
