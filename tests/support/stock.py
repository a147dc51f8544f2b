"""Untouched hosts of the distributions: their settings (not their files' text) and listeners.

What Debian 12 sets was read on one. The others are from what their packages are known to set;
settings that no rule of ours looks at are left out, apart from a few that try the reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from rstaudit.collect.host import Options, collect
from rstaudit.model.facts import Counters, HostState, Sample
from rstaudit.model.names import (
    COUNTERS,
    FIREWALL,
    LIMITS,
    OPTIONS,
    OWNERS,
    PERSISTED,
    SOCKETS,
    Firewall,
    Limits,
)
from rstaudit.model.sockets import ESTABLISHED, LISTEN, TIME_WAIT, Owner
from support.rows import option_table, row, table_of
from support.trees import SYSTEMD, make_tree, persisted_in
from support.tuned import tuned, untouched

#: Address, port, limit of the queue, and who listens.
Listener = tuple[str, int, int, str]


class Distribution(NamedTuple):
    """A distribution as it is after its installation. ``running`` is what its programs changed."""

    name: str
    release: str
    files: Mapping[str, str]
    listeners: tuple[Listener, ...]
    running: Mapping[str, str] = MappingProxyType({})


_INTERFACES = ("all", "default", "eth0", "lo")
_LINK = {"/etc/sysctl.conf": "# comments\n", "/etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf"}

#: systemd's own defaults; Debian 12 and Ubuntu leave them out.
_SYSTEMD_DEFAULTS = (
    "net.ipv4.conf.default.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 2\n"
    "-net.ipv4.conf.all.rp_filter\nnet.ipv4.conf.default.accept_source_route = 0\n"
    "net.ipv4.conf.*.accept_source_route = 0\n-net.ipv4.conf.all.accept_source_route\n"
    "net.ipv4.conf.default.promote_secondaries = 1\nnet.ipv4.conf.*.promote_secondaries = 1\n"
    "-net.ipv4.conf.all.promote_secondaries\n-net.ipv4.ping_group_range = 0 2147483647\n"
    "-net.core.default_qdisc = fq_codel\nfs.protected_hardlinks = 1\n"
)
_DEBIAN12 = {
    **_LINK,
    "/usr/lib/sysctl.d/50-pid-max.conf": "kernel.pid_max = 4194304\n",
    "/usr/lib/sysctl.d/99-protect-links.conf": "fs.protected_fifos = 1\n"
    "fs.protected_hardlinks = 1\nfs.protected_regular = 2\nfs.protected_symlinks = 1\n",
}
_DEBIAN13 = {
    "/usr/lib/sysctl.d/50-default.conf": _SYSTEMD_DEFAULTS,
    "/usr/lib/sysctl.d/50-pid-max.conf": "kernel.pid_max = 4194304\n",
}
_UBUNTU = {
    **_LINK,
    "/etc/sysctl.d/10-bufferbloat.conf": "net.core.default_qdisc = fq_codel\n",
    "/etc/sysctl.d/10-console-messages.conf": "kernel.printk = 4 4 1 7\n",
    "/etc/sysctl.d/10-ipv6-privacy.conf": "net.ipv6.conf.all.use_tempaddr = 2\n"
    "net.ipv6.conf.default.use_tempaddr = 2\n",
    "/etc/sysctl.d/10-kernel-hardening.conf": "kernel.kptr_restrict = 1\n",
    "/etc/sysctl.d/10-network-security.conf": "net.ipv4.conf.default.rp_filter = 2\n"
    "net.ipv4.conf.all.rp_filter = 2\n",
    "/etc/sysctl.d/99-cloudimg-ipv6.conf": "net.ipv6.conf.all.use_tempaddr = 0\n"
    "net.ipv6.conf.default.use_tempaddr = 0\n",
    "/usr/lib/sysctl.d/50-pid-max.conf": "kernel.pid_max = 4194304\n",
    "/etc/ufw/ufw.conf": "ENABLED=no\n",
    "/etc/default/ufw": "IPT_SYSCTL=/etc/ufw/sysctl.conf\n",
    "/etc/ufw/sysctl.conf": "net/ipv4/conf/all/accept_redirects=0\nnet/ipv4/tcp_sack=1\n",
}
_RHEL = {
    **_LINK,
    "/usr/lib/sysctl.d/10-default-yama-scope.conf": "kernel.yama.ptrace_scope = 0\n",
    "/usr/lib/sysctl.d/50-default.conf": _SYSTEMD_DEFAULTS,
    "/usr/lib/sysctl.d/50-libkcapi-optmem_max.conf": "net.core.optmem_max = 81920\n",
    "/usr/lib/sysctl.d/50-redhat.conf": "net.ipv4.conf.all.rp_filter = 1\n"
    "net.ipv4.conf.*.rp_filter = 1\nkernel.kptr_restrict = 1\n",
    "/etc/tuned/active_profile": "virtual-guest\n",
    "/etc/systemd/system/multi-user.target.wants/tuned.service": "-> /usr/lib/systemd/x.service",
    "/usr/lib/tuned/virtual-guest/tuned.conf": "[main]\ninclude=throughput-performance\n",
    "/usr/lib/tuned/throughput-performance/tuned.conf": "[sysctl]\nvm.dirty_ratio=>40\n"
    "net.core.somaxconn=>2048\n",
}

_SSHD = (("0.0.0.0", 22, 128, "sshd"), ("::", 22, 128, "sshd"))
_RESOLVED = (("127.0.0.53", 53, 4096, "systemd-resolve"),)
_SSH_SOCKET = (("0.0.0.0", 22, 4096, "systemd"), ("::", 22, 4096, "systemd"))
_OPTMEM = {"net.core.optmem_max": "81920"}

STOCK = (
    Distribution("Debian 12", "6.1.0-32-amd64", _DEBIAN12, _SSHD),
    Distribution("Debian 13", "6.12.41+deb13-amd64", _DEBIAN13, _SSHD),
    Distribution("Ubuntu 22.04", "5.15.0-105-generic", _UBUNTU, (*_SSHD, *_RESOLVED)),
    Distribution("Ubuntu 24.04", "6.8.0-31-generic", _UBUNTU, (*_SSH_SOCKET, *_RESOLVED)),
    Distribution(
        "RHEL 8", "4.18.0-553.el8.x86_64", _RHEL, (*_SSHD, ("0.0.0.0", 111, 128, "rpcbind")),
        {"net.core.somaxconn": "2048", **_OPTMEM},
    ),
    Distribution("RHEL 9", "5.14.0-427.el9.x86_64", _RHEL, _SSHD, _OPTMEM),
)  # fmt: skip

#: Ten days of a host on the Internet: scans are answered with resets, some programs abort.
_TEN_DAYS = 864_000
_COUNTERS = {
    "Tcp.OutRsts": 2400, "Tcp.AttemptFails": 30, "Tcp.EstabResets": 40,
    "TcpExt.TCPAbortOnClose": 12, "TcpExt.TCPAbortOnData": 90, "TcpExt.TCPAbortOnTimeout": 3,
    "sockstat.TCP.mem": 6,
}  # fmt: skip
_SILENT = (
    "TcpExt.TCPAbortOnMemory", "TcpExt.TCPAbortOnLinger", "TcpExt.TCPMemoryPressures",
    "TcpExt.TCPTimeWaitOverflow", "TcpExt.ListenOverflows", "TcpExt.ListenDrops",
    "TcpExt.SyncookiesSent", "sockstat.TCP.orphan",
)  # fmt: skip


def running_values(stock: Distribution, buckets: int) -> dict[str, str]:
    """The kernel's defaults on a machine whose connection table has ``buckets``, and the rest."""
    interfaces = {
        **{f"net.ipv4.conf.{name}.rp_filter": "2" for name in _INTERFACES},
        **{f"net.ipv4.conf.{name}.accept_source_route": "0" for name in _INTERFACES},
        **{f"net.ipv6.conf.{name}.use_tempaddr": "0" for name in _INTERFACES},
    }
    return {
        **{key: value for key, value in untouched(stock.release, buckets).items()
           if ".vs." not in key},
        **interfaces,
        "net.ipv4.ip_local_reserved_ports": "",
        "net.core.default_qdisc": "fq_codel", "net.core.optmem_max": "131072",
        "net.ipv4.ping_group_range": "0\t2147483647", "net.ipv4.tcp_sack": "1",
        "net.ipv4.tcp_mem": "93000\t124000\t186000", "fs.file-nr": "1200\t0\t400000",
        "net.netfilter.nf_conntrack_max": "65536", "net.netfilter.nf_conntrack_count": "20",
        **stock.running,
    }  # fmt: skip


