"""Untouched hosts: no error, no warning, and docs/quiet.md says what is printed and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rstaudit.catalogue.load import devices, profiles, settings
from rstaudit.model.facts import HostState
from rstaudit.model.rule import Outcome, Result, Severity
from rstaudit.rules.context import Context
from rstaudit.rules.engine import run
from rstaudit.rules.registry import rules
from support.cli import rstaudit
from support.hosts import check_numbers
from support.stock import STOCK, Distribution, stock_host

PAGE = Path(__file__).parent.parent / "docs" / "quiet.md"

#: Buckets of the connection table with 1, 4 and 32 GiB of memory.
BUCKETS = (8192, 32768, 262144)
BY_NAME = {stock.name: stock for stock in STOCK}


def results_of(host: HostState, profile: str = "default") -> list[Result]:
    """Every rule, as the command line would run it."""
    context = Context(host, profiles()[profile], dict(settings()), None, tuple(devices()))
    return [run(rule, context) for rule in rules()]


def failed(host: HostState, profile: str = "default") -> dict[str, Severity]:
    """The rules that fire, with their severity; nothing may crash or lack evidence."""
    found = {}
    for result in results_of(host, profile):
        assert result.outcome is not Outcome.ERROR, result
        if result.outcome is Outcome.FAIL:
            found[result.rule] = result.severity
        for finding in result.findings:
            check_numbers(finding)
    return found


@pytest.mark.parametrize("buckets", BUCKETS)
@pytest.mark.parametrize("stock", STOCK, ids=[stock.name for stock in STOCK])
def test_an_untouched_host_has_no_error_and_no_warning(
    stock: Distribution, buckets: int, tmp_path: Path
) -> None:
    """Three warnings would be allowed; there are none, whatever the memory."""
    found = failed(stock_host(stock, tmp_path, buckets))
    assert not {rule for rule, severity in found.items() if severity > Severity.INFO}


@pytest.mark.parametrize("stock", STOCK, ids=[stock.name for stock in STOCK])
def test_little_is_unknown_on_an_untouched_host(stock: Distribution, tmp_path: Path) -> None:
    """Quiet because things were looked at, not because they could not be."""
    unknown = {r.rule for r in results_of(stock_host(stock, tmp_path))
               if r.outcome is Outcome.UNKNOWN}  # fmt: skip
    assert unknown <= {"RST507"}, unknown


def test_the_page_says_what_is_printed(tmp_path: Path) -> None:
    """Its table has a row for each distribution, with the rules that fire."""
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    for stock in STOCK:
        found = failed(stock_host(stock, tmp_path / stock.name))
        row = f"| {stock.name} | {stock.release} | 0 | 0 | {', '.join(sorted(found))} |"
        assert row in table


def test_every_rule_on_the_page_is_defended(tmp_path: Path) -> None:
    """Each has a heading of its own, and nothing is defended that no distribution prints."""
    heads = {line.removeprefix("## ").split()[0] for line in PAGE.read_text().splitlines()
             if line.startswith("## RST")}  # fmt: skip
    printed = {rule for stock in STOCK for rule in failed(stock_host(stock, tmp_path / stock.name))}
    assert heads == printed


@pytest.mark.parametrize("stock", STOCK, ids=[stock.name for stock in STOCK])
def test_a_line_of_an_old_article_is_not_quiet(stock: Distribution, tmp_path: Path) -> None:
    """The same hosts, each with one bad setting: the audit is quiet, not blind."""
    bad = {
        "net.ipv4.tcp_max_tw_buckets": ("5000", "RST105", Severity.ERROR),
        "net.ipv4.tcp_syncookies": ("0", "RST206", Severity.ERROR),
        "net.ipv4.tcp_fin_timeout": ("10", "RST307", Severity.WARNING),
        "net.ipv4.tcp_timestamps": ("0", "RST110", Severity.WARNING),
    }
    host = stock_host(stock, tmp_path)
    for key, (value, rule, severity) in bad.items():
        found = failed(host._replace(sysctls={**host.sysctls, key: value}))
        assert found[rule] is severity, key


def test_sshd_on_rhel_8_is_not_on_an_old_limit(tmp_path: Path) -> None:
    """It asks for 128 by itself; rpcbind, built with the old constant, is only information."""
    (result,) = [r for r in results_of(stock_host(BY_NAME["RHEL 8"], tmp_path))
                 if r.rule == "RST202"]  # fmt: skip
    assert [finding.evidence["comm"] for finding in result.findings] == ["rpcbind"]
    assert result.severity is Severity.INFO


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_this_kernel_in_a_fresh_namespace_is_quiet() -> None:
    """A live audit of untouched values: nothing at all fires.

    RST701 judges the processes of the whole machine, those of other tests among them.
    """
    done = rstaudit("--skip", "RST701", "--interval", "0.1", "--format", "json")
    assert done.returncode == 0, done.stderr + done.stdout
    (host,) = json.loads(done.stdout)["hosts"]
    assert [r["rule"] for r in host["results"] if r["outcome"] in ("fail", "error")] == []
