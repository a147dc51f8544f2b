"""Options of other processes' sockets: what is read, what is not, and what is said of it."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rstaudit.collect.sockopts import (
    _INTEGERS,
    _STRUCTURES,
    Budget,
    Held,
    _denied,
    _fair,
    collect_options,
)
from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.options import OptionTable, SocketOptions
from support import netns as space
from support.checkout import PROJECT
from support.cli import SOURCE, environment
from support.held import (
    PIDFD_GETFD,
    PIDFD_OPEN,
    become_nobody,
    duplicate,
    elsewhere,
    held,
    refuse_call,
    tell,
)
from support.processes import python_child

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("netns")]

Child = subprocess.Popen[str]

DEFAULTS = SocketOptions(
    linger=None, keepalive=False, keepidle=7200, keepintvl=75, keepcnt=9, user_timeout_ms=0,
    linger2=60, send_timeout_ms=0, receive_timeout_ms=0, reuse_address=False, reuse_port=False,
    defer_accept=0, fastopen=0, bind_address_no_port=False,
)  # fmt: skip

TCP, SOL, IP = socket.IPPROTO_TCP, socket.SOL_SOCKET, socket.IPPROTO_IP

#: Each field: level, option, the value to set (in Python's words), and what must be read.
EACH: dict[str, tuple[int, int, str, Any]] = {
    "linger": (SOL, socket.SO_LINGER, "struct.pack('ii', 1, 7)", 7),
    "keepalive": (SOL, socket.SO_KEEPALIVE, "1", True),
    "keepidle": (TCP, socket.TCP_KEEPIDLE, "61", 61),
    "keepintvl": (TCP, socket.TCP_KEEPINTVL, "62", 62),
    "keepcnt": (TCP, socket.TCP_KEEPCNT, "6", 6),
    "user_timeout_ms": (TCP, 18, "12345", 12345),
    "linger2": (TCP, 8, "33", 33),
    "send_timeout_ms": (SOL, socket.SO_SNDTIMEO, "struct.pack('ll', 1, 500_000)", 1500),
    "receive_timeout_ms": (SOL, socket.SO_RCVTIMEO, "struct.pack('ll', 2, 248_000)", 2248),
    "reuse_address": (SOL, socket.SO_REUSEADDR, "1", True),
    "reuse_port": (SOL, socket.SO_REUSEPORT, "1", True),
    "defer_accept": (TCP, 9, "7", 7),
    "bind_address_no_port": (IP, 24, "1", True),
}

NEW = "import os, signal, socket, struct\nend = socket.socket()\n"


def only(child: Child) -> SocketOptions:
    """The options of the child's one socket."""
    (one,) = held(child)
    table = collect_options({child.pid: [one]}, Budget())
    assert (table.wanted, table.read, table.denied, table.cut) == (1, 1, 0, False)
    return table.by_inode[one.inode]


def test_a_plain_socket_has_the_defaults() -> None:
    """Every field, so that those below that differ are known to."""
    with python_child(NEW) as child:
        assert only(child) == DEFAULTS


@pytest.mark.parametrize("field", EACH)
def test_an_option_is_read_as_it_was_set(field: str) -> None:
    """It, and no other field."""
    level, name, value, expected = EACH[field]
    with python_child(f"{NEW}end.setsockopt({level}, {name}, {value})") as child:
        assert only(child) == DEFAULTS._replace(**{field: expected})


def test_the_settings_that_mean_a_reset() -> None:
    """SO_LINGER {1, 0} is not "off", a negative TCP_LINGER2 is not "none"."""
    code = "end.setsockopt(1, 13, struct.pack('ii', 1, 0))\nend.setsockopt(6, 8, -1)"
    with python_child(NEW + code) as child:
        assert only(child) == DEFAULTS._replace(linger=0, linger2=-1)


def test_a_listener_has_its_fast_open_queue() -> None:
    """TCP_FASTOPEN is the queue's length, on listeners alone."""
    code = "end.bind(('127.0.0.1', 0))\nend.listen()\nend.setsockopt(6, 23, 17)"
    with python_child(NEW + code) as child:
        assert only(child) == DEFAULTS._replace(fastopen=17)


