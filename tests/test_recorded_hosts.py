"""Audits of made trees of five kernels: nothing in them changes unseen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hosts.make import COMMAND, HERE, PROFILES, audit, files_of, golden, on_disk, table, write
from hosts.stories import STORIES
from rstaudit.catalogue.load import profiles, settings
from rstaudit.catalogue.tune import recommend
from rstaudit.model.rule import Outcome, Result, Severity
from support.cli import rstaudit
from support.hosts import check_numbers

RECYCLE = "net.ipv4.tcp_tw_recycle"
LATER = [name for name in STORIES if name != "rhel7-3.10"]


def result_of(root: Path, rule: str, profile: str = "default") -> Result:
    """What one rule says of the tree at ``root``."""
    (found,) = [result for result in audit(root, profile)[1] if result.rule == rule]
    return found


@pytest.mark.parametrize("name", STORIES)
def test_the_trees_are_what_the_tables_say(name: str, tmp_path: Path) -> None:
    """A tree edited by hand, or a table edited without it, fails here."""
    written = {path: text for path, (text, _) in files_of(name).items()}
    assert on_disk(name) == written, f"stale: run {COMMAND}"
    write(name, tmp_path)
    assert (tmp_path / "proc/net/tcp").read_text() == written["/proc/net/tcp"]


@pytest.mark.parametrize("name", STORIES)
def test_every_value_has_a_source(name: str) -> None:
    """Every file but the two that tell of it has a row; nothing stands without its source."""
    head, *lines = (HERE / name / "sources.tsv").read_text().splitlines()
    assert head.split("\t") == ["file", "value", "source"]
    rows = [line.split("\t") for line in lines]
    assert all(len(row) == 3 and row[2].strip() for row in rows)
    sourced = {row[0] for row in rows}
    counters = {"/proc/net/snmp", "/proc/net/netstat", "/proc/net/sockstat"}
    assert on_disk(name).keys() - sourced == {"/sources.tsv", "/ORIGIN.md"} | counters
    assert "made, not copied" in (HERE / name / "ORIGIN.md").read_text()


@pytest.mark.parametrize("file", ["values.tsv", "counters.tsv"])
def test_the_tables_have_a_cell_for_every_host(file: str) -> None:
    """``-`` stands for what nobody looked up; an empty cell is an empty value."""
    for key, row in table(file).items():
        assert row.keys() == {*STORIES, "source"}, key
        assert row["source"], key


@pytest.mark.parametrize("name", STORIES)
def test_the_tables_agree_with_the_catalogue(name: str) -> None:
    """A default in a tree is the catalogue's, and no tree has a key its kernel cannot have."""
    host, _ = audit(HERE / name, "default")
    for key, value in host.sysctls.items():
        setting = settings().get(key)
        if setting is None or key in STORIES[name].running:
            continue
        assert setting.exists(host.kernel) is not False, key
        default = setting.default(host.kernel)
        assert default is None or default.split() == value.split(), key


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", STORIES)
def test_the_audit_says_what_it_said(name: str, profile: str) -> None:
    """Outcome, severity and first message of every rule; regenerate them only on purpose."""
    expected = json.loads((HERE / name / f"expected.{profile}.json").read_text())
    found = golden(HERE / name, profile)
    differs = {rule for rule in expected | found if expected.get(rule) != found.get(rule)}
    assert not differs, f"if this is meant: {COMMAND} --golden"


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", STORIES)
def test_no_rule_breaks_and_every_number_is_evidence(name: str, profile: str) -> None:
    """Old kernels lack much; no rule may crash on that."""
    for result in audit(HERE / name, profile)[1]:
        assert result.outcome is not Outcome.ERROR, result
        for finding in result.findings:
            check_numbers(finding)


