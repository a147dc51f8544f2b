"""Real programs and their queues: listeners, leaks that grow, clients that give up early."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import services
from support.programs import Found, audit, blamed, calm, connect, judged, tune, wait_for

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("lan")]

APPLICATION = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

#: A port where the SYNs go unanswered.
SILENT_PORT = 7100


def of(found: list[Found], rule: str) -> list[Found]:
    """The findings of one rule."""
    return [finding for finding in found if finding.rule == rule]


def test_nginx_with_reuseport(tmp_path: Path) -> None:
    """Two workers with a listener each: reloads reset until tcp_migrate_req is set."""
    with services.nginx(tmp_path, "", listen="reuseport", workers=2) as running:
        finding = blamed(judged("web"), "RST209", running, "nginx")
        assert finding.evidence["listeners"] == 2
        tune("web")
        calm(judged("web"))
        assert not of(judged("web"), "RST209")


@pytest.mark.parametrize(("backlog", "low"), [(5, True), (2048, False)])
def test_gunicorn_with_a_small_backlog(
    backlog: int, low: bool, tmp_path: Path, stack: ExitStack
) -> None:
    """A listener in use with a queue of five is named on a web server; its own default is not."""
    tune("web")
    running = stack.enter_context(
        services.gunicorn(tmp_path, APPLICATION, "--backlog", str(backlog))
    )
    stack.enter_context(connect(services.GUNICORN_PORT))
    found = judged("web")
    if low:
        assert blamed(found, "RST204", running, "gunicorn").evidence["limit"] == backlog
    else:
        assert not of(found, "RST204")
        calm(found)


def test_a_client_whose_leak_grows(tmp_path: Path) -> None:
    """Responses forgotten every 20 ms: the second sample says how fast, and for how long yet."""
    with (
        services.nginx(tmp_path, ""),
        services.http_client(tmp_path, "leaks") as client,
    ):
        finding = blamed(audit("--interval", "1"), "RST301", client, "python")
        assert int(str(finding.evidence["added"])) > 5
        assert "a second" in finding.message


@pytest.mark.parametrize(("manner", "resets"), [("forgets", True), ("closes", False)])
def test_a_client_that_leaves_responses_unread(manner: str, resets: bool, tmp_path: Path) -> None:
    """Most of a long response stays in the receive queue: closing it will reset."""
    (tmp_path / "long").write_text("x" * 40_000)
    with (
        services.nginx(tmp_path, "", location="try_files /long =404"),
        services.http_client(tmp_path, manner) as client,
    ):
        found = judged("client")
        if resets:
            finding = blamed(found, "RST302", client, "python")
            assert int(str(finding.evidence["unread_bytes"])) > 20 * 20_000
        else:
            assert not of(found, "RST302")


@pytest.mark.parametrize(("milliseconds", "early"), [(300, True), (5000, False)])
def test_a_client_that_gives_up_before_the_handshake(
    milliseconds: int, early: bool, tmp_path: Path
) -> None:
    """SO_SNDTIMEO below the retry of a lost SYN is named; five seconds are not."""
    drop = "add table inet t; add chain inet t c { type filter hook input priority 0; }; "
    rule = f"add rule inet t c tcp dport {SILENT_PORT} drop"
    subprocess.run(["nft", drop + rule], check=True)
    with services.impatient(tmp_path, SILENT_PORT, milliseconds) as client:
        wait_for(lambda: bool(_connecting()), "a connection under way", client)
        found = judged("default")
        if early:
            finding = blamed(found, "RST406", client, "impatient")
            assert str(milliseconds) in str(finding.evidence)
        else:
            assert not of(found, "RST406")
            calm(found)


def _connecting() -> str:
    command = ["ss", "-Htn", "state", "syn-sent"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