def test_keepalive_times_not_set_are_those_of_the_namespace() -> None:
    """What the socket would use is what counts."""
    space.write_sysctl("net.ipv4.tcp_keepalive_time", 100)
    space.write_sysctl("net.ipv4.tcp_fin_timeout", 50)
    with python_child(NEW) as child:
        assert only(child) == DEFAULTS._replace(keepidle=100, linger2=50)


def test_ipv4_over_an_ipv6_socket() -> None:
    """One that listens on :: and is connected to from 127.0.0.1."""
    code = """
import socket
server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
client = socket.create_connection(("127.0.0.1", server.getsockname()[1]))
end, _ = server.accept()
assert end.getpeername()[0] == "::ffff:127.0.0.1"
end.setsockopt(6, 18, 777)
end = end, server
client.close()
"""
    with python_child(code) as child:
        sockets = held(child, socket.AF_INET6)
        table = collect_options({child.pid: sockets}, Budget())
    assert [table.by_inode[one.inode].user_timeout_ms for one in sockets] == [0, 777]


def test_multipath_tcp_has_no_user_timeout() -> None:
    """MPTCP neither sets nor reads TCP_USER_TIMEOUT and TCP_LINGER2; the rest is as for TCP."""
    code = "import socket\nend = socket.socket(type=1, proto=262)\nend.setsockopt(1, 9, 1)"
    with python_child(code) as child:
        assert only(child) == DEFAULTS._replace(keepalive=True, linger2=0)


REPLACE = (
    NEW
    + """
other = socket.socket() if {other!r} == "socket" else open("/dev/null")
other.fileno()
def replace(*_):
    os.close(end.fileno()) if {other!r} == "nothing" else os.dup2(other.fileno(), end.fileno())
signal.signal(signal.SIGUSR1, replace)
"""
)


@pytest.mark.parametrize("other", ["socket", "file", "nothing"])
def test_a_descriptor_that_became_another_is_not_believed(other: str) -> None:
    """Between the listing and the reading the child closes the socket, or puts another there."""
    with python_child(REPLACE.format(other=other)) as child:
        listed = held(child)[0]

        def replaced() -> bool:
            try:
                now = os.readlink(f"/proc/{child.pid}/fd/{listed.fd}")
            except FileNotFoundError:
                return True
            return now != f"socket:[{listed.inode}]"

        tell(child, replaced)
        table = collect_options({child.pid: [listed]}, Budget())
    assert table == OptionTable({}, 1, 0, 0, table.seconds)


def test_a_udp_socket_is_not_believed_either() -> None:
    """Not even where the inode fits: it refuses TCP's options."""
    with python_child("import socket\nend = socket.socket(type=socket.SOCK_DGRAM)") as child:
        table = collect_options({child.pid: held(child)}, Budget())
    assert table.by_inode == {}


def many(number: int) -> str:
    """Code of a child with this many sockets."""
    return f"""
import resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, ({number + 100},) * 2)
ends = [socket.socket() for _ in range({number})]
"""


def test_a_process_that_has_ended_is_left_out() -> None:
    """Its pid is unknown or a zombie's; the sockets of the others are read."""
    with python_child(NEW) as gone, python_child(NEW) as zombie, python_child(NEW) as alive:
        sockets = {child.pid: held(child) for child in (gone, zombie, alive)}
        gone.kill()
        gone.wait()
        zombie.kill()
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        table = collect_options(sockets, Budget())
        assert set(table.by_inode) == {sockets[alive.pid][0].inode}
    assert (table.wanted, table.read, table.denied, table.cut) == (3, 1, 0, False)


def test_a_process_may_die_while_it_is_read() -> None:
    """Whatever moment that is: what was read by then stands, and nothing is raised."""
    for delay in (0.002, 0.005, 0.01):
        with python_child(many(5000)) as child:
            sockets = held(child)
            timer = threading.Timer(delay, child.send_signal, [signal.SIGKILL])
            timer.start()
            table = collect_options({child.pid: sockets}, Budget(seconds=10))
            timer.join()
        assert table.wanted == 5000
        assert set(table.by_inode.values()) <= {DEFAULTS}