def test_tw_recycle_is_an_error_where_the_kernel_has_it() -> None:
    """RHEL 7: the file and line that switch it on are named."""
    found = result_of(HERE / "rhel7-3.10", "RST603")
    assert (found.outcome, found.severity) == (Outcome.FAIL, Severity.ERROR)
    assert "/etc/sysctl.d/90-tuning.conf:2 sets 1" in found.findings[0].message
    assert found.findings[0].fix == f"sysctl -w {RECYCLE}=0"


@pytest.mark.parametrize("name", LATER)
def test_tw_recycle_is_a_stale_line_from_4_12_on(name: str, tmp_path: Path) -> None:
    """The same line does nothing there but fail: information."""
    root = tmp_path / name
    shutil.copytree(HERE / name, root, symlinks=True)
    (root / "etc/sysctl.d/90-old.conf").write_text(f"{RECYCLE} = 1\n")
    found = result_of(root, "RST603")
    assert (found.outcome, found.severity) == (Outcome.FAIL, Severity.INFO)
    assert found.findings[0].fix == "remove /etc/sysctl.d/90-old.conf:1"


@pytest.mark.parametrize("name", STORIES)
def test_somaxconn_of_old_kernels_is_low(name: str) -> None:
    """128 before 5.4: information by default, a warning for a web server; 4096 passes."""
    low = name in ("rhel7-3.10", "rhel8-4.18")
    for profile, severity in (("default", Severity.INFO), ("web", Severity.WARNING)):
        found = result_of(HERE / name, "RST203", profile)
        assert found.outcome is (Outcome.FAIL if low else Outcome.PASS)
        assert not low or found.severity is severity


def test_migrate_req_is_asked_for_only_where_it_exists() -> None:
    """Not before 5.14, so the profile `web` has nothing to judge there."""
    for name in STORIES:
        expected = Outcome.NOT_APPLICABLE if name in ("rhel7-3.10", "rhel8-4.18") else Outcome.FAIL
        assert result_of(HERE / name, "RST211", "web").outcome is expected, name


def test_owners_come_from_the_recorded_descriptors() -> None:
    """The leak of CLOSE_WAIT is the Java process's, with its user by /etc/passwd."""
    (finding,) = result_of(HERE / "rhel7-3.10", "RST301").findings
    assert finding.message.startswith("java (pid 2101, user app) holds 12 in CLOSE_WAIT")
    (unread,) = result_of(HERE / "rhel7-3.10", "RST302").findings
    assert unread.evidence["unread_bytes"] == 1024


def test_what_was_left_out_is_unknown() -> None:
    """No source for the old tcp_mem and file table, so nobody says that they are fine."""
    for name in STORIES:
        for rule in ("RST702", "RST705"):
            known = name == "recorded-6.18"
            expected = Outcome.PASS if known else Outcome.UNKNOWN
            assert result_of(HERE / name, rule).outcome is expected, (name, rule)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", STORIES)
def test_tune_recommends_only_keys_of_that_kernel(name: str, profile: str) -> None:
    """What `tune` would write has a file in the tree, and the kernel has the key."""
    host, _ = audit(HERE / name, profile)
    chosen = profiles()[profile]
    found = recommend(host.kernel, host.sysctls, chosen, settings(), initial=host.initial)
    for entry in found:
        assert entry.key in host.sysctls, entry
        assert settings()[entry.key].exists(host.kernel) is True, entry
    assert RECYCLE not in {entry.key for entry in found}


def test_the_command_line_audits_a_tree() -> None:
    """As a user would type it; the error of RHEL 7 makes the exit status 1."""
    done = rstaudit("--root", str(HERE / "rhel7-3.10"), "--format", "json")
    assert done.returncode == 1, done.stderr
    (host,) = json.loads(done.stdout)["hosts"]
    assert (host["host"], host["kernel"]) == ("rhel7-3.10", "3.10.0-1160.el7.x86_64")
    said = {entry["rule"]: entry["outcome"] for entry in host["results"]}
    expected = json.loads((HERE / "rhel7-3.10/expected.default.json").read_text())
    assert said == {rule: entry[0] for rule, entry in expected.items()}
