"""`watch` in a process of its own: it sees the whole host, and nothing of the lab but that.

The lab starts it as a child with a mount namespace of its own, in which tracefs is mounted where
the host has not mounted it. It prints one line of JSON a reset, and between them up to what time
it has named everything; it ends when its standard input does.
"""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from rstaudit.lab.seen import Said, Seen, from_line, place, to_line
from rstaudit.model.facts import Gap, MissingFact

_TRACING = "/sys/kernel/tracing"
_CLONE_NEWNS = 0x20000
#: MS_REC and MS_PRIVATE, linux/mount.h
_PRIVATE = 0x4000 | 0x40000
#: Begins a line that says up to when everything has been named.
_KNOWN = "known until "
_START_SECONDS = 20.0


class Observer:
    """The child and what it has said so far. Raises `MissingFact` when it cannot watch."""

    def __init__(self) -> None:
        self._said: list[Said] = []
        self._by_address: dict[str, list[int]] = {}
        #: nanoseconds since the epoch up to which it has named everything
        self.known_until = 0
        self._complaints: list[str] = []
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "rstaudit.lab.observer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            env=environment(),
        )
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._readers = [
            threading.Thread(target=reader, name="observer", daemon=True)
            for reader in (self._read, self._listen)
        ]
        for reader in self._readers:
            reader.start()
        self._ready.wait(_START_SECONDS)
        if not self._ready.is_set():
            self._child.kill()
        self.check()

    def seen(self, names: Mapping[str, str], until_ns: int) -> list[Seen]:
        """The resets so far of the ends in ``names`` (address -> end) up to a time (epoch)."""
        numbers = {one for name in names for one in tuple(self._by_address.get(name, ()))}
        said = [self._said[number] for number in sorted(numbers)]
        return [place(one, names) for one in said if one.reset.time_ns <= until_ns]

    def check(self) -> None:
        """Raise `MissingFact` when it does not watch any more, with its last words."""
        if not self._ended.is_set():
            return
        self.close()
        words = self._complaints[-1] if self._complaints else "the watching process ended"
        raise MissingFact(Gap("watch", "absent", words))

    def close(self) -> None:
        """End it."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for reader in self._readers:
            reader.join()

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as lines:
            for line in lines:
                if line.startswith(_KNOWN):
                    self.known_until = int(line[len(_KNOWN) :])
                    self._ready.set()
                else:
                    self._keep(from_line(line))
        self._ended.set()
        self._ready.set()

    def _keep(self, said: Said) -> None:
        number = len(self._said)
        self._said.append(said)
        for name in {said.ours, said.other}:
            self._by_address.setdefault(name, []).append(number)

    def _listen(self) -> None:
        assert self._child.stderr is not None
        with self._child.stderr as lines:
            self._complaints += (line.strip() for line in lines if line.strip())


def environment() -> dict[str, str]:
    """Of a child that shall find this very package."""
    package = str(Path(__file__).resolve().parent.parent.parent)
    others = os.environ.get("PYTHONPATH", "")
    paths = os.pathsep.join([package, others]) if others else package
    return {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}


def _mount_privately() -> None:
    """A mount namespace of our own, with tracefs in it; the host's mounts stay as they are."""
    if os.path.isdir(f"{_TRACING}/events"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) == 0 and libc.mount(b"none", b"/", None, _PRIVATE, None) == 0:
        tracefs = (b"tracefs", _TRACING.encode(), b"tracefs", 0, None)
        if libc.mount(*tracefs) == 0:
            return
    number = ctypes.get_errno()
    detail = f"tracefs cannot be mounted: {os.strerror(number).lower()}"
    raise MissingFact(Gap("watch", "absent", detail))


def main() -> int:
    """Watch until standard input ends."""
    from rstaudit.watch.session import Options, Session

    try:
        _mount_privately()
        with Session(Options()) as session:
            while not select.select([sys.stdin], [], [], 0)[0]:
                for reset in session.step(0.05):
                    _say(to_line(reset))
                _say(f"{_KNOWN}{session.known_until_ns()}")
    except MissingFact as missing:
        sys.stderr.write(f"{missing.gap.detail}\n")
        return 1
    except BrokenPipeError:
        return 0
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
