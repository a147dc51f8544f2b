"""Real programs whose connections fall idle, or that do not read: named, and healthy ones not."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support import services
from support.netns import write_sysctl
from support.programs import (
    SERVER,
    Found,
    Program,
    ask,
    audit,
    blamed,
    calm,
    connect,
    judged,
    tune,
    wait_for,
)  # fmt: skip

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("lan")]

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"

#: A path that forgets this soon lets a test see in two seconds what takes minutes elsewhere.
SHORT_PATH = 2

#: What a listener of nginx is told so that its connections outlive such a path.
PROBED = "so_keepalive=1:1:3"


def question(client: Program) -> None:
    """Have psql ask the server something, and wait for the answer."""
    assert client.process.stdin is not None
    client.process.stdin.write("select 'an' || 'swer';\n")
    client.process.stdin.flush()
    wait_for(lambda: "answer" in client.log.read_text(), "an answer from the database", client)


def node_server(options: str) -> str:
    """Node's HTTP server with ``options``; it keeps idle connections longer than its 5 s."""
    server = f"require('http').createServer({options}, (q, s) => s.end('ok'))"
    return f"Object.assign({server}, {{keepAliveTimeout: 60000}}).listen(PORT, HOST)"


def use_each(stack: ExitStack) -> None:
    """A connection to each server, answered once, probed by the client and then left idle."""
    for port, request, answer in (
        (services.NGINX_PORT, GET, b"HTTP/1.1 200"),
        (services.HAPROXY_PORT, GET, b"HTTP/1.1 200"),
        (services.REDIS_PORT, b"PING\r\n", b"+PONG"),
        (services.NODE_PORT, GET, b"HTTP/1.1 200"),
    ):
        client = stack.enter_context(connect(port, keepalive=1))
        assert ask(client, request).startswith(answer)


def idle() -> list[Found]:
    """Audit when every connection has been idle for longer than the path remembers."""
    time.sleep(SHORT_PATH + 0.2)
    return audit("--interval", "0", "--path-idle", str(SHORT_PATH))


def test_idle_clients_of_programs_without_keepalive(tmp_path: Path, stack: ExitStack) -> None:
    """nginx, HAProxy, Redis, node, psql: each that does not probe is named, and nobody else.

    PostgreSQL always has keepalive, so that of a database connection only the client is named.
    """
    start = stack.enter_context
    named = {
        "nginx": start(services.nginx(tmp_path, "")),
        "haproxy": start(services.haproxy(tmp_path, "")),
        "redis-server": start(services.redis(tmp_path, "--tcp-keepalive", "0")),
        "node": start(services.node(tmp_path, node_server("{}"))),
    }
    start(services.postgres())
    named["psql"] = start(services.psql(tmp_path, "keepalives=0"))
    question(named["psql"])
    use_each(stack)
    found = idle()
    for name, running in named.items():
        blamed(found, "RST403", running, name)
    assert len([f for f in found if f.rule == "RST403"]) == len(named)


def test_idle_clients_of_programs_with_keepalive(tmp_path: Path, stack: ExitStack) -> None:
    """The same programs, told to probe within a second, are not named; the host's key follows."""
    write_sysctl("net.ipv4.tcp_keepalive_time", 1)
    start = stack.enter_context
    start(services.nginx(tmp_path, "", listen=PROBED))
    sides = [f"option {side}tcpka\n  {side}tcpka-idle 1s" for side in ("cli", "srv")]
    start(services.haproxy(tmp_path, "\n  ".join(sides)))
    start(services.redis(tmp_path, "--tcp-keepalive", "1"))
    start(services.node(tmp_path, node_server("{keepAlive: true, keepAliveInitialDelay: 1000}")))
    start(services.postgres("tcp_keepalives_idle=1"))
    question(start(services.psql(tmp_path, "keepalives_idle=1")))
    use_each(stack)
    calm(idle())


def test_programs_that_probe_later_than_the_path_forgets(tmp_path: Path, stack: ExitStack) -> None:
    """Redis' 300 s suit a path of 350 s, not one of 240 s; PostgreSQL and libpq take the host's.

    The host's 7200 s suit neither, until the profile's sysctls stand for new connections.
    """
    running = stack.enter_context(services.redis(tmp_path))
    server = stack.enter_context(services.postgres())
    client = stack.enter_context(connect(services.REDIS_PORT, keepalive=60))
    assert ask(client, b"PING\r\n") == b"+PONG\r\n"
    with services.psql(tmp_path) as asker:
        question(asker)
        found = judged("database", None, "--path-idle", "350")
        blamed(found, "RST408", server, "postgres")
        blamed(found, "RST408", asker, "psql")
        assert len([f for f in found if f.rule == "RST408"]) == 2
    tune("database")
    question(stack.enter_context(services.psql(tmp_path)))
    calm(judged("database", None, "--path-idle", "350"))
    finding = blamed(
        judged("database", None, "--path-idle", "240"), "RST408", running, "redis-server"
    )
    assert finding.evidence["keepidle"] == 300


# --- stalls ----------------------------------------------------------------------------------

APPLICATION = """
import time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/stuck":
        time.sleep(60)
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

THREADS = ("--worker-class", "gthread", "--keep-alive", "30")


def post(stack: ExitStack, path: str) -> socket.socket:
    """Send gunicorn 100 kB on a connection that stays."""
    client = stack.enter_context(connect(services.GUNICORN_PORT, keepalive=60))
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n"
    client.sendall(head.encode() + bytes(100_000))
    return client


def flood(stack: ExitStack) -> None:
    """Send node what it takes, until it takes no more for a while or has it all."""
    client = stack.enter_context(connect(services.NODE_PORT, keepalive=60))
    client.settimeout(0.3)
    with suppress(TimeoutError):
        client.sendall(bytes(20_000_000))


def test_programs_that_do_not_read(tmp_path: Path, stack: ExitStack) -> None:
    """A stuck gunicorn worker and a paused node socket are named, and so is who waits for node."""
    tune("web")
    stuck = stack.enter_context(services.gunicorn(tmp_path, APPLICATION, *THREADS))
    code = "require('net').createServer((s) => s.pause()).listen(PORT, HOST)"
    paused = stack.enter_context(services.node(tmp_path, code))
    post(stack, "/stuck")
    flood(stack)
    time.sleep(10.2)
    found = judged("web")
    worker = blamed(found, "RST409", stuck, "gunicorn")
    assert worker.evidence["pid"] != stuck.process.pid
    blamed(found, "RST409", paused, "node")
    (sender,) = [f for f in found if f.rule == "RST410"]
    assert sender.evidence["pid"] == os.getpid()
    assert sender.evidence["peers"] == [f"{SERVER}:{services.NODE_PORT}"]


def test_programs_that_read(tmp_path: Path, stack: ExitStack) -> None:
    """The same programs, reading what they are sent: nothing to say."""
    tune("web")
    stack.enter_context(services.gunicorn(tmp_path, APPLICATION, *THREADS))
    code = "require('net').createServer((s) => s.resume()).listen(PORT, HOST)"
    stack.enter_context(services.node(tmp_path, code))
    flood(stack)
    client, answer = post(stack, "/"), b""
    while not answer.endswith(b"ok"):
        answer += client.recv(65536) or b"(end) ok"
    assert answer.startswith(b"HTTP/1.1 200 OK")
    calm(judged("web"))
