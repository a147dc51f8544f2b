"""A storm of resets: what `rstaudit watch` misses, and what it costs itself and the workload.

Connects to a closed port on loopback, as fast as one core makes them: each is a sent and a
received reset, and about seven events in all. Run as root; it makes its own network namespace,
and mounts of its own with tracefs.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from rstaudit.collect.tracefs import EVENTS
from rstaudit.model.diagnosis import LiveReset
from rstaudit.watch.session import Options, Session

STORM, LONG_STORM, SAMPLE, ROUNDS = 100_000, 1_000_000, 10_000, 5

#: Of bpftrace, which needs a moment to compile and attach.
_SETTLE = 20.0


def main() -> None:
    """Print one JSON line a series; with --slow also the long storm, --slow-down the last alone."""
    enter()
    if "--slow-down" in sys.argv:
        print(json.dumps({"what": "slow-down", **slow_down()}), flush=True)
        return
    print(json.dumps({"what": "diagnosed", **storm(STORM, Options())}), flush=True)
    print(json.dumps({"what": "counted", **storm(STORM, Options(diagnose=False))}), flush=True)
    if "--slow" in sys.argv:
        print(json.dumps({"what": "long", **storm(LONG_STORM, Options())}), flush=True)
    print(json.dumps({"what": "slow-down", **slow_down()}), flush=True)


def enter() -> None:
    """Begin again in namespaces of our own, unless this is there already."""
    if "--inside" in sys.argv:
        return
    here = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--inside"]
    script = (
        "mount --make-rprivate / && mount -t tracefs tracefs /sys/kernel/tracing"
        ' && ip link set lo up && exec "$@"'
    )
    command = ["unshare", "--net", "--mount", "sh", "-c", script, "sh", *here]
    os.execvp(command[0], command)


def storm(resets: int, options: Options) -> dict[str, float]:
    """Watch ``resets`` connects that are refused, in a child that reports its own figures."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        figures = watched(resets, options)
        os.write(writing, json.dumps(figures).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        found: dict[str, float] = json.loads(pipe.read())
    os.waitpid(child, 0)
    return found


def watched(resets: int, options: Options) -> dict[str, float]:
    """Counts, CPU microseconds an event, peak memory of the watch."""
    causes: dict[str, int] = {}
    here = os.stat("/proc/self/ns/net").st_ino
    with Session(options) as session:
        start, cpu = time.perf_counter(), time.process_time()
        child = os.fork()
        if child == 0:
            refuse(resets)
            os._exit(0)
        took: list[float] = []

        ended = 0

        def over() -> bool:
            nonlocal ended
            if not took and os.waitpid(child, os.WNOHANG)[0]:
                took.append(time.perf_counter() - start)
                ended = time.time_ns()
            return bool(took) and session.known_until_ns() >= ended

        def note(reset: LiveReset) -> None:
            if reset.netns == here:
                causes[reset.diagnosis.cause] = causes.get(reset.diagnosis.cause, 0) + 1

        session.run(note, over)
        cpu = time.process_time() - cpu
        summary = session.summary()
    return {
        "resets": resets,
        "resets_per_second": round(resets / took[0]),
        "buffer_kib": options.buffer_kib,
        "events": summary.events,
        "lost": summary.lost,
        "undiagnosed": summary.undiagnosed,
        "misnamed": sum(causes.values()) - causes.get("closed-port", 0),
        "us_per_event": round(cpu / summary.events * 1e6, 2),
        "us_per_reset": round(cpu / (summary.sent + summary.received) * 1e6, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def refuse(resets: int) -> None:
    """Connect to a port that nobody listens on."""
    address = ("127.0.0.1", 9)
    for _ in range(resets):
        with socket.socket() as client:
            client.connect_ex(address)


def slow_down() -> dict[str, float]:
    """CPU of the workload a connect: alone, watched, and with bpftrace counting the events."""
    ways: dict[str, Callable[[], subprocess.Popen[bytes] | None]] = {
        "alone": lambda: None,
        "watch": _watch,
        "bpftrace": _bpftrace,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, begin in ways.items():
            observer = begin()
            try:
                workload(SAMPLE // 10)  # warm
                found[name].append(workload(SAMPLE))
            finally:
                if observer is not None:
                    observer.send_signal(signal.SIGINT)
                    observer.wait()
    medians = {name: statistics.median(times) for name, times in found.items()}
    return {
        **{f"{name}_us": round(median, 2) for name, median in medians.items()},
        "ratio": round(
            (medians["watch"] - medians["alone"]) / (medians["bpftrace"] - medians["alone"]), 2
        ),
    }


def workload(connects: int) -> float:
    """CPU microseconds that a connect takes in a process that does nothing else."""
    child = os.fork()
    if child == 0:
        refuse(connects)
        os._exit(0)
    _, _, usage = os.wait4(child, 0)
    return (usage.ru_utime + usage.ru_stime) / connects * 1e6


def _watch() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rstaudit", "watch", "--format", "json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    root = "/sys/kernel/tracing/instances"
    _until(lambda: any(f"-{process.pid}-" in name for name in os.listdir(root)))
    time.sleep(1)
    return process


def _bpftrace() -> subprocess.Popen[bytes]:
    names = [event.replace("/", ":") for event in EVENTS if os.path.isdir(_folder(event))]
    program = f"{','.join(f'tracepoint:{name}' for name in names)} {{ @[probe] = count(); }}"
    command = ["bpftrace", "-e", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()  # "Attaching ..."
    time.sleep(3)
    return process


def _folder(event: str) -> str:
    return f"/sys/kernel/tracing/events/{event}"


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _SETTLE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("benchmarks: the observer has not begun")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
