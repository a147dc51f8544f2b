"""Real programs in the namespace of a test, each with files of its own, ended with the test."""

from __future__ import annotations

import glob
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from rstaudit.catalogue.load import profiles, settings
from rstaudit.catalogue.tune import recommend
from rstaudit.collect.host import Options, collect
from support.cli import rstaudit
from support.netns import in_initial_namespace, write_sysctl

#: Programs listen on the first address; whoever connects to it comes from the second.
SERVER, CLIENT = "198.51.100.1", "198.51.100.2"

#: Seconds a program has to start, to serve, to end.
PATIENCE = 20.0

#: Rules that look at what programs told the kernel about their sockets, and do with them.
OPTION_RULES = {
    "RST113", "RST114", "RST115", "RST308", "RST309", "RST403", "RST406", "RST408", "RST409",
    "RST410",
}  # fmt: skip

_SEVERE = ("warning", "error")


class Program(NamedTuple):
    """A running program: its first process, and what it prints."""

    process: subprocess.Popen[str]
    log: Path

    @property
    def pids(self) -> set[int]:
        """The process and all that descend from it, now."""
        return _family(self.process.pid)


class Found(NamedTuple):
    """One finding of an audit's JSON."""

    rule: str
    severity: str
    message: str
    evidence: Mapping[str, object]


def two_addresses() -> None:
    """Give the namespace `SERVER` and `CLIENT`, so that connections leave the host, in name."""
    assert not in_initial_namespace(), "the host keeps the addresses that it has"
    for address in (SERVER, CLIENT):
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
    route = ["ip", "route", "replace", "local", SERVER, "dev", "lo", "table", "local"]
    subprocess.run([*route, "src", CLIENT], check=True)


def tune(profile: str) -> None:
    """Set in this namespace what ``profile`` asks for."""
    host = collect(Options(interval=0))
    chosen = profiles()[profile]
    for entry in recommend(host.kernel, host.sysctls, chosen, settings(), initial=False):
        write_sysctl(entry.key, entry.value)


def installed(*names: str) -> str:
    """The path of a command or file (patterns allowed); fails when there is none."""
    for name in names:
        if found := shutil.which(name) or next(iter(sorted(glob.glob(name), reverse=True)), None):
            return found
    raise AssertionError(f"{' or '.join(names)}: not installed, see .ci/packages")


@contextmanager
def program(
    *command: str,
    folder: Path,
    port: int = 0,
    user: str | None = None,
    end: signal.Signals = signal.SIGTERM,
    env: Mapping[str, str] | None = None,
) -> Iterator[Program]:
    """Run ``command`` until the block ends, and everything that it has started.

    The block begins when the program listens on ``port``, if one is given. ``end`` is what the
    program takes as the wish that it ends; what is left after that is killed.
    """
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("a") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **(env or {})}, stdin=subprocess.PIPE,
            stdout=output, stderr=output, text=True, start_new_session=True,
            user=user, group=user, extra_groups=None if user is None else [],
        )  # fmt: skip
    running = Program(process, log)
    try:
        if port:
            wait_for(lambda: _serves(port), f"{command[0]} on port {port}", running)
        yield running
    finally:
        _end(running, end)


