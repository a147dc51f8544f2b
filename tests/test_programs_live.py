"""Real programs, misconfigured and healthy: the audit names the former and is silent on these.

What the kernel does not show, no audit can: nginx sets SO_LINGER in the moment of its close(),
so that only the counters tell of its resets, and those name no process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support import services
from support.programs import (
    CLIENT,
    SERVER,
    Found,
    Program,
    ask,
    audit_while,
    blamed,
    calm,
    connect,
    judged,
    tune,
    wait_for,
)

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("lan")]

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"

#: What the counters call a reset by SO_LINGER, and one by close() with data unread.
LINGER, UNREAD = "SO_LINGER abort or data after close", "close with unread data"


def resets(found: list[Found], cause: str) -> None:
    """The counters warn, with ``cause`` for all of the resets."""
    (finding,) = [f for f in found if f.rule == "RST306"]
    assert finding.severity == "warning"
    assert finding.evidence[f"percent {cause}"] == 100


# --- resets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("switch", ["on", "off"])
def test_nginx_resets_connections_that_time_out(
    switch: str, tmp_path: Path, stack: ExitStack
) -> None:
    """With reset_timedout_connection the counters warn of SO_LINGER; without it nothing."""
    tune("web")
    server = f"client_header_timeout 1s; reset_timedout_connection {switch};"
    stack.enter_context(services.nginx(tmp_path, server))

    def slow() -> None:
        client = stack.enter_context(connect(services.NGINX_PORT))
        client.sendall(b"GET / HT")
        time.sleep(0.02)

    found = audit_while(slow, "--profile", "web", "--interval", "2")
    if switch == "on":
        resets(found, LINGER)
        assert not [f for f in found if f.rule == "RST308"], "it is set only in order to close"
    else:
        calm(found)


def pipelined() -> None:
    """More requests at once than nginx answers on one connection."""
    with connect(services.NGINX_PORT) as client, suppress(ConnectionError):
        client.sendall(200 * GET)
        while client.recv(65536):
            pass
    time.sleep(0.02)


@pytest.mark.parametrize("linger", ["off", "on"])
def test_nginx_closes_with_requests_unread(linger: str, tmp_path: Path) -> None:
    """With lingering_close off a client that pipelines is reset for unread data, else not."""
    tune("web")
    with services.nginx(tmp_path, f"keepalive_requests 1; lingering_close {linger};"):
        found = judged("web", pipelined)
    if linger == "off":
        resets(found, UNREAD)
    else:
        calm(found)


def proxied() -> None:
    """One request through HAProxy, on a connection that the client then closes."""
    with connect(services.HAPROXY_PORT) as client:
        assert ask(client, GET).startswith(b"HTTP/1.1 200")
    time.sleep(0.02)


def test_haproxy_with_nolinger(tmp_path: Path) -> None:
    """`option nolinger` stands on the listener, where the worker is named before it resets."""
    tune("proxy")
    with services.nginx(tmp_path, ""), services.haproxy(tmp_path, "option nolinger") as running:
        finding = blamed(judged("proxy"), "RST308", running, "haproxy")
        assert finding.evidence["listeners"] == [f"{SERVER}:{services.HAPROXY_PORT}"]
        assert finding.evidence["pid"] != running.process.pid
        resets(judged("proxy", proxied), LINGER)


@pytest.mark.parametrize(("defaults", "quiet"), [("", False), ("http-reuse always", True)])
def test_haproxy_without_nolinger(defaults: str, quiet: bool, tmp_path: Path) -> None:
    """HAProxy as it comes resets its servers when clients go, to save ports: the counters say so.

    Nobody is named for that. With `http-reuse always` it keeps those connections: no resets.
    """
    tune("proxy")
    with services.nginx(tmp_path, ""), services.haproxy(tmp_path, defaults):
        calm(judged("proxy"))
        found = judged("proxy", proxied)
        if quiet:
            calm(found)
        else:
            resets(found, LINGER)


def sent(size: int) -> Callable[[], None]:
    """A client of the forking server that sends ``size`` bytes and waits for the end."""

    def send() -> None:
        with connect(services.FORKER_PORT) as client, suppress(OSError):
            client.sendall(bytes(size))
            while client.recv(100):
                pass
        time.sleep(0.02)

    return send


def test_forking_server_that_closes_after_one_read(tmp_path: Path) -> None:
    """Its children reset who sends more than it reads; the counters say so, and cannot say who."""
    tune("web")
    with services.forker(tmp_path, "reuse"):
        calm(judged("web", sent(50)))
        resets(judged("web", sent(1000)), UNREAD)


@pytest.mark.parametrize(("option", "rule"), [("linger", "RST308"), ("linger2", "RST309")])
def test_forking_server_whose_listener_hands_on_resets(
    option: str, rule: str, tmp_path: Path
) -> None:
    """SO_LINGER {1,0} or a negative TCP_LINGER2 on the listener is named before it hurts."""
    tune("web")
    with services.forker(tmp_path, "reuse", option) as running:
        blamed(judged("web"), rule, running, "forker")
    with services.forker(tmp_path, "reuse"):
        calm(judged("web"))


# --- ports -----------------------------------------------------------------------------------


def test_forking_server_without_reuseaddr(tmp_path: Path) -> None:
    """Its connections in TIME_WAIT keep it from starting again, and it is named before that."""
    tune("web")
    with services.forker(tmp_path) as running:
        calm(judged("web"))
        sent(50)()
        blamed(judged("web"), "RST113", running, "forker")
    with pytest.raises(AssertionError, match="status 1"), services.forker(tmp_path):
        pass


def test_forking_server_with_reuseaddr(tmp_path: Path) -> None:
    """It starts again over its TIME_WAIT: nothing to say."""
    tune("web")
    for _ in range(2):
        with services.forker(tmp_path, "reuse"):
            sent(50)()
            calm(judged("web"))


@pytest.mark.parametrize(
    ("manner", "rule"), [("binds", "RST114"), ("anew", "RST115"), ("reuses", None)]
)
def test_python_client_and_its_ports(manner: str, rule: str | None, tmp_path: Path) -> None:
    """Binding a source address, and not reusing connections, are named; reuse is not."""
    tune("client")
    with (
        services.nginx(tmp_path, "keepalive_requests 10000;"),
        services.http_client(tmp_path, manner) as client,
    ):
        found = judged("client")
        if rule is None:
            calm(found)
        else:
            blamed(found, rule, client, comm(client))


def test_haproxy_binds_its_source_the_right_way(tmp_path: Path, stack: ExitStack) -> None:
    """With `source` HAProxy sets IP_BIND_ADDRESS_NO_PORT: nothing to say."""
    tune("proxy")
    stack.enter_context(services.nginx(tmp_path, ""))
    stack.enter_context(services.haproxy(tmp_path, f"mode tcp\n  source {CLIENT}"))
    for _ in range(20):
        client = stack.enter_context(connect(services.HAPROXY_PORT))
        assert ask(client, GET).startswith(b"HTTP/1.1 200")
    calm(judged("proxy"))


# --- CLOSE_WAIT ------------------------------------------------------------------------------


@pytest.mark.parametrize("manner", ["forgets", "closes"])
def test_python_client_that_forgets_its_responses(manner: str, tmp_path: Path) -> None:
    """Responses that nobody closes stay in CLOSE_WAIT, and the client is named; else nothing."""
    tune("client")
    with services.nginx(tmp_path, ""), services.http_client(tmp_path, manner) as client:
        found = judged("client")
        if manner == "closes":
            calm(found)
        else:
            leak = blamed(found, "RST301", client, comm(client))
            assert leak.severity == "warning"
            assert leak.evidence["close_wait"] == 20


def comm(who: Program) -> str:
    """What the kernel calls the first process: of a script, its interpreter's file name."""
    return Path(f"/proc/{who.process.pid}/comm").read_text().rstrip("\n")


def test_forking_server_whose_parent_keeps_connections(tmp_path: Path) -> None:
    """A parent that never closes what it accepted collects CLOSE_WAIT, and is named."""
    tune("web")
    with services.forker(tmp_path, "reuse", "keep") as running:
        for _ in range(12):
            with connect(services.FORKER_PORT) as client:
                assert ask(client, b"hello") == b"thanks"
        wait_for(lambda: running.pids == {running.process.pid}, "its children's end", running)
        leak = blamed(judged("web"), "RST301", running, "forker")
        assert leak.evidence["pid"] == running.process.pid
        assert leak.evidence["close_wait"] == 12


# --- the staging itself ----------------------------------------------------------------------


def test_a_program_ends_with_its_children_also_when_the_test_fails(tmp_path: Path) -> None:
    """Workers too are gone when the block is left by an exception."""
    pids: set[int] = set()

    def fail() -> None:
        with services.nginx(tmp_path, "") as running:
            pids.update(running.pids)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
