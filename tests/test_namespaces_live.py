"""Every network namespace of the host: found, named, and judged on its own."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rstaudit.collect.crew import Crew
from rstaudit.collect.host import Options
from rstaudit.collect.inside import Inside, host_sysctls, start
from rstaudit.collect.namespaces import Namespace, find_namespaces
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap, HostState, MissingFact
from rstaudit.model.names import ALL, COUNTERS, LIMITS, OWNERS
from support.cli import COMMAND, environment, rstaudit, rstaudit_as_nobody
from support.netns import network_namespace
from support.spaces import cgroup, named, program, set_in

pytestmark = pytest.mark.live

DOCS = Path(__file__).parent.parent / "docs"
SCHEMA = DOCS / "schema" / "audit.schema.json"
PAGE = DOCS / "namespaces.md"

BLUE, RED = (f"{colour}-{os.getpid()}" for colour in ("blue", "red"))
UNSHARE = ("unshare", "--net", "--fork", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")
CONTAINER = (
    "unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child",
    "sh", "-c", 'ip link set lo up; exec "$@"', "sh",
)  # fmt: skip
HANGING, DYING, REFUSED, FINE = "hangs", "dies", "refused", "fine"


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """One test at a time among all workers: an audit of every namespace enters all of them."""
    with (Path(tempfile.gettempdir()) / "rstaudit-tests-namespaces.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def audit(*arguments: str, status: int = 0) -> list[dict[str, Any]]:
    """``hosts`` of the JSON report, which has to validate."""
    done = rstaudit("--format", "json", "--fail-on", "never", *arguments)
    assert (done.returncode, done.stderr) == (status, "")
    document = json.loads(done.stdout)
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)
    hosts: list[dict[str, Any]] = document["hosts"]
    return hosts


def by_name(hosts: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Hosts by the name of their namespace, none twice."""
    found = {host["netns"]: host for host in hosts}
    assert len(found) == len(hosts)
    return found


def result(host: dict[str, Any], rule: str) -> dict[str, Any]:
    """The one result of a rule."""
    (found,) = [entry for entry in host["results"] if entry["rule"] == rule]
    return dict(found)


@contextmanager
def three() -> Iterator[dict[str, int]]:
    """Two named namespaces and an anonymous one; in blue a leak, in red a wrong setting."""
    enter_blue, enter_red = (("ip", "netns", "exec", name) for name in (BLUE, RED))
    with (
        named(BLUE, RED),
        program("leaker", 12, *enter_blue) as (leaker, _),
        program("server", 0, *enter_red) as (server, _),
        program("loner", 0, *UNSHARE) as (loner, anonymous),
    ):
        set_in(RED, "net.ipv4.tcp_abort_on_overflow", 1)
        set_in(BLUE, "net.ipv4.tcp_keepalive_time", 300)
        yield {BLUE: leaker, RED: server, anonymous: loner}


def test_each_namespace_is_found_named_and_judged_apart() -> None:
    """A leak in one, a setting in another: each is said of its own namespace and no other."""
    with three() as pids:
        hosts = by_name(audit("--all-netns", "--profile", "web", "--interval", "0.2"))
    assert {"initial", *pids} <= hosts.keys()
    assert next(iter(hosts)) == "initial"
    leaks = [name for name in hosts if result(hosts[name], "RST301")["outcome"] == "fail"]
    assert BLUE in leaks
    assert not {RED, "initial", *pids} & {*leaks} - {BLUE}
    (leak,) = result(hosts[BLUE], "RST301")["findings"]
    assert leak["message"].startswith(f"leaker (pid {pids[BLUE]}, user root")
    (wrong,) = result(hosts[RED], "RST208")["findings"]
    assert wrong["fix"] == f"ip netns exec {RED} sysctl -w net.ipv4.tcp_abort_on_overflow=0"
    anonymous = [name for name in pids if name.startswith("net:")]
    for name in (BLUE, "initial", *anonymous):
        assert result(hosts[name], "RST208")["outcome"] == "pass", name
    rules = [entry["rule"] for entry in hosts["initial"]["results"]]
    assert len(rules) == len(set(rules))
    for host in hosts.values():
        assert [entry["rule"] for entry in host["results"]] == rules


