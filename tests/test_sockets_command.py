"""``rstaudit sockets`` over real sockets: whose they are, what they will do, and the filters."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from support.cli import COMMAND, environment, rstaudit, rstaudit_as_nobody
from support.netns import connected, listener, settle
from support.processes import python_child
from test_report_json import validate

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("netns")]

_KERNEL = {
    "ESTAB": "ESTABLISHED", "LISTEN": "LISTEN", "CLOSE-WAIT": "CLOSE_WAIT",
    "FIN-WAIT-1": "FIN_WAIT1", "FIN-WAIT-2": "FIN_WAIT2", "SYN-SENT": "SYN_SENT",
}  # fmt: skip


def sockets(*arguments: str) -> dict[str, Any]:
    """The JSON answer, which follows its schema."""
    done = rstaudit("sockets", "--format", "json", *arguments)
    assert (done.stderr, done.returncode) == ("", 0)
    document: dict[str, Any] = json.loads(done.stdout)
    validate("sockets", document)
    return document


def text(*arguments: str, columns: int = 200) -> str:
    """The text answer."""
    done = rstaudit("sockets", *arguments, COLUMNS=str(columns))
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


def rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every socket, with its group's process, state and holder."""
    return [
        {**sock, "state": group["state"], "process": group["process"], "holder": group["holder"]}
        for group in document["groups"]
        for sock in group["sockets"]
    ]


def states(document: dict[str, Any]) -> Counter[str]:
    """Sockets by state."""
    return Counter(row["state"] for row in rows(document))


