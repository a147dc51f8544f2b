"""`.ci/setup`: what it finds, what it makes, and what it says when it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rstaudit import __version__
from support.checkout import copy_project, environment, run

SETUP = ".ci/setup"
VERSION = f"rstaudit {__version__}\n"

#: The interpreters of this machine that are too old, and one that only says it is.
TOO_OLD = sorted(
    path
    for pattern in (".pyenv/versions/3.[6-9].*/bin/python3", ".pyenv/versions/3.10.*/bin/python3")
    for path in Path.home().glob(pattern)
)

#: Directories that hold no interpreter but the system's own, which every user may run.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clean copy of the project."""
    return copy_project(tmp_path / "rstaudit")


@pytest.fixture
def shared_project() -> Iterator[Path]:
    """A clean copy that every user may read, owned by root."""
    with tempfile.TemporaryDirectory(prefix="rstaudit-test-") as folder:
        Path(folder).chmod(0o755)
        yield copy_project(Path(folder) / "rstaudit")


def setting_up(stderr: str) -> bool:
    """Whether this run installed something."""
    return "setting up" in stderr


def make_fake_python(folder: Path) -> Path:
    """An interpreter that answers as Python 3.9.2 does."""
    fake = folder / "python3"
    fake.write_text("#!/bin/sh\necho 3.9.2 /usr/bin/python3\nexit 3\n")
    fake.chmod(0o755)
    return fake


@pytest.mark.parametrize("python", [None, *TOO_OLD], ids=str)
def test_an_older_python_gets_one_line(python: Path | None, project: Path) -> None:
    """The line names what was found and where, and what to do; nothing is made."""
    python = python or make_fake_python(project.parent)
    answer = run("make", "audit", f"PYTHON={python}", cwd=project)
    line, *rest = answer.stderr.splitlines()
    assert line.startswith("rstaudit needs Python 3.11 or newer; found 3.")
    assert "python3: install one, or name one: make audit PYTHON=" in line
    assert answer.returncode == 2
    assert [left for left in rest if not left.startswith("make")] == []
    assert answer.stdout == ""
    assert not (project / ".venv").exists()


