"""Rules about connection tracking and the firewall."""

from __future__ import annotations

import os
import subprocess

import pytest

from rstaudit.collect.firewall import collect_firewall
from rstaudit.collect.modules import module_state
from rstaudit.collect.sysctls import collect_sysctls
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap, HostState
from rstaudit.model.names import FIREWALL, Firewall, RejectRule
from rstaudit.model.rule import Outcome, Severity
from rstaudit.rules.conntrack import RULES
from support.hosts import judge, make_host
from support.netns import connected, listener, network_namespace, write_sysctl

PREFIX = "net.netfilter.nf_conntrack_"
DEFAULTS: dict[str, object] = {
    f"{PREFIX}count": 0,
    f"{PREFIX}max": 65536,
    f"{PREFIX}tcp_timeout_established": 432000,
    f"{PREFIX}tcp_timeout_close_wait": 60,
    f"{PREFIX}tcp_be_liberal": 0,
    f"{PREFIX}tcp_loose": 1,
    "net.ipv4.tcp_keepalive_time": 7200,
}
PLAIN = Firewall((), (), False, False)
NAT = Firewall(("nft",), (), True, False)


def host(firewall: Firewall | None = NAT, **changes: int) -> HostState:
    """A host with the kernel's defaults, except for ``changes`` (without the common prefix)."""
    values = {**DEFAULTS, **{PREFIX + name: value for name, value in changes.items()}}
    facts = {} if firewall is None else {FIREWALL: firewall}
    return make_host(sysctls=values, facts=facts)


@pytest.mark.parametrize(
    ("count", "severity"),
    [(80, None), (81, Severity.WARNING), (95, Severity.WARNING), (96, Severity.ERROR)],
)
def test_table_nearly_full(count: int, severity: Severity | None) -> None:
    """Above 80 percent a warning, above 95 an error."""
    result = judge(RULES, "RST501", host(count=count, max=100))
    if severity is None:
        assert result.outcome is Outcome.PASS
    else:
        assert (result.outcome, result.severity) == (Outcome.FAIL, severity)
        assert result.findings[0].fix == f"sysctl -w {PREFIX}max=200"


def test_a_table_without_a_limit() -> None:
    """Zero means unlimited."""
    assert judge(RULES, "RST501", host(count=5, max=0)).outcome is Outcome.NOT_APPLICABLE


def test_in_a_namespace_the_limit_is_raised_on_the_host() -> None:
    """The key cannot be written there, so no command is offered."""
    values = {f"{PREFIX}count": 99, f"{PREFIX}max": 100}
    result = judge(RULES, "RST501", make_host(sysctls=values, initial=False))
    assert "initial network namespace" in result.findings[0].fix


@pytest.mark.parametrize("rule", [f"RST50{number}" for number in range(1, 6)])
def test_without_conntrack_there_is_nothing_to_judge(rule: str) -> None:
    """Not even the firewall has to be known."""
    names = [name for name in DEFAULTS if name.startswith(PREFIX)]
    gaps = [Gap(f"sysctl:{name}", "absent", "connection tracking is not loaded") for name in names]
    bare = make_host(sysctls={"net.ipv4.tcp_keepalive_time": 7200}, gaps=gaps)
    assert judge(RULES, rule, bare).outcome is Outcome.NOT_APPLICABLE


def test_established_timeout_below_keepalive() -> None:
    """An error where something is tracked; silent with the default, or where nothing is."""
    short = 3600
    result = judge(RULES, "RST502", host(PLAIN, count=1, tcp_timeout_established=short))
    assert (result.outcome, result.severity) == (Outcome.FAIL, Severity.ERROR)
    assert result.findings[0].fix == f"sysctl -w {PREFIX}tcp_timeout_established=432000"
    assert judge(RULES, "RST502", host(NAT, tcp_timeout_established=7200)).findings
    idle = judge(RULES, "RST502", host(PLAIN, tcp_timeout_established=short))
    assert idle.outcome is Outcome.NOT_APPLICABLE
    assert judge(RULES, "RST502", host(PLAIN, count=1)).outcome is Outcome.PASS


def test_close_wait() -> None:
    """The kernel's 60 seconds are a warning on a translating host, less than an hour is known."""
    assert judge(RULES, "RST503", host()).severity is Severity.WARNING
    assert judge(RULES, "RST503", host(tcp_timeout_close_wait=600)).severity is Severity.INFO
    assert judge(RULES, "RST503", host(tcp_timeout_close_wait=3600)).outcome is Outcome.PASS
    assert judge(RULES, "RST503", host(PLAIN)).outcome is Outcome.NOT_APPLICABLE