def test_a_process_with_as_many_sockets_as_it_may_have() -> None:
    """19,900 of them, each read, in well under the budget of two seconds."""
    with python_child(many(19_900)) as child:
        table = collect_options({child.pid: held(child)}, Budget())
    assert (table.wanted, table.read, table.cut) == (19_900, 19_900, False)
    assert table.seconds < 2
    assert len(set(map(id, table.by_inode.values()))) == 1, "sockets set up alike share a record"


def test_the_budget_of_sockets_is_shared_out_evenly() -> None:
    """A process with many sockets does not take the place of one with few."""
    with ExitStack() as stack:
        children = [stack.enter_context(python_child(many(number))) for number in (400, 40, 4)]
        sockets = {child.pid: held(child) for child in children}
        table = collect_options(sockets, Budget(sockets=44))
    read = [sum(one.inode in table.by_inode for one in several) for several in sockets.values()]
    assert read == [20, 20, 4]
    assert (table.wanted, table.read, table.cut) == (444, 44, True)


def test_without_time_nothing_is_read_and_the_table_says_so() -> None:
    """The budget of seconds is looked at before every batch."""
    with python_child(many(10)) as child:
        table = collect_options({child.pid: held(child)}, Budget(seconds=0))
    assert (table.wanted, table.read, table.cut) == (10, 0, True)


def test_more_processes_than_sockets_may_be_read() -> None:
    """Then each gives one at most, and the batches go round once."""
    sockets = {pid: [Held(3, 10 * pid + at, 2) for at in range(3)] for pid in range(50)}
    first = [(pid, len(batch)) for pid, batch in _fair(sockets, 20)][:50]
    assert first == [(pid, 1) for pid in range(50)]


def test_a_socket_that_several_processes_hold_is_read_once() -> None:
    """As workers do with the listener that they have inherited."""
    code = NEW + "import time\nif os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)\n"
    with python_child(code) as parent:
        forked = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text())
        try:
            (one,) = held(parent)
            table = collect_options({parent.pid: [one], forked: [one]}, Budget(sockets=1))
        finally:
            os.kill(forked, signal.SIGKILL)
    assert (table.wanted, table.read, table.cut) == (1, 1, False)


def reading(sockets: dict[int, list[Held]]) -> str:
    """What the reader says: how many were read and denied, or the reason of the gap."""
    try:
        table = collect_options(sockets, Budget())
    except MissingFact as missing:
        return f"{missing.gap.reason}: {missing.gap.detail}"
    return f"{table.read} read, {table.denied} denied"


def test_another_user_may_not_look() -> None:
    """A gap that says why, and what would help."""
    with python_child(NEW) as child:
        answer = elsewhere(partial(reading, {child.pid: held(child)}), become_nobody)
    expected = "permission: the sockets of 1 processes may not be looked at; run as root"
    assert answer == expected


def test_what_may_be_read_is_read_and_the_denied_are_counted() -> None:
    """Not root: one's own process can be read, root's cannot."""

    def look() -> str:
        end = socket.socket()
        inode = os.fstat(end.fileno()).st_ino
        return reading({**theirs, os.getpid(): [Held(end.fileno(), inode, socket.AF_INET)]})

    with python_child(NEW) as child:
        theirs = {child.pid: held(child)}
        # its own process became undumpable with the change of user, so it starts a new life
        answer = elsewhere(look, become_nobody, make_dumpable)
    assert answer == "1 read, 1 denied"


def make_dumpable() -> None:
    """prctl(PR_SET_DUMPABLE): a process that changed its user may not even look at itself."""
    import ctypes

    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)


OLD = "unsupported: pidfd_getfd needs kernel 5.6 or newer"
FORBIDDEN = "the sockets of 1 processes may not be looked at; Yama or a container forbids ptrace"
FULL = "unreadable: pidfd_getfd: too many open files in system"


@pytest.mark.parametrize(
    ("number", "error", "answer"),
    [
        (PIDFD_OPEN, errno.ENOSYS, OLD),
        (PIDFD_GETFD, errno.ENOSYS, OLD),
        (PIDFD_GETFD, errno.EPERM, f"permission: {FORBIDDEN}"),
        (PIDFD_GETFD, errno.ENFILE, FULL),
    ],
)
def test_a_kernel_that_refuses(number: int, error: int, answer: str) -> None:
    """As an old kernel, Yama's ptrace_scope, a container's filter or a full file table would."""
    with python_child(NEW) as child:
        refuse = partial(refuse_call, number, error)
        assert elsewhere(partial(reading, {child.pid: held(child)}), refuse) == answer