def test_the_text_has_a_verdict_over_all_and_a_section_for_each() -> None:
    """The exit status is that of the worst namespace."""
    with three():
        done = rstaudit(
            "--all-netns", "--interval", "0", "--only", "RST208,RST301", "--profile", "web",
            "--fail-on", "warning", COLUMNS="200",
        )  # fmt: skip
        single = rstaudit(
            "--netns", BLUE, "--interval", "0", "--only", "RST208", "--fail-on", "warning"
        )
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert " network namespaces" in lines[0]
    assert sum(f"namespace {BLUE})" in line for line in lines) == 1
    assert sum(f"namespace {RED})" in line for line in lines) == 1
    assert single.returncode == 0
    assert single.stdout.startswith("nothing wrong found on ")


@pytest.mark.parametrize("enter", [UNSHARE, CONTAINER], ids=["unshare", "container"])
def test_one_namespace_by_the_pid_of_a_process(enter: tuple[str, ...]) -> None:
    """Also where the process has a pid namespace of its own: pids are those of the host."""
    with program("leaker", 12, *enter) as (pid, namespace):
        (host,) = audit("--netns", str(pid), "--interval", "0")
        (same,) = audit("--netns", namespace, "--interval", "0")
    assert host["netns"] == same["netns"] == namespace
    (leak,) = result(host, "RST301")["findings"]
    assert leak["message"].startswith(f"leaker (pid {pid}, user root")
    assert not [gap for gap in host["gaps"] if gap["fact"] in ("sockets", "owners")]


def test_a_container_has_its_name_and_a_service_its_own() -> None:
    """By the cgroup of a process; two namespaces of one container are told apart by their ids."""
    container, service = f"docker-{os.getpid():064x}.scope", f"rstaudit-{os.getpid()}.service"
    short = f"docker:{container.removeprefix('docker-')[:12]}"
    with (
        cgroup(container) as inside,
        cgroup(service) as unit,
        program("app", 12, *inside, *CONTAINER) as (pid, one),
        program("daemon", 0, *unit, *UNSHARE) as (_, third),
    ):
        names = {space.id: space.name for space in find_namespaces(Tree()).spaces}
        (host,) = audit("--netns", short, "--interval", "0", "--only", "RST301")
        with program("other", 0, *inside, *CONTAINER) as (_, two):
            apart = {space.id: space.name for space in find_namespaces(Tree()).spaces}
            either = rstaudit("--netns", short)
    assert (names[one], names[third]) == (short, service)
    assert host["netns"] == short
    (leak,) = result(host, "RST301")["findings"]
    assert leak["message"].startswith(f"app (pid {pid}, user root, container {short})")
    assert (apart[one], apart[two]) == (f"{short} {one}", f"{short} {two}")
    assert (either.returncode, either.stdout) == (2, "")
    assert f"this may be one of {min(one, two)}" in either.stderr.replace(f"{short} ", "")


def test_a_setting_that_the_host_has_and_a_namespace_has_not() -> None:
    """RST610 gives both values; where they agree, and on the host, it has nothing to say."""
    with three():
        hosts = by_name(audit("--all-netns", "--interval", "0", "--only", "RST610"))
        (alone,) = audit("--netns", RED, "--interval", "0", "--only", "RST610")
    (finding,) = result(hosts[RED], "RST610")["findings"]
    assert finding["message"] == (
        "net.ipv4.tcp_abort_on_overflow is 1 here and 0 on the host; profile default wants 0"
    )
    assert result(hosts[BLUE], "RST610")["outcome"] == "pass"
    assert result(hosts["initial"], "RST610")["outcome"] == "not-applicable"
    assert result(alone, "RST610")["findings"] == [finding]


def plainly(text: str) -> str:
    """Without line breaks and numbers, which differ from run to run."""
    return " ".join(re.sub(r"\d+(\.\d+)*", "N", text).split())


