"""Whatever is wrong with what was typed: one line on stderr, exit status 2, no traceback."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from support.cli import COMMAND, environment, rstaudit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with files to stumble over; commands run in it."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "proc").mkdir(parents=True)
    (tmp_path / "bad.yaml").write_text("name: x\nextends: [\n")
    (tmp_path / "unknown.yaml").write_text("name: x\nextends: wbe\n")
    (tmp_path / "waiver.yaml").write_text("- rule: RST101\n")
    (tmp_path / "rule.yaml").write_text("- {rule: RST1O1, justification: x}\n")
    (tmp_path / "date.yaml").write_text("- {rule: RST101, justification: x, expires: soon}\n")
    (tmp_path / "broken.yaml").write_text("- rule: 'RST101\n")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    return tmp_path


#: Arguments, and words that the line must hold: what, where, what to do.
BAD = [
    (["aduit"], ["unknown command 'aduit'", "'audit'"]),
    (["zzz"], ["unknown command 'zzz'", "use one of audit, watch"]),
    ([""], ["unknown command ''"]),
    (["--no-such"], ["unknown option --no-such", "rstaudit audit --help"]),
    (["--formt", "json"], ["unknown option --formt", "'--format'"]),
    (["--formt=json"], ["unknown option --formt", "'--format'"]),
    (["--prof", "web"], ["unknown option --prof", "'--profile'"]),
    (["-x"], ["unknown option -x"]),
    (["--profile", "web", "rules"], ["unexpected argument 'rules'"]),
    (["--format", "xml"], ["unknown format 'xml'", "use text or json"]),
    (["--format", "jsn"], ["unknown format 'jsn'", "'json'"]),
    (["--format"], ["--format", "expected one argument"]),
    (["--fail-on", "fatal"], ["unknown severity 'fatal'"]),
    (["--fail-on", "warnings"], ["unknown severity 'warnings'", "'warning'"]),
    (["--profile", "wbe"], ["unknown profile 'wbe'", "'web'"]),
    (["--profile", "zzzz"], ["unknown profile 'zzzz'", "default"]),
    (["--profile", "none.yaml"], ["none.yaml"]),
    (["--profile", "bad.yaml"], ["bad.yaml"]),
    (["--profile", "bytes.yaml"], ["bytes.yaml"]),
    (["--profile", "unknown.yaml"], ["unknown.yaml", "wbe"]),
    (["--profile", "./empty"], ["empty"]),
    (["--only", "RST999"], ["unknown rule 'RST999'"]),
    (["--only", "RST1O1"], ["unknown rule 'RST1O1'", "did you mean 'RST1"]),
    (["--only", "RST101,"], ["unknown rule ''"]),
    (["--skip", "zzzz"], ["unknown rule 'zzzz'", "rstaudit rules"]),
    (["--only", "RST101", "--skip", "RST101"], ["leave no rule"]),
    (["--waivers", "none"], ["none", "no such file"]),
    (["--waivers", "empty"], ["empty", "is a directory"]),
    (["--waivers", "waiver.yaml"], ["waiver.yaml:1", "no justification"]),
    (["--waivers", "rule.yaml"], ["rule.yaml:1", "'RST1O1'", "did you mean 'RST1"]),
    (["--waivers", "date.yaml"], ["date.yaml:1", "'soon'", "2027-01-31"]),
    (["--waivers", "broken.yaml"], ["broken.yaml:", "not valid YAML"]),
    (["--waivers", "bytes.yaml"], ["bytes.yaml:1", "UTF-8"]),
    (["--root", "nowhere"], ["nowhere", "no such file or directory"]),
    (["--root", "bad.yaml"], ["bad.yaml", "not a directory"]),
    (["--root", "empty"], ["empty", "nothing below proc/"]),
    (["--root", "hollow"], ["hollow", "nothing below proc/"]),
    (["--path-idle", "0"], ["--path-idle", "'0'"]),
    (["--path-idle", "-5"], ["--path-idle"]),
    (["--path-idle", "5m"], ["--path-idle", "'5m'"]),
    (["--path-idle", "\u0665"], ["--path-idle"]),
    (["--interval", "-1"], ["--interval", "-1"]),
    (["--interval", "nan"], ["--interval", "'nan'"]),
    (["--interval", "inf"], ["--interval", "'inf'"]),
    (["--interval", "1e9"], ["--interval", "'1e9'"]),
    (["--interval", "soon"], ["--interval", "'soon'"]),
    (["-o", ""], ["-o", "empty"]),
    (["-o", "empty"], ["empty", "is a directory"]),
    (["-o", "none/report"], ["none/report", "no such directory"]),
    (["explain", "ECONNRESETT"], ["ECONNRESETT", "ECONNRESET"]),
    (["explain", "RST999"], ["RST999"]),
    (["explain", "--format", "xml", "EPIPE"], ["xml"]),
    (["causes", "--format", "xml"], ["xml"]),
    (["rules", "--format", "xml"], ["unknown format 'xml'"]),
    (["rules", "extra"], ["unexpected argument 'extra'"]),
    (["profiles", "--formatt", "json"], ["unknown option --formatt", "'--format'"]),
    (["tune", "--profile", "wbe"], ["unknown profile 'wbe'", "'web'"]),
    (["tune", "--format", "sysctrl"], ["unknown format 'sysctrl'", "'sysctl'"]),
    (["tune", "--root", "empty"], ["empty", "nothing below proc/"]),
    (["--profile", "\x1b[31m\nevil"], [r"\x1b[31m\nevil"]),
    (["\udcff\x1b]0;x\x07"], [r"\x"]),
]


@pytest.mark.parametrize(
    ("arguments", "words"), BAD, ids=[repr(" ".join(arguments)) for arguments, _ in BAD]
)
def test_one_line_and_exit_status_2(folder: Path, arguments: list[str], words: list[str]) -> None:
    """The line says what is wrong, where, and what to do; nothing is on standard output."""
    done = rstaudit(*arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("rstaudit: ")
    assert done.stderr.endswith("\n")
    assert done.stderr[:-1].isprintable()
    for word in words:
        assert word in done.stderr


def test_a_file_that_cannot_be_written_is_said_before_the_work(folder: Path) -> None:
    """Nobody waits a day for an audit whose report cannot be kept."""
    done = rstaudit("--interval", "86400", "-o", "none/report", cwd=folder)
    assert done.returncode == 2


def test_a_full_disk_is_one_line(folder: Path) -> None:
    """A report that could not be written is not a success."""
    for arguments in (["--interval", "0", "-o", "/dev/full"], ["tune", "-o", "/dev/full"]):
        done = rstaudit(*arguments, cwd=folder)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "/dev/full: no space left on device" in done.stderr
    script = f"{' '.join(COMMAND)} explain EPIPE > /dev/full"
    shell = subprocess.run(
        ["bash", "-c", script], env=environment(), capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert (shell.returncode, shell.stderr.count("\n")) == (2, 1)
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


HOSTILE_LISTENER = """
import socket
with open("/proc/self/comm", "wb") as comm:
    comm.write(b"\\x1b[2J\\n\\xff\\x07evil")
server = socket.create_server(("127.0.0.1", 0), backlog=1)
clients = [socket.create_connection(server.getsockname()) for _ in range(2)]
print("ready", flush=True)
input()
"""


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_a_hostile_process_name_is_shown_and_does_nothing() -> None:
    """A process with escape codes for a name, and a full queue: visible in text, data in JSON."""
    with subprocess.Popen(
        [sys.executable, "-c", HOSTILE_LISTENER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as listener:  # fmt: skip
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        text = rstaudit("--interval", "0", "--only", "RST201", COLUMNS="200").stdout
        document = rstaudit("--interval", "0", "--only", "RST201", "--format", "json").stdout
        listener.communicate("\n")
    assert r"\x1b[2J\n\xff\x07evil" in text
    assert all(line.isprintable() for line in text.split("\n"))
    finding = json.loads(document)["hosts"][0]["results"][0]["findings"][0]
    assert "\x1b[2J\n\\udcff\x07evil" in finding["subject"] + finding["message"]