def set_linger(sock: socket.socket, seconds: int) -> None:
    """SO_LINGER on."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))


@contextmanager
def traffic() -> Iterator[socket.socket]:
    """Listeners and connections in several states, IPv4, IPv6, and IPv4 in an IPv6 socket."""
    with ExitStack() as stack:
        server = stack.enter_context(listener(32, 8080))
        six = stack.enter_context(listener(32, 8081, "::1"))
        dual = stack.enter_context(socket.socket(socket.AF_INET6))
        dual.bind(("::", 8082))
        dual.listen(8)
        for number in range(12):
            client, accepted = (
                stack.enter_context(end) for end in connected((server, six)[number % 2])
            )
            if number % 3 == 0:
                client.sendall(b"x" * (number + 1))
                client.close()  # accepted: CLOSE_WAIT; client: FIN_WAIT2
            elif number % 3 == 1:
                accepted.sendall(b"y" * number)  # left unread
            else:
                accepted.close()  # TIME_WAIT of an accepted connection
                client.close()
        stack.enter_context(socket.create_connection(("127.0.0.1", 8082)))
        stack.enter_context(dual.accept()[0])
        settle()
        yield server


def test_every_row_is_one_of_ss() -> None:
    """State, queues, addresses, process, descriptors: as `ss -tanp` has them, row by row."""
    with traffic():
        document = sockets()
        done = subprocess.run(["ss", "-Htanp"], check=True, capture_output=True, text=True)
    theirs: Counter[object] = Counter()
    for line in done.stdout.splitlines():
        state, recv, send, local, peer, *users = line.split()
        if state != "TIME-WAIT":
            theirs[_KERNEL[state], int(recv), int(send), local.replace("*", "[::]"),
                   peer.replace(":*", ":0").replace("*", "[::]"),
                   "".join(users).partition("pid=")[2].rstrip(")")] += 1  # fmt: skip
    ours = Counter(
        (row["state"], row["recv_q"], row["send_q"], row["local"],
         row["peer"] or ("[::]:0" if "[" in row["local"] else "0.0.0.0:0"),
         f"{row['process']['pid']},fd={row['fds'][0]}" if row["process"] else "")
        for row in rows(document)
    )  # fmt: skip
    assert ours == theirs
    assert document["total"] == document["shown"] == len(done.stdout.splitlines())


def test_time_wait_is_counted_by_destination() -> None:
    """Accepted ones by our port, opened ones by where they went; no row for any of them."""
    with traffic() as server:
        client, accepted = connected(server)
        client.shutdown(socket.SHUT_WR)
        accepted.recv(1)
        accepted.close()
        client.recv(1)
        client.close()  # the client closed first: its end is in TIME_WAIT
        document = sockets("--state", "time-wait")
        shown = text("--state", "time-wait")
    found = {(entry["local"], entry["peer"]): entry["sockets"] for entry in document["time_wait"]}
    assert found == {
        ("127.0.0.1:8080", None): 2,
        ("[::1]:8081", None): 2,
        ("127.0.0.1", "127.0.0.1:8080"): 1,
    }
    assert document["groups"] == []
    assert document["shown"] == 5
    assert "2  accepted on 127.0.0.1:8080" in shown
    assert "1  127.0.0.1 -> 127.0.0.1:8080" in shown


def test_what_close_will_do() -> None:
    """Unread bytes, SO_LINGER 0, a leak: each said of the socket that has it."""
    with listener(8, 8080) as server, ExitStack() as stack:
        pairs = [[stack.enter_context(end) for end in connected(server)] for _ in range(3)]
        pairs[0][0].sendall(b"12345")
        pairs[0][0].shutdown(socket.SHUT_WR)
        set_linger(pairs[1][1], 0)
        set_linger(pairs[2][1], 0)
        pairs[2][1].setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        settle()
        by_fd = {row["fds"][0]: row for row in rows(sockets())}
        blind = {row["fds"][0]: row for row in rows(sockets("--no-socket-options"))}
        keep = by_fd[pairs[2][1].fileno()]
        unread, linger = (by_fd[pairs[0][1].fileno()], by_fd[pairs[1][1].fileno()])
        hidden = blind[pairs[1][1].fileno()]
    assert unread["will"][0] == "close() will reset: 5 unread bytes"
    assert linger["will"][0] == "close() will reset: SO_LINGER 0"
    assert linger["options"]["linger"] == 0
    assert keep["will"][1] == "first probe after 7200 s, reset after 7875 s without an answer"
    assert keep["timer"]["kind"] == "keepalive"
    assert hidden["options"] is None
    assert hidden["will"] == []


def test_what_is_predicted_happens() -> None:
    """The restart that must fail fails, and the close() that must reset resets."""
    server = socket.create_server(("127.0.0.1", 8080))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    first, accepted = connected(server)
    accepted.close()
    first.close()
    second, accepted = connected(server)
    second.sendall(b"unread")
    by_fd = {row["fds"][0]: row["will"] for row in rows(sockets()) if row["fds"]}
    words = by_fd[server.fileno()] + by_fd[accepted.fileno()]
    assert "restart will fail: no SO_REUSEADDR and 1 in TIME_WAIT on its port" in words
    assert "close() will reset: 6 unread bytes" in words
    accepted.close()
    with pytest.raises(ConnectionResetError):
        second.recv(1)
    second.close()
    server.close()
    with pytest.raises(OSError, match="Address already in use"), socket.socket() as again:
        again.bind(("127.0.0.1", 8080))


def test_the_filters() -> None:
    """State, port, peer and process, alone and together; several values of one are either."""
    with traffic():
        everything = sockets()
        half = sockets("--state", "close-wait", "--state", "FIN_WAIT2")
        assert set(states(half)) == {"CLOSE_WAIT", "FIN_WAIT2"}
        assert half["shown"] == sum(states(half).values()) == 8
        assert half["total"] == everything["total"]
        assert half["time_wait"] == []
        six = sockets("--port", "8081")
        assert {":8081" in row["local"] or ":8081" in row["peer"] for row in rows(six)} == {True}
        assert sum(entry["sockets"] for entry in six["time_wait"]) == 2
        assert len(rows(sockets("--peer", "::1", "--state", "established"))) == 4
        mapped = sockets("--peer", "127.0.0.0/8", "--port", "8082", "--state", "estab")
        assert len(rows(mapped)) == 2
        assert any("::ffff:127.0.0.1" in row["local"] for row in rows(mapped))
        mine = sockets("--pid", str(os.getpid()))
        assert {row["process"]["pid"] for row in rows(mine)} == {os.getpid()}
        assert mine["time_wait"] == []
        nobody = sockets("--pid", "4194304")
        assert (nobody["groups"], nobody["shown"]) == ([], 0)
        assert text("--pid", "4194304").startswith(f"0 of {everything['total']} sockets on ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--state", "closed-wait"], "--state: unknown state 'closed-wait'"),
        (["--pid", "nginx"], "--pid: 'nginx' is no process id"),
        (["--port", "http"], "--port: 'http' is no port"),
        (["--peer", "db1"], "--peer: 'db1' is no peer"),
        (["--peer", "10.0.0.0/40"], "the length after / is 0 to 32"),
        (["--unit", ""], "--unit: the name is empty"),
        (["--sort", "age"], "unknown sort key 'age'"),
        (["--limit", "-1"], "--limit"),
        (["--limit", "ten"], "not a whole number of rows"),
        (["--format", "xml"], "unknown format 'xml'"),
        (["-o", "/no/such/folder/x"], "no such directory"),
        (["extra"], "unexpected argument 'extra'"),
    ],
)
def test_a_bad_filter_is_one_line_and_status_2(arguments: list[str], words: str) -> None:
    """Nothing is printed but what is wrong."""
    done = rstaudit("sockets", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_sorting() -> None:
    """The sockets with most come first, in each group and among groups; peers in order."""
    with traffic():
        queues = [row["recv_q"] for row in rows(sockets("--sort", "recv-q"))]
        assert queues[0] == max(queues) > 0
        for group in sockets("--sort", "recv-q")["groups"]:
            inside = [row["recv_q"] for row in group["sockets"]]
            assert inside == sorted(inside, reverse=True)
        idle = [row["idle_ms"] for row in rows(sockets("--sort", "idle", "--state", "estab"))]
        assert idle == sorted(idle, reverse=True)
        by_state = [row["state"] for row in rows(sockets("--sort", "state"))]
        assert len([a for a, b in pairwise(by_state) if a != b]) == 3
        for key in ("send-q", "retransmits", "peer"):
            assert states(sockets("--sort", key)) == states(sockets())


def test_the_text_shows_ten_of_each_group_and_counts_the_rest() -> None:
    """`--limit` says how many; 0 means all; the JSON is complete without it."""
    with listener(64, 8080) as server, ExitStack() as stack:
        for _ in range(30):
            client, accepted = (stack.enter_context(end) for end in connected(server))
            client.sendall(b"x")
            client.close()
            assert accepted.fileno() > 0
        settle()
        ten, three, everything = (text(), text("--limit", "3"), text("--limit", "0"))
        assert states(sockets())["CLOSE_WAIT"] == 30
    assert ten.count("and 20 more") == 2
    assert "and 27 more" in three
    assert "more" not in everything
    assert everything.count("127.0.0.1:8080  127.0.0.1:") == 30
    assert "    - close() will reset: 1 unread byte\n" in ten
    assert ten.count("close() will reset") == 1


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    """Where the columns do not fit, each value has its label."""
    with traffic():
        shown = text(columns=columns)
    assert max(map(len, shown.splitlines())) <= columns
    assert "recv-q" in shown


HOSTILE = """
import socket
with open("/proc/self/comm", "wb") as comm:
    comm.write(b"\\x1b[2J\\n\\xff\\x07evil")
