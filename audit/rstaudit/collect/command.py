"""Run a command and keep what it prints, without the 16 ms that importing subprocess costs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import NamedTuple

#: Where commands of the administrator live; not all of it is in a user's PATH.
_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin")
_LIMIT = 64 << 20  # bytes of output; more is not a ruleset that anybody can judge


class CommandError(Exception):
    """A command that could not be run, did not end in time, or failed; the message says which."""


class Output(NamedTuple):
    """Exit status (negative: the signal that ended it) and what was printed."""

    status: int
    stdout: bytes
    stderr: bytes


def find(name: str) -> str | None:
    """The path of command ``name``, from PATH or the administrator's directories."""
    path = os.environ.get("PATH", "").split(":")
    for directory in (*path, *_DIRECTORIES):
        candidate = f"{directory}/{name}"
        if directory.startswith("/") and os.access(candidate, os.X_OK):
            return candidate
    return None


def run(argv: list[str], timeout: float) -> Output:
    """Run ``argv`` (no shell, no input) for at most ``timeout`` seconds.

    Raises `CommandError` where it cannot be started, takes longer, or prints more than 64 MiB.
    """
    out, out_end = _pipe(argv[0])
    try:
        err, err_end = _pipe(argv[0])
    except CommandError:
        os.close(out)
        os.close(out_end)
        raise
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out_end, 1),
        (os.POSIX_SPAWN_DUP2, err_end, 2),
    ]
    environment = {"PATH": ":".join(_DIRECTORIES), "LC_ALL": "C"}
    try:
        try:
            pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions)
        except OSError as error:
            raise CommandError(f"{argv[0]}: {error.strerror}") from None
        finally:
            os.close(out_end)
            os.close(err_end)
        return _finish(pid, argv[0], {out: bytearray(), err: bytearray()}, timeout)
    finally:
        os.close(out)
        os.close(err)


def _pipe(name: str) -> tuple[int, int]:
    try:
        return os.pipe()
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from None


def _finish(pid: int, name: str, pipes: dict[int, bytearray], timeout: float) -> Output:
    """Read until both pipes are closed and wait; whatever happens the child is gone after it."""
    try:
        complaint = _drain(pipes, time.monotonic() + timeout)
        if complaint is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if complaint is not None:
        raise CommandError(f"{name} {complaint}")
    stdout, stderr = pipes.values()
    return Output(status, bytes(stdout), bytes(stderr))


def _drain(pipes: dict[int, bytearray], deadline: float) -> str | None:
    """Fill the buffers until end of file; the reason where that was given up."""
    poll = select.poll()
    for descriptor in pipes:
        poll.register(descriptor, select.POLLIN)
    left = len(pipes)
    while left:
        wait = deadline - time.monotonic()
        if wait <= 0:
            return "did not end in time"
        for descriptor, _ in poll.poll(wait * 1000):
            piece = os.read(descriptor, 1 << 16)
            pipes[descriptor] += piece
            if not piece:
                poll.unregister(descriptor)
                left -= 1
            elif len(pipes[descriptor]) > _LIMIT:
                return "prints too much"
    return None
