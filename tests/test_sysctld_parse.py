"""Lines of sysctl.d files, as systemd-sysctl and procps take them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.parse.globs import braces, is_glob, matches
from rstaudit.parse.sysctld import (
    LINE_MAX,
    Entry,
    as_key,
    as_path,
    cmdline_sysctls,
    parse_procps,
    parse_systemd,
)

FIN = "net/ipv4/tcp_fin_timeout"

#: Line, what systemd-sysctl makes of it, what procps does. None: passed over.
LINES = [
    (b"net.ipv4.tcp_fin_timeout=5", (FIN, "5", False), (FIN, "5", False)),
    (b"net/ipv4/tcp_fin_timeout = 5 ", (FIN, "5", False), (FIN, "5", False)),
    (b"-net.ipv4.tcp_fin_timeout=5", (FIN, "5", True), (FIN, "5", True)),
    (b"-net.ipv4.tcp_fin_timeout", (FIN, None, True), (FIN, None, True)),
    (b"- net.ipv4.tcp_fin_timeout=5", (FIN, "5", True), (" " + FIN, "5", True)),
    (b"--net.ipv4.tcp_fin_timeout=5", ("-" + FIN, "5", True), (FIN, "5", True)),
    (b"  # a = b", None, None),
    (b"; a = b", None, None),
    (b"net.ipv4.tcp_fin_timeout", None, None),
    (b"=5", None, None),
    (b"-", None, None),
    (b"net.ipv4.tcp_fin_timeout=", (FIN, "", False), (FIN, "", False)),
    (b"net.ipv4.tcp_fin_timeout = 5 # five", (FIN, "5 # five", False), (FIN, "5 # five", False)),
    (b"net.ipv4.tcp_fin_timeout=5=6", (FIN, "5=6", False), (FIN, "5=6", False)),
    (b"net.ipv4.tcp_fin_timeout=5\\", (FIN, "5\\", False), (FIN, "5\\", False)),
    (b"\x0bnet.ipv4.tcp_fin_timeout=5\x0c", ("\v" + FIN, "5\f", False), (FIN, "5", False)),
    (b"/net/ipv4/tcp_fin_timeout=5", (FIN, "5", False), ("/" + FIN, "5", False)),
    (b"net..ipv4.tcp_fin_timeout=5", (FIN, "5", False), ("net//ipv4/tcp_fin_timeout", "5", False)),
    (b"net/ipv4/../ipv4/x=5", None, ("net/ipv4/../ipv4/x", "5", False)),
    (b"net.ipv4.conf.eth0/100.x=1", ("net/ipv4/conf/eth0.100/x", "1", False),
     ("net/ipv4/conf/eth0.100/x", "1", False)),
    (b"net/ipv4/conf/eth0.100/x=1", ("net/ipv4/conf/eth0.100/x", "1", False),
     ("net/ipv4/conf/eth0.100/x", "1", False)),
    (b"net.ipv4.\xff\xfe=1", ("net/ipv4/\udcff\udcfe", "1", False),
     ("net/ipv4/\udcff\udcfe", "1", False)),
]  # fmt: skip


@pytest.mark.parametrize(("line", "systemd", "procps"), LINES)
def test_each_reader_takes_a_line_in_its_own_way(
    line: bytes,
    systemd: tuple[str, str | None, bool] | None,
    procps: tuple[str, str | None, bool] | None,
) -> None:
    """One line gives the entry that the reader would act on, or none."""
    for parse, wanted in ((parse_systemd, systemd), (parse_procps, procps)):
        entries = parse(line).entries
        assert [tuple(entry[1:]) for entry in entries] == ([wanted] if wanted else [])


def test_lines_are_counted_as_the_reader_counts_them() -> None:
    """CR LF is one end of line for both; a bare CR or a NUL ends one for systemd only."""
    data = b"\n# c\r\na.b=1\r\nc.d=2\re.f=3\0g.h=4\n\nrubbish\n"
    assert [(e.line, e.path, e.value) for e in parse_systemd(data).entries] == [
        (3, "a/b", "1"), (4, "c/d", "2"), (5, "e/f", "3"), (6, "g/h", "4"),
    ]  # fmt: skip
    assert [(e.line, e.path, e.value) for e in parse_procps(data).entries] == [
        (3, "a/b", "1"), (4, "c/d", "2\re.f=3"),
    ]  # fmt: skip
    assert [p.line for p in parse_systemd(data).problems] == [8]
    assert [p.line for p in parse_procps(data).problems] == [6]


def test_a_very_long_line_ends_the_file_for_systemd() -> None:
    """systemd-sysctl stops at a line of 1 MiB, with what came before kept; procps goes on."""
    data = b"a.b=1\n" + b"x" * LINE_MAX + b"\nc.d=2\n"
    parsed = parse_systemd(data)
    assert parsed.entries == (Entry(1, "a/b", "1", False),)
    assert [problem.line for problem in parsed.problems] == [2]
    assert [entry.path for entry in parse_procps(data).entries] == ["a/b", "c/d"]


def test_the_kernel_command_line_gives_its_sysctl_words() -> None:
    """Only words before `--` that begin with sysctl; quotes hold a value with spaces together."""
    text = 'quiet sysctl.net.ipv4.tcp_rfc1337=1 sysctl/net/core/somaxconn=9 sysctl.x "sysctl.a.b=1 2" -- sysctl.c.d=1'  # noqa: E501 - a command line is one line
    assert cmdline_sysctls(text) == (
        ("net/ipv4/tcp_rfc1337", "1"), ("net/core/somaxconn", "9"), ("a/b", "1 2"),
    )  # fmt: skip


@given(st.binary(max_size=300))
def test_any_bytes_give_entries_and_problems(data: bytes) -> None:
    """No bytes raise, and every entry has a path and a line that is there."""
    for parse in (parse_systemd, parse_procps):
        parsed = parse(data)
        for entry in parsed.entries:
            assert entry.path
            assert 1 <= entry.line <= len(data)
            assert matches(entry.path, entry.path) or is_glob(entry.path) or "\\" in entry.path
            assert braces(entry.path)


@given(st.text(max_size=200))
def test_any_command_line_is_read(text: str) -> None:
    """No text raises."""
    for path, _ in cmdline_sysctls(text):
        assert not path.startswith("/")


@given(st.text(alphabet="ab*?[]!^-{},\\/.", max_size=12), st.text(alphabet="ab./-", max_size=8))
def test_any_pattern_is_matched(pattern: str, path: str) -> None:
    """No pattern raises, and a star alone covers every visible name."""
    assert matches(pattern, path) in (True, False)
    assert matches("*", path) is ("/" not in path and not path.startswith("."))


def test_patterns_cost_little_whatever_they_are() -> None:
    """A pattern made to be slow is not: stars go back one step at most, braces are bounded."""
    assert not matches("*a" * 200 + "b", "a" * 2000)
    assert len(braces("{a,b}" * 40)) <= 256


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("net/*/x", "net/ipv4/x", True),
        ("net/*", "net/ipv4/x", False),
        ("eth?", "eth0", True),
        ("eth[0-3]", "eth2", True),
        ("eth[!0-3]", "eth2", False),
        ("eth[^0-3]", "eth9", True),
        ("e[]x]", "e]", True),
        ("e[x", "e[x", True),
        ("*", ".hidden", False),
        ("[[:digit:]]", "7", True),
        ("[[:alpha:]-]", "-", True),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
    ],
)
def test_patterns_are_those_of_glob(pattern: str, path: str, covered: bool) -> None:
    """What glob(7) says, component by component."""
    assert matches(pattern, path) is covered


def test_a_key_and_its_path_are_each_other() -> None:
    """The first separator decides; a dot in a name is a slash in the dotted key."""
    assert as_path("net.ipv4.conf.eth0/1.x") == "net/ipv4/conf/eth0.1/x"
    assert as_path("net/ipv4/conf/eth0.1/x") == "net/ipv4/conf/eth0.1/x"
    assert as_key("net/ipv4/conf/eth0.1/x") == "net.ipv4.conf.eth0/1.x"
