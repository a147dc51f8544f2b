"""Rough conditions: an audit that cannot see everything says so, and never breaks."""

from __future__ import annotations

import compileall
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rstaudit.report.safe import printable
from support.cli import COMMAND, SOURCE, environment, open_interpreter
from support.netns import listener, settle, write_sysctl
from support.processes import python_child
from support.staging import packet_filter

pytestmark = pytest.mark.live

Done = subprocess.CompletedProcess[str]

#: Holds a dozen connections in CLOSE_WAIT, with unread data, under the name that it is given.
HOLDER = """
import ctypes, os, socket, sys
ctypes.CDLL(None).prctl(15, os.fsencode(sys.argv[1]), 0, 0, 0)
server = socket.create_server(("127.0.0.1", 0), backlog=64)
held = []
for _ in range(12):
    with socket.create_connection(server.getsockname()) as client:
        held.append(server.accept()[0])
        client.send(b"unread")
"""

NOBODY = "setpriv --reuid 65534 --regid 65534 --clear-groups"


def audit_in(script: str, *arguments: str, command: list[str] = COMMAND) -> Done:
    """Run a shell script in which ``"$@"`` is an audit with one sample."""
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command, "--interval", "0", *arguments],
        env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="surrogateescape", timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def report_of(done: Done) -> dict[str, Any]:
    """The host of a JSON report that an audit has ended with; none of its rules crashed."""
    assert done.returncode in (0, 1), (done.returncode, done.stderr)
    assert done.stderr == ""
    read = json.loads(done.stdout)
    assert read["summary"]["outcomes"]["error"] == 0
    (host,) = read["hosts"]
    assert isinstance(host, dict)
    return host


def audit_json(script: str = 'exec "$@"', *arguments: str, **more: Any) -> dict[str, Any]:
    """As `audit_in`, in JSON and read."""
    return report_of(audit_in(script, "--format", "json", *arguments, **more))


def outcomes(host: dict[str, Any]) -> dict[str, str]:
    """Outcome by rule."""
    return {result["rule"]: result["outcome"] for result in host["results"]}


def result(host: dict[str, Any], rule: str) -> dict[str, Any]:
    """The result of one rule."""
    (found,) = [result for result in host["results"] if result["rule"] == rule]
    assert isinstance(found, dict)
    return found


