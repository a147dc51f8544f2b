"""The hosts of the made trees: what runs there, what an administrator wrote, which sockets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from rstaudit.model.sockets import CLOSE_WAIT, ESTABLISHED, LISTEN, TIME_WAIT

MADE = "made"


class Sock(NamedTuple):
    """A line of /proc/net/tcp or tcp6. ``queued`` is the receive queue, ``left`` seconds."""

    state: int
    local: tuple[str, int]
    peer: tuple[str, int]
    inode: int = 0
    queued: int = 0
    left: int = 0
    uid: int = 0


class Process(NamedTuple):
    """A process with its sockets (every one of ``inodes`` is a descriptor) and its soft limit."""

    pid: int
    comm: str
    uid: int
    inodes: tuple[int, ...]
    soft: int = 1024


class Story(NamedTuple):
    """A host. ``running`` overrides values of the table, ``files`` are texts by path.

    Both carry their source beside the value; a text that begins with ``-> `` is a link.
    """

    release: str
    title: str
    files: Mapping[str, tuple[str, str]]
    running: Mapping[str, tuple[str, str]] = MappingProxyType({})
    sockets: tuple[Sock, ...] = ()
    processes: tuple[Process, ...] = ()
    uptime: int = 864_000


ANY4, ANY6 = ("0.0.0.0", 0), ("::", 0)
SYSTEMD = {
    "/proc/1/comm": ("systemd\n", MADE),
    "/usr/lib/systemd/systemd-sysctl": ("", "made: a mark that this host boots with systemd"),
}
PASSWD = "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\napp:x:1001:1001::/:/bin/sh\n"
SSHD = Process(812, "sshd", 0, (9001, 9002))
SSH_SOCKETS = (
    Sock(LISTEN, ("0.0.0.0", 22), ANY4, 9001),
    Sock(LISTEN, ("::", 22), ANY6, 9002),
)
_LINK = ("-> ../sysctl.conf", "the link that the distribution ships")
_OLD_ADVICE = """# copied from an article of 2012
net.ipv4.tcp_tw_recycle = 1
net.ipv4.tcp_tw_reuse = 1
net.ipv4.tcp_fin_timeout = 15
"""

RHEL7 = Story(
    "3.10.0-1160.el7.x86_64",
    "a NATed application server tuned by an old article, with a leak of CLOSE_WAIT",
    {
        **SYSTEMD,
        "/etc/passwd": (PASSWD, MADE),
        "/etc/sysctl.conf": ("# empty\n", MADE),
        "/etc/sysctl.d/99-sysctl.conf": _LINK,
        "/etc/sysctl.d/90-tuning.conf": (_OLD_ADVICE, "made: the three lines of such articles"),
    },
    {
        "net.ipv4.tcp_tw_recycle": ("1", "made: applied from /etc/sysctl.d/90-tuning.conf"),
        "net.ipv4.tcp_tw_reuse": ("1", "made: applied from /etc/sysctl.d/90-tuning.conf"),
        "net.ipv4.tcp_fin_timeout": ("15", "made: applied from /etc/sysctl.d/90-tuning.conf"),
    },
    (
        *SSH_SOCKETS,
        Sock(LISTEN, ("0.0.0.0", 8080), ANY4, 7000, uid=1001),
        *(
            Sock(CLOSE_WAIT, ("10.0.0.5", 41000 + n), ("10.0.0.20", 9200), 7001 + n,
                 queued=513 if n < 2 else 1, uid=1001)
            for n in range(12)
        ),
        Sock(ESTABLISHED, ("10.0.0.5", 8080), ("192.0.2.7", 51000), 7100, uid=1001),
        Sock(ESTABLISHED, ("10.0.0.5", 22), ("192.0.2.9", 50222), 9003),
        *(
            Sock(TIME_WAIT, ("10.0.0.5", 8080), ("192.0.2.7", 51001 + n), left=30)
            for n in range(2)
        ),
    ),
    (
        SSHD._replace(inodes=(9001, 9002, 9003)),
        Process(2101, "java", 1001, (7000, *range(7001, 7013), 7100), soft=4096),
    ),
)  # fmt: skip

RHEL8 = Story(
    "4.18.0-553.el8.x86_64",
    "a worker that runs out of ports towards its database, on a gateway with a full table",
    {
        **SYSTEMD,
        "/etc/passwd": (PASSWD, MADE),
        "/etc/sysctl.conf": ("# empty\n", MADE),
        "/etc/sysctl.d/99-sysctl.conf": _LINK,
        "/etc/sysctl.d/80-ports.conf": (
            "net.ipv4.ip_local_port_range = 40000 40031\n", "made: a range that is far too small",
        ),
        "/etc/sysctl.d/90-old.conf": (
            "net.ipv4.tcp_tw_recycle = 1\nnet.netfilter.nf_conntrack_max = 262144\n",
            "made: a line left over from RHEL 7, and one that comes before its module",
        ),
        "/proc/modules": ("nf_conntrack 172032 1 nf_nat, Live 0x0000000000000000\n", MADE),
    },
    {"net.ipv4.ip_local_port_range": ("40000\t40031", "made: applied from 80-ports.conf")},
    (
        *SSH_SOCKETS,
        *(
            Sock(TIME_WAIT, ("10.0.0.6", 40000 + n), ("10.0.0.9", 5432), left=2 * n)
            for n in range(30)
        ),
        Sock(ESTABLISHED, ("10.0.0.6", 40030), ("10.0.0.9", 5432), 7200, uid=1001),
    ),
    (SSHD, Process(1450, "worker", 1001, (7200,))),
)  # fmt: skip

RHEL9 = Story(
    "5.14.0-427.el9.x86_64",
    "an untouched virtual machine, with tuned as it is installed",
    {
        **SYSTEMD,
        "/etc/passwd": (PASSWD, MADE),
        "/etc/sysctl.conf": ("# empty\n", MADE),
        "/etc/sysctl.d/99-sysctl.conf": _LINK,
        "/etc/tuned/active_profile": ("virtual-guest\n", "tuned's choice in a virtual machine"),
        "/etc/systemd/system/multi-user.target.wants/tuned.service": (
            "-> /usr/lib/systemd/system/tuned.service", "tuned is enabled by default",
        ),
        "/usr/lib/tuned/virtual-guest/tuned.conf": (
            "[main]\ninclude=throughput-performance\n", "the profile's own include",
        ),
        "/usr/lib/tuned/throughput-performance/tuned.conf": (
            "[sysctl]\nnet.core.somaxconn=>2048\n", "tuned 2.28 raises the value to 2048 at least",
        ),
    },
    {},
    (*SSH_SOCKETS, Sock(ESTABLISHED, ("10.0.0.7", 22), ("192.0.2.9", 50333), 9003)),
    (SSHD._replace(inodes=(9001, 9002, 9003)),),
)  # fmt: skip

DEBIAN12 = Story(
    "6.1.0-32-amd64",
    "a small web server with one listener a worker, whose queues have overflowed before",
    {
        **SYSTEMD,
        "/etc/passwd": (PASSWD, MADE),
        "/etc/sysctl.conf": ("# nothing but comments\n", MADE),
        "/etc/sysctl.d/99-sysctl.conf": _LINK,
    },
    {},
    (
        *SSH_SOCKETS,
        Sock(LISTEN, ("0.0.0.0", 443), ANY4, 7301, uid=33),
        Sock(LISTEN, ("0.0.0.0", 443), ANY4, 7302, uid=33),
        Sock(ESTABLISHED, ("10.0.0.8", 443), ("198.51.100.4", 40100), 7310, uid=33),
        Sock(ESTABLISHED, ("2001:db8::8", 443), ("2001:db8::99", 40200), 7311, uid=33),
        *(
            Sock(TIME_WAIT, ("10.0.0.8", 443), ("198.51.100.4", 40101 + n), left=20)
            for n in range(3)
        ),
    ),
    (SSHD, Process(931, "nginx", 33, (7301, 7310)), Process(932, "nginx", 33, (7302, 7311))),
)  # fmt: skip

RECORDED = Story(
    "6.18.44",
    "the values of the machine that things were measured on, and one listener",
    {
        **SYSTEMD,
        "/etc/passwd": (PASSWD, MADE),
        "/etc/sysctl.conf": ("# nothing but comments\n", MADE),
        "/etc/sysctl.d/99-sysctl.conf": _LINK,
    },
    {},
    (Sock(LISTEN, ("127.0.0.1", 8080), ANY4, 7401, uid=1001),),
    (Process(640, "app", 1001, (7401,)),),
    3600,
)

STORIES: Mapping[str, Story] = {
    "rhel7-3.10": RHEL7, "rhel8-4.18": RHEL8, "rhel9-5.14": RHEL9,
    "debian12-6.1": DEBIAN12, "recorded-6.18": RECORDED,
}  # fmt: skip