def stock_host(stock: Distribution, root: Path, buckets: int = 262144) -> HostState:
    """An untouched host, as a live audit by root would see it."""
    running = running_values(stock, buckets)
    tree = make_tree(root, {
        **SYSTEMD, **stock.files,
        "/proc/sys/kernel/osrelease": stock.release,
        "/proc/uptime": f"{_TEN_DAYS}.0 1.0\n",
        "/proc/modules": "nf_conntrack 1 0 - Live 0x0\n",
        **{f"/proc/sys/{key.replace('.', '/')}": f"{value}\n" for key, value in running.items()},
    })  # fmt: skip
    host = collect(Options(root=tree.root))
    return host._replace(
        source="live",
        facts={**host.facts, **_live_facts(stock)},
        gaps={name: gap for name, gap in host.gaps.items() if gap.reason != "not-recorded"},
    )


#: As sshd sets up its connections (TCPKeepAlive), and as it should on a path that forgets soon.
_KEEPALIVE = {"keepalive": True}
_KEEPALIVE_SOON = {"keepalive": True, "keepidle": 60}


def exemplary_host(root: Path) -> HostState:
    """A new kernel on a gateway where everything that any rule asks for is done."""
    new = Distribution("new", "6.18.44", _DEBIAN13, (*_SSHD, ("0.0.0.0", 443, 8192, "nginx")))
    host = stock_host(new, root)
    right = {
        "net.core.somaxconn": "8192", "net.core.rmem_max": "212992",
        "net.netfilter.nf_conntrack_tcp_be_liberal": "1",
        "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "3600",
    }  # fmt: skip
    running = {**tuned(new.release, host.sysctls, "proxy"), **right}
    changed = {key: value for key, value in running.items() if host.sysctls.get(key) != value}
    lines = "".join(f"{key} = {value}\n" for key, value in changed.items())
    early = {"/etc/modules-load.d/gateway.conf": "nf_conntrack\n"}
    files = {**_DEBIAN13, **early, "/etc/sysctl.d/50-gateway.conf": lines}
    persisted = persisted_in(root / "gateway", files, running, host.kernel)
    totals = {**dict.fromkeys(_COUNTERS, 0), **dict.fromkeys(_SILENT, 0)}
    counters = Counters(Sample(100.0, totals), Sample(101.0, totals), 3600.0)
    firewall = Firewall(("nft",), (), nat=True, drops_invalid=False)
    facts = {
        PERSISTED.name: persisted,
        COUNTERS.name: counters,
        FIREWALL.name: firewall,
        OPTIONS.name: option_table(dict.fromkeys(range(5000, 6001), _KEEPALIVE_SOON)),
    }
    return host._replace(sysctls=running, facts={**host.facts, **facts})


