"""From a clone to findings on a machine where nothing was installed by hand."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.machine import DEBIAN, OVERLAY, Machine, in_machine, machine

#: Tests that make machines or clones themselves have no place inside such a machine, and a user
#: namespace cannot be made inside a chroot (kernel/user_namespace.c, create_user_ns).
NOT_NESTED = (
    "--ignore tests/test_clean_machine.py --ignore tests/test_readme.py "
    "--deselect tests/test_rough_live.py::test_a_user_namespace_of_an_ordinary_user"
)


def audits(here: Machine, user: str) -> None:
    """`make audit` and again `make audit`, by this user, print an audit of this host."""
    folder = here.clone(user)
    first = here.run("make audit", user, folder)
    assert first.returncode == 0, first.stderr
    assert "rstaudit: setting up .venv" in first.stderr
    assert "standard library alone" not in first.stderr
    assert "rules: " in first.stdout
    second = here.run("make audit ARGS='--format json --interval 0'", user, folder)
    assert second.returncode == 0, second.stderr
    assert second.stderr == ""
    assert '"schema": "rstaudit/audit/1"' in second.stdout


def test_a_script_for_a_machine_never_reaches_the_host(tmp_path: Path) -> None:
    """A process of the host is refused as a machine, and a root without the mark runs nothing."""
    with pytest.raises(AssertionError, match="the host itself"):
        Machine(os.getpid(), tmp_path)
    done = subprocess.run(
        in_machine("touch reached"), cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 99
    assert list(tmp_path.iterdir()) == []


@pytest.mark.live
@pytest.mark.parametrize("user", ["newcomer", "root"])
def test_a_debian_without_venv_and_pip(user: str, tmp_path: Path) -> None:
    """`make audit` gets what it needs by itself: as root from the system, else privately."""
    with machine(OVERLAY, tmp_path) as here:
        assert here.run("python3 -m pip --version").returncode != 0
        assert here.run("python3 -m venv /tmp/venv").returncode != 0
        python = here.run("dpkg-query -W 'python3*-minimal'").stdout
        audits(here, user)
        assert here.run("dpkg-query -W 'python3*-minimal'").stdout == python


@pytest.mark.live
def test_a_debian_without_venv_pip_and_package_lists(tmp_path: Path) -> None:
    """Images are shipped without apt's lists; then a user's run fetches its own."""
    with machine(OVERLAY, tmp_path) as here:
        here.run("rm -rf /var/lib/apt/lists")
        audits(here, "newcomer")
        assert here.run("ls /var/lib/apt/lists").stdout == ""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_new_debian(tmp_path: Path) -> None:
    """Installed from the archive with git, make and python3: audits as a user, and all tests."""
    with machine(DEBIAN, tmp_path, prepare="useradd --create-home newcomer") as here:
        audits(here, "newcomer")
        audits(here, "root")
        tests = here.run(f"make test ARGS='{NOT_NESTED}'", cwd="/root/rstaudit", timeout=1500)
        assert tests.returncode == 0, tests.stdout[-4000:] + tests.stderr[-2000:]
