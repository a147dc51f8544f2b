"""A clean copy of this project, and commands run in it as a newcomer would run them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent

#: What the caller's own tools leave in the environment, and a newcomer's shell does not have.
OURS = ("PYTEST_", "COV_", "MAKE", "MFLAGS", "PYTHON", "VIRTUAL_ENV", "PYENV_", "GIT_DIR", "XDG_")

#: What the tools make below the project.
MADE = {".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "__pycache__"}


def environment(**more: str) -> dict[str, str]:
    """The environment of a newcomer's shell; proxies and package indexes stay as configured."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return plain | more


def project_files() -> list[str]:
    """Every file that a commit of the present state would hold, relative to the project."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-coz", "--exclude-standard"],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:  # not a clone, but what a release's archive holds
        return [str(path.relative_to(PROJECT)) for path in PROJECT.rglob("*") if is_source(path)]
    return [name for name in listed.stdout.split("\0") if name and is_entry(PROJECT / name)]


def is_source(path: Path) -> bool:
    """Whether this is a file that no tool of ours made."""
    return is_entry(path) and not MADE & set(path.relative_to(PROJECT).parts)


def is_entry(path: Path) -> bool:
    """A file or a link, wherever the link points: recorded hosts hold links into nowhere."""
    return path.is_file() or path.is_symlink()


def copy_project(target: Path) -> Path:
    """Copy the project without anything it made (no .venv, no caches) to `target`."""
    for name in project_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, target / name, follow_symlinks=False)
    return target


def run(
    *command: str, cwd: Path, env: dict[str, str] | None = None, timeout: float = 150
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end without a terminal; what it printed, and its exit status."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment() if env is None else env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
