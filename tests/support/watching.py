"""`rstaudit watch` as a real process beside what a test does, in mounts with tracefs."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.cli import COMMAND, environment
from support.tracing import INSTANCES
from test_report_json import validate

_PATIENCE = 15.0
_VALIDATED = 100


class Watch:
    """A running watch. ``resets`` and ``summary`` are there once it has ended."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.resets: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}

    def causes(self, direction: str) -> set[str]:
        """The causes of the resets that went this way."""
        return {one["cause"] for one in self.resets if one["direction"] == direction}


def begun(process: subprocess.Popen[str]) -> None:
    """Wait until a watch sees events."""
    deadline = time.monotonic() + _PATIENCE
    while not any(_records(path) for path in INSTANCES.glob(f"rstaudit-{process.pid}-*")):
        assert process.poll() is None, "the watch has ended"
        assert time.monotonic() < deadline, "the watch has not begun"
        time.sleep(0.02)


def _records(instance: Path) -> bool:
    """Whether an instance is set up and switched on; a new one is on before it is set up."""
    switches = (instance / "events/sock/inet_sock_set_state/enable", instance / "tracing_on")
    return all(switch.read_text() == "1\n" for switch in switches)


@contextmanager
def watching(*arguments: str) -> Iterator[Watch]:
    """Watch while the block runs, as JSON lines that follow the schema; SIGINT ends it."""
    with tempfile.TemporaryFile("w+") as out:
        command = [*COMMAND, "watch", "--format", "json", *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, text=True,
            env=environment(),
        )  # fmt: skip
        watch = Watch(process)
        try:
            begun(process)
            yield watch
            time.sleep(0.2)  # what the last act leads to
        finally:
            process.send_signal(signal.SIGINT)
            try:
                _, errors = process.communicate(timeout=_PATIENCE)
            except BaseException:
                process.kill()
                process.wait()
                raise
        assert (errors, process.returncode) == ("", 0)
        out.seek(0)
        *lines, last = (json.loads(line) for line in out)
        # other tests may make thousands meanwhile, and the schema takes a millisecond for each
        for line in (*lines[:_VALIDATED], last):
            validate("watch", line)
        watch.resets, watch.summary = lines, last["summary"]