server = socket.create_server(("127.0.0.1", 8080))
"""


def test_a_hostile_name_does_nothing() -> None:
    """Escape codes are made visible in text and are data in JSON."""
    with python_child(HOSTILE):
        shown, document = text("--cmdline"), sockets()
    assert r"\x1b[2J\n\xff\x07evil (pid " in shown
    assert all(line.isprintable() for line in shown.split("\n"))
    assert rows(document)[0]["process"]["comm"] == "\x1b[2J\n\\udcff\x07evil"


FORKS = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", 8080))
client = socket.create_connection(("127.0.0.1", 8080))
accepted, _ = server.accept()
client.sendall(b"unread")
reader, writer = os.pipe()
if os.fork() == 0:
    os.close(writer)
    os.read(reader, 1)  # ends with its parent
    os._exit(0)
os.close(reader)
"""


def test_a_socket_of_two_processes_is_listed_once() -> None:
    """Under the parent, which has the lower pid; the child is named, and found by its pid."""
    with python_child(FORKS) as parent:
        document = sockets()
        found = rows(document)
        assert Counter(row["state"] for row in found) == {"LISTEN": 1, "ESTABLISHED": 2}
        assert {row["process"]["pid"] for row in found} == {parent.pid}
        (child,) = {pid for row in found for pid in row["also_held_by"]}
        through_child = rows(sockets("--pid", str(child)))
        assert len(through_child) == 3
        assert {row["process"]["pid"] for row in through_child} == {child}
        assert {tuple(row["also_held_by"]) for row in through_child} == {(parent.pid,)}
        assert f"held by pid {child} too" in text()
        words = [word for row in found for word in row["will"]]
        assert "only the last close() counts: 2 processes hold it" in words