def test_the_page_shows_what_is_printed() -> None:
    """Every finding of docs/namespaces.md comes again, with the commands to paste."""
    (block,) = re.findall(r"^```text\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    shown = re.findall(r"^(?:warning|info) .*?(?=^    seen)", block, re.DOTALL | re.MULTILINE)
    shown += re.findall(r"^    fix: (?:.+\n)+?(?=    explain)", block, re.MULTILINE)
    assert len(shown) == 4
    enter = ("ip", "netns", "exec", "payments")
    with named("payments", "reports"), program("orders-api", 40, *enter):
        set_in("reports", "net.ipv4.tcp_abort_on_overflow", 1)
        done = rstaudit("--all-netns", COLUMNS="80")
    now = plainly(done.stdout)
    for part in shown:
        assert plainly(part) in now, part


def test_from_inside_another_namespace_the_same_is_said() -> None:
    """The values of the host are read in the initial namespace, wherever rstaudit runs."""
    with named(BLUE, RED):
        set_in(RED, "net.ipv4.tcp_abort_on_overflow", 1)
        done = subprocess.run(
            ["ip", "netns", "exec", BLUE, *COMMAND, "--all-netns", "--interval", "0", "--format",
             "json", "--only", "RST208,RST610"],
            env=environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    hosts = by_name(json.loads(done.stdout)["hosts"])
    assert {"initial", BLUE, RED} <= hosts.keys()
    assert result(hosts[RED], "RST610")["outcome"] == "fail"
    assert result(hosts["initial"], "RST610")["outcome"] == "not-applicable"


def find(name: str) -> Namespace:
    """The namespace of this name, as it is found on the host now."""
    (found,) = [space for space in find_namespaces(Tree()).spaces if space.name == name]
    return found


def collected(space: Namespace) -> HostState:
    """What a child collects in a namespace."""
    crew = start((space,), Options(interval=0.0))
    try:
        (answer,) = crew.answers()
    finally:
        crew.close()
    assert isinstance(answer.value, Inside), answer.value
    return answer.value.host


def test_counters_and_processes_are_those_of_the_namespace() -> None:
    """Their age is that of its oldest process; a process elsewhere is none of its business."""
    # a child of the auditing process itself would be taken for one of its helpers
    enter = ("ip", "netns", "exec", BLUE, "setsid", "--fork", "--wait")
    with named(BLUE, RED), program("server", 3, *enter) as (pid, _):
        time.sleep(1.1)
        host, nobody = collected(find(BLUE)), collected(find(RED))
    counters = host.need(COUNTERS)
    assert counters.rate("Tcp.PassiveOpens").total == 3
    assert counters.age is not None
    assert 1.0 <= counters.age < 30
    judged = {entry.pid for entry in host.need(LIMITS)}
    assert pid in judged
    assert not {1, os.getpid()} & judged
    assert {owner.pid for found in host.need(OWNERS).values() for owner in found} == {pid}
    assert nobody.need(COUNTERS).age is None
    assert [entry.comm for entry in nobody.need(LIMITS)] == [host.need(LIMITS)[-1].comm]
    assert {*nobody.facts} <= {fact.name for fact in ALL}


def work(space: Namespace) -> str:
    """What the name of the namespace says."""
    if space.name == HANGING:
        time.sleep(60)
    if space.name == DYING:
        os.kill(os.getpid(), signal.SIGKILL)
    if space.name == REFUSED:
        raise MissingFact(Gap("netns", "permission", "not for you"))
    return os.readlink("/proc/self/ns/net")


def test_one_that_hangs_dies_or_is_refused_costs_no_other() -> None:
    """Each has an answer, a gap where there is nothing; no child is left."""
    with named(BLUE):
        here = find(BLUE)
        spaces = [here._replace(name=name) for name in (HANGING, DYING, REFUSED, FINE)]
        gone = here._replace(id="net:[1]", name="gone")
        crew = Crew([*spaces, gone], work, 0.5, 2)
        began = time.monotonic()
        answers = {answer.space.name: answer.value for answer in crew.answers()}
    assert time.monotonic() - began < 5
    assert answers[FINE] == here.id
    gaps = {name: gap for name, gap in answers.items() if isinstance(gap, Gap)}
    assert gaps[HANGING] == Gap("netns", "unreadable", "no answer from it within 0.5 s")
    assert gaps[DYING].detail == "the process that read it ended with status -9"
    assert gaps[REFUSED] == Gap("netns", "permission", "not for you")
    assert gaps["gone"].reason == "absent"
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_one_without_answer_is_reported_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a deadline that nobody meets every rule is unknown, and none is lost."""
    import argparse

    from rstaudit.cli import audit as command
    from rstaudit.collect import inside

    with named(BLUE):
        monkeypatch.setattr(inside, "PATIENCE", 0.01)
        patient = inside.start
        monkeypatch.setattr(
            "rstaudit.cli.namespaces.start", lambda spaces, options: patient(spaces, options, 0.01)
        )
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        arguments = parser.parse_args(["--netns", BLUE, "--interval", "0"])
        monkeypatch.setattr(inside, "_collect", lambda *_: time.sleep(60))
        source = command._begin(arguments)
        try:
            made = command._audit(source, arguments)
        finally:
            source.close()
    (host,) = made.hosts
    assert host.netns == BLUE
    assert {entry.outcome.value for entry in host.results} == {"unknown"}
    (gap,) = host.gaps
    assert gap.detail == f"network namespace {BLUE}: no answer from it within 0.01 s"


def wait_of(pid: str) -> str:
    """Where in the kernel a process sleeps; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""


def asleep(pid: int) -> list[str]:
    """The children of an audit, when each has read what it can before its second sample."""
    deadline = time.monotonic() + 25
    while time.monotonic() < deadline:
        time.sleep(0.1)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        waits = [wait_of(each) for each in (str(pid), *children)]
        if children and "poll" in waits[0] and all("nanosleep" in wait for wait in waits[1:]):
            return children
    raise AssertionError(f"still at work: {waits}")


def test_ctrl_c_reports_what_is_known_and_leaves_no_child() -> None:
    """Sent to rstaudit alone: its children are asked for what they have by then."""
    with three():
        running = subprocess.Popen(
            [*COMMAND, "--all-netns", "--interval", "30", "--format", "json"],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        children = asleep(running.pid)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
    assert running.returncode == -signal.SIGINT, err
    document = json.loads(out)
    assert document["summary"]["interrupted"] is True
    hosts = by_name(document["hosts"])
    assert result(hosts[BLUE], "RST301")["outcome"] == "fail"
    assert children
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_what_cannot_be_done_is_said_in_one_line() -> None:
    """Usage errors have status 2, and name the namespaces there are."""
    with named(BLUE):
        unknown = rstaudit("--netns", "rstaudit-bleu")
        nobody = rstaudit("--netns", "4194305")
        both = rstaudit("--netns", BLUE, "--all-netns")
        tree = rstaudit("--all-netns", "--root", "/usr")
        wrong_rule = rstaudit("--all-netns", "--only", "RST999")
    for done in (unknown, nobody, both, tree, wrong_rule):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
    assert unknown.stderr.startswith("rstaudit: --netns rstaudit-bleu: no such network namespace;")
    assert BLUE in unknown.stderr
    assert "--netns 4194305: no such process; there are initial, " in nobody.stderr
    assert "give one" in both.stderr


@pytest.mark.parametrize("arguments", [("--all-netns",), ("--netns", "1")])
def test_an_ordinary_user_is_told_what_it_needs(arguments: tuple[str, ...]) -> None:
    """Entering a network namespace needs a capability."""
    done = rstaudit_as_nobody(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"rstaudit: {arguments[0]}: entering a network namespace needs CAP_SYS_ADMIN; run as root\n"
    )


def test_the_initial_namespace_is_found_from_another_one() -> None:
    """Its values are not those of the namespace that asks."""
    found = find_namespaces(Tree())
    initial, _ = host_sysctls(Tree(), found.spaces)
    assert found.spaces[0].id == initial == os.readlink("/proc/self/ns/net")
    with network_namespace():
        Path("/proc/sys/net/ipv4/tcp_abort_on_overflow").write_text("1")
        there, values = host_sysctls(Tree(), find_namespaces(Tree()).spaces)
    assert there == initial
    assert values["net.ipv4.tcp_abort_on_overflow"] == "0"
