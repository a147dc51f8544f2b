"""Run commands in turns and compare the medians of their times."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Run(NamedTuple):
    """One run of a command: wall-clock seconds and peak resident memory in MiB."""

    seconds: float
    peak_mib: float


class Comparison(NamedTuple):
    """Runs of ours and of the peer, made in turns."""

    ours: list[Run]
    peer: list[Run]

    @property
    def ratio(self) -> float:
        """Median time of ours over that of the peer."""
        return median(self.ours) / median(self.peer)


def median(runs: list[Run]) -> float:
    """The median time in seconds."""
    return statistics.median(run.seconds for run in runs)


def timed(command: list[str]) -> Run:
    """Run a command with its output thrown away; raises RuntimeError where it fails.

    Exit status 1 counts as success: it is what an audit with findings returns.
    """
    start = time.perf_counter()
    nothing = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, 1)]
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    os.close(nothing)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise RuntimeError(f"{' '.join(command)} failed with status {status}")
    return Run(seconds, usage.ru_maxrss / 1024)


def in_turns(
    ours: list[str], peer: list[str], times: int, between: Callable[[], None] = lambda: None
) -> Comparison:
    """Run both commands ``times`` times, one after the other, calling ``between`` around each."""
    comparison = Comparison([], [])
    for command in (ours, peer):  # warm caches, not counted
        timed(command)
    for _ in range(times):
        for command, runs in ((ours, comparison.ours), (peer, comparison.peer)):
            between()
            runs.append(timed(command))
    between()
    return comparison
