"""Fourteen options of each of 20,000 sockets: a whole audit against `ss -tanpoie`, and its memory.

First 10,000 connections over two hundred processes, both ends; then as many sockets as one process
may have. Run inside a network namespace of its own (`unshare -n`), as root.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from measure import Comparison, in_turns, median
from owners import CONNECTIONS, PROCESSES, start

#: Descriptors that the one process needs for other things than connections.
_OTHERS = 100


def main() -> None:
    """Print one JSON line for the many processes, one for the single process."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    ours = [*sys.argv[1].split(), "--interval", "0", "--format", "json"]
    with running(PROCESSES, CONNECTIONS):
        sockets = 2 * PROCESSES * CONNECTIONS
        print(json.dumps(figures(ours, PROCESSES, sockets)), flush=True)
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    connections = (min(limit, 20_000) - _OTHERS) // 2
    with running(1, connections):
        print(json.dumps(figures(ours, 1, 2 * connections)), flush=True)


@contextmanager
def running(processes: int, connections: int) -> Iterator[None]:
    """Children that hold both ends of their connections, for the time of the block."""
    children = [start(connections) for _ in range(processes)]
    try:
        yield
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def figures(ours: list[str], processes: int, sockets: int) -> dict[str, float]:
    """Medians, ratio and peak memory; fails where not every socket's options were read."""
    check(ours)
    comparison = in_turns(ours, ["ss", "-tanpoie"], 9)
    return {"processes": processes, "sockets": sockets, **described(comparison)}


def described(comparison: Comparison) -> dict[str, float]:
    """The figures of one series."""
    return {
        "ours_seconds": round(median(comparison.ours), 3),
        "peer_seconds": round(median(comparison.peer), 3),
        "ratio": round(comparison.ratio, 2),
        "ours_peak_mib": round(max(run.peak_mib for run in comparison.ours), 1),
    }


def check(ours: list[str]) -> None:
    """Run an audit once: its report must have no gap where the options belong."""
    done = subprocess.run(ours, capture_output=True, text=True, check=False)
    gaps = [gap["fact"] for host in json.loads(done.stdout)["hosts"] for gap in host["gaps"]]
    if "options" in gaps:
        raise SystemExit("the options of some sockets were not read")


if __name__ == "__main__":
    main()
