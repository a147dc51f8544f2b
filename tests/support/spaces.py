"""Several network namespaces at a time, as `ip netns` and containers make them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: In the namespace: listen, take connections, and close what arguments say. Prints ``ready``.
PROGRAM = """
import socket, sys
open("/proc/self/comm", "w").write(sys.argv[1])
server = socket.create_server(("127.0.0.1", 8081))
held = []
for _ in range(int(sys.argv[2])):
    client = socket.create_connection(server.getsockname())
    held.append(server.accept()[0])
    client.close()
print("ready", flush=True)
input()
"""


@contextmanager
def named(*names: str) -> Iterator[None]:
    """`ip netns` namespaces with loopback up, deleted afterwards."""
    made = []
    try:
        for name in names:
            _run("ip", "netns", "add", name)
            made.append(name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in made:
            _run("ip", "netns", "delete", name)


@contextmanager
def program(name: str, leaked: int, *enter: str) -> Iterator[tuple[int, str]]:
    """A listening program that holds ``leaked`` connections in CLOSE_WAIT, started by ``enter``.

    Yields its pid as seen here, and its network namespace.
    """
    child = subprocess.Popen(
        [*enter, sys.executable, "-c", PROGRAM, name, str(leaked)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        pid = _descendant(child.pid, name)
        yield pid, os.readlink(f"/proc/{pid}/ns/net")
    finally:
        child.communicate("\n", timeout=10)


def _descendant(pid: int, name: str) -> int:
    """The process called ``name`` among ``pid`` and what it started."""
    todo = [pid]
    while todo:
        pid = todo.pop()
        with open(f"/proc/{pid}/comm") as file:
            if file.read().strip() == name:
                return pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            todo += map(int, file.read().split())
    raise AssertionError(f"no process is called {name}")


def set_in(name: str, key: str, value: int) -> None:
    """Write a sysctl of an `ip netns` namespace."""
    _run("ip", "netns", "exec", name, "sysctl", "-qw", f"{key}={value}")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def cgroup(name: str) -> Iterator[tuple[str, ...]]:
    """A cgroup of this name, as systemd makes one for a unit or a container.

    Yields the words that start a command in it.
    """
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    folder = next(Path(words[1]) for words in mounts if words[2] == "cgroup2") / name
    folder.mkdir()
    try:
        yield ("sh", "-c", f'echo $$ >{folder}/cgroup.procs && exec "$@"', "sh")
    finally:
        deadline = time.monotonic() + 5
        while folder.exists():  # it can go once its last process has been reaped
            with contextlib.suppress(OSError):
                folder.rmdir()
            assert time.monotonic() < deadline, f"{folder} is in use"
            time.sleep(0.02)
