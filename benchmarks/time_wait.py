"""Hundreds of thousands of TIME_WAIT sockets: a whole audit against `ss -tan`.

Run inside a network namespace of its own (`unshare -n`), as root. TIME_WAIT lasts 60 s: the
sockets are made in well under that, and the number is counted before and after every run; a
series whose number moved is thrown away and made anew.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from measure import Comparison, in_turns, median

#: Destinations on loopback, so that no port range is more than a quarter full.
_ADDRESSES = 24
_PORT = 2000


def main() -> None:
    """Print one JSON line per number of sockets, given as arguments."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for key, value in {
        "net.ipv4.tcp_max_tw_buckets": 2_000_000,
        "net.ipv4.tcp_tw_reuse": 0,
        "net.ipv4.ip_local_port_range": "3000 65535",
    }.items():
        Path("/proc/sys", key.replace(".", "/")).write_text(f"{value}\n")
    ours = [*sys.argv[1].split(), "--interval", "0", "--format", "json"]
    for number in map(int, sys.argv[2:]):
        print(json.dumps(measure(ours, number)), flush=True)


def measure(ours: list[str], number: int) -> dict[str, float]:
    """Ratio, medians and peak memory with ``number`` sockets in TIME_WAIT."""
    for _ in range(5):
        wait_until_empty()
        made_in = make(number)
        made = count()
        try:
            comparison = in_turns(ours, ["ss", "-tan"], 7, partial(check, made))
        except Moved:
            continue
        return result(comparison, made, made_in)
    raise SystemExit(f"{number} sockets could not be held for one series in five tries")


def result(comparison: Comparison, number: int, made_in: float) -> dict[str, float]:
    """The figures of one series."""
    return {
        "sockets": number,
        "made_in_seconds": round(made_in, 1),
        "ours_seconds": round(median(comparison.ours), 3),
        "peer_seconds": round(median(comparison.peer), 3),
        "ratio": round(comparison.ratio, 2),
        "ours_peak_mib": round(max(run.peak_mib for run in comparison.ours), 1),
        "peer_peak_mib": round(max(run.peak_mib for run in comparison.peer), 1),
    }


class Moved(Exception):  # noqa: N818 - tells the caller to start the series again
    """The number of sockets changed during the series."""


def check(number: int) -> None:
    """Compare the kernel's own count with what it was when all had been made."""
    if count() != number:
        raise Moved


def count() -> int:
    """TIME_WAIT sockets of this namespace, from /proc/net/sockstat."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            return int(words[words.index("tw") + 1])
    raise SystemExit("/proc/net/sockstat has no TCP line")


def wait_until_empty() -> None:
    """Let the sockets of the last series expire."""
    while count():
        time.sleep(0.5)


def make(number: int) -> float:
    """Leave ``number`` sockets in TIME_WAIT: a child accepts, this end closes first. Seconds."""
    start = time.monotonic()
    with socket.socket() as server:
        server.bind(("0.0.0.0", _PORT))
        server.listen(4096)
        child = os.fork()
        if child == 0:
            accept(server, number)
        for i in range(number):
            with socket.socket() as client:
                client.connect((f"127.0.0.{2 + i % _ADDRESSES}", _PORT))
        os.waitpid(child, 0)
    return time.monotonic() - start


def accept(server: socket.socket, number: int) -> None:
    """Accept and close ``number`` connections after their FIN; then leave the process."""
    for _ in range(number):
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
    os._exit(0)


if __name__ == "__main__":
    main()
