"""The command that ``rstaudit watch -- COMMAND`` runs, and the processes it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress

from rstaudit.cli.errors import UsageError

#: Seconds between two looks at which processes there are.
_LOOK = 0.02

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Child:
    """A command from `__init__` until it and what it started have ended, or `close`.

    ``family`` are the pids of all processes it has been seen to start, itself included. A process
    that starts and ends between two looks 20 ms apart is seen only if its parent ends first.
    """

    def __init__(self, command: Sequence[str]) -> None:
        _adopt_orphans()
        try:
            self._process = subprocess.Popen(command)
        except OSError as error:
            words = (error.strerror or str(error)).lower()
            raise UsageError(f"{command[0]}: {words}; give a command that can be run") from None
        self.family = {self._process.pid}
        self._ended = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def running(self) -> bool:
        """Whether the command itself still runs."""
        return self._process.poll() is None

    def status(self) -> int:
        """Its exit status as a shell gives it: 128 and the signal's number when one ended it."""
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        """End the command as Ctrl-C would, then harder; harmless when it has ended."""
        for number, patience in ((signal.SIGINT, 1.0), (signal.SIGTERM, 1.0), (signal.SIGKILL, 5)):
            if not self.running():
                break
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self._ended.set()

    def _follow(self) -> None:
        while not self._ended.wait(_LOOK):
            for pid in list(self.family):
                self.family.update(_children(pid))
            # the ones whose parent has ended are ours now; we started nothing else
            self.family.update(_children(os.getpid()))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    return found


def _adopt_orphans() -> None:
    """Become the parent of grandchildren whose parents end; where that fails, miss them."""
    with suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
