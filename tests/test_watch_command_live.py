"""`rstaudit watch` on real resets: what it names, its filters, its endings, what it leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rstaudit.collect.capture import open_capture
from support.cli import COMMAND, environment, rstaudit
from support.netns import connected, listener, network_namespace
from support.tracing import ours, private_mounts
from support.watching import begun, watching
from test_report_json import validate

pytestmark = pytest.mark.live

_LINGER = struct.pack("ii", 1, 0)


@pytest.fixture(autouse=True)
def _space() -> Iterator[None]:
    """A network namespace of the test's own, and mounts with tracefs."""
    with network_namespace(), private_mounts():
        yield


def linger_reset(server: socket.socket) -> int:
    """A reset by SO_LINGER {1, 0}; returns the client's port."""
    client, accepted = connected(server)
    with client, accepted:
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        accepted.close()
        return int(client.getsockname()[1])


def refused() -> int:
    """A connection to a port where nothing listens; returns that port."""
    with listener() as server:
        port: int = server.getsockname()[1]
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0
    return port


def test_each_reset_is_named_at_both_ends() -> None:
    """The one that sends and the one that receives, with process and namespace."""
    with listener() as server, watching() as watch:
        port = linger_reset(server)
        closed = refused()
    mine = [one for one in watch.resets if one["dst"] == f"127.0.0.1:{port}"]
    assert {one["direction"] for one in mine} == {"sent", "received"}
    for one in mine:
        assert one["cause"] == "linger-abort"
        assert one["process"]["pid"] == os.getpid()
        assert one["netns"] == os.stat("/proc/thread-self/ns/net").st_ino
    refusals = [one for one in watch.resets if one["src"] == f"127.0.0.1:{closed}"]
    assert {one["cause"] for one in refusals} == {"closed-port"}
    assert watch.summary["lost"] == 0
    assert watch.summary["source"] == "events"


def test_filters_leave_out_the_rest() -> None:
    """By port, cause, process and peer; the ending counts what was reported."""
    with (
        listener() as server, listener() as other,
        watching("--port", str(server.getsockname()[1]), "--cause", "linger-abort",
                 "--pid", str(os.getpid()), "--peer", "127.0.0.0/8") as watch,
    ):  # fmt: skip
        linger_reset(other)
        refused()
        port = linger_reset(server)
    assert {one["dst"] for one in watch.resets} == {f"127.0.0.1:{port}"}
    assert watch.summary["causes"] == {"linger-abort": len(watch.resets)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cause", "linger"), "did you mean 'linger-abort'"),
        (("--pid", "x"), "--pid: 'x' is no process id"),
        (("--peer", "example.org"), "--peer: 'example.org' is no peer"),
        (("--buffer", "1"), "is not a number of KiB from 64"),
        (("--summary", "--format", "json"), "--summary is a table"),
        (("--pcap", "/nonexistent/x.pcap"), "--pcap /nonexistent/x.pcap: no such file"),
        (("-o", "/nonexistent/x"), "/nonexistent/x: no such file"),
        (("--", "/nonexistent/program"), "/nonexistent/program: no such file"),
    ],
)
def test_mistakes_get_one_line(arguments: tuple[str, ...], words: str) -> None:
    """What is wrong and what to do, exit status 2, no instance left."""
    done = rstaudit("watch", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_tracefs_it_says_how_to_mount_it() -> None:
    """One clear line; and nothing is mounted by us."""
    with private_mounts(tracefs=False):
        done = rstaudit("watch", "--duration", "0.2")
        said = done.stdout + done.stderr
        assert "mount -t tracefs" in said
        assert not os.path.ismount("/sys/kernel/tracing")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_its_last_words(number: signal.Signals) -> None:
    """The summary is printed, the exit status is 0, and the instance is gone."""
    process = subprocess.Popen(
        [*COMMAND, "watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    try:
        begun(process)
        process.send_signal(number)
        out, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert (errors, process.returncode) == ("", 0)
    assert " harmful, " in out
    assert ours(process.pid) == []


def test_a_closed_pipe_ends_it() -> None:
    """`rstaudit watch | head -1` ends by itself, without a word."""
    process = subprocess.Popen(
        [*COMMAND, "watch", "--format", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment(),
    )  # fmt: skip
    try:
        begun(process)
        assert process.stdout is not None
        process.stdout.close()
        with listener() as server:
            linger_reset(server)
            assert process.wait(10) == 0
        assert process.stderr is not None
        with process.stderr:
            assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
    assert ours(process.pid) == []


def test_a_command_and_what_it_starts_are_reported_alone(tmp_path: Path) -> None:
    """Resets of others are left out; the command's own output stays its own."""
    program = tmp_path / "program.py"
    program.write_text(
        "import socket, subprocess, sys, time\n"
        "print('hello')\n"
        "with socket.socket() as client: client.connect_ex(('127.0.0.1', int(sys.argv[1])))\n"
        "if sys.argv[2:]: subprocess.run([sys.executable, __file__, *sys.argv[2:]])\n"
        "time.sleep(0.2)\n"
        "sys.exit(3)\n"
    )
    ports = (1025, 1026)
    with listener() as server:
        process = subprocess.Popen(
            [*COMMAND, "watch", "--format", "json", "--",
             sys.executable, str(program), str(ports[0]), str(ports[1])],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        begun(process)
        linger_reset(server)
        out, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out == "hello\nhello\n"
    *lines, last = (json.loads(line) for line in errors.splitlines())
    for line in (*lines, last):
        validate("watch", line)
    assert {line["src"] for line in lines} == {f"127.0.0.1:{port}" for port in ports}
    assert {line["cause"] for line in lines} == {"closed-port"}
    assert last["summary"]["command_status"] == 3


def test_fail_on_reset_is_for_ci() -> None:
    """1 when a harmful reset was reported, 0 when none was."""
    port = refused()
    connect = f"import socket; socket.socket().connect_ex(('127.0.0.1', {port}))"
    command = [sys.executable, "-c"]
    assert rstaudit("watch", "--fail-on-reset", "--", *command, connect).returncode == 1
    assert rstaudit("watch", "--fail-on-reset", "--", *command, "pass").returncode == 0


def test_packets_around_a_reset_are_kept(tmp_path: Path) -> None:
    """The file holds the whole connection of the reset, and none that ended well."""
    file = tmp_path / "resets.pcap"
    with listener() as server, watching("--pcap", str(file)):
        client, accepted = connected(server)
        client.close()
        accepted.close()
        port = linger_reset(server)
    read = subprocess.run(
        ["tshark", "-n", "-r", str(file), "-T", "fields", "-e", "tcp.port", "-e", "tcp.flags.str"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert all(str(port) in line for line in read)
    assert sum("S" in line for line in read) == 2
    assert sum("R" in line for line in read) == 1
    assert file.stat().st_mode & 0o777 == 0o600
    assert sum(len(batch.rows) for batch in open_capture(str(file))) == len(read)


def test_the_summary_is_a_table() -> None:
    """On a pipe the table is printed once, at the end."""
    with listener(port=8099) as server:  # no ephemeral port: that is what tells the service
        where = f"127.0.0.1:{server.getsockname()[1]}"
        process = subprocess.Popen(
            [*COMMAND, "watch", "--summary"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=environment(COLUMNS="160"),
        )  # fmt: skip
        begun(process)
        for _ in range(5):
            linger_reset(server)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=10)
    assert (errors, process.returncode) == ("", 0)
    rows = [line.split() for line in out.splitlines()]
    sent = next(row for row in rows if row[2:5] == ["linger-abort", "sent", where])
    assert sent[0] == "5"
    assert "\x1b" not in out