def test_a_machine_without_python_gets_one_line(project: Path) -> None:
    """No interpreter on PATH is said as plainly as an old one."""
    tools = project.parent / "bin"
    tools.mkdir()
    for tool in ("dirname", "cat", "cksum", "sed"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    answer = run("/bin/sh", SETUP, "audit", cwd=project, env=environment(PATH=str(tools)))
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "found nothing called python3" in answer.stderr


def test_set_up_happens_once_and_again_when_something_changed(project: Path) -> None:
    """A second run installs nothing; a changed pyproject.toml or a moved project installs again."""
    first = run(SETUP, "audit", "--version", cwd=project)
    assert (first.stdout, setting_up(first.stderr)) == (VERSION, True)
    again = run(SETUP, "audit", "--version", cwd=project)
    assert (again.stdout, again.stderr) == (VERSION, "")

    with (project / "pyproject.toml").open("a") as file:
        file.write("\n# a change\n")
    changed = run(SETUP, "audit", "--version", cwd=project)
    assert (changed.stdout, setting_up(changed.stderr)) == (VERSION, True)

    moved = project.rename(project.parent / "elsewhere")
    answer = run(SETUP, "audit", "--version", cwd=moved)
    assert (answer.stdout, setting_up(answer.stderr)) == (VERSION, True)
    assert str(project) not in (moved / ".venv" / "bin" / "rstaudit").read_text()


def test_an_interrupted_set_up_does_not_look_whole(project: Path) -> None:
    """Killed between making the environment and filling it, the next run starts over."""
    victim = subprocess.Popen(
        [SETUP, "audit", "--version"],
        cwd=project,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (project / ".venv" / "bin" / "python").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    assert (project / ".venv" / "bin" / "python").exists()
    assert not list((project / ".venv").glob("stamp.*"))
    answer = run(SETUP, "audit", "--version", cwd=project)
    assert (answer.stdout, setting_up(answer.stderr)) == (VERSION, True)


def test_two_set_ups_at_once_take_turns(project: Path) -> None:
    """Both run; one of them installs, the other waits for it."""
    both = [
        subprocess.Popen(
            [SETUP, "audit", "--version"],
            cwd=project,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120) for process in both]
    assert [out for out, _ in answers] == [VERSION, VERSION]
    assert sorted(setting_up(err) for _, err in answers) == [False, True]


def test_findings_are_no_error_of_make_but_bad_usage_is(project: Path) -> None:
    """`make audit` succeeds with findings (status 1) and fails with status 2 on a bad option."""
    (project / "host/proc/sys/net/ipv4").mkdir(parents=True)
    (project / "host/proc/sys/net/ipv4/tcp_syncookies").write_text("0\n")
    (project / "host/proc/sys/kernel").mkdir()
    (project / "host/proc/sys/kernel/osrelease").write_text("6.1.0\n")
    found = run("make", "audit", "ARGS=--root host", cwd=project)
    assert found.returncode == 0, found.stderr
    assert "RST206" in found.stdout
    assert run(SETUP, "audit", "--root", "host", cwd=project).returncode == 1
    bad = run("make", "audit", "ARGS=--profile nonsense", cwd=project)
    assert bad.returncode == 2
    assert bad.stderr.startswith("rstaudit: unknown profile")


@pytest.mark.live
def test_without_a_network_the_audit_runs_from_the_source_tree(project: Path) -> None:
    """One line says so, on this run and the next, which does not wait; the tests do not run."""
    offline = ("unshare", "--net", "--", SETUP)
    env = environment(PATH=SYSTEM_PATH, PIP_CONFIG_FILE=os.devnull)
    first = run(*offline, "audit", "--version", cwd=project, env=env)
    assert first.stdout == VERSION
    assert first.stderr.count("\n") == 2
    assert "using the standard library alone" in first.stderr.splitlines()[1]
    started = time.monotonic()
    again = run(*offline, "audit", "--version", cwd=project, env=env)
    assert time.monotonic() - started < 2
    assert (again.stdout, again.stderr) == (VERSION, first.stderr.splitlines(True)[1])
    tests = run(*offline, "dev", "pytest", cwd=project, env=env)
    assert tests.returncode == 2
    assert "the tools for development could not be installed" in tests.stderr.splitlines()[-1]


@pytest.mark.live
@pytest.mark.parametrize("home", [True, False], ids=["with a home", "without a home"])
def test_a_folder_that_may_not_be_written(home: bool, shared_project: Path) -> None:
    """The environment goes to the user's cache; where there is none, the source tree serves."""
    cache = shared_project.parent / "cache"
    cache.mkdir()
    os.chown(cache, 65534, 65534)
    before = sorted(path.name for path in shared_project.iterdir())
    place = {"XDG_CACHE_HOME": str(cache)} if home else {"HOME": "/nonexistent"}
    answer = run(
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"),
        *(SETUP, "audit", "--version"),
        cwd=shared_project,
        env=environment(PATH=SYSTEM_PATH, **place),
    )
    assert answer.stdout == VERSION, answer.stderr
    assert ("using the standard library alone" in answer.stderr) is not home
    assert sorted(path.name for path in shared_project.iterdir()) == before
    assert bool(list(cache.glob("rstaudit/*/stamp.audit"))) is home


@pytest.mark.live
def test_in_ci_the_tests_refuse_to_run_without_root(shared_project: Path) -> None:
    """A run that silently leaves out the live tests would be green for nothing."""
    answer = run(
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", "make", "test"),
        cwd=shared_project,
        env=environment(PATH=SYSTEM_PATH, CI="true"),
    )
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[0] == (
        "rstaudit: the live tests need root, and CI must run them"
    )
