"""The command line as a real process, also as a user who is not root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parent.parent.parent / "audit"

COMMAND = [sys.executable, "-m", "rstaudit"]


def environment(**more: str) -> dict[str, str]:
    """This process's environment with the package's source on the path, and ``more``."""
    ours = ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "RSTAUDIT_DEBUG")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error", **more}


def rstaudit(
    *arguments: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run ``rstaudit`` to its end; what it printed, and its exit status."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rstaudit_for(seconds: float, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As `rstaudit`, for a command that may take so long."""
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=seconds, check=False,
    )  # fmt: skip


def rstaudit_as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As `rstaudit`, without privileges, from a copy of the source that anyone may read."""
    with tempfile.TemporaryDirectory(prefix="rstaudit-") as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(SOURCE, f"{folder}/audit", ignore=shutil.ignore_patterns("__pycache__"))
        env = environment(PYTHONPATH=f"{folder}/audit", PYTHONDONTWRITEBYTECODE="1")
        return _as_nobody(open_interpreter(), "-m", "rstaudit", *arguments, env=env)


def open_interpreter() -> str:
    """A Python >= 3.11 that every user may run: ours may live in root's home."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    for name in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        try:
            if _as_nobody(name, "-c", check, env={}).returncode == 0:
                return name
        except PermissionError:
            continue
    raise AssertionError("no Python >= 3.11 that an unprivileged user may run")


def _as_nobody(*command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=env, user=65534, group=65534, extra_groups=[], cwd="/",
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
