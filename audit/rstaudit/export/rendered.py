"""Every file that is made from the catalogue; write them, or say which are stale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rstaudit.export import catalogue, lab_pages, pages

#: Each gives the text of some files by path. Those that read the catalogue through
#: `rstaudit.catalogue.load` come after the first, which makes what they read.
RENDERERS: list[Callable[[], Mapping[Path, str]]] = [
    catalogue.render,
    pages.render,
    lab_pages.render,
]

#: What to run when a file is stale.
MEND = "python -m rstaudit.export --write"


def write() -> list[Path]:
    """Bring every file up to date; returns those that changed."""
    changed = []
    for render in RENDERERS:
        files = render()
        for path in _differing(files):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], "utf-8")
            changed.append(path)
    return changed


def stale() -> list[Path]:
    """The files whose text is not what their sources say, in order."""
    return [path for render in RENDERERS for path in _differing(render())]


def _differing(files: Mapping[Path, str]) -> list[Path]:
    return [path for path, text in files.items() if _text(path) != text]


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
