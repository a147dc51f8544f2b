"""The command line as people use it: every ending, every kind of output."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import stat
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

import rstaudit as package
from rstaudit.cli.main import COMMANDS, main
from rstaudit.cli.parser import Parser
from support.cli import COMMAND, environment, rstaudit, rstaudit_as_nobody


def test_version_is_printed_without_loading_anything() -> None:
    """`rstaudit --version` costs little more than the interpreter: argparse is not imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "rstaudit", "--version"],
        env=environment(), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == f"rstaudit {package.__version__}\n"
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rstaudit.cli.main" in loaded
    assert not loaded & {"argparse", "typing", "enum", "json", "rstaudit.cli.audit", "re"}


def test_a_json_audit_loads_no_heavy_library() -> None:
    """Start-up is part of the cost of every audit; colour and YAML have no part in JSON."""
    done = subprocess.run(
        [*COMMAND[:1], "-X", "importtime", *COMMAND[1:], "--interval", "0", "--format", "json"],
        env=environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rstaudit.report.as_json" in loaded
    assert not loaded & {"rich", "yaml", "jinja2", "logging", "shutil", "rstaudit.report.text"}


def test_help_lists_every_command_with_examples() -> None:
    """`--help`, `-h` and `help` say the same; each command has its own help."""
    shown = rstaudit("--help").stdout
    assert rstaudit("-h").stdout == rstaudit("help").stdout == shown
    for name in COMMANDS:
        assert f"\n  {name} " in shown
        own = rstaudit(name, "--help")
        assert own.returncode == 0
        assert own.stdout.startswith(f"usage: rstaudit {name}")
    assert "rstaudit explain ECONNRESET" in shown


def test_no_command_is_audit(capsys: pytest.CaptureFixture[str]) -> None:
    """Options alone belong to audit."""
    arguments = ["--interval", "0", "--format", "json", "--only", "RST101"]
    main(arguments)
    bare = json.loads(capsys.readouterr().out)
    main(["audit", *arguments])
    assert json.loads(capsys.readouterr().out)["schema"] == bare["schema"] == "rstaudit/audit/1"


def test_only_and_skip_choose_the_rules() -> None:
    """Ids in any case, slugs, comma lists; skip wins."""
    every = json.loads(rstaudit("rules", "--format", "json").stdout)["rules"]
    slug = next(rule["slug"] for rule in every if rule["id"] == "RST201")
    done = rstaudit(
        "--interval", "0", "--format", "json", "--only", f"rst101,{slug}", "--only", "RST301",
        "--skip", "RST301",
    )  # fmt: skip
    results = json.loads(done.stdout)["hosts"][0]["results"]
    assert [result["rule"] for result in results] == ["RST101", "RST201"]


def test_quiet_is_one_line_or_nothing() -> None:
    """With nothing to say nothing is said; with findings the verdict."""
    quiet = rstaudit("--interval", "0", "-q", "--fail-on", "never")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    strict = rstaudit("--interval", "0", "-q", "--fail-on", "info", COLUMNS="200")
    assert strict.returncode == 1
    assert strict.stdout.count("\n") == 1


def test_a_report_file_is_written_whole_and_private(tmp_path: Path) -> None:
    """-o: mode 0600 whatever was there, no leftovers; a link is followed, not replaced."""
    report, link = tmp_path / "report.json", tmp_path / "link"
    report.write_text("old")
    report.chmod(0o644)
    link.symlink_to(report)
    done = rstaudit("--interval", "0", "--fail-on", "never", "--format", "json", "-o", str(link))
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(report.read_text())["schema"] == "rstaudit/audit/1"
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "report.json"]


