"""An audit changes nothing: every system call of whole runs is looked at."""

from __future__ import annotations

import compileall
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from support import netns as space
from support.cli import COMMAND, SOURCE
from support.staging import packet_filter, run
from support.strace import Traced, programs, traced, violations

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as pip and `make audit` leave it: with its modules compiled."""
    place = tmp_path_factory.mktemp("installed")
    shutil.copytree(SOURCE, place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    assert compileall.compile_dir(place, quiet=1)
    return place


def audit(package: Path, *arguments: str) -> Traced:
    """A traced audit; not one of its rules crashed."""
    done = traced([*COMMAND, *arguments], PYTHONPATH=str(package))
    assert done.status in (0, 1), done.stderr
    return done


@pytest.mark.parametrize(
    "arguments",
    [
        ["--interval", "0.05"],
        ["-v", "--profile", "web", "--cmdline"],
        ["--format", "json", "--interval", "0.05"],
        ["--format", "json", "--interval", "0", "--load-modules"],
        ["sockets", "--cmdline"],
    ],
    ids=" ".join,
)
def test_an_audit_of_this_host_changes_nothing(package: Path, arguments: list[str]) -> None:
    """No file opened for writing, no packet, no signal, no module, no request but for reading."""
    done = audit(package, *arguments)
    assert violations(done) == []
    assert any("NETLINK_SOCK_DIAG" in call for call in done.calls), "it did look at the sockets"


@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize("form", ["text", "json"])
def test_an_audit_of_firewall_rules_only_reads_them(package: Path, form: str) -> None:
    """Nft and the save commands of iptables run, and what they ask of the kernel is to list."""
    reject = ("-A", "INPUT", "-p", "tcp", "--dport", "82", "-j", "REJECT")
    with packet_filter("tcp dport 81 reject with tcp reset"):
        for variant in ("nft", "legacy"):
            run(f"iptables-{variant}", *reject, "--reject-with", "tcp-reset")
        done = audit(package, "--format", form, "--interval", "0")
    assert {"nft", "iptables-nft-save", "iptables-legacy-save"} <= set(programs(done))
    assert violations(done) == []
    assert "RST506" in done.stdout
    assert "--dport 82" in done.stdout


@pytest.mark.usefixtures("netns")
def test_of_other_processes_sockets_only_the_options_are_read(package: Path) -> None:
    """Each is duplicated once and asked at once: nothing else happens before it is closed."""
    with space.listener() as server:
        client, accepted = space.connected(server)
        with client, accepted:
            done = audit(package, "--format", "json", "--interval", "0")
    assert violations(done) == []
    copied = [at for at, call in enumerate(done.calls) if call.startswith("pidfd_getfd(")]
    assert [bool(re.search(r" = \d+<TCP:\[", done.calls[at])) for at in copied] == [True] * 3
    for at in copied:
        held = [call.partition("(")[0] for call in done.calls[at + 1 : at + 18]]
        assert held[0] == "getsockname"
        assert held[1] in ("fstat", "newfstatat")
        assert held[2:] == ["getsockopt"] * 14 + ["close"]


@pytest.mark.usefixtures("netns")
def test_without_socket_options_no_process_is_touched(package: Path) -> None:
    """--no-socket-options makes no duplicate of anything."""
    with space.listener() as server:
        client, accepted = space.connected(server)
        with client, accepted:
            done = audit(package, "--no-socket-options", "--interval", "0")
    assert violations(done) == []
    assert not any(call.startswith("pidfd_") for call in done.calls)


def test_the_first_run_of_a_fresh_clone_compiles_nothing_to_disk(tmp_path: Path) -> None:
    """Python itself caches the first two files before a line of them runs; nothing else."""
    shutil.copytree(SOURCE, tmp_path / "audit", ignore=shutil.ignore_patterns("__pycache__"))
    done = audit(tmp_path / "audit", "--interval", "0")
    assert [line for line in violations(done) if "__pycache__" not in line] == []
    made = {path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")}
    assert made <= {"__init__", "__main__"}


ROUTE_NEW_ADDRESS, SOCK_DESTROY = 20, 21

#: What an audit must never do, and the words under which it is reported. Each runs in a network
#: namespace of its own, with an empty directory as its own.
PLANTED = {
    "open('made', 'w')": "opens for writing",
    "open('made', 'a')": "opens for writing",
    "open('/proc/sys/net/core/somaxconn', 'r+')": "opens for writing",
    "os.open('.', os.O_TMPFILE | os.O_WRONLY)": "opens for writing",
    "os.unlink('file')": "is not known to be harmless: unlink(",
    "os.rename('file', 'other')": "is not known to be harmless: rename(",
    "os.mkdir('made')": "is not known to be harmless: mkdir(",
    "os.symlink('file', 'made')": "is not known to be harmless: symlink(",
    "os.chmod('file', 0o600)": "is not known to be harmless: chmod(",
    "os.utime('file')": "is not known to be harmless: utimensat(",
    "os.truncate('file', 0)": "is not known to be harmless: truncate(",
    "os.setxattr('file', 'user.x', b'x')": "is not known to be harmless: setxattr(",
    "os.kill(os.getpid(), 0)": "is not known to be harmless: kill(",
    "os.nice(1)": "is not known to be harmless: setpriority(",
    "signal.pidfd_send_signal(os.pidfd_open(os.getpid()), 0)": (
        "is not known to be harmless: pidfd_send_signal("
    ),
    "ctypes.CDLL(None).ptrace(16, 0, 0, 0)": "is not known to be harmless: ptrace(",
    "ctypes.CDLL(None).syscall(313, -1, b'', 0)": "is not known to be harmless: finit_module(",
    "ctypes.CDLL(None).unshare(0x20000000)": "is not known to be harmless: unshare(",
    "ctypes.CDLL(None).prctl(15, b'name', 0, 0, 0)": "changes the process",
    "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))": "sets a limit",
    "fcntl.lockf(open('file'), fcntl.LOCK_SH)": "does more than copy a descriptor",
    "fcntl.ioctl(open('file'), 0x40086602, bytes(8))": "controls a device",
    "os.system('true')": "starts another program",
    "os.execv('/sbin/modprobe', ['modprobe', '--version'])": "starts another program",
    "socket.socket().connect(('127.0.0.1', 9))": "is not known to be harmless: connect(",
    "socket.socket()": "opens a socket that can reach others",
    "socket.socket(socket.AF_UNIX)": "opens a socket that can reach others",
    "socket.getaddrinfo('name.invalid', 80)": "opens a socket that can reach others",
    "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))": "sends to another than",
    "socket.socket().bind(('127.0.0.1', 0))": "binds an address",
    "socket.socket().setsockopt(1, 2, 1)": "sets an option of a socket",
    "theirs().setsockopt(1, 9, 1)": "sets an option of a socket",
    "theirs().shutdown(2)": "is not known to be harmless: shutdown(",
    "theirs().connect(('127.0.0.1', 9))": "is not known to be harmless: connect(",
    "theirs().send(b'x')": "sends to another than the kernel",
    "os.write(theirs().fileno(), b'x')": "writes elsewhere than to its own output",
    "theirs().recv(1)": "takes more of a connection than its options",
    "theirs().recv(1, socket.MSG_PEEK)": "takes more of a connection than its options",
    "os.read(theirs().fileno(), 1)": "takes more of a connection than its options",
    "theirs().setblocking(False)": "takes more of a connection than its options",
    "fcntl.fcntl(theirs(), fcntl.F_SETFL, os.O_NONBLOCK)": (
        "takes more of a connection than its options"
    ),
    "theirs().accept()": "is not known to be harmless: accept4(",
    "os.write(os.open('pipe', os.O_RDWR), b'x')": "writes elsewhere than to its own output",
    "ask(4, message(21, 0x5, bytes(72)))": "asks the kernel for more than to read",
    "ask(4, b'no message at all')": "asks the kernel for more than to read",
    "ask(12, message(0xA00, 0x5, bytes(4)))": "asks the kernel for more than to read",
    "ask(0, message(20, 0x5, bytes(8)))": "opens a socket that can reach others",
    "ask(4, message(18, 0x301, bytes(60)), 4_000_000)": "sends to another process",
}  # fmt: skip

_PRELUDE = """
import ctypes, fcntl, os, resource, signal, socket, struct

