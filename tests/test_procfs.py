"""Parsers of /proc: right on what kernels print, ParseError on everything else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.model.facts import Kernel
from rstaudit.parse.errors import ParseError
from rstaudit.parse.process import ProcessStat, parse_open_files, parse_stat, parse_uid
from rstaudit.parse.procfs import (
    parse_builtin,
    parse_counters,
    parse_kernel,
    parse_modules,
    parse_sockstat,
    parse_uptime,
)

#: Cut from a 6.18 kernel, with the groups that rules ask for.
NETSTAT = """\
TcpExt: SyncookiesSent EmbryonicRsts TCPAbortOnData TCPAbortOnClose
TcpExt: 0 1 23 18446744073709551615
IpExt: InNoRoutes InOctets
IpExt: 0 87312355
MPTcpExt: MPCapableSYNRX MPFastcloseTx
MPTcpExt: 4 5
"""

#: Made: the columns that 3.10 has in net/ipv4/proc.c for Tcp; MaxConn is -1 everywhere.
SNMP_310 = """\
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets \
CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 12 13 14 15 16 17 18 19 20 21 22
UdpLite:
UdpLite:
"""

SOCKSTAT = """\
sockets: used 15
TCP: inuse 1 orphan 7 tw 2 alloc 1 mem 192
FRAG: inuse 0 memory 0
"""

LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max open files            1024                 unlimited            files     
"""  # noqa: W291 - the kernel pads the last column

STATUS = "Name:\tsh\\nUid:\t0\nUmask:\t0022\nUid:\t1000\t1001\t1002\t1003\n"

MODULES = """\
tcp_diag 16384 0 - Live 0x0000000000000000
inet_diag 28672 1 tcp_diag, Live 0x0000000000000000
nf_nat 57344 2 nft_chain_nat,xt_MASQUERADE, Live 0x0000000000000000 (E)
gone 1 0 - Unloading 0x0000000000000000
"""


def stat_line(comm: str) -> str:
    """A line of /proc/PID/stat with the start time 4242."""
    return f"77 ({comm}) S 1 " + " ".join(["0"] * 17) + " 4242 0 0\n"


def test_counters_carry_their_group() -> None:
    """Names are nstat's with a dot; a counter as wide as 64 bits survives."""
    counters = parse_counters(NETSTAT)
    assert counters["TcpExt.TCPAbortOnData"] == 23
    assert counters["TcpExt.TCPAbortOnClose"] == 2**64 - 1
    assert counters["MPTcpExt.MPFastcloseTx"] == 5
    assert len(counters) == 8


def test_short_file_of_an_old_kernel() -> None:
    """Fewer counters, an empty group and a negative value are all fine."""
    counters = parse_counters(SNMP_310)
    assert counters["Tcp.OutRsts"] == 21
    assert counters["Tcp.MaxConn"] == -1
    assert len(counters) == 15


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TcpExt: A B\n",
        "TcpExt: A B\nTcpExt: 1\n",
        "TcpExt: A\nIpExt: 1\n",
        "TcpExt: A\nTcpExt: 1_0\n",
        "TcpExt: A\nTcpExt: ٣\n",
        "TcpExt: A\nTcpExt: " + "9" * 5000 + "\n",
        "no colon\nno colon\n",
    ],
)
def test_counters_refuse_what_no_kernel_prints(text: str) -> None:
    """Cut, mismatched or foreign text is an error and not a wrong number."""
    with pytest.raises(ParseError):
        parse_counters(text)


def test_sockstat() -> None:
    """Gauges are flat, under the name of the file."""
    gauges = parse_sockstat(SOCKSTAT, "sockstat")
    assert gauges["sockstat.TCP.orphan"] == 7
    assert gauges["sockstat.sockets.used"] == 15
    assert parse_sockstat("TCP6: inuse 3\n", "sockstat6") == {"sockstat6.TCP6.inuse": 3}


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("3.10.0-1160.el7.x86_64\n", (3, 10, 0)),
        ("6.18.44-cloud", (6, 18, 44)),
        ("5.14-rc5", (5, 14, 0)),
        ("6.6.87.2-microsoft-standard-WSL2", (6, 6, 87)),
    ],
)
def test_kernel_releases(release: str, version: tuple[int, int, int]) -> None:
    """Vendors append what they like; the version is the numbers in front."""
    assert parse_kernel(release) == Kernel(release.strip(), version)


def test_process_names_do_not_mislead() -> None:
    """A name with parentheses, spaces and newlines leaves the other fields alone."""
    for comm in ("cron", "a) R 1 (b", "x\ny z", ""):
        assert parse_stat(stat_line(comm)) == ProcessStat(comm, "S", 1, 4242)
    assert parse_uid(STATUS) == 1001


def test_open_files() -> None:
    """Soft and hard limit, None for unlimited."""
    assert parse_open_files(LIMITS) == (1024, None)


def test_module_lists() -> None:
    """Dashes become underscores; a module on its way out does not count."""
    assert parse_modules(MODULES) == {"tcp_diag", "inet_diag", "nf_nat"}
    builtin = "kernel/net/ipv4/tcp-diag.ko\nkernel/fs/ext4/ext4.ko.xz\n"
    assert parse_builtin(builtin) == {"tcp_diag", "ext4"}


def test_uptime() -> None:
    """The first number; no number, or one that is not finite, is an error."""
    assert parse_uptime("1090.91 2111.90\n") == 1090.91
    for text in ("", "nan 1", "inf 1", "-1 1", "x"):
        with pytest.raises(ParseError):
            parse_uptime(text)


PARSERS: list[Callable[[str], object]] = [
    parse_counters,
    lambda text: parse_sockstat(text, "sockstat"),
    parse_kernel,
    parse_uptime,
    parse_open_files,
    parse_stat,
    parse_uid,
    parse_modules,
    parse_builtin,
]

#: Any text, and true text with a piece replaced: the second goes deeper into the parsers.
DAMAGED = st.builds(
    lambda text, at, cut, piece: text[: at % len(text)] + piece + text[at % len(text) + cut :],
    st.sampled_from([NETSTAT, SNMP_310, SOCKSTAT, LIMITS, STATUS, MODULES, stat_line("x")]),
    st.integers(0, 1000),
    st.integers(0, 20),
    st.text(max_size=10),
)


@given(st.one_of(st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")), DAMAGED))
def test_parsers_are_total(text: str) -> None:
    """Whatever the bytes: a value, or ParseError and nothing else."""
    for parse in PARSERS:
        with suppress(ParseError):
            parse(text)