def gap(host: dict[str, Any], fact: str) -> dict[str, Any]:
    """The gap of a fact that must be one."""
    (found,) = [gap for gap in host["gaps"] if gap["fact"] == fact]
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def open_command() -> Iterator[list[str]]:
    """A command that every user may run: the package's source may lie in root's home."""
    with tempfile.TemporaryDirectory(prefix="rstaudit-") as place:
        os.chmod(place, 0o755)
        shutil.copytree(SOURCE, f"{place}/audit", ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(f"{place}/audit", quiet=1)
        yield ["env", f"PYTHONPATH={place}/audit", open_interpreter(), "-m", "rstaudit"]


@pytest.mark.usefixtures("netns")
def test_an_unprivileged_user_is_told_what_needs_root(open_command: list[str]) -> None:
    """Sockets are seen, their processes are not: findings stand, and no check passes blindly."""
    with python_child(HOLDER, "holder"):
        done = audit_in(f'exec {NOBODY} "$@"', "--format", "json", command=open_command)
        host = report_of(done)
        text = audit_in(f'exec {NOBODY} "$@"', "-v", command=open_command).stdout
        strict = audit_in(f'exec {NOBODY} "$@"', "--strict", command=open_command)
    (leak,) = result(host, "RST301")["findings"]
    assert leak["message"].startswith("a process that only root may see holds 12 in CLOSE_WAIT")
    for fact in ("owners", "firewall"):
        assert gap(host, fact)["reason"] == "permission"
        assert "run as root" in gap(host, fact)["detail"]
    assert outcomes(host)["RST506"] == "unknown"
    assert "run as root" in result(host, "RST506")["reason"]
    missing = " ".join(text.partition("Could not be checked")[2].split())
    assert "RST506" in missing
    assert "run as root" in missing
    assert "limits" not in [gap["fact"] for gap in host["gaps"]], "6.2 and later tell everybody"
    assert strict.returncode == 3


@pytest.mark.usefixtures("netns")
def test_hidden_processes_are_not_taken_for_none(open_command: list[str]) -> None:
    """With hidepid=2 /proc looks complete to a user, and is not."""
    script = f'mount -t proc -o hidepid=2 proc /proc && exec {NOBODY} "$@"'
    with python_child(HOLDER, "holder"):
        host = audit_json(f"exec unshare -m bash -c '{script}' bash \"$@\"", command=open_command)
    assert "hidepid" in gap(host, "owners")["detail"]
    assert outcomes(host)["RST701"] == "unknown"
    assert "only root may see" in result(host, "RST301")["findings"][0]["message"]


@pytest.mark.usefixtures("netns")
def test_root_sees_through_hidepid() -> None:
    """Root may trace every process, so nothing is hidden from it."""
    script = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
    with python_child(HOLDER, "holder"):
        host = audit_json(f"exec unshare -m bash -c '{script}' bash \"$@\"")
    assert "owners" not in [gap["fact"] for gap in host["gaps"]]
    assert result(host, "RST301")["findings"][0]["message"].startswith("holder (pid ")


@pytest.mark.usefixtures("netns")
def test_processes_of_another_pid_namespace_are_not_taken_for_none() -> None:
    """As in a container that shares the network with others: the sockets are theirs."""
    with python_child(HOLDER, "holder"):
        host = audit_json('exec unshare -mpf --mount-proc "$@"')
    detail = gap(host, "owners")["detail"]
    assert detail == "processes of another pid namespace hold 13 sockets; run it in theirs"
    (leak,) = result(host, "RST301")["findings"]
    assert leak["message"].startswith("a process that cannot be seen from here holds 12")


@pytest.mark.usefixtures("netns")
def test_a_container_of_its_own_misses_nothing() -> None:
    """Where every socket has its process inside, there is no gap."""
    host = audit_json('exec unshare -mpf --mount-proc "$@"')
    assert host["netns"].startswith("net:[")
    assert "owners" not in [gap["fact"] for gap in host["gaps"]]
    assert gap(host, "sysctl:net.ipv4.tcp_mem")["reason"] == "global"
    assert gap(host, "sysctl:net.ipv4.tcp_tw_recycle")["reason"] == "absent", "nor on the host"


def test_a_user_namespace_of_an_ordinary_user(open_command: list[str]) -> None:
    """Root by name alone, in a network namespace of its own: judged as what it is."""
    host = audit_json(f'exec {NOBODY} unshare -Urn "$@"', command=open_command)
    assert host["netns"].startswith("net:[")
    assert gap(host, "persisted")["reason"] == "global"
    assert "only in the initial network namespace" in gap(host, "sysctl:net.ipv4.tcp_mem")["detail"]
    judged = outcomes(host)
    assert judged["RST201"] == "pass", "its own sockets it may see"
    assert judged["RST601"] == "not-applicable"


def test_a_read_only_proc_sys_changes_nothing() -> None:
    """As in most containers: an audit has nothing to write there."""
    freeze = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    frozen = audit_json(f'exec unshare -m bash -c \'{freeze} && exec "$@"\' bash "$@"')
    assert outcomes(frozen) == outcomes(audit_json())


@pytest.mark.usefixtures("netns")
def test_ipv6_switched_off() -> None:
    """By the setting, as most people do it: the rest is judged as ever."""
    write_sysctl("net.ipv6.conf.all.disable_ipv6", 1)
    with python_child(HOLDER, "holder"):
        host = audit_json()
    assert outcomes(host)["RST301"] == "fail"
    assert "unknown" not in outcomes(host).values()


def record(root: Path, *without: str) -> str:
    """A tree with the files of this host that matter most, ``without`` some below /proc/net."""
    for name in ("tcp", "tcp6", "snmp", "snmp6", "netstat", "sockstat", "sockstat6"):
        if name not in without:
            copy(root, f"/proc/net/{name}")
    for path in ("sys/kernel/osrelease", "sys/kernel/hostname", "uptime"):
        copy(root, f"/proc/{path}")
    for folder in ("core", "ipv4"):
        for entry in sorted(Path("/proc/sys/net", folder).iterdir()):
            if entry.is_file() and os.access(entry, os.R_OK) and os.stat(entry).st_mode & 0o400:
                copy(root, str(entry))
    return str(root)


def copy(root: Path, path: str) -> None:
    """Copy one file of /proc, which has no size that a copying program could trust."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(Path(path).read_bytes())


@pytest.mark.usefixtures("netns")
def test_a_kernel_without_ipv6(tmp_path: Path) -> None:
    """ipv6.disable=1 leaves out tcp6, sockstat6 and snmp6: no rule misses them."""
    with python_child(HOLDER, "holder"):
        whole = record(tmp_path / "whole")
        ipv4 = record(tmp_path / "ipv4", "tcp6", "sockstat6", "snmp6")
    host = audit_json('exec "$@"', "--root", ipv4)
    assert outcomes(host) == outcomes(audit_json('exec "$@"', "--root", whole))
    assert outcomes(host)["RST301"] == "fail"


@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize(
    ("name", "rules"),
    [("netstat", ["RST205"]), ("snmp", ["RST306"]), ("tcp", ["RST101", "RST301"])],
)
def test_a_kernel_without_a_file(tmp_path: Path, name: str, rules: list[str]) -> None:
    """What needs it is unknown, the rest is as before; nothing passes for want of a fact."""
    before = outcomes(audit_json('exec "$@"', "--root", record(tmp_path / "whole")))
    host = audit_json('exec "$@"', "--root", record(tmp_path / "part", name))
    after = outcomes(host)
    for rule in rules:
        assert after[rule] == "unknown", rule
        assert f"/proc/net/{name}" in result(host, rule)["reason"]
    changed = {rule for rule in after if after[rule] != before[rule]}
    assert {after[rule] for rule in changed} == {"unknown"}


#: Escape code, line break, no UTF-8, right-to-left override, markup; a name has 15 bytes at most.
HOSTILE = [
    "\x1b[31mred\x07",
    "two\nlines\r",
    "\udcff\udcfe\udc80",
    "\u202egnp\u2066",
    "a`b|c</i>$(x)",
]


def assigned(variables: dict[str, str]) -> list[str]:
    """An audit with these variables, for env(1)."""
    return [*(f"{name}={value}" for name, value in variables.items()), *COMMAND]


@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize("name", HOSTILE, ids=["escape", "line", "bytes", "bidi", "markup"])
def test_hostile_process_names(name: str) -> None:
    """A terminal is not told what to do, and the JSON is one document of ASCII."""
    with python_child(HOLDER, name):
        plain = audit_in('exec "$@"', "--only", "RST301", "-v")
        ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        spelt = audit_in('exec env "$@"', "--only", "RST301", command=assigned(ascii_only))
        document = audit_in('exec "$@"', "--only", "RST301", "--format", "json")
    for done in (plain, spelt):
        assert done.returncode == 0
        assert all(char.isprintable() for char in done.stdout.replace("\n", ""))
        assert printable(name) in done.stdout
        assert "holds 12 in CLOSE_WAIT" in " ".join(done.stdout.split())
    assert document.stdout.isascii()
    (finding,) = result(report_of(document), "RST301")["findings"]
    assert finding["evidence"]["comm"] == name.encode("utf-8", "backslashreplace").decode()


@contextmanager
def churn() -> Iterator[None]:
    """Processes that live for a moment, one after the other, each with a socket."""
    moment = "exec 3<>/dev/tcp/127.0.0.1/$0; exit"
    with listener(backlog=1024) as server:
        port = str(server.getsockname()[1])
        loop = subprocess.Popen(["bash", "-c", f"while :; do ({moment}); done", port])
        try:
            yield
        finally:
            loop.kill()
            loop.wait()


@pytest.mark.usefixtures("netns")
def test_processes_that_vanish_in_the_middle() -> None:
    """Between the listing of /proc and the look at each: they are left out, and that is all."""
    with churn():
        for _ in range(5):
            host = audit_json('exec "$@"', "--cmdline")
            facts = {gap["fact"]: gap for gap in host["gaps"]}
            assert not facts.keys() & {"owners", "limits", "sockets"}, facts


@pytest.mark.usefixtures("netns")
def test_few_descriptors_are_enough() -> None:
    """The limit of some sandboxes; with less than that, what fails is unknown and said."""
    with packet_filter("tcp dport 81 reject with tcp reset"), python_child(HOLDER, "holder"):
        plenty = outcomes(audit_json())
        assert outcomes(audit_json('ulimit -n 16; exec "$@"')) == plenty
        for limit in (9, 8, 7, 6, 5):
            host = audit_json(f'ulimit -n {limit}; exec "$@"')
            after = outcomes(host)
            assert {after[rule] for rule in after if after[rule] != plenty[rule]} <= {"unknown"}
            (leak,) = result(host, "RST301")["findings"]
            seen = leak["message"].startswith("holder (pid ")
            assert seen or gap(host, "owners")["reason"] == "unreadable"


def test_processes_that_cannot_be_looked_at_are_counted() -> None:
    """Whatever the error: only a process that has ended is left out in silence."""
    code = (
        "import resource; from rstaudit.collect.owners import collect_owners\n"
        "from rstaudit.collect.tree import Tree\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))\n"  # one to list /proc, none besides
        "owners = collect_owners(Tree())\n"
        "print(len(owners.by_inode), owners.gap.reason, owners.gap.detail)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    said = r"0 unreadable the descriptors of \d+ processes are not readable: too many open files\n"
    assert re.fullmatch(said, done.stdout)


@pytest.mark.usefixtures("netns")
def test_a_user_who_may_start_no_thread(open_command: list[str]) -> None:
    """RLIMIT_NPROC is used up: the sockets are read all the same."""
    script = f'exec {NOBODY} prlimit --nproc=1 "$@"'
    with python_child(HOLDER, "holder"):
        host = audit_json(script, command=open_command)
    assert outcomes(host)["RST301"] == "fail"
    assert "sockets" not in [gap["fact"] for gap in host["gaps"]]


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
@pytest.mark.usefixtures("netns")
def test_a_closed_stream_does_not_end_up_in_the_report(closed: str) -> None:
    """A descriptor that is free gets used; what is read through it stays out of the output."""
    with packet_filter("tcp dport 81 reject with tcp reset"):
        host = audit_json(f'exec "$@" {closed}')
        assert outcomes(host) == outcomes(audit_json())
        assert outcomes(host)["RST506"] == "fail"


@pytest.mark.usefixtures("netns")
def test_several_findings_come_worst_first() -> None:
    """Errors, then warnings, then information, in text and however many there are."""
    write_sysctl("net.ipv4.tcp_syncookies", 0)
    write_sysctl("net.ipv4.tcp_abort_on_overflow", 1)
    write_sysctl("net.ipv4.tcp_rfc1337", 1)
    server = listener(backlog=1)
    with server, python_child(HOLDER, "holder"):
        waiting = [socket.create_connection(server.getsockname()) for _ in range(2)]
        settle()
        done = audit_in('exec "$@"', "--only", "RST111,RST201,RST206,RST208,RST301,RST302")
        for client in waiting:
            client.close()
    found = re.findall(r"^(error|warning|info) +(RST\d+)", done.stdout, re.MULTILINE)
    assert [severity for severity, _ in found] == sorted(
        (severity for severity, _ in found), key=["error", "warning", "info"].index
    )
    assert {rule for _, rule in found} == {
        "RST111", "RST201", "RST206", "RST208", "RST301", "RST302"
    }  # fmt: skip
    assert re.match(r"2 errors, 3 warnings, 1 info on ", done.stdout)
    assert done.returncode == 1
