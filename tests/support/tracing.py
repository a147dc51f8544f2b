"""A private tracefs around a block of a test: this machine's own mounts stay as they are."""

from __future__ import annotations

import ctypes
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_FS, CLONE_NEWNS = 0x00000200, 0x00020000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_LIBC = ctypes.CDLL(None, use_errno=True)

TRACING = Path("/sys/kernel/tracing")
INSTANCES = TRACING / "instances"


@contextmanager
def turn(*, alone: bool = False) -> Iterator[None]:
    """Look on beside others that look on, or ``alone``: a storm would drown what they look for.

    Events are those of the whole machine, whichever worker's test makes them.
    """
    with open(f"{tempfile.gettempdir()}/rstaudit-tests.turn", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextmanager
def private_mounts(*, tracefs: bool = True, alone: bool = False) -> Iterator[None]:
    """The calling thread has mounts of its own, with tracefs or, if so wished, without any.

    It also waits for its `turn`.

    Children started inside have them too. The instances in tracefs are the machine's, whoever
    mounts it: see `ours`.
    """
    with turn(alone=alone), _private_mounts(tracefs=tracefs):
        yield


@contextmanager
def _private_mounts(*, tracefs: bool) -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(_LIBC.unshare(CLONE_NEWNS))
        try:
            _check(_LIBC.mount(b"none", b"/", None, _MS_REC_PRIVATE, None))
            while os.path.ismount(TRACING):
                _check(_LIBC.umount2(os.fsencode(TRACING), 2))
            if tracefs:
                _check(_LIBC.mount(b"tracefs", os.fsencode(TRACING), b"tracefs", 0, None))
            yield
        finally:
            # a thread that was started inside and lingers shares our root, which setns() refuses
            _check(_LIBC.unshare(CLONE_FS))
            _check(_LIBC.setns(home, CLONE_NEWNS))
            os.fchdir(folder)
    finally:
        os.close(folder)
        os.close(home)


def ours(pid: int | None = None) -> list[str]:
    """Instances that this process, or ``pid``, has made."""
    return sorted(path.name for path in INSTANCES.glob(f"rstaudit-{pid or os.getpid()}-*"))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} (live tests need root)")
