"""The files of a host: the running one, or a recorded tree that looks like one."""

from __future__ import annotations

import errno
import os
from typing import NoReturn

from rstaudit.model.facts import Gap, MissingFact

_BUFFER = 1 << 16

_REASONS = {
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.ENOENT: "absent",
    errno.ENOTDIR: "absent",
    errno.ESRCH: "absent",
}


def read_file(path: str) -> bytes:
    """All bytes of a file; raises OSError. A third of the time of open(), for small files."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        parts = [os.read(descriptor, _BUFFER)]
        while len(parts[-1]) > 0:
            parts.append(os.read(descriptor, _BUFFER))
        return b"".join(parts)
    finally:
        os.close(descriptor)


class Tree:
    """Reads below ``root``; links of a recorded tree never lead out of it.

    Paths are always given as on the host (``/proc/net/snmp``). A file that is not there is a gap
    with reason ``absent`` on a live host, and ``not-recorded`` in a recorded tree, where nobody
    can tell a kernel without the file from a recording without it.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.abspath(root)
        self.live = self.root == "/"

    def read(self, path: str, fact: str | None = None) -> bytes:
        """The bytes of a file; raises `MissingFact` naming ``fact`` (or ``file:PATH``)."""
        try:
            return read_file(self.where(path))
        except OSError as error:
            self._missing(path, fact, error)

    def text(self, path: str, fact: str | None = None) -> str:
        """As `read`, decoded; bytes that are not UTF-8 survive as surrogates."""
        return self.read(path, fact).decode("utf-8", "surrogateescape")

    def names(self, path: str, fact: str | None = None) -> list[str]:
        """Sorted names in a directory; raises `MissingFact`."""
        try:
            return sorted(os.listdir(self.where(path)))
        except OSError as error:
            self._missing(path, fact, error)

    def exists(self, path: str) -> bool:
        """Whether there is something at ``path``."""
        return os.path.exists(self.where(path))

    def link(self, path: str) -> str | None:
        """Where the link at ``path`` points (not followed further); None if it is no link."""
        try:
            if self.live:
                return os.readlink(path)
            head, tail = os.path.split(path)
            return os.readlink(os.path.join(self.where(head), tail))
        except OSError:
            return None

    def where(self, path: str) -> str:
        """The place of ``path`` in the file system that this process sees."""
        return path if self.live else self.root + self._inside(path)

    def _inside(self, path: str) -> str:
        """Resolve links as if ``root`` were ``/``, as chroot(2) would."""
        todo = [part for part in path.split("/") if part][::-1]
        done: list[str] = []
        for _ in range(4096):
            if not todo:
                break
            part = todo.pop()
            if part in (".", ".."):
                del done[len(done) - (part == "..") :]
                continue
            target = self._target("/".join([self.root, *done, part]))
            if target is None:
                done.append(part)
                continue
            if target.startswith("/"):
                done = []
            todo += [word for word in target.split("/") if word][::-1]
        return "/" + "/".join(done)

    @staticmethod
    def _target(path: str) -> str | None:
        try:
            return os.readlink(path)
        except OSError:
            return None

    def _missing(self, path: str, fact: str | None, error: OSError) -> NoReturn:
        reason = _REASONS.get(error.errno or 0, "unreadable")
        if reason == "absent" and not self.live:
            reason = "not-recorded"
        detail = f"{path}: {(error.strerror or str(error)).lower()}"
        if reason == "permission" and os.geteuid() != 0:
            detail += "; run as root"
        raise MissingFact(Gap(fact or f"file:{path}", reason, detail)) from None
