"""Programs that people run, each made to reset a connection, or to be reset.

Every function stages one act in a namespace with `support.programs.two_addresses` and tears it
down again. `ACTS` says what a watch must say of it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from support import services
from support.netns import listener
from support.programs import SERVER, ask, connect, installed, program

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
_TLS_PORT = 8443


class Act(NamedTuple):
    """What is staged, in words for the documentation; who resets, why, and whether it matters."""

    title: str
    stage: Callable[[Path], None]
    comm: str
    cause: str
    benign: bool = False


def nginx_timed_out(folder: Path) -> None:
    """A client sends half a request; nginx loses patience with reset_timedout_connection on."""
    server = "client_header_timeout 1s; reset_timedout_connection on;"
    with services.nginx(folder, server), connect(services.NGINX_PORT) as client:
        client.sendall(GET[:10])
        _end_of(client)


def nginx_request_unread(folder: Path) -> None:
    """A second request comes in while nginx answers its last one, and lingering_close is off."""
    (folder / "page").write_bytes(b"x" * 2000)
    server = "lingering_close off; keepalive_requests 1; limit_rate 1k;"
    with (
        services.nginx(folder, server, location=f"root {folder}"),
        connect(services.NGINX_PORT) as client,
    ):
        ask(client, GET.replace(b"/ ", b"/page ", 1))
        client.sendall(GET)
        _end_of(client)


def haproxy_nolinger(folder: Path) -> None:
    """HAProxy with `option nolinger` gives up a server that does not answer, and the client."""
    defaults = "option nolinger\n  timeout server 300ms\n  option http-server-close"
    with (
        listener(port=services.NGINX_PORT, address=SERVER), services.haproxy(folder, defaults),
        connect(services.HAPROXY_PORT) as client,
    ):  # fmt: skip
        assert b" 504 " in ask(client, GET)


def redis_client_kill(folder: Path) -> None:
    """CLIENT KILL of a client that has sent more than redis has read."""
    with (
        services.redis(folder, "--enable-debug-command", "yes"),
        connect(services.REDIS_PORT) as admin, connect(services.REDIS_PORT) as client,
    ):  # fmt: skip
        name = "{}:{}".format(*client.getsockname())
        ask(client, b"PING\r\n")
        # sent as one: redis is busy when the other client's commands come in, and kills it next
        admin.sendall(b"DEBUG SLEEP 0.4\r\nCLIENT KILL " + name.encode() + b"\r\n")
        time.sleep(0.1)
        client.sendall(b"PING\r\n" * 100)
        _end_of(client)


#: A program that accepts, reads nothing, and waits to be killed.
_DEAF = """
import socket, sys
open("/proc/self/comm", "w").write("orders-api")
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
accepted = [server.accept()]
input()
"""


def killed_process(folder: Path) -> None:
    """A server is killed while a request waits unread in its socket."""
    command = (sys.executable, "-c", _DEAF, SERVER, "9000")
    with program(*command, folder=folder, port=9000) as server, connect(9000) as client:
        client.sendall(GET)
        time.sleep(0.1)
        server.process.kill()
        _end_of(client)


def curl_aborted(folder: Path) -> None:
    """Curl is interrupted in the middle of a download."""
    with (folder / "big").open("wb") as file:
        file.truncate(64 << 20)
    url = f"http://{SERVER}:{services.NGINX_PORT}/big"
    with services.nginx(folder, "", location=f"root {folder}"):
        command = (installed("curl"), "-s", "--limit-rate", "1m", "-o", "/dev/null", url)
        with program(*command, folder=folder, end=signal.SIGINT):
            time.sleep(0.5)


def pip_over_tls(folder: Path) -> None:
    """Pip downloads a package over TLS; HAProxy says close_notify after pip has closed."""
    key, cert = _certificate(folder)
    index = folder / "simple" / "tiny"
    index.mkdir(parents=True)
    with zipfile.ZipFile(index / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "")
        info = "tiny-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", tags)
        wheel.writestr(f"{info}/RECORD", "")
    (index / "index.html").write_text('<a href="tiny-1.0-py3-none-any.whl">tiny</a>')
    pem = folder / "both.pem"
    pem.write_text(key.read_text() + cert.read_text())
    proxy = f"option http-keep-alive\n  bind {SERVER}:{_TLS_PORT} ssl crt {pem}"
    # nothing that this machine's own pip is told: neither where to look nor whom to trust
    alone = {"PATH": os.environ["PATH"], "HOME": str(folder), "PIP_CONFIG_FILE": os.devnull}
    with (
        services.nginx(folder, "", location=f"root {folder}; index index.html"),
        services.haproxy(folder, f"\nlisten tls\n  {proxy}\n  server back {SERVER}:8080\n"),
    ):
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir",
             "--disable-pip-version-check", "-q", "--cert", str(cert), "-d", str(folder / "got"),
             "-i", f"https://{SERVER}:{_TLS_PORT}/simple/", "tiny"],
            check=True, capture_output=True, env=alone,
        )  # fmt: skip


def _certificate(folder: Path) -> tuple[Path, Path]:
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [installed("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(cert), "-subj", "/CN=test",
         "-addext", f"subjectAltName=IP:{SERVER}"],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, cert


def _end_of(client: socket.socket) -> None:
    """Read until the connection ends, whichever way."""
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass


ACTS = (
    Act("nginx, reset_timedout_connection on: a client that is too slow", nginx_timed_out,
        "nginx", "linger-abort"),
    Act("nginx, lingering_close off: a request after its last answer", nginx_request_unread,
        "nginx", "close-unread"),
    Act("HAProxy, option nolinger: the server behind it takes too long", haproxy_nolinger,
        "haproxy", "linger-abort"),
    Act("redis: CLIENT KILL with commands unread", redis_client_kill,
        "redis-server", "close-unread"),
    Act("a server is killed with a request unread", killed_process, "orders-api", "close-unread"),
    Act("curl is interrupted in the middle of a download", curl_aborted, "curl", "close-unread"),
    Act("pip downloads over TLS", pip_over_tls, Path(sys.executable).name, "data-to-closed",
        benign=True),
)  # fmt: skip
