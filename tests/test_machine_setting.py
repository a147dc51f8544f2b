"""A setting of the whole machine is put back, whatever happens to the lab."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from rstaudit.lab.scenarios.memory import limited
from support.cli import environment

#: Holds the setting until it is killed.
PROGRAM = """
import sys, time
from rstaudit.lab.scenarios.memory import limited
with limited(sys.argv[1], 4):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_the_old_value_comes_back_after_the_block(tmp_path: Path) -> None:
    """Inside the block the new value holds, after it the old one, also after an error."""
    setting = tmp_path / "setting"
    setting.write_text("131072\n")
    for error in (False, True):
        try:
            with limited(str(setting), 4):
                assert setting.read_text() == "4"
                if error:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert setting.read_text().strip() == "131072"


def test_the_old_value_comes_back_when_the_lab_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up; a child that outlives us does it."""
    setting = tmp_path / "setting"
    setting.write_text("131072\n")
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(setting)],
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    deadline = time.monotonic() + 10
    while setting.read_text().strip() != "131072":
        assert time.monotonic() < deadline, "the old value did not come back"
        time.sleep(0.01)
