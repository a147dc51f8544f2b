"""Connections that stand still: unread data here, a closed window there; and leaks that grow."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from rstaudit.model.names import LATER, LIMITS, OWNERS, SOCKETS, Later, Limits
from rstaudit.model.rule import Outcome, Result, Severity
from rstaudit.model.sockets import CLOSE_WAIT, ESTABLISHED, Owner
from rstaudit.rules import closing, stalls
from support.audit import fires, live_result, silent
from support.hosts import judge, make_host
from support.netns import connected, listener
from support.processes import python_child
from support.rows import row, table_of

PROBE0 = (4, 200, 0)


def drain(end: socket.socket) -> None:
    """Read until nothing has come for a second."""
    end.settimeout(1)
    with suppress(TimeoutError):
        while end.recv(1 << 20):
            pass


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_a_reader_that_does_not_read() -> None:
    """RST409 names the reader and RST410 the writer after 10 s; reading ends both."""
    with listener(8, 8080) as server:
        writer, reader = connected(server)
        waiting = socket.create_connection(server.getsockname())  # never accepted
        waiting.sendall(b"in the accept queue")
        writer.setblocking(False)
        with suppress(BlockingIOError):
            while writer.send(bytes(65536)):
                pass
        silent("RST409")
        silent("RST410")
        time.sleep(10.3)
        unread = fires("RST409")
        assert unread.subject == f"127.0.0.1:{writer.getsockname()[1]}"
        assert unread.evidence["pid"] == os.getpid()
        assert unread.evidence["connections"] == 1
        assert unread.evidence["longest_seconds"] == 10
        closed = fires("RST410")
        assert closed.subject == "127.0.0.1:8080"
        assert closed.evidence["connections"] == 1
        assert closed.evidence["longest_seconds"] == 10
        drain(reader)
        silent("RST409")
        silent("RST410")
        for end in (writer, reader, waiting):
            end.close()


def test_unread_data_must_have_waited() -> None:
    """Fresh bytes, an empty queue and an orphan are no stall; ten seconds are."""

    def judged(queue: int, idle: int, inode: int = 1) -> Outcome:
        connection = row(
            ESTABLISHED, "192.0.2.1", 80, "192.0.2.2", 4000,
            queues=(queue, 0), inode=inode, idle_ms=idle,
        )  # fmt: skip
        facts = {SOCKETS: table_of(connection), OWNERS: {1: (Owner(7, "app", "app"),)}}
        return judge(stalls.RULES, "RST409", make_host(facts=facts)).outcome

    assert judged(1, 10_000) is Outcome.FAIL
    assert judged(1, 9_999) is Outcome.PASS
    assert judged(0, 10_000) is Outcome.PASS
    assert judged(1, 10_000, inode=0) is Outcome.PASS


def test_a_closed_window_must_have_lasted() -> None:
    """Only the probe timer with data waiting for ten seconds counts."""

    def judged(timer: tuple[int, int, int], queue: int, idle: int) -> Outcome:
        connection = row(
            ESTABLISHED, "192.0.2.1", 80, "192.0.2.2", 4000,
            timer=timer, queues=(0, queue), inode=1, idle_ms=idle,
        )  # fmt: skip
        facts = {SOCKETS: table_of(connection), OWNERS: {1: (Owner(7, "app", "app"),)}}
        return judge(stalls.RULES, "RST410", make_host(facts=facts)).outcome

    assert judged(PROBE0, 5000, 10_000) is Outcome.FAIL
    assert judged(PROBE0, 5000, 9_999) is Outcome.PASS
    assert judged(PROBE0, 0, 10_000) is Outcome.PASS
    assert judged((1, 200, 0), 5000, 10_000) is Outcome.PASS


@pytest.mark.parametrize("rule", ["RST409", "RST410"])
def test_waiting_times_are_unknown_without_sock_diag(rule: str) -> None:
    """`/proc/net/tcp` shows no times: the rules are unknown, not passed."""
    host = make_host(facts={SOCKETS: table_of(source="procfs")})
    assert judge(stalls.RULES, rule, host).outcome is Outcome.UNKNOWN


@contextmanager
def closing_steadily(clients: list[socket.socket], every: float) -> Iterator[None]:
    """Close one of ``clients`` after the other in the background."""
    enough = threading.Event()

    def work() -> None:
        while clients and not enough.wait(every):
            clients.pop().close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_a_leak_grows_between_the_samples() -> None:
    """RST301 with two samples says how many more there are, a second, and until the limit."""
    with listener(128, 8080) as server:
        pairs = [connected(server) for _ in range(60)]
        clients = [client for client, _ in pairs]
        for _ in range(12):
            clients.pop().close()
        assert "added" not in fires("RST301", interval=0).evidence
        still = fires("RST301", interval=0.3)
        assert still.evidence["added"] == 0
        assert "seconds_to_limit" not in still.evidence
        with closing_steadily(clients, 0.05):
            finding = fires("RST301", interval=0.5)
        added, rate = finding.evidence["added"], finding.evidence["per_second"]
        assert isinstance(added, int)
        assert isinstance(rate, float)
        assert 1 <= added <= 48
        assert 0 < rate <= 100
        assert "seconds_to_limit" in finding.evidence
        for client, accepted in pairs:
            client.close()
            accepted.close()


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_shared_sockets_are_no_growth() -> None:
    """A child that inherited the leak, and has one of its own, grows by nothing."""
    with listener(64, 8080) as server:
        pairs = [connected(server) for _ in range(12)]
        for client, accepted in pairs:
            accepted.set_inheritable(True)
            client.close()
        code = """if True:
            import socket
            with socket.create_server(("127.0.0.1", 8081)) as server:
                for _ in range(11):
                    client = socket.create_connection(("127.0.0.1", 8081))
                    end = server.accept()[0]
                    client.close()
                    keep = globals().setdefault("keep", [])
                    keep.append(end)
        """
        inherited = tuple(accepted.fileno() for _, accepted in pairs)
        with python_child(code, pass_fds=inherited):
            result = live_result("RST301", interval=0.2)
        # which of the two the shared ones count for depends on which pid is lower
        assert sum(int(str(finding.evidence["close_wait"])) for finding in result.findings) == 23
        assert {finding.evidence["added"] for finding in result.findings} == {0}
        for _, accepted in pairs:
            accepted.close()


def _leaking(growing: int, descriptors: Limits) -> Result:
    rows = [
        row(CLOSE_WAIT, "192.0.2.1", 80, "192.0.2.2", 1000 + i, inode=i + 1, idle_ms=500)
        for i in range(12)
    ]
    facts = {
        SOCKETS: table_of(*rows),
        OWNERS: {i + 1: (Owner(7, "app", "app"),) for i in range(12)},
        LIMITS: (descriptors,),
        LATER: Later(1.0, {7: 12 + growing}),
    }
    return judge(closing.RULES, "RST301", make_host(facts=facts))


def test_a_leak_that_reaches_the_limit_soon_is_an_error() -> None:
    """Ten minutes of descriptors left make the error; a slower pace, or none, a warning."""
    fast = _leaking(2, Limits(7, "app", 100, 1024, 4096))
    assert fast.findings[0].evidence["seconds_to_limit"] == 462
    assert fast.severity is Severity.ERROR
    assert _leaking(1, Limits(7, "app", 100, 1024, 4096)).severity is Severity.WARNING
    assert _leaking(0, Limits(7, "app", 100, 1024, 4096)).severity is Severity.WARNING
    shrinking = _leaking(-5, Limits(7, "app", 100, 1024, 4096))
    assert shrinking.severity is Severity.WARNING
    unlimited = _leaking(5, Limits(7, "app", 100, None, None))
    assert "seconds_to_limit" not in unlimited.findings[0].evidence
