"""A million packets: `rstaudit pcap` against tcpdump, which only filters, and tshark.

The captures (see captures.py) are made in a temporary folder, which needs 4 GB, and read from the
page cache. tcpdump picks out the resets; tshark counts packets.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Comparison, in_turns, median, timed

_HERE = Path(__file__).resolve().parent
_FLOWS = 50_000
_TIMES = 7
_TSHARK_TIMES = 3


def main() -> None:
    """Print one JSON line for each kind of capture."""
    ours = [sys.argv[1], "pcap"]
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("hard", "usual"):
            print(json.dumps(measure(ours, kind, Path(folder))), flush=True)


def measure(ours: list[str], kind: str, folder: Path) -> dict[str, float | str]:
    """Medians, ratios and peak memory with one kind of capture, and with one twice as long."""
    path, twice = folder / f"{kind}.pcap", folder / f"{kind}-twice.pcap"
    packets = make(kind, path, _FLOWS)
    make(kind, twice, 2 * _FLOWS)
    command = [*ours, str(path)]
    check(command)
    filtered = ["tcpdump", "-nn", "-r", str(path), "tcp[13]&4!=0"]
    counted = ["tshark", "-n", "-q", "-z", "io,stat,0", "-r", str(path)]
    comparison = in_turns(command, filtered, _TIMES)
    timed(counted)
    tshark = [timed(counted) for _ in range(_TSHARK_TIMES)]
    longer = in_turns([*ours, str(twice)], command, 3)
    twice.unlink()
    return {
        "capture": kind,
        "packets": packets,
        "megabytes": round(path.stat().st_size / 1e6),
        **figures(comparison),
        "tshark_seconds": round(median(tshark), 2),
        "tshark_peak_mib": round(max(run.peak_mib for run in tshark), 1),
        "times_as_fast_as_tshark": round(median(tshark) / median(comparison.ours), 1),
        "twice_the_packets_time": round(longer.ratio, 2),
        "twice_the_packets_peak_mib": round(max(run.peak_mib for run in longer.ours), 1),
    }


def make(kind: str, path: Path, flows: int) -> int:
    """Write a capture; gives its packets.

    In a process of its own: what a parent once held in memory counts as its children's peak.
    """
    command = [sys.executable, str(_HERE / "captures.py"), kind, str(path), str(flows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0].replace(",", ""))


def figures(comparison: Comparison) -> dict[str, float]:
    """The figures against tcpdump."""
    return {
        "ours_seconds": round(median(comparison.ours), 3),
        "peer_seconds": round(median(comparison.peer), 3),
        "ratio": round(comparison.ratio, 2),
        "ours_peak_mib": round(max(run.peak_mib for run in comparison.ours), 1),
        "peer_peak_mib": round(max(run.peak_mib for run in comparison.peer), 1),
    }


def check(command: list[str]) -> None:
    """Run it once: every flow of the capture must have been seen."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if f"{_FLOWS:,} flows" not in " ".join(done.stdout[:400].split()):
        raise SystemExit(f"not every flow was found: {done.stdout.splitlines()[:1]}")


if __name__ == "__main__":
    main()
