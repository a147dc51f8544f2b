"""Start-up from an installed wheel against the bare interpreter: `--version`, and a whole audit.

Given the interpreter and the program of a fresh environment, which `install` makes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from measure import in_turns, median

_ROOT = Path(__file__).resolve().parent.parent
_RUNS = 31


def main() -> None:
    """Print one JSON line per command."""
    python, program = sys.argv[1:]
    nothing = [python, "-c", "pass"]
    for options in (["--version"], ["--interval", "0", "--format", "json"]):
        comparison = in_turns([program, *options], nothing, _RUNS)
        figures = {
            "command": " ".join(["rstaudit", *options]),
            "ours_seconds": round(median(comparison.ours), 4),
            "peer_seconds": round(median(comparison.peer), 4),
            "ratio": round(comparison.ratio, 2),
        }
        print(json.dumps(figures), flush=True)


def install(folder: Path) -> tuple[str, str]:
    """A fresh environment with the wheel in it: its interpreter and its `rstaudit`."""
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(_ROOT)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("rstaudit-*.whl")
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    into = [*pip, "--python", python, "install", str(wheel)]
    subprocess.run(into, check=True, stdout=subprocess.DEVNULL)
    return python, str(environment / "bin" / "rstaudit")


if __name__ == "__main__":
    main()