def message(kind, flags, body):
    return struct.pack('=IHHII', 16 + len(body), kind, flags, 1, 0) + body

def ask(protocol, request, whom=0):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as channel:
        channel.sendto(request, (whom, 0))

def theirs():
    with socket.socket() as end:
        pidfd = os.pidfd_open(os.getpid())
        return socket.socket(fileno=ctypes.CDLL(None).syscall(438, pidfd, end.fileno(), 0))

try:
    {planted}
except OSError:
    pass
"""


@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize("planted", PLANTED)
def test_the_check_fails_where_something_is_changed(planted: str, tmp_path: Path) -> None:
    """A check that cannot fail proves nothing: each kind of change is found, tried in vain too."""
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    found = found_in(planted, tmp_path)
    assert any(line.startswith(PLANTED[planted]) for line in found), found


def test_the_check_passes_where_nothing_is_planted(tmp_path: Path) -> None:
    """What is found above is found because of what was planted."""
    assert found_in("pass", tmp_path) == []


def found_in(planted: str, folder: Path) -> list[str]:
    """What the check finds in a program that does nothing but what was planted."""
    code = _PRELUDE.format(planted=planted)
    return violations(traced([sys.executable, "-I", "-S", "-c", code], folder))


#: An audit on a kernel with modules, none of which is loaded. Here all of them are built in.
_NO_MODULES = """
import sys
from rstaudit.cli.main import main
from rstaudit.collect import host
from rstaudit.collect.modules import ModuleState
host.module_state = lambda tree, release, *, allowed: (
    ModuleState(frozenset(), frozenset(), True, allowed))
