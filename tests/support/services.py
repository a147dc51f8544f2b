"""The programs that hosts really run, configured in a line or two by the test that needs them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from support.programs import CLIENT, SERVER, Program, installed, program, wait_for

NGINX_PORT, HAPROXY_PORT, REDIS_PORT, POSTGRES_PORT = 8080, 8081, 6379, 5432
GUNICORN_PORT, NODE_PORT, FORKER_PORT = 8000, 3000, 7000


def nginx(
    folder: Path,
    server: str,
    *,
    listen: str = "",
    location: str = 'return 200 "ok"',
    workers: int = 1,
) -> AbstractContextManager[Program]:
    """Nginx, usually with one worker; ``server`` and ``location`` are lines of those blocks."""
    config = folder / "nginx.conf"
    config.write_text(f"""\
daemon off; worker_processes {workers}; pid {folder}/nginx.pid; error_log {folder}/error.log;
user root;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {SERVER}:{NGINX_PORT} {listen};
    root {folder};
    {server}
    location / {{ {location}; }}
  }}
}}
""")
    command = [installed("nginx"), "-c", str(config), "-e", f"{folder}/error.log"]
    return program(*command, folder=folder, port=NGINX_PORT, end=signal.SIGTERM)


def haproxy(folder: Path, defaults: str) -> AbstractContextManager[Program]:
    """HAProxy in front of the nginx of `nginx`; ``defaults`` are lines of that section."""
    config = folder / "haproxy.cfg"
    config.write_text(f"""\
global
  maxconn 200
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  {defaults}
listen front
  bind {SERVER}:{HAPROXY_PORT}
  server back {SERVER}:{NGINX_PORT}
""")
    command = [installed("haproxy"), "-W", "-f", str(config)]
    return program(*command, folder=folder, port=HAPROXY_PORT)


def redis(folder: Path, *settings: str) -> AbstractContextManager[Program]:
    """Redis without persistence; ``settings`` as on its command line."""
    command = [
        installed("redis-server"), "--bind", SERVER, "--port", str(REDIS_PORT), "--save", "",
        "--protected-mode", "no", "--dir", str(folder), *settings,
    ]  # fmt: skip
    return program(*command, folder=folder, port=REDIS_PORT)


@contextmanager
def postgres(*settings: str) -> Iterator[Program]:
    """PostgreSQL as the user ``postgres``, in a folder that it may enter."""
    with tempfile.TemporaryDirectory(prefix="rstaudit-postgres-") as name:
        folder = Path(name)
        shutil.chown(folder, "postgres", "postgres")
        binaries = Path(installed("/usr/lib/postgresql/*/bin/initdb")).parent
        initdb = [str(binaries / "initdb"), "-D", str(folder / "data"), "-A", "trust", "--no-sync",
                  "--no-locale", "-E", "UTF8"]  # fmt: skip
        subprocess.run(initdb, check=True, cwd=folder, user="postgres", group="postgres",
                       extra_groups=[], capture_output=True)  # fmt: skip
        (folder / "data/pg_hba.conf").write_text("host all all 0.0.0.0/0 trust\n")
        command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p",
                   str(POSTGRES_PORT)]  # fmt: skip
        ours = (f"listen_addresses={SERVER}", "unix_socket_directories=", "fsync=off",
                "shared_buffers=1MB", "max_connections=10", "autovacuum=off")  # fmt: skip
        for setting in (*ours, *settings):
            command += ["-c", setting]
        with program(
            *command, folder=folder, port=POSTGRES_PORT, user="postgres", end=signal.SIGINT
        ) as running:
            ready = "ready to accept connections"
            wait_for(lambda: ready in running.log.read_text(), "the database", running)
            yield running


@contextmanager
def psql(folder: Path, *settings: str) -> Iterator[Program]:
    """An idle psql, which is libpq: connected, one question asked, none after it."""
    binary = installed("/usr/lib/postgresql/*/bin/psql")
    where = f"host={SERVER} port={POSTGRES_PORT} user=postgres dbname=postgres"
    env = {"PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}
    command = [binary, "-X", "-q", "-A", "-t", " ".join([where, *settings])]
    with program(*command, folder=folder, env=env, end=signal.SIGKILL) as running:
        yield running


def gunicorn(folder: Path, application: str, *settings: str) -> AbstractContextManager[Program]:
    """Gunicorn with one worker, serving ``application``: Python source that defines ``app``."""
    (folder / "served.py").write_text(application)
    command = [
        installed(str(Path(sys.executable).with_name("gunicorn"))), "served:app",
        "--bind", f"{SERVER}:{GUNICORN_PORT}", "--workers", "1", "--graceful-timeout", "1",
        "--no-control-socket", *settings,
    ]  # fmt: skip
    return program(*command, folder=folder, port=GUNICORN_PORT, end=signal.SIGQUIT)


def node(folder: Path, code: str) -> AbstractContextManager[Program]:
    """Node running ``code``, which listens on NODE_PORT of SERVER."""
    script = folder / "server.js"
    script.write_text(f"const HOST = '{SERVER}', PORT = {NODE_PORT};\n{code}")
    return program(installed("node"), str(script), folder=folder, port=NODE_PORT)


@contextmanager
def http_client(folder: Path, manner: str) -> Iterator[Program]:
    """An HTTP client in Python, at the nginx of `nginx`; see http_client.py for ``manner``.

    The block begins when it has asked all its questions; it then stays.
    """
    script = str(Path(__file__).with_name("http_client.py"))
    command = (sys.executable, script, SERVER, str(NGINX_PORT), CLIENT, manner)
    with program(*command, folder=folder) as client:
        wait_for(lambda: "done" in client.log.read_text(), "an HTTP client", client)
        yield client


def forker(folder: Path, *how: str) -> AbstractContextManager[Program]:
    """A server in C that forks for each connection, compiled here; see forker.c for ``how``."""
    command = (_compiled(folder, "forker"), SERVER, str(FORKER_PORT), *how)
    return program(*command, folder=folder, port=FORKER_PORT)


def impatient(folder: Path, port: int, milliseconds: int) -> AbstractContextManager[Program]:
    """A client in C whose connect() gives up after ``milliseconds``, and tries again."""
    command = (_compiled(folder, "impatient"), SERVER, str(port), str(milliseconds))
    return program(*command, folder=folder)


def _compiled(folder: Path, name: str) -> str:
    binary = folder / name
    if not binary.exists():
        source = str(Path(__file__).with_name(f"{name}.c"))
        gcc = [installed("gcc"), "-Wall", "-Werror", "-O1", source, "-o", str(binary)]
        subprocess.run(gcc, check=True)
    return str(binary)
