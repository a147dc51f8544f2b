"""Descriptors of processes against their limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rstaudit.collect.limits import collect_limits
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap
from rstaudit.model.names import LIMITS, Limits
from rstaudit.model.rule import Outcome, Severity
from rstaudit.rules.limits import RULES
from support.hosts import judge, make_host
from support.processes import python_child

#: Holds as many sockets as its argument says, with a limit of 64 descriptors.
HOLD = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
open('/proc/self/comm', 'w').write('held) by\\ttest')
held = [socket.socket() for _ in range(int(sys.argv[1]))]
"""


@pytest.mark.live
def test_a_process_near_its_limit_is_found_and_cleared() -> None:
    """62 sockets of 64 is an error with the process's name; 20 sockets is nothing."""
    with python_child(HOLD, "59") as child:
        found, gap = collect_limits(Tree())
        (limits,) = [entry for entry in found if entry.pid == child.pid]
        assert limits == (child.pid, "held) by\ttest", 62, 64, 128)
        result = judge(RULES, "RST701", make_host(facts={LIMITS: (limits,)}))
    assert gap is None
    assert (result.outcome, result.severity) == (Outcome.FAIL, Severity.ERROR)
    assert result.findings[0].evidence["open"] == 62
    assert result.findings[0].fix.startswith(f"prlimit --pid {child.pid} --nofile=128:128")
    with python_child(HOLD, "20") as child:
        (limits,) = [entry for entry in collect_limits(Tree())[0] if entry.pid == child.pid]
        result = judge(RULES, "RST701", make_host(facts={LIMITS: (limits,)}))
    assert result.outcome is Outcome.PASS


def test_the_kernels_count_is_the_count_of_the_directory() -> None:
    """The size of /proc/PID/fd agrees with listing it."""
    mine = {entry.pid: entry for entry in collect_limits(Tree())[0]}[os.getpid()]
    assert mine.open == len(os.listdir("/proc/self/fd")) - 1  # the listing holds one itself


def test_counts_that_are_known_are_used() -> None:
    """The walk over descriptors for owners need not be done twice; nothing open, no entry."""
    pid = os.getpid()
    found = {entry.pid: entry.open for entry in collect_limits(Tree(), {pid: 4321})[0]}
    assert found[pid] == 4321
    assert pid not in {entry.pid for entry in collect_limits(Tree(), {pid: 0})[0]}


def process(root: Path, pid: int, descriptors: int, limits: str | None) -> None:
    """Record a process."""
    folder = root / f"proc/{pid}"
    (folder / "fd").mkdir(parents=True)
    for number in range(descriptors):
        (folder / "fd" / str(number)).symlink_to("/dev/null")
    (folder / "comm").write_text("made\n")
    if limits is not None:
        (folder / "limits").write_text(limits)


def test_a_recorded_process(tmp_path: Path) -> None:
    """Counted by listing, since the size of an ordinary directory means something else."""
    process(tmp_path, 7, 3, "Max open files            1024                 4096       files\n")
    process(tmp_path, 8, 3, None)
    process(tmp_path, 9, 3, "nonsense")
    found, gap = collect_limits(Tree(str(tmp_path)))
    assert found == ((7, "made", 3, 1024, 4096),)
    assert gap is not None
    assert gap.detail.startswith("1 processes'")


def test_a_recording_without_processes_says_so(tmp_path: Path) -> None:
    """No process is not the same as no process near its limit."""
    (tmp_path / "proc").mkdir()
    found, gap = collect_limits(Tree(str(tmp_path)))
    assert found == ()
    assert gap is not None
    assert gap.reason == "not-recorded"


@pytest.mark.parametrize(
    ("limits", "severity"),
    [
        (Limits(1, "a", 80, 100, 100), None),
        (Limits(1, "a", 81, 100, 100), Severity.WARNING),
        (Limits(1, "a", 95, 100, 100), Severity.WARNING),
        (Limits(1, "a", 96, 100, None), Severity.ERROR),
        (Limits(1, "a", 5000, None, None), None),
        (Limits(1, "sshd", 5, 0, 0), None),
    ],
)
def test_thresholds(limits: Limits, severity: Severity | None) -> None:
    """Above 80 percent a warning, above 95 an error; no limit and a sandbox are left alone."""
    result = judge(RULES, "RST701", make_host(facts={LIMITS: (limits,)}))
    if severity is None:
        assert result.outcome is Outcome.PASS
    else:
        assert (result.outcome, result.severity) == (Outcome.FAIL, severity)


def test_unreadable_processes_are_not_a_pass() -> None:
    """Some unreadable: unknown, and a finding among the readable ones still counts."""
    gap = Gap(LIMITS.name, "permission", "3 processes' descriptors not readable; run as root")
    fine, bad = Limits(1, "a", 1, 100, 100), Limits(2, "b", 99, 100, 100)
    result = judge(RULES, "RST701", make_host(facts={LIMITS: (fine,)}, gaps=[gap]))
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, gap.detail)
    result = judge(RULES, "RST701", make_host(facts={LIMITS: (fine, bad)}, gaps=[gap]))
    assert (result.outcome, len(result.findings)) == (Outcome.FAIL, 1)