AUDIT = """
import sys
from support.held import refuse_call
from rstaudit.cli.main import main
refuse_call(438, int(sys.argv[1]))
sys.exit(main(["--format", "json", "--interval", "0", "--only", "RST113"]))
"""


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (errno.ENOSYS, "unsupported", "needs kernel 5.6"),
        (errno.EPERM, "permission", "forbids ptrace"),
    ],
)
def test_what_needs_options_is_unknown_where_the_kernel_refuses(
    error: int, reason: str, words: str
) -> None:
    """The whole command: neither a pass nor a crash, and the report says why."""
    with python_child(f"{NEW}end.bind(('127.0.0.1', 0))\nend.listen()"):
        path = os.pathsep.join([str(SOURCE), str(PROJECT / "tests")])
        done = subprocess.run(
            [sys.executable, "-c", AUDIT, str(error)], env=environment(PYTHONPATH=path),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    (host,) = json.loads(done.stdout)["hosts"]
    (result,) = host["results"]
    (gap,) = [gap for gap in host["gaps"] if gap["fact"] == "options"]
    assert (result["outcome"], gap["reason"]) == ("unknown", reason)
    assert words in result["reason"]
    assert words in gap["detail"]


def test_running_out_of_descriptors_ourselves_is_said() -> None:
    """Nothing is left to put a duplicate in."""
    few = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (1, 1))
    with python_child(NEW) as child:
        answer = elsewhere(partial(reading, {child.pid: held(child)}), few)
    assert answer == "unreadable: pidfd_getfd: too many open files"


def test_root_is_told_of_what_else_forbids_it() -> None:
    """Being root does not help against Yama's level 3 or in a container."""
    detail = "the sockets of 2 processes may not be looked at; Yama or a container forbids ptrace"
    assert _denied(2) == Gap("options", "permission", detail)


@pytest.mark.parametrize("seconds", [None, 5.0])
def test_the_owner_keeps_its_blocking_mode(seconds: float | None) -> None:
    """O_NONBLOCK is shared with the duplicate; a default timeout in our process must not set it."""
    before = socket.getdefaulttimeout()
    with python_child(NEW) as child:
        socket.setdefaulttimeout(seconds)
        try:
            assert only(child) == DEFAULTS
        finally:
            socket.setdefaulttimeout(before)
        copy = duplicate(child, held(child)[0].fd)
        try:
            assert os.get_blocking(copy)
        finally:
            os.close(copy)


def test_a_signal_is_handled_between_two_sockets_not_while_one_is_held() -> None:
    """Ctrl-C ends the reading soon, and leaves nothing open and nothing blocked."""
    with python_child(many(5000)) as child:
        sockets = held(child)
        timer = threading.Timer(0.005, os.kill, [os.getpid(), signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            collect_again_and_again({child.pid: sockets})
        timer.join()
    links = {os.readlink(f"/proc/self/fd/{name}") for name in descriptors()}
    assert not links & {f"socket:[{one.inode}]" for one in sockets}
    assert not any("pidfd" in link for link in links)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def collect_again_and_again(sockets: dict[int, list[Held]]) -> None:
    """Until something is raised."""
    while True:
        collect_options(sockets, Budget())


def descriptors() -> list[str]:
    """Our own, without the one that lists them."""
    return [
        name for name in os.listdir("/proc/self/fd") if Path("/proc/self/fd", name).is_symlink()
    ]


def test_the_page_for_users_knows_the_budget_and_every_option() -> None:
    """docs/socket-options.md, as the code is."""
    page = (PROJECT / "docs" / "socket-options.md").read_text()
    budget = Budget()
    assert f"At most {budget.sockets:,} sockets" in page
    assert budget.seconds == 2
    assert "for at most two seconds" in page
    table = page.partition("## What is read")[2].partition("## How")[0]
    assert len(set(re.findall(r"`((?:SO|TCP|IP)_\w+)`", table))) == len(SocketOptions._fields)
    assert len(_INTEGERS) + len(_STRUCTURES) == len(SocketOptions._fields) == 14
    assert "fourteen `getsockopt` calls" in page
