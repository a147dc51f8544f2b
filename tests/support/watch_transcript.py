"""The transcript in docs/watch.md: real programs under a real watch, made again by this file.

    .ci/setup dev python tests/support/watch_transcript.py        as root: puts a new one there

Every act runs in a network namespace of its own, and the watch is told to stay with it.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.cli import COMMAND, environment
from support.netns import network_namespace
from support.programs import SERVER, two_addresses
from support.resetters import ACTS, Act
from support.tracing import private_mounts
from support.watching import begun

PAGE = Path(__file__).parent.parent.parent / "docs" / "watch.md"
BLOCK = re.compile(
    r"(?<=<!-- tests/support/watch_transcript.py writes what follows -->\n).*?(?=\n<!-- end -->)",
    re.DOTALL,
)


def record(act: Act) -> str:
    """What a watch prints while the act is staged."""
    with network_namespace(), private_mounts(), tempfile.TemporaryDirectory() as folder:
        two_addresses()
        process = subprocess.Popen(
            [*COMMAND, "watch", "--peer", f"{SERVER}/30"], stdout=subprocess.PIPE, text=True,
            env=environment(COLUMNS="92"),
        )  # fmt: skip
        try:
            begun(process)
            act.stage(Path(folder))
            time.sleep(0.3)
        finally:
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=15)
    return f"**{act.title}**\n\n```text\n$ rstaudit watch\n{out}```\n"


def main() -> None:
    """Write the transcript into the page."""
    text = "\n" + "\n".join(record(act) for act in ACTS)
    page, found = BLOCK.subn(lambda _: text, PAGE.read_text())
    if not found:
        sys.exit(f"{PAGE}: the marks for the transcript are missing")
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