def test_a_socket_on_its_way_between_processes() -> None:
    """Sent over a unix socket and closed by the sender, nobody holds it until it is received."""
    sender, receiver = socket.socketpair(socket.AF_UNIX)
    with listener(8, 8080) as server, sender, receiver:
        client, accepted = connected(server)
        socket.send_fds(sender, [b"x"], [accepted.fileno()])
        accepted.close()
        (on_its_way,) = [row for row in rows(sockets()) if row["holder"] == "unseen"]
        assert (on_its_way["state"], on_its_way["fds"]) == ("ESTABLISHED", [])
        assert on_its_way["local"] == "127.0.0.1:8080"
        _, (descriptor, *_), _, _ = socket.recv_fds(receiver, 1, 1)
        (received,) = [row for row in rows(sockets()) if row["fds"] == [descriptor]]
        assert received["inode"] == on_its_way["inode"]
        os.close(descriptor)
        client.close()


def test_connections_that_nobody_has_accepted() -> None:
    """They belong to the listener's process, and are found by its pid."""
    with listener(8, 8080) as server, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(server.getsockname()))
        document = sockets("--pid", str(os.getpid()), "--state", "established")
        waiting = [row for row in rows(document) if row["holder"] == "unaccepted"]
        assert [row["process"]["pid"] for row in waiting] == [os.getpid()] * 3
        assert all("waits for accept()" in row["will"][0] for row in waiting)
        assert "waiting for accept(): 3" in text()
        assert "not yet accepted by " in text()
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        server.close()  # what was said of them happens
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_orphans_are_nobodys() -> None:
    """FIN_WAIT2 after close() has no process; after shutdown() it has one."""
    with listener(8, 8080) as server:
        closed, accepted = connected(server)
        half, other = connected(server)
        closed.close()
        half.shutdown(socket.SHUT_WR)
        settle()
        found = {row["holder"]: row for row in rows(sockets("--state", "fin-wait-2"))}
        assert set(found) == {"orphan", "process"}
        assert found["orphan"]["process"] is None
        assert found["orphan"]["will"] == ["late data will be answered with a reset"]
        assert any(word.startswith("half closed") for word in found["process"]["will"])
        for end in (accepted, half, other):
            end.close()


def test_the_filter_by_unit() -> None:
    """By the unit's name with or without its suffix, and with wildcards."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    (root,) = [Path(words[1]) for words in mounts if words[2] == "cgroup2"]
    name = f"rstaudit-test-{os.getpid()}"
    folder = root / f"{name}.service"
    folder.mkdir()
    code = 'import socket\nserver = socket.create_server(("127.0.0.1", 8080))'
    try:
        with python_child(code) as child, listener(8, 8081):
            (folder / "cgroup.procs").write_text(str(child.pid))
            for word in (f"{name}.service", name, "rstaudit-test-*"):
                (row,) = rows(sockets("--unit", word))
                assert row["process"]["pid"] == child.pid
                assert row["process"]["unit"] == f"{name}.service"
            assert f"unit {name}.service)" in text()
            assert rows(sockets("--unit", "other")) == []
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """A cgroup can go once its last process has been reaped."""
    for _ in range(100):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
    folder.rmdir()


def test_without_privileges_it_says_what_it_cannot_see() -> None:
    """The sockets are listed, their holders are not, and the reason stands below."""
    with traffic():
        shown = rstaudit_as_nobody("sockets")
        done = rstaudit_as_nobody("sockets", "--format", "json")
        everything = sockets()
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "held by a process that cannot be seen from here" in shown.stdout
    assert "run as root" in shown.stdout
    document = json.loads(done.stdout)
    validate("sockets", document)
    assert document["total"] == everything["total"]
    assert "owners" in {gap["fact"] for gap in document["gaps"]}
    assert all(row["process"] is None for row in rows(document))


def test_a_closed_pipe_is_no_error() -> None:
    """Whoever reads may stop."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*COMMAND, "sockets"], env=environment(), stdout=writer, stderr=subprocess.PIPE,
            text=True, check=False, timeout=60,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """`-o` writes what would be printed, readable by its owner."""
    with listener(8, 8080):
        assert text("-o", str(tmp_path / "list")) == ""
        assert "LISTEN (1)" in (tmp_path / "list").read_text()
    assert (tmp_path / "list").stat().st_mode & 0o777 == 0o600


def test_the_sort_keys_of_the_help_are_those_there_are() -> None:
    """The command knows them without loading the code that sorts."""
    from rstaudit.cli.sockets import _SORTS
    from rstaudit.rules.listing import SORTS

    assert tuple(SORTS) == _SORTS