def _live_facts(stock: Distribution) -> dict[str, object]:
    """What a recorded tree cannot hold: listeners' limits, firewall, two counter samples."""
    totals = {**_COUNTERS, **dict.fromkeys(_SILENT, 0)}
    rows, owners = [], {}
    for number, (address, port, limit, comm) in enumerate(stock.listeners):
        inode = 5000 + number
        any_peer = "::" if ":" in address else "0.0.0.0"
        rows.append(row(LISTEN, address, port, any_peer, 0, queues=(0, limit), inode=inode))
        pid = 1 if comm == "systemd" else 700 + number
        owners[inode] = (Owner(pid, comm, "root"),)
    rows.append(row(ESTABLISHED, "10.0.0.5", 22, "192.0.2.9", 50222, timer=(2, 7_000_000, 0),
                    inode=6000, idle_ms=40_000))  # fmt: skip
    rows.append(row(TIME_WAIT, "10.0.0.5", 45678, "198.51.100.1", 443, timer=(3, 30_000, 0)))
    owners[6000] = (Owner(990, "sshd", "root"),)
    return {
        SOCKETS.name: table_of(*rows),
        OWNERS.name: owners,
        OPTIONS.name: option_table(dict.fromkeys(owners, _KEEPALIVE)),
        LIMITS.name: (Limits(700, "sshd", 8, 1024, 524288),),
        FIREWALL.name: Firewall((), (), False, False),
        COUNTERS.name: Counters(Sample(100.0, totals), Sample(101.0, totals), float(_TEN_DAYS)),
    }