def test_the_old_report_stays_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk half way leaves the old file and no temporary one."""
    from rstaudit.cli import output
    from rstaudit.cli.errors import UsageError

    report = tmp_path / "report"
    report.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="no space left on device"):
        output.write("new", str(report))
    assert report.read_text() == "old"
    assert os.listdir(tmp_path) == ["report"]


def test_a_device_is_written_to_and_never_replaced() -> None:
    """`-o /dev/null` as root must not put a file in its place."""
    done = rstaudit("tune", "-o", "/dev/null")
    assert done.returncode == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


CLOSED = [
    ["--version"], ["--help"], ["audit", "--help"], ["rules"], ["rules", "--format", "json"],
    ["profiles"], ["causes"], ["explain", "ECONNRESET"], ["tune"],
    ["--interval", "0", "--fail-on", "never"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", CLOSED, ids=" ".join)
def test_a_closed_pipe_is_not_an_error(arguments: list[str]) -> None:
    """Whoever reads may stop reading: no message, and the exit status of the work."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments], env=environment(), stdout=writer, stderr=subprocess.PIPE,
            text=True, check=False, timeout=60,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_pipe_keeps_the_exit_status() -> None:
    """`rstaudit | head -0` in a script with pipefail still tells findings from none."""
    script = f"{' '.join(COMMAND)} --interval 0 --fail-on info | head -n 0; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], env=environment(), capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_closed_standard_streams_are_survived() -> None:
    """Started with stdout or stderr closed, as some supervisors do."""
    for closed in (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        script = f"{' '.join(COMMAND)} --interval 0 --fail-on never {closed}"
        done = subprocess.run(["bash", "-c", script], env=environment(), check=False, timeout=60)
        assert done.returncode == 0


def on_terminal(*arguments: str, columns: int = 80, **env: str) -> tuple[str, int]:
    """What a terminal of so many columns shows, standard error included, and the status."""
    leader, follower = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=environment(**{"TERM": "xterm", **env}),
        stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while select.select([leader], [], [], 60)[0]:
        try:
            data = os.read(leader, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(leader)
    return shown.decode().replace("\r\n", "\n"), process.wait(60)


def test_a_terminal_gets_colour_and_a_pipe_does_not() -> None:
    """Colour only where somebody looks at it and has not asked for none."""
    assert "\x1b[" in on_terminal("rules")[0]
    assert "\x1b[" not in on_terminal("rules", NO_COLOR="1")[0]
    assert "\x1b[" not in on_terminal("rules", TERM="dumb")[0]
    assert "\x1b[" not in rstaudit("rules", TERM="xterm").stdout


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_report_fits_the_terminal(columns: int) -> None:
    """The width is the terminal's; only fixes to paste may be longer."""
    shown, _ = on_terminal("-v", "--interval", "0", columns=columns, NO_COLOR="1")
    report = shown.rpartition("\r")[2]
    wide = [line for line in report.splitlines() if len(line) > columns]
    assert [line for line in wide if not line.startswith("    fix: ")] == []


def test_the_progress_line_disappears() -> None:
    """While counters are sampled a terminal says so; afterwards the line is blank again."""
    shown, _ = on_terminal("--interval", "0.1", "--only", "RST101")
    line = "rstaudit: reading this host, sampling counters for 0.1 s ..."
    assert shown.startswith(f"{line}\r{' ' * len(line)}\r")
    assert "rstaudit: reading" not in on_terminal("--interval", "0", "-q")[0]
    assert rstaudit("--interval", "0").stderr == ""


def interrupt(*arguments: str, after: float = 1.5) -> tuple[str, str, int, float]:
    """Start, press Ctrl-C after a while; both outputs, the status, and the seconds since."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    out, err = process.communicate(timeout=60)
    return out, err, process.returncode, time.monotonic() - pressed


def test_ctrl_c_reports_what_is_known_so_far() -> None:
    """In the middle of a long interval: a report at once, then death by the signal itself."""
    out, err, status, seconds = interrupt("--interval", "30", "--format", "json")
    assert status == -signal.SIGINT
    assert seconds < 5
    assert err == ""
    read = json.loads(out)
    assert read["summary"]["interrupted"] is True
    assert read["summary"]["exit_status"] == 130
    outcomes = read["summary"]["outcomes"]
    assert outcomes["pass"] > 0
    assert outcomes["error"] == 0


def test_ctrl_c_in_a_text_report_is_said_first() -> None:
    """The verdict of a partial audit says that it is one."""
    out, _, status, _ = interrupt("--interval", "30")
    assert status == -signal.SIGINT
    assert "interrupted" in " ".join(out.splitlines()[:3])


@pytest.mark.parametrize("after", [0.005, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_ctrl_c_at_any_time_gives_no_traceback(after: float) -> None:
    """Whatever it is doing once it has started: a report or nothing, and never a traceback."""
    process = subprocess.Popen(
        [*COMMAND[:1], "-X", "importtime", *COMMAND[1:], "--interval", "30"],
        # Python warns of a file of its own, cut short in an import, only when told to
        env=environment(PYTHONWARNINGS=""),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "rstaudit.cli.main" not in process.stderr.readline():
        pass
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in err
    assert "rstaudit: " not in err


def test_waivers_and_strict_reach_the_exit_status(tmp_path: Path) -> None:
    """A waived finding no longer fails the audit; --fail-on decides what counts."""
    arguments = ["--interval", "0", "--format", "json"]
    read = json.loads(rstaudit(*arguments).stdout)["hosts"][0]
    failing = [result["rule"] for result in read["results"] if result["outcome"] == "fail"]
    assert failing
    waivers = tmp_path / "waivers.yaml"
    waivers.write_text("".join(f"- {{rule: {rule}, justification: test}}\n" for rule in failing))
    assert rstaudit(*arguments, "--fail-on", "info").returncode == 1
    waived = rstaudit(*arguments, "--fail-on", "info", "--waivers", str(waivers))
    assert waived.returncode == 0
    assert json.loads(waived.stdout)["summary"]["outcomes"]["waived"] == len(failing)


def test_an_internal_error_is_one_line_and_exit_status_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bug of ours says so, and how to see where; the traceback only on request."""
    import rstaudit.cli.rules as command

    def broken(_: object) -> int:
        raise KeyError("no\nsuch")

    monkeypatch.setattr(command, "run", broken)
    monkeypatch.delenv("RSTAUDIT_DEBUG", raising=False)
    assert main(["rules"]) == 4
    shown = capsys.readouterr().err
    assert shown.startswith("rstaudit: internal error: KeyError")
    assert shown.count("\n") == 1
    monkeypatch.setenv("RSTAUDIT_DEBUG", "1")
    assert main(["rules"]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_a_locale_without_our_letters_loses_no_report() -> None:
    """What an encoding cannot spell is written as escapes."""
    done = rstaudit("profiles", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


@pytest.mark.live
def test_an_unprivileged_user_gets_a_report_that_says_what_needs_root() -> None:
    """It runs, and names the rules that it could not check."""
    done = rstaudit_as_nobody("--interval", "0", "--fail-on", "never")
    assert (done.returncode, done.stderr) == (0, "")
    part = done.stdout.partition("Could not be checked")[2]
    assert "root" in part
    assert re.search(r"RST\d{3}", part)


def examples() -> list[tuple[str, str]]:
    """Every command with each of the command lines that its help shows."""
    return [
        (name, line)
        for name, (module, _) in COMMANDS.items()
        for line, _ in import_module(module).EXAMPLES
    ]


@pytest.mark.parametrize(("name", "line"), examples())
def test_the_examples_of_a_help_are_understood(name: str, line: str) -> None:
    """Each is a call of that command with options that it has."""
    words = shlex.split(line.rpartition("| ")[2])
    assert words[0] == "rstaudit"
    arguments = words[1:] if name == "audit" else words[2:]
    assert name == "audit" or words[1] == name
    module = import_module(COMMANDS[name][0])
    parser = Parser(f"rstaudit {name}", "", module.EXAMPLES)
    module.add_arguments(parser)
    parser.parse(arguments)
    assert line in parser.format_help()
