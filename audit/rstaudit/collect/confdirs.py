"""Directories of drop-in files: which files count, in which order, and what is in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap, MissingFact

#: A configuration file larger than this is not read.
_LARGEST = 16 * 1024 * 1024

#: Where drop-in directories lie, the first having the last word over files of one name.
ROOTS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")


class ConfFile(NamedTuple):
    """A file of a drop-in directory: where it is listed, where links lead, its bytes."""

    path: str
    real: str
    data: bytes


class Listing(NamedTuple):
    """The files of all directories in the order they are read, and those another one hides."""

    paths: tuple[str, ...]
    masked: tuple[str, ...]


class Files:
    """Reads configuration files of a tree once each; keeps what could not be read in ``gaps``."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.gaps: list[Gap] = []
        self._known: dict[str, ConfFile] = {}

    def listing(self, folder: str, *, hidden: bool = False) -> Listing:
        """Files named ``*.conf`` in ``folder`` below each of `ROOTS`, sorted by name.

        Of files with one name only the first directory's counts, whatever it is: an empty one
        or a link to /dev/null hides the others. systemd passes over names that begin with a
        dot; procps (``hidden``) reads them.
        """
        chosen: dict[str, str] = {}
        masked: list[str] = []
        seen: set[str] = set()
        for root in ROOTS:
            directory = f"{root}/{folder}"
            real = self.real(directory)
            if real in seen:
                continue
            seen.add(real)
            for name in self._names(directory):
                if name.startswith(".") and not hidden:
                    continue
                path = f"{directory}/{name}"
                if chosen.setdefault(name, path) != path:
                    masked.append(path)
        names = sorted(chosen, key=os.fsencode)
        return Listing(tuple(chosen[name] for name in names), tuple(masked))

    def read(self, path: str) -> ConfFile:
        """The file at ``path``; empty where it is missing, no file, or could not be read."""
        if path not in self._known:
            self._known[path] = ConfFile(path, self.real(path), self._data(path))
        return self._known[path]

    def text(self, path: str) -> str:
        """As `read`, decoded; bytes that are not UTF-8 survive as surrogates."""
        return self.read(path).data.decode("utf-8", "surrogateescape")

    def real(self, path: str) -> str:
        """``path`` as on the host with every link followed."""
        place = os.path.realpath(self.tree.where(path))
        return place if self.tree.live else place.removeprefix(self.tree.root) or "/"

    def regular(self, path: str) -> bool:
        """Whether ``path`` is a file or a link to one."""
        return os.path.isfile(self.tree.where(path))

    def exists(self, paths: Iterable[str]) -> bool:
        """Whether there is something at any of ``paths``."""
        return any(self.tree.exists(path) for path in paths)

    def _names(self, directory: str) -> list[str]:
        try:
            return [name for name in self.tree.names(directory) if name.endswith(".conf")]
        except MissingFact as missing:
            if missing.gap.reason not in ("absent", "not-recorded"):
                self.gaps.append(missing.gap)
            return []

    def _data(self, path: str) -> bytes:
        """Never opens a pipe, a device or a file too large: a reader must not hang on one."""
        try:
            what = os.stat(self.tree.where(path))
        except OSError:
            return self._read(path)
        if not stat.S_ISREG(what.st_mode):
            if not stat.S_ISCHR(what.st_mode):
                self.gaps.append(Gap(f"file:{path}", "malformed", f"{path} is not a file"))
            return b""
        if what.st_size > _LARGEST:
            detail = f"{path} has {what.st_size} bytes, not read"
            self.gaps.append(Gap(f"file:{path}", "unsupported", detail))
            return b""
        return self._read(path)

    def _read(self, path: str) -> bytes:
        try:
            return self.tree.read(path)
        except MissingFact as missing:
            if missing.gap.reason not in ("absent", "not-recorded"):
                self.gaps.append(missing.gap)
        return b""
