"""Generated files are what their sources say, and sources with mistakes are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rstaudit
from rstaudit.export import catalogue, sources
from rstaudit.export.rendered import MEND, stale
from rstaudit.export.sources import SourceError

PACKAGE = Path(rstaudit.__file__).parent


def test_no_generated_file_is_stale() -> None:
    """Run the command of the message after a change of a source."""
    assert not stale(), f"generated files are stale; run: {MEND}"


def copy(tmp_path: Path) -> Path:
    """The package in a place where it may be changed."""
    shutil.copytree(PACKAGE, tmp_path / "rstaudit", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "rstaudit"


def export(package: Path, option: str) -> subprocess.CompletedProcess[str]:
    """``python -m rstaudit.export`` of that package."""
    path = os.pathsep.join([str(package.parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", "rstaudit.export", option],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        cwd=package.parent,
    )


def test_check_finds_what_write_mends(tmp_path: Path) -> None:
    """A changed source: check exits 1 and names the command; write mends it; check is content."""
    package = copy(tmp_path)
    source = package / "catalogue" / "data" / "devices.yaml"
    source.write_text(source.read_text().replace("idle_seconds: 350", "idle_seconds: 351", 1))
    check = export(package, "--check")
    assert check.returncode == 1
    assert "catalogue.json" in check.stdout
    assert check.stdout.endswith(f"run: {MEND}\n")
    assert export(package, "--write").returncode == 0
    assert export(package, "--check").returncode == 0
    made = json.loads((package / "catalogue" / "catalogue.json").read_text())
    assert 351 in [device["idle_seconds"] for device in made["devices"]]


def test_a_missing_file_is_stale_and_written(tmp_path: Path) -> None:
    """The generated file may be deleted; it comes back."""
    package = copy(tmp_path)
    (package / "catalogue" / "catalogue.json").unlink()
    assert export(package, "--check").returncode == 1
    assert "written" in export(package, "--write").stdout


def test_pages_of_a_clone_are_checked_and_written(tmp_path: Path) -> None:
    """A change of the catalogue makes the pages stale that show it, and no other."""
    package = copy(tmp_path / "audit")
    (tmp_path / "pyproject.toml").touch()
    made = set(export(package, "--write").stdout.split())
    assert str(tmp_path / "docs" / "catalogue" / "causes.md") in made
    assert export(package, "--check").returncode == 0
    source = package / "catalogue" / "data" / "causes.yaml"
    source.write_text(source.read_text().replace("Nothing listens on that", "No listener on the"))
    assert export(package, "--check").returncode == 1
    written = export(package, "--write").stdout.splitlines()
    assert [Path(line.split()[1]).name for line in written] == ["catalogue.json", "causes.md"]
    assert export(package, "--check").returncode == 0
    page = (tmp_path / "docs" / "catalogue" / "causes.md").read_text()
    assert "closed-port: No listener on the port" in page
    (tmp_path / "docs" / "catalogue" / "rules.md").write_text("edited by hand")
    check = export(package, "--check")
    assert check.returncode == 1
    assert [Path(line.split()[1]).name for line in check.stdout.splitlines()[:-1]] == ["rules.md"]


def test_a_wrong_source_is_one_line(tmp_path: Path) -> None:
    """Exit 2, file and place on stderr, nothing written."""
    package = copy(tmp_path)
    (package / "catalogue" / "data" / "devices.yaml").write_text("- name: [")
    done = export(package, "--write")
    assert done.returncode == 2
    assert done.stderr.startswith("devices.yaml: ")
    assert done.stderr.count("\n") == 1


SETTING = """\
- key: net.ipv4.tcp_x
  title: t
  unit: u
  meaning: m
  defaults: "1"
  references: [r]
  verified: v
"""
RULE = """\
- {id: RST999, slug: x, title: t, keys: [net.ipv4.tcp_x], why: w, confirm: c, leave_alone: l,
   references: [r]}
"""
PROFILE = """\
- name: default
  title: t
  settings:
    net.ipv4.tcp_x:
      checks: [{exactly: 1, severity: info}]
      recommend: "1"
      why: w
