"""What a command did, system call by system call, and which of it an audit must not do.

Every call has to be on a list: one that nobody has thought about is a violation, not a pass.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from support.cli import environment

#: Calls that change nothing outside the process that makes them, whatever their arguments.
_HARMLESS = """
    access arch_prctl brk clock_getres clock_gettime clock_nanosleep close close_range dup dup2
    dup3 epoll_create1 exit exit_group faccessat faccessat2 fadvise64 fork fstat fstatfs futex
    getcwd getdents64 getegid geteuid getgid getgroups getpeername getpgrp getpid getppid
    getrandom getresgid getresuid getrlimit getrusage getsockname getsockopt gettid gettimeofday
    getuid lseek lstat madvise membarrier mmap mprotect mremap munmap nanosleep newfstatat
    pidfd_getfd pidfd_open pipe pipe2 poll ppoll pread64 pselect6 read readlink readlinkat readv
    recvfrom recvmsg restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn
    sched_getaffinity sched_yield select set_robust_list set_tid_address sigaltstack stat statfs
    statx sysinfo uname vfork wait4 waitid
"""
HARMLESS = frozenset(_HARMLESS.split())

#: What may be done to a duplicate of another process's socket.
LOOKING = frozenset(("close", "fstat", "getsockname", "getsockopt", "newfstatat"))

#: The programs that an audit may start, by the name they are started under.
PROGRAMS = re.compile(r"(nft|ip6?tables(-nft|-legacy)?-save)")

#: Requests that only read: TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY; of nftables GETTABLE, GETCHAIN,
#: GETRULE, GETSET, GETSETELEM, GETGEN, GETOBJ, GETFLOWTABLE; NFNL_MSG_COMPAT_GET.
REQUESTS = frozenset({0x12, 0x14, 0xA01, 0xA04, 0xA07, 0xA0A, 0xA0D, 0xA10, 0xA13, 0xA17, 0xB00})

_CALL = re.compile(r"(\w+)\((.*)")
_COMMENT = re.compile(r" /\*.*?\*/")
_TYPE = re.compile(r"nlmsg_type=(?:(0x[0-9a-f]+)<<8\|)?(0x[0-9a-f]+|0)")
_WRITING = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)")


class Traced(NamedTuple):
    """A finished command: what it printed, and every system call of it and its children."""

    status: int
    stdout: str
    stderr: str
    calls: tuple[str, ...]


def traced(command: list[str], cwd: Path | None = None, **env: str) -> Traced:
    """Run ``command`` under strace, with its output into pipes."""
    with tempfile.TemporaryDirectory(prefix="strace-") as folder:
        strace = ["strace", "-ff", "-yy", "-X", "verbose", "-s", "256", "-o", f"{folder}/trace"]
        done = subprocess.run(
            [*strace, "--", *command], cwd=cwd, env=environment(**env), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        files = sorted(Path(folder).iterdir())
        calls = [line for file in files for line in file.read_text(errors="replace").splitlines()]
    assert calls, done.stderr
    return Traced(done.returncode, done.stdout, done.stderr, tuple(calls))


def violations(run: Traced) -> list[str]:
    """The calls that change something, each with what is wrong with it; empty for an audit.

    The program that was traced itself is a Python; every other program started is judged.
    """
    found = []
    for line in run.calls:
        if line.startswith(("+++ exited", "--- SIGCHLD")):
            continue
        match = _CALL.match(line)
        name, arguments = match.groups() if match else ("", "")
        if complaint := _judged(name, arguments) or _connection(name, arguments):
            found.append(f"{complaint}: {line}")
    return found


def _judged(name: str, arguments: str) -> str | None:
    if name in HARMLESS:
        return None
    judge = _JUDGES.get(name)
    return judge(arguments) if judge else "is not known to be harmless"


def _connection(name: str, arguments: str) -> str | None:
    """Of a TCP socket, which can only be a duplicate, options are read; its data, flags are not."""
    tcp = re.match(r"\d+<(TCP|TCPv6|MPTCP|socket):\[", arguments)
    return "takes more of a connection than its options" if tcp and name not in LOOKING else None


def _open(arguments: str) -> str | None:
    flags = _WRITING.search(_without_strings(arguments).partition(" = ")[0])
    device = re.search(r'"/dev/(null|tty)"', arguments)
    return "opens for writing" if flags and not device else None


def _write(arguments: str) -> str | None:
    to_own_end = re.match(r"\d+<(pipe:\[|/dev/null|/dev/pts/)", arguments)
    return None if to_own_end else "writes elsewhere than to its own output"


def _socket(arguments: str) -> str | None:
    netlink = "AF_NETLINK" in arguments and re.search(
        r"NETLINK_(NETFILTER|SOCK_DIAG) ", arguments.partition(" = ")[0]
    )
    # iptables-legacy-save asks for its tables with getsockopt on such a socket, and never sends
    legacy = "AF_INET" in arguments and "SOCK_RAW" in arguments and "IPPROTO_RAW" in arguments
    return None if netlink or legacy else "opens a socket that can reach others"


def _send(arguments: str) -> str | None:
    if not re.match(r"\d+<NETLINK:\[", arguments):
        return "sends to another than the kernel"
    if not re.search(r"nl_pid=0\b", _without_strings(arguments).rpartition("sa_family=")[2]):
        return "sends to another process"
    types = _TYPE.findall(_COMMENT.sub("", arguments))
    numbers = {(int(high or "0", 16) << 8) + int(low, 16) for high, low in types}
    return None if numbers and numbers <= REQUESTS else "asks the kernel for more than to read"


def _bind(arguments: str) -> str | None:
    return None if re.match(r"\d+<NETLINK:\[", arguments) else "binds an address"


def _option(arguments: str) -> str | None:
    return None if re.match(r"\d+<NETLINK:\[", arguments) else "sets an option of a socket"


def _program(arguments: str) -> str | None:
    path = re.match(r'"([^"]*)"', arguments)
    if path is None:
        return "starts a program with a hidden name"
    ours = path[1] == sys.executable
    known = PROGRAMS.fullmatch(os.path.basename(path[1]))
    return None if ours or known else "starts another program"


def _clone(arguments: str) -> str | None:
    return "makes a namespace" if "CLONE_NEW" in arguments else None


def _limit(arguments: str) -> str | None:
    return None if re.match(r"0, [^,]*, NULL,", arguments) else "sets a limit"


def _descriptor(arguments: str) -> str | None:
    harmless = r"F_(DUPFD|DUPFD_CLOEXEC|GETFD|SETFD|GETFL|SETFL) "
    return None if re.search(harmless, arguments) else "does more than copy a descriptor"


def _device(arguments: str) -> str | None:
    harmless = r"(FIOCLEX|FIONCLEX|FIONBIO|FIONREAD|TCGETS|TIOCGWINSZ) "
    return None if re.search(harmless, arguments) else "controls a device"


def _own(arguments: str) -> str | None:
    return None if re.search(r"PR_(GET_\w+|SET_VMA) ", arguments) else "changes the process"


_JUDGES: dict[str, Callable[[str], str | None]] = {
    "open": _open, "openat": _open, "write": _write, "writev": _write, "socket": _socket,
    "sendto": _send, "sendmsg": _send, "bind": _bind, "setsockopt": _option,
    "execve": _program, "clone": _clone, "clone3": _clone, "prlimit64": _limit,
    "fcntl": _descriptor, "ioctl": _device, "prctl": _own,
}  # fmt: skip


def _without_strings(text: str) -> str:
    return re.sub(r'"(\\.|[^"\\])*"', '""', text)


def programs(run: Traced) -> Iterator[str]:
    """The names of the programs that were started, the traced one first."""
    for line in run.calls:
        if match := re.match(r'execve\("([^"]*)".* = 0$', line):
            yield os.path.basename(match[1])
