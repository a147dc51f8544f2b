"""`make bench`: every benchmark, us and the peer side by side, and the page that reports them.

make bench                     all of them, and write docs/benchmarks.md
make bench ARGS=--print        all of them, and print the page instead
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from startup import install

_HERE = Path(__file__).resolve().parent
_PAGE = _HERE.parent / "docs" / "benchmarks.md"

Figures = dict[str, Any]


def main() -> None:
    """Run everything and write the page."""
    if os.geteuid() != 0:
        sys.exit("benchmarks: the sockets are made in network namespaces: run as root")
    with tempfile.TemporaryDirectory() as folder:
        python, ours = install(Path(folder))
        waiting = run("time_wait.py", ours, "100000", "200000", "300000", namespace=True)
        owners = run("owners.py", ours, namespace=True)
        options = run("options.py", ours, namespace=True)
        captured = run("pcap.py", ours)
        watched = run("watch.py", "--slow")
        startup = run("startup.py", python, ours)
    text = page(waiting, owners[0], options, captured, watched, startup)
    if "--print" in sys.argv:
        sys.stdout.write(text)
    else:
        _PAGE.write_text(text)
        print(f"wrote {_PAGE.relative_to(_HERE.parent)}")


def run(script: str, *arguments: str, namespace: bool = False) -> list[Figures]:
    """One benchmark in a process of its own: its JSON lines, shown as they come."""
    inside = ["unshare", "--net"] if namespace else []
    command = [*inside, sys.executable, str(_HERE / script), *arguments]
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{script:14}{line}", end="", flush=True)
            found.append(json.loads(line))
    if process.returncode != 0:
        sys.exit(f"benchmarks: {script} failed with status {process.returncode}")
    return found


def page(
    waiting: list[Figures],
    owners: Figures,
    options: list[Figures],
    captured: list[Figures],
    watched: list[Figures],
    startup: list[Figures],
) -> str:
    """docs/benchmarks.md."""
    largest, version, quiet = waiting[-1], startup[0], startup[1]
    spread, single = options
    growth = largest["ours_seconds"] / waiting[0]["ours_seconds"]
    sockets = largest["sockets"] / waiting[0]["sockets"]
    per_socket = (largest["ours_seconds"] - waiting[0]["ours_seconds"]) / (
        largest["sockets"] - waiting[0]["sockets"]
    )
    targets = [
        target("300,000 TIME_WAIT: whole audit / `ss -tan`, time", largest["ratio"], 0.5),
        target("300,000 TIME_WAIT: peak memory, MiB", largest["ours_peak_mib"], 120),
        *capture_targets(*captured),
        *watch_targets(*watched),
        target(f"time for {sockets:.1f} times the sockets / time", round(growth, 2), sockets),
        target(
            "10,000 connections, owners: audit without options / `ss -tanp`, time",
            owners["ratio"],
            1,
        ),
        target("20,000 sockets, options: audit / `ss -tanpoie`, time", spread["ratio"], 1.5),
        target("20,000 sockets of one process: peak memory, MiB", single["ours_peak_mib"], 250),
        target("`rstaudit --version` / `python -c pass`, time", version["ratio"], 2),
        target("quiet host, whole audit / `python -c pass`, time", quiet["ratio"], 12),
    ]
    return _TEMPLATE.format(
        when=date.today().isoformat(),
        python=platform.python_version(),
        kernel=platform.release().partition("-")[0],
        cores=os.cpu_count(),
        targets="\n".join(targets),
        waiting="\n".join(table_row(figures) for figures in waiting),
        nanoseconds=round(per_socket * 1e9),
        owners=table_row({"sockets": 2 * owners["connections"], **owners}),
        options="\n".join(table_row(figures) for figures in options),
        captured="\n".join(map(capture_row, captured)),
        watched="\n".join(map(watch_row, watched[:3])),
        startup="\n".join(
            f"| `{f['command']}` | {f['ours_seconds'] * 1000:.0f} "
            f"| {f['peer_seconds'] * 1000:.0f} | {f['ratio']:.2f} |"
            for f in startup
        ),
    )


def capture_targets(hard: Figures, usual: Figures) -> list[str]:
    """What reading captures has to reach."""
    rows = []
    for figures, of_tshark, of_tcpdump in ((hard, 8, 3), (usual, 12, 2)):
        kind = figures["capture"]
        rows += [
            target(
                f"{kind} capture: `rstaudit pcap` / tcpdump, time", figures["ratio"], of_tcpdump
            ),
            target(
                f"{kind} capture: `rstaudit pcap` / `tshark -z io,stat,0`, time",
                round(1 / figures["times_as_fast_as_tshark"], 3),
                round(1 / of_tshark, 3),
            ),
            target(f"{kind} capture: peak memory, MiB", figures["ours_peak_mib"], 300),
            target(
                f"{kind} capture, twice the packets: time / time",
                figures["twice_the_packets_time"],
                2.1,
            ),
        ]
    return rows


def watch_targets(diagnosed: Figures, counted: Figures, _: Figures, slow: Figures) -> list[str]:
    """What watching has to reach."""
    return [
        target("100,000 resets watched: events lost", diagnosed["lost"], 0),
        target("watch, full diagnosis: us of CPU an event", diagnosed["us_per_event"], 60),
        target("watch, counting: us of CPU an event", counted["us_per_event"], 10),
        target("slow-down of the workload: watch / bpftrace", slow["ratio"], 1),
    ]


def watch_row(figures: Figures) -> str:
    """A row of the table of storms."""
    return (
        f"| {figures['resets']:,} {figures['what']} | {figures['resets_per_second']:,} "
        f"| {figures['lost']:,} | {figures['undiagnosed']:,} | {figures['us_per_event']:.1f} "
        f"| {figures['peak_mib']:.0f} |"
    )


def capture_row(figures: Figures) -> str:
    """A row of the table of captures."""
    return (
        f"| {figures['capture']} | {figures['packets']:,} | {figures['megabytes']} "
        f"| {figures['ours_seconds']:.2f} | {figures['peer_seconds']:.2f} "
        f"| {figures['tshark_seconds']:.1f} | {figures['ours_peak_mib']:.0f} "
        f"| {figures['twice_the_packets_peak_mib']:.0f} |"
    )


def target(what: str, measured: float, wanted: float) -> str:
    """A row of the first table."""
    met = "met" if measured <= wanted else "**missed**"
    return f"| {what} | {measured:g} | {wanted:.3g} | {met} |"


def table_row(figures: Figures) -> str:
    """A row of the socket tables."""
    return (
        f"| {figures['sockets']:,} | {figures['ours_seconds']:.3f} | {figures['peer_seconds']:.3f} "
        f"| {figures['ratio']:.2f} | {figures['ours_peak_mib']:.0f} |"
    )


_TEMPLATE = """\
# Benchmarks

