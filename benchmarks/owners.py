"""Ten thousand connections over two hundred processes: a whole audit against `ss -tanp`.

Without socket options, for which ss is not asked either; options.py is the run with them. Run
inside a network namespace of its own (`unshare -n`), as root.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

from measure import in_turns, median

PROCESSES, CONNECTIONS = 200, 50


def main() -> None:
    """Print the figures as one JSON line."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    children = [start(CONNECTIONS) for _ in range(PROCESSES)]
    try:
        ours = [*sys.argv[1].split(), "--interval", "0", "--format", "json", "--no-socket-options"]
        comparison = in_turns(ours, ["ss", "-tanp"], 9)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    figures = {
        "connections": PROCESSES * CONNECTIONS,
        "processes": PROCESSES,
        "ours_seconds": round(median(comparison.ours), 3),
        "peer_seconds": round(median(comparison.peer), 3),
        "ratio": round(comparison.ratio, 2),
        "ours_peak_mib": round(max(run.peak_mib for run in comparison.ours), 1),
    }
    print(json.dumps(figures), flush=True)


def start(connections: int) -> int:
    """A child with its own listener and both ends of its connections; returns when they stand."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid:
        os.close(done)
        os.read(ready, 1)
        os.close(ready)
        return pid
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        for _ in range(connections):
            stack.enter_context(socket.create_connection(server.getsockname()))
            stack.enter_context(server.accept()[0])
        os.write(done, b"x")
        signal.pause()
    os._exit(0)


if __name__ == "__main__":
    main()
