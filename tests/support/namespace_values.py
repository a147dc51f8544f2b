"""Run in a new network namespace: tune it for a profile, then judge it. Prints JSON.

unshare -n python namespace_values.py PROFILE
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rstaudit.catalogue.load import profiles, settings
from rstaudit.catalogue.tune import as_sysctl, changes, recommend
from rstaudit.model.facts import Kernel
from support.tuned import judged


def running() -> dict[str, str]:
    """The sysctls of this namespace that the catalogue knows."""
    found = {}
    for key in settings():
        path = Path("/proc/sys") / key.replace(".", "/")
        if path.is_file() and os.access(path, os.R_OK):
            found[key] = path.read_text()
    return found


def main(name: str) -> None:
    """Before, what was applied, and after."""
    release = os.uname().release
    numbers = [int(part) for part in release.split("-")[0].split(".")]
    kernel = Kernel(release, (numbers[0], numbers[1], numbers[2]))
    profile = profiles()[name]
    before = recommend(kernel, running(), profile, settings(), initial=False)
    text = as_sysctl(before, profile, kernel)
    done = subprocess.run(
        ["sysctl", "-p", "-"], input=text, capture_output=True, text=True, check=False
    )
    after = recommend(kernel, running(), profile, settings(), initial=False)
    print(  # noqa: T201 - its output is its answer
        json.dumps(
            {
                "applied": [entry.key for entry in before],
                "status": done.returncode,
                "complaints": done.stderr,
                "failed": [
                    f"{result.rule} {finding.message}"
                    for result in judged(release, running(), profile, initial=False)
                    for finding in result.findings
                ],
                "left": [entry.key for entry in changes(after)],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