sys.exit(main(["--interval", "0", "--format", "json", *sys.argv[1:]]))
"""


@pytest.mark.usefixtures("netns")
def test_an_audit_asks_nothing_that_would_load_a_module(package: Path) -> None:
    """Sockets come from /proc/net/tcp; what that leaves out is unknown, and why is said."""
    with space.listener() as server:
        client, accepted = space.connected(server)
        with client, accepted:
            done = audit_of(package)
            allowed = audit_of(package, "--load-modules")
    assert violations(done) == []
    assert not any("AF_NETLINK" in call for call in done.calls)
    assert any('"/proc/net/tcp"' in call for call in done.calls)
    report = json.loads(done.stdout)["hosts"][0]
    (gap,) = [gap for gap in report["gaps"] if gap["fact"] == "sockets"]
    assert gap["reason"] == "not-loaded"
    assert "inet_diag and tcp_diag are not loaded; --load-modules" in gap["detail"]
    outcomes = {result["rule"]: result for result in report["results"]}
    queues = outcomes["RST201"]  # the limits of listeners are in sock_diag alone
    assert queues["outcome"] == "unknown"
    assert "--load-modules" in queues["reason"]
    assert outcomes["RST301"]["outcome"] == "pass", "/proc/net/tcp knows CLOSE_WAIT"
    assert any("NETLINK_SOCK_DIAG" in call for call in allowed.calls)
    gaps = json.loads(allowed.stdout)["hosts"][0]["gaps"]
    assert "sockets" not in [gap["fact"] for gap in gaps]


def audit_of(package: Path, *arguments: str) -> Traced:
    """A traced audit in which no module is loaded."""
    command = [sys.executable, "-B", "-c", _NO_MODULES, *arguments]
    return traced(command, PYTHONPATH=str(package))