Made by `make bench` on {when}: kernel {kernel}, Python {python}, {cores} cores, rstaudit installed
from its wheel. Both programs run in turns in the same minute, on the same sockets, output to
/dev/null; times are medians in seconds of wall clock. Machines are noisy: the ratios are what to
look at.

| what | measured | at most | |
| --- | --- | --- | --- |
{targets}

## Many sockets in TIME_WAIT

`rstaudit --interval 0 --format json` (the whole audit) against `ss -tan`. The sockets are made in
a network namespace in less than the 60 s that they live, and counted before and after each run.

| sockets | rstaudit | ss | ratio | peak MiB |
| --- | --- | --- | --- | --- |
{waiting}

One more socket costs {nanoseconds} ns.

## Owners of sockets

10,000 established connections, both ends, held by 200 processes: the audit with every socket's
process resolved and without their options (`--no-socket-options`), against `ss -tanp`.

| sockets | rstaudit | ss | ratio | peak MiB |
| --- | --- | --- | --- | --- |
{owners}

## Options of sockets

Fourteen options of every socket, read in the processes that hold them, as part of the whole
audit, against `ss -tanpoie`: first 10,000 connections, both ends, over 200 processes; then as many
as one process may have here.

| sockets | rstaudit | ss | ratio | peak MiB |
| --- | --- | --- | --- | --- |
{options}

## Captures

`rstaudit pcap FILE` (the cause of every reset) against `tcpdump -nn -r FILE 'tcp[13]&4!=0'`, which
only picks the resets out, and `tshark -n -q -z io,stat,0 -r FILE`, which only counts packets.
*hard*: 50,000 connections, each ended by a reset of one of eight causes; *usual*: one in a hundred
is. Seconds; the last two columns are our peak memory, with the capture and with one twice as long.

| capture | packets | MB | rstaudit | tcpdump | tshark | peak MiB | peak MiB, twice |
| --- | --- | --- | --- | --- | --- | --- | --- |
{captured}

## Watching

`rstaudit watch` beside a storm: connects that are refused over loopback, as fast as one core makes
them, each a reset sent and one received. What comes faster than it can be diagnosed is counted as
undiagnosed. The slow-down is the CPU time that each connect takes more than alone, against bpftrace
counting the same tcp and sock events.

| resets | a second | events lost | undiagnosed | us of CPU an event | peak MiB |
| --- | --- | --- | --- | --- | --- |
{watched}

## Start-up

From an installed wheel, against the same interpreter doing nothing; milliseconds.

| command | rstaudit | python -c pass | ratio |
| --- | --- | --- | --- |
{startup}
"""


if __name__ == "__main__":
    main()
