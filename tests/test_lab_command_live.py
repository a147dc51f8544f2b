"""`rstaudit lab`: what it needs, what it leaves behind, and that wrong labels are found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rstaudit.lab.listing import scenarios
from rstaudit.lab.results import Result
from rstaudit.lab.runner import Options, run
from rstaudit.lab.scenario import Scenario
from support.cli import COMMAND, environment, rstaudit, rstaudit_as_nobody, rstaudit_for
from support.tracing import turn
from test_report_json import validate

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _turn() -> Iterator[None]:
    """Not beside a storm."""
    with turn():
        yield


def by_id(name: str) -> Scenario:
    """The scenario of that id."""
    return next(one for one in scenarios() if one.id == name)


def ignore(_: Result) -> None:
    """Nobody listens."""


def test_swapped_labels_are_found() -> None:
    """Each of two scenarios that expects what belongs to the other fails, live and pcap."""
    first, second = by_id("closed-port"), by_id("linger-idle")
    swapped = [
        first._replace(live=second.live, pcap=second.pcap),
        second._replace(live=first.live, pcap=first.pcap),
    ]
    for result in run(swapped, Options(), ignore):
        assert result.outcome == "fail"
        for engine in ("live:", "pcap:"):
            assert any(engine in fault for fault in result.faults)


def test_a_scenario_that_does_nothing_fails() -> None:
    """The verdict rests on what was seen, not on what was meant to happen."""
    healthy = by_id("linger-idle")
    (result,) = run([healthy._replace(stage=healthy.twin)], Options(draws=1), ignore)
    assert result.outcome == "fail"
    assert any("no reset seen" in fault for fault in result.faults)


def test_a_sick_twin_fails() -> None:
    """A twin with a reset is not healthy."""
    sick = by_id("linger-idle")
    (result,) = run([sick._replace(twin=sick.stage)], Options(draws=1), ignore)
    assert any("healthy twin: live" in fault for fault in result.faults)
    assert any("healthy twin: pcap" in fault for fault in result.faults)
    assert any("healthy twin: audit: server: RST308" in fault for fault in result.faults)


def test_two_labs_at_once_do_not_meet() -> None:
    """Each names its own resets and sees none of the other's."""
    command = [*COMMAND, "lab", "run", "closed-port", "linger-idle", "reject-host"]
    labs = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for one in labs:
        output, _ = one.communicate(timeout=200)
        assert one.returncode == 0, output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_end_in_the_middle_leaves_nothing(number: signal.Signals) -> None:
    """No process, no namespace, no trace instance stays, whatever ended it."""
    command = [*COMMAND, "lab", "run", "keepalive*", "reject-*"]
    lab = subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: len(namespaces(children(lab.pid))) > 6)
        family = children(lab.pid)
        spaces = namespaces(family)
        lab.send_signal(number)
        _, complaint = lab.communicate(timeout=30)
    finally:
        lab.kill()
        lab.wait()
    assert lab.returncode == -number
    assert complaint == ""
    wait_until(lambda: not any(alive(pid) for pid in family))
    wait_until(lambda: not spaces & namespaces(everybody()))


def children(pid: int) -> list[int]:
    """Processes below one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        for child in below:
            found += [child, *children(child)]
    return found


def everybody() -> list[int]:
    """Every process of the machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def namespaces(pids: list[int]) -> set[str]:
    """Network namespaces of these processes, without the test's own."""
    found = set()
    for pid in pids:
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
        except OSError:
            continue
    return found - {os.readlink("/proc/self/ns/net")}


def alive(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that takes the machine a moment."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_nothing_of_the_host_changes() -> None:
    """Settings, links, addresses, routes and firewall rules are the same before and after."""
    before = host()
    done = rstaudit_for(200, "lab", "run", "reject-middle", "linger-positive", "syn-flood")
    assert done.returncode == 0, done.stdout
    assert host() == before


def host() -> dict[str, str]:
    """What a lab could have changed."""
    commands = ("ip -o link", "ip -o addr", "ip route show table all", "nft list ruleset")
    found = {
        line: subprocess.run(line.split(), capture_output=True, text=True, check=True).stdout
        for line in commands
    }
    for path in sorted(Path("/proc/sys/net").rglob("*")):
        if path.is_file() and path.name not in _MOVING:
            try:
                found[str(path)] = path.read_text()
            except OSError:
                continue
    return found


#: Keys whose value moves by itself.
_MOVING = frozenset({"nf_conntrack_count"})


def test_without_root_one_clear_line() -> None:
    """What is missing and what to do; listing needs no root."""
    done = rstaudit_as_nobody("lab", "run", "closed-port")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "needs root" in line
    assert rstaudit_as_nobody("lab", "list").returncode == 0


def test_listing_names_every_scenario() -> None:
    """As text and as JSON."""
    text = rstaudit("lab", "list")
    assert text.returncode == 0
    document = json.loads(rstaudit("lab", "list", "--format", "json").stdout)
    validate("lab", document)
    for scenario, listed in zip(scenarios(), document["scenarios"], strict=True):
        assert listed["id"] == scenario.id
        assert listed["outcome"] is None
        assert scenario.id in text.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "closed-prot"), "did you mean 'closed-port'?"),
        (("rum",), "did you mean 'run'?"),
        (("run", "--draws", "0"), "whole number"),
        (("run", "closed-port", "--pcap", "/nowhere/at/all"), "no such directory"),
        (("list", "zzz*"), "lab list"),
    ],
)
def test_mistakes_get_one_line(arguments: tuple[str, ...], words: str) -> None:
    """What is wrong and what to do, exit status 2."""
    done = rstaudit("lab", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line


def test_the_command_does_not_load_what_only_a_run_needs() -> None:
    """Listing is quick: no numpy, no watch."""
    code = (
        "import sys; from rstaudit.cli.main import main; main(['lab', 'list']);"
        "sys.exit(bool({'numpy', 'rstaudit.watch.session'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 0