def test_invalid_packets() -> None:
    """Either remedy silences it: be_liberal, or a rule that drops them."""
    assert judge(RULES, "RST504", host()).outcome is Outcome.FAIL
    assert judge(RULES, "RST504", host(tcp_be_liberal=1)).outcome is Outcome.PASS
    dropping = NAT._replace(drops_invalid=True)
    assert judge(RULES, "RST504", host(dropping)).outcome is Outcome.PASS
    assert judge(RULES, "RST504", host(PLAIN)).outcome is Outcome.NOT_APPLICABLE


def test_loose() -> None:
    """Refusing to pick connections up is a warning on a translating host only."""
    assert judge(RULES, "RST505", host(tcp_loose=0)).outcome is Outcome.FAIL
    assert judge(RULES, "RST505", host()).outcome is Outcome.PASS
    assert judge(RULES, "RST505", host(PLAIN, tcp_loose=0)).outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize("rule", ["RST503", "RST504", "RST506"])
def test_an_unreadable_firewall_is_not_a_pass(rule: str) -> None:
    """Whether addresses are translated is unknown, and so is the rule."""
    assert judge(RULES, rule, host(None)).outcome is Outcome.UNKNOWN


def test_reject_rules_are_shown() -> None:
    """One finding for each rule, with its text; none without rules."""
    rules = tuple(RejectRule("nft", "ip t c", f"tcp dport {port} reject") for port in (81, 82))
    result = judge(RULES, "RST506", host(PLAIN._replace(rejects=rules)))
    assert (result.outcome, result.severity) == (Outcome.FAIL, Severity.INFO)
    assert [finding.evidence["rule"] for finding in result.findings] == [
        rule.text for rule in rules
    ]
    assert judge(RULES, "RST506", host(PLAIN)).outcome is Outcome.PASS


def live_host() -> HostState:
    """The namespace we are in, as the collectors see it."""
    tree = Tree()
    values, _ = collect_sysctls(tree)
    firewall = collect_firewall(tree, module_state(tree, os.uname().release))
    return make_host(sysctls=values, facts={FIREWALL: firewall}, initial=False)


def nft(script: str) -> None:
    """Change the ruleset of the current namespace."""
    subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)


TRACK = (
    "table ip t { chain c { type filter hook input priority 0; ct state established accept; }; }"
)
MASQUERADE = "table ip n { chain c { type nat hook postrouting priority 100; masquerade; }; }"
DROP_INVALID = (
    "table ip d { chain c { type filter hook input priority 0; ct state invalid drop; }; }"
)


@pytest.mark.live
def test_a_tracked_connection_makes_the_timeout_matter() -> None:
    """Silent while nothing is tracked; then a stateful rule and a connection; then the remedy."""
    with network_namespace():
        key = f"{PREFIX}tcp_timeout_established"
        write_sysctl(key, 600)
        assert judge(RULES, "RST502", live_host()).outcome is Outcome.NOT_APPLICABLE
        nft(TRACK)
        server = listener()
        ends = connected(server)
        result = judge(RULES, "RST502", live_host())
        assert result.outcome is Outcome.FAIL
        assert result.findings[0].evidence["established_timeout_s"] == 600
        write_sysctl(key, 432000)
        assert judge(RULES, "RST502", live_host()).outcome is Outcome.PASS
        assert judge(RULES, "RST501", live_host()).outcome is Outcome.PASS
        for end in (*ends, server):
            end.close()


@pytest.mark.live
def test_masquerading_makes_the_nat_rules_matter() -> None:
    """Each fires with a masquerade rule and falls silent with its own remedy."""
    with network_namespace():
        write_sysctl(f"{PREFIX}tcp_loose", 0)
        for rule in ("RST503", "RST504", "RST505"):
            assert judge(RULES, rule, live_host()).outcome is Outcome.NOT_APPLICABLE
        nft(MASQUERADE)
        for rule in ("RST503", "RST504", "RST505"):
            assert judge(RULES, rule, live_host()).outcome is Outcome.FAIL
        write_sysctl(f"{PREFIX}tcp_timeout_close_wait", 3600)
        write_sysctl(f"{PREFIX}tcp_loose", 1)
        nft(DROP_INVALID)
        for rule in ("RST503", "RST504", "RST505"):
            assert judge(RULES, rule, live_host()).outcome is Outcome.PASS


@pytest.mark.live
def test_a_rejecting_rule_is_shown_until_it_is_gone() -> None:
    """With its text as nft lists it."""
    with network_namespace():
        nft("table inet r { chain c { type filter hook input priority 0;"
            " tcp dport 99 reject with tcp reset; }; }")  # fmt: skip
        (finding,) = judge(RULES, "RST506", live_host()).findings
        assert finding.evidence["rule"] == "tcp dport 99 reject with tcp reset"
        nft("flush ruleset")
        assert judge(RULES, "RST506", live_host()).outcome is Outcome.PASS