def wait_for(done: Callable[[], bool], what: str, running: Program | None = None) -> None:
    """Wait until ``done``; fails with ``what``, and with the program's log, when it never is."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert running is None or running.process.poll() is None, _said(running)
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}: {running and _said(running)}")
        time.sleep(0.02)


def connect(port: int, *, keepalive: int = 0) -> socket.socket:
    """A connection to `SERVER`; with ``keepalive``, that many seconds before the first probe."""
    client = socket.create_connection((SERVER, port), timeout=PATIENCE)
    if keepalive:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive)
    return client


def ask(client: socket.socket, request: bytes) -> bytes:
    """What comes back first after ``request``."""
    client.sendall(request)
    return client.recv(65536)


def audit(*arguments: str) -> list[Found]:
    """What the command finds in this namespace; no rule crashes, none on programs is unsure."""
    done = rstaudit("--format", "json", *arguments)
    assert done.stderr == "", done.stderr
    (host,) = json.loads(done.stdout)["hosts"]
    assert not [r for r in host["results"] if r["outcome"] == "error"], host["results"]
    blind = [r for r in host["results"] if r["rule"] in OPTION_RULES and r["outcome"] == "unknown"]
    assert not blind, blind
    return [
        Found(result["rule"], finding.get("severity") or result["severity"],
              finding["message"], finding["evidence"])
        for result in host["results"] for finding in result["findings"]
    ]  # fmt: skip


def audit_while(traffic: Callable[[], None], *arguments: str) -> list[Found]:
    """As `audit`, with ``traffic`` called again and again until the audit is done."""
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(audit, *arguments)
        while not found.done():
            traffic()
        return found.result()


def blamed(found: Sequence[Found], rule: str, who: Program, comm: str) -> Found:
    """The finding of ``rule`` that names a process of ``who`` called ``comm``."""
    named = [f for f in found if f.rule == rule]
    pids = who.pids
    for finding in named:
        if finding.evidence.get("pid") in pids:
            assert finding.evidence["comm"] == comm
            assert f"{comm} (pid {finding.evidence['pid']}" in finding.message
            return finding
    raise AssertionError(f"{rule} does not name {comm} {sorted(pids)}: {shown(found)}")


def shown(found: Sequence[Found]) -> list[str]:
    """Findings as text that a failing assertion can show."""
    return [f"{f.rule} {f.severity}: {f.message}" for f in found]


def calm(found: Sequence[Found]) -> None:
    """A healthy host: nothing grave, and nothing at all from the rules on programs.

    An audit sees every process of the machine: what it says of those not started here is left out.
    """
    ours = _family(os.getpid())
    loud = [f for f in found if f.severity in _SEVERE or f.rule in OPTION_RULES]
    loud = [f for f in loud if f.evidence.get("pid", os.getpid()) in ours]
    assert not loud, shown(loud)


def judged(profile: str, traffic: Callable[[], None] | None = None, *more: str) -> list[Found]:
    """Audit with a profile; with ``traffic`` meanwhile, counted for a second."""
    if traffic is None:
        return audit("--profile", profile, "--interval", "0", *more)
    return audit_while(traffic, "--profile", profile, "--interval", "1", *more)


def _family(pid: int) -> set[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return {pid}
    return {pid}.union(*(_family(int(child)) for child in children))


def _serves(port: int) -> bool:
    wanted = f":{port:04X}"
    tables = (Path(f"/proc/thread-self/net/{name}").read_text() for name in ("tcp", "tcp6"))
    rows = (line.split() for text in tables for line in text.splitlines()[1:])
    return any(row[1].endswith(wanted) and row[3] == "0A" for row in rows)


def _said(running: Program) -> str:
    return f"status {running.process.poll()}, {running.log.read_text()[-2000:]}"


def _end(running: Program, wish: signal.Signals) -> None:
    """Ask the first process to end, then kill whatever of its family is left."""
    with ExitStack() as stack:
        handles = []
        for pid in running.pids - {running.process.pid}:
            try:
                handles.append(os.pidfd_open(pid))
            except ProcessLookupError:
                continue
            stack.callback(os.close, handles[-1])
        assert running.process.stdin is not None
        with suppress(BrokenPipeError):
            running.process.stdin.close()
        running.process.send_signal(wish)
        try:
            running.process.wait(5)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()
        for handle in handles:
            _kill(handle)


def _kill(handle: int) -> None:
    """Make sure that the process behind a pidfd has ended."""
    if select.select([handle], [], [], 1.0)[0]:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return
    assert select.select([handle], [], [], PATIENCE)[0], "a process does not die"
