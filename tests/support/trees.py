"""Recorded trees made by hand: files by path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rstaudit.collect.persisted import collect_persisted
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Kernel
from rstaudit.model.persisted import Persisted

KERNEL = Kernel("6.1.0-32-amd64", (6, 1, 0))

#: What makes a tree one of a host that boots with systemd.
SYSTEMD = {"/usr/lib/systemd/systemd-sysctl": "", "/proc/1/comm": "systemd\n", "/lib": "-> usr/lib"}


def make_tree(root: Path, files: Mapping[str, str | bytes]) -> Tree:
    """A tree below ``root``; a text that begins with ``-> `` is where a link points."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            path.write_bytes(text)
        elif text.startswith("-> "):
            path.symlink_to(text[3:])
        else:
            path.write_text(text)
    return Tree(str(root))


def persisted_in(
    root: Path,
    files: Mapping[str, str | bytes],
    running: Mapping[str, str] | None = None,
    kernel: Kernel = KERNEL,
) -> Persisted:
    """What is persisted in a tree of a systemd host with ``files``."""
    return collect_persisted(make_tree(root, {**SYSTEMD, **files}), running or {}, kernel)