"""
DEVICE = "- {name: n, idle_seconds: 60, at_expiry: a, source: s}\n"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources that are as small as can be, and right."""
    monkeypatch.setattr(sources, "DATA", tmp_path)
    for name, text in (
        ("settings", SETTING), ("value_rules", RULE), ("profiles", PROFILE), ("devices", DEVICE),
        ("causes", "[]"), ("errors", "[]"), ("myths", "[]"),
    ):  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def test_the_smallest_sources_render(data: Path) -> None:
    """Sorted, one file, everything in its part; an empty field is left out."""
    assert data.is_dir()
    (text,) = catalogue.render().values()
    made = json.loads(text)
    assert list(made) == sorted(made)
    assert made["settings"][0]["defaults"] == [{"value": "1"}]
    assert "pitfalls" not in made["settings"][0]


@pytest.mark.parametrize(
    ("name", "before", "after", "message"),
    [
        ("settings", "title: t", "titel: t", "settings.yaml, net.ipv4.tcp_x: unknown field titel"),
        ("settings", "  unit: u\n", "", "net.ipv4.tcp_x: field unit is missing"),
        ("settings", "title: t", "title: ''", "title: '' is not a sentence"),
        ("settings", "title: t", "title: t\u00fc", "title: 't\u00fc' holds characters outside"),
        ("settings", "[r]", "[]", "references: must be a list of sentences"),
        ("settings", '"1"', "1", "defaults: must be a string or a list"),
        ("settings", '"1"', "[{value: 1}]", "defaults: default: value: 1: write the value in quo"),
        ("settings", '"1"', '[{value: "1", since: 4.10}]', "since: 4.1 is not a kernel version"),
        ("settings", "unit: u", "added: 4.10\n  unit: u", "added: 4.1 is not a kernel version"),
        ("settings", "unit: u", 'netns: "4.9..4.4"\n  unit: u', "netns: '4.9..4.4': the first"),
        ("settings", "unit: u", "valid: [2, 1]\n  unit: u", "valid: [2, 1] is not a lowest and"),
        ("settings", "unit: u", "follows: [[net.a, 2]]\n  unit: u", "not in settings.yaml: net.a"),
        ("settings", "unit: u", 'always_netns: true\n  netns: "4.4"\n  unit: u', "exclude each"),
        ("settings", "unit: u", "mainline: 1\n  unit: u", "mainline: 1 is not true or false"),
        ("settings", "net.ipv4.tcp_x", "tcp_x", "key: 'tcp_x' is not a sysctl name"),
        ("settings", "unit: u", "unit: u\n  unit: u", "settings.yaml: line 1: twice: unit"),
        ("settings", SETTING, SETTING * 2, "settings.yaml: twice: net.ipv4.tcp_x"),
        ("settings", SETTING, "3", "settings.yaml: must be a list of entries"),
        ("value_rules", "tcp_x]", "tcp_y]", "RST999: not in settings.yaml: net.ipv4.tcp_y"),
        ("value_rules", "RST999", "RST1", "id: 'RST1' does not look like RST105"),
        ("value_rules", "slug: x", "slug: X_Y", "slug: 'X_Y' does not look like"),
        ("profiles", "net.ipv4.tcp_x", "net.ipv4.tcp_y", "default: not in settings.yaml: net.ipv4"),
        ("profiles", "exactly", "equals", "checks: unknown operator 'equals'"),
        ("profiles", "info", "bad", "checks: unknown severity 'bad'"),
        ("profiles", ", severity: info", "", "a check has one operator and a severity"),
        ("profiles", "exactly: 1", "exactly: yes", "'True' is a yes or no"),
        ("profiles", "exactly: 1", "exactly: 2", "recommends what its own checks refuse"),
        ("profiles", "      why: w\n", "", "net.ipv4.tcp_x: field why is missing"),
        ("profiles", "title: t", "title: t\n  extends: wbe", "extends wbe, which is not above it"),
        ("devices", "60", "0", "idle_seconds: 0 is not a whole number above 0"),
        ("devices", DEVICE, DEVICE * 2, "devices.yaml: twice: n"),
        ("causes", "[]", "[{id: a}, {id: a}]", "causes.yaml: twice: a"),
    ],
)
def test_a_mistake_in_a_source_is_named(
    data: Path, name: str, before: str, after: str, message: str
) -> None:
    """Unknown, missing, dangling or double: file, entry and field are in the message."""
    path = data / f"{name}.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(SourceError) as caught:
        catalogue.render()
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{name}.yaml")
