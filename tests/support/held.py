"""Sockets of child processes, as the reader of options is told of them, and reading as others."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import subprocess
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rstaudit.collect.sockopts import Held

PIDFD_OPEN, PIDFD_GETFD = 434, 438
_LIBC = ctypes.CDLL(None, use_errno=True)


def held(child: subprocess.Popen[str], family: int = socket.AF_INET) -> list[Held]:
    """All sockets of a child, the lowest descriptor first; without those closed meanwhile."""
    links = {}
    for entry in Path(f"/proc/{child.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            links[int(entry.name)] = os.readlink(entry)
    return [
        Held(fd, int(links[fd][8:-1]), family)
        for fd in sorted(links)
        if links[fd].startswith("socket:")
    ]


def duplicate(child: subprocess.Popen[str], fd: int) -> int:
    """A descriptor of our own for one of the child's."""
    pidfd = _LIBC.syscall(PIDFD_OPEN, child.pid, 0)
    number = _LIBC.syscall(PIDFD_GETFD, pidfd, fd, 0)
    os.close(pidfd)
    assert number >= 0, os.strerror(ctypes.get_errno())
    return int(number)


def tell(child: subprocess.Popen[str], done: Callable[[], bool]) -> None:
    """Let the child do what its SIGUSR1 handler does, and wait until that can be seen."""
    child.send_signal(signal.SIGUSR1)
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline, "the child did not do it"
        time.sleep(0.001)


def elsewhere(function: Callable[[], str], *before: Callable[[], object]) -> str:
    """What ``function`` returns in a child process in which ``before`` was called first."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: a test runner may have threads
        pid = os.fork()
    if pid == 0:
        try:
            for step in before:
                step()
            answer = function()
        except BaseException as error:  # noqa: BLE001 - must not unwind into the test run
            answer = f"{type(error).__name__}: {error}"
        os.write(write_end, answer.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


def become_nobody() -> None:
    """Give up every privilege of root."""
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)


def refuse_call(number: int, error: int) -> None:
    """From now on the kernel answers a system call with an error (seccomp(2))."""
    load, equal, give = 0x20, 0x15, 0x06
    steps = [(load, 0, 0, 0), (equal, 0, 1, number), (give, 0, 0, 0x50000 | error),
             (give, 0, 0, 0x7FFF0000)]  # fmt: skip
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    described = struct.pack("HP", len(steps), ctypes.addressof(program))
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    assert _LIBC.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert _LIBC.prctl(set_seccomp, filter_mode, described, 0, 0) == 0
