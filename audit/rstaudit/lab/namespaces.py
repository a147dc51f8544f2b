"""Throw-away network namespaces: they live as long as this process, and leave nothing behind.

A namespace has no name anywhere. It is held by a descriptor of this process and by a keeper
process that waits at a pipe of ours; when we end, however we end, the kernel closes both.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from rstaudit.model.facts import Gap, MissingFact

CLONE_NEWNET = 0x40000000

#: Opened for every thread: where it is and where it goes back to.
_HERE = "/proc/thread-self/ns/net"


class Namespace:
    """A new network namespace with loopback up.

    Raises `MissingFact` when the kernel does not let us make one.
    """

    def __init__(self) -> None:
        home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("unshare", CLONE_NEWNET)
            try:
                self._door = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
                self._keeper = spawn("cat")
            finally:
                _call("setns", home, CLONE_NEWNET)
        finally:
            os.close(home)
        self._closed = threading.Lock()

    @property
    def pid(self) -> int:
        """The keeper: a process that is in the namespace as long as it exists."""
        return self._keeper.pid

    def enter(self) -> None:
        """Move the calling thread into the namespace for good."""
        _call("setns", self._door, CLONE_NEWNET)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is in the namespace for the time of the block.

        Sockets and processes made there belong to it for good, /proc/sys/net and
        /proc/thread-self/net are its own.
        """
        home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("setns", self._door, CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", home, CLONE_NEWNET)
        finally:
            os.close(home)

    def run(self, *command: str, stdin: str | None = None) -> str:
        """The output of a command run inside; raises `CommandFailed`."""
        with self.inside():
            process = spawn(*command)
        output, complaint = process.communicate((stdin or "").encode(), timeout=60)
        if process.returncode != 0:
            words = (complaint or output).decode(errors="replace").strip().splitlines()
            raise CommandFailed(f"{' '.join(command)}: {words[0] if words else 'failed'}")
        return output.decode(errors="replace")

    def set_sysctl(self, key: str, value: object) -> None:
        """Set a key of this namespace (``net.ipv4.tcp_fin_timeout``)."""
        assert key.startswith("net."), "only what belongs to the namespace"
        with self.inside(), open(_path(key), "w", encoding="ascii") as file:
            file.write(f"{value}\n")

    def get_sysctl(self, key: str) -> str:
        """The value of a key in this namespace."""
        with self.inside(), open(_path(key), encoding="ascii") as file:
            return file.read().strip()

    def close(self) -> None:
        """Let it go; the kernel takes it apart with its last socket."""
        if not self._closed.acquire(blocking=False):
            return
        os.close(self._door)
        dismiss(self._keeper)


class CommandFailed(Exception):  # noqa: N818 - reads as what happened
    """A command of the lab ended with an error: the command and its first words."""


def _path(key: str) -> str:
    parts = key.split(".")
    return "/proc/sys/" + "/".join(parts)


#: Held while a process is started, and while a socket is closed whose close matters: a child has
#: copies of all our descriptors until it runs its program, and a socket lives as long as a copy.
FORKING = threading.RLock()


def spawn(
    *command: str, hand_over: Iterable[int] = (), env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A process with pipes for input, output and complaints, and these descriptors of ours."""
    pipe = subprocess.PIPE
    with FORKING:
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=tuple(hand_over), env=env,
            process_group=0,
        )  # fmt: skip


def dismiss(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes of a process that waits at its input, and wait for its end."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()


def _call(name: str, *arguments: int) -> None:
    """unshare(2) or setns(2) of the calling thread; raises `MissingFact` or `OSError`."""
    if getattr(_LIBC, name)(*arguments) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EPERM:
        detail = "making network namespaces needs root (CAP_SYS_ADMIN)"
        raise MissingFact(Gap("lab", "permission", detail))
    raise OSError(number, f"{name}: {os.strerror(number)}")


_LIBC = ctypes.CDLL(None, use_errno=True)
