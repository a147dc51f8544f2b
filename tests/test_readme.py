"""What the README says is true: its commands run, its transcript is what the tool prints."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from rstaudit.cli.main import COMMANDS
from support import example_capture
from support.checkout import PROJECT, copy_project, run
from support.transcript import BLOCK, findings, record

README = (PROJECT / "README.md").read_text()
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md")


def shell_commands(text: str) -> list[str]:
    """Every command of the page's `sh` blocks, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines() if line]


@pytest.mark.live
def test_every_command_of_the_readme_runs_in_a_clean_clone(tmp_path: Path) -> None:
    """In the order of the page; `make test` and `make lint`, which run us, are only planned."""
    clone = copy_project(tmp_path / "rstaudit")
    commands = shell_commands(README)
    assert commands[:2] == ["make audit", 'make audit ARGS="--profile web"']
    for command in commands:
        planned = command.startswith(("make test", "make lint"))
        answer = run(
            "sh", "-c", command.replace("make", "make -n") if planned else command, cwd=clone
        )
        # findings give status 1 where the tool itself is called
        allowed = (0, 1) if command.startswith(".venv/bin/rstaudit ") else (0,)
        assert answer.returncode in allowed, f"{command}: {answer.stderr}"
        assert "rror" not in answer.stderr, f"{command}: {answer.stderr}"
        assert answer.stdout or "--quiet" in command or "-o" in command, command
    assert (clone / "report.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.live
def test_the_transcript_is_what_the_tool_prints() -> None:
    """Made again amid the same trouble, each finding differs in numbers and paths only."""
    written = BLOCK.search(README)
    assert written is not None
    now = findings(record())
    assert [finding for finding in findings(written.group()) if finding not in now] == [], (
        "run as root: .ci/setup dev python tests/support/transcript.py"
    )


def test_the_example_is_what_its_script_makes() -> None:
    """The capture that readers try; `python tests/support/example_capture.py` renews it."""
    assert (PROJECT / "docs/example.pcap").read_bytes() == example_capture.capture()


def test_the_readme_lists_the_commands_there_are() -> None:
    """No command is missing from the table, and none is promised."""
    listed = set(re.findall(r"^\| `rstaudit ?(\w*)", README, re.MULTILINE))
    assert listed - {""} == set(COMMANDS) - {"audit"}


def test_the_readme_names_only_options_that_exist() -> None:
    """Each `--option` that stands in the README is known to the help of some command."""
    rstaudit = (sys.executable, "-m", "rstaudit")
    here = {**os.environ, "PYTHONPATH": "audit"}
    helps = "".join(
        run(*rstaudit, command, "--help", cwd=PROJECT, env=here).stdout for command in COMMANDS
    )
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)):
        assert re.search(rf"{option}(?![a-z-])", helps), option


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    """Every relative link of the page names a file or folder that exists."""
    text = (PROJECT / page).read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (PROJECT / page).parent.joinpath(link).exists()] == []


def test_make_help_lists_every_target() -> None:
    """A target without a line of help would not be found."""
    makefile = (PROJECT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    shown = [line.split()[0] for line in run("make", "help", cwd=PROJECT).stdout.splitlines()]
    assert shown == phony.group(1).split()
