"""Rules that are only data: they fire on wrong values, and only there."""

from __future__ import annotations

import pytest

from rstaudit.catalogue.load import value_rules as entries
from rstaudit.catalogue.user_profile import parse_profile
from rstaudit.model.facts import Gap
from rstaudit.model.rule import Confidence, Outcome, Result, Severity
from rstaudit.rules.context import Rule
from rstaudit.rules.engine import run
from rstaudit.rules.values import value_rules
from support.hosts import make_context, make_host
from support.tuned import failed, judged, tuned, untouched

INFO, WARNING, ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR
ID = {entry.id: entry for entry in entries()}

#: Rule, key, profile, a value that fires with its severity, and one that does not.
CASES = [
    ("RST105", "net.ipv4.tcp_max_tw_buckets", "default", "5000", ERROR, "131072"),
    ("RST105", "net.ipv4.tcp_max_tw_buckets", "default", "10000", ERROR, "32768"),
    ("RST105", "net.ipv4.tcp_max_tw_buckets", "default", "20000", WARNING, "500000"),
    ("RST105", "net.ipv4.tcp_max_tw_buckets", "default", "-1", ERROR, "40000"),
    ("RST105", "net.ipv4.tcp_max_tw_buckets", "proxy", "131072", INFO, "262144"),
    ("RST108", "net.ipv4.tcp_tw_reuse", "client", "2", WARNING, "1"),
    ("RST109", "net.ipv4.ip_local_port_range", "client", "32768 60999", INFO, "1024 65000"),
    ("RST109", "net.ipv4.ip_local_port_range", "default", "50000 50999", WARNING, "9000 65499"),
    ("RST110", "net.ipv4.tcp_timestamps", "default", "0", WARNING, "1"),
    ("RST110", "net.ipv4.tcp_timestamps", "web", "2", INFO, "1"),
    ("RST111", "net.ipv4.tcp_rfc1337", "default", "1", INFO, "0"),
    ("RST112", "net.ipv4.tcp_tw_reuse_delay", "default", "1", INFO, "1000"),
    ("RST203", "net.core.somaxconn", "default", "128", WARNING, "65535"),
    ("RST206", "net.ipv4.tcp_syncookies", "default", "0", ERROR, "1"),
    ("RST206", "net.ipv4.tcp_syncookies", "default", "2", WARNING, "1"),
    ("RST208", "net.ipv4.tcp_abort_on_overflow", "default", "1", WARNING, "0"),
    ("RST211", "net.ipv4.tcp_migrate_req", "web", "0", INFO, "1"),
    ("RST212", "net.ipv4.tcp_syn_retries", "default", "1", WARNING, "3"),
    ("RST212", "net.ipv4.tcp_synack_retries", "default", "1", INFO, "2"),
    ("RST305", "net.ipv4.tcp_orphan_retries", "default", "1", WARNING, "0"),
    ("RST305", "net.ipv4.tcp_orphan_retries", "default", "2", WARNING, "3"),
    ("RST307", "net.ipv4.tcp_fin_timeout", "default", "15", WARNING, "30"),
    ("RST402", "net.ipv4.tcp_keepalive_time", "client", "7200", WARNING, "230"),
    ("RST402", "net.ipv4.tcp_keepalive_time", "default", "0", INFO, "7200"),
    ("RST402", "net.ipv4.tcp_keepalive_probes", "database", "1", INFO, "5"),
    ("RST405", "net.ipv4.tcp_retries2", "default", "5", WARNING, "8"),
    ("RST405", "net.ipv4.tcp_retries2", "database", "15", INFO, "5"),
    ("RST507", "net.ipv4.tcp_ecn", "default", "1", INFO, "2"),
    ("RST507", "net.ipv4.tcp_ecn_fallback", "default", "0", WARNING, "1"),
    ("RST508", "net.ipv4.tcp_mtu_probing", "proxy", "0", INFO, "1"),
    ("RST509", "net.netfilter.nf_conntrack_tcp_timeout_established", "default", "600", WARNING,
     "86400"),
    ("RST703", "net.ipv4.tcp_max_orphans", "default", "1024", WARNING, "4096"),
]  # fmt: skip


def result_of(rule_id: str, results: list[Result]) -> Result:
    """The one result of that rule."""
    (found,) = [result for result in results if result.rule == rule_id]
    return found


@pytest.mark.parametrize(("rule", "key", "profile", "bad", "severity", "good"), CASES)
def test_a_rule_fires_on_a_wrong_value_and_not_on_a_right_one(
    rule: str, key: str, profile: str, bad: str, severity: Severity, good: str
) -> None:
    """One finding with the value, its severity and a line to paste; silence otherwise."""
    clean = tuned("6.18.44", untouched("6.18.44"), profile)
    found = result_of(rule, judged("6.18.44", {**clean, key: bad}, profile))
    assert found.outcome is Outcome.FAIL
    (finding,) = [finding for finding in found.findings if finding.subject == key]
    assert finding.severity is severity
    assert finding.fix.startswith(f"sysctl -w {key}=")
    assert f"is {bad}, profile {profile} wants" in finding.message
    after = result_of(rule, judged("6.18.44", {**clean, key: good}, profile))
    assert after.outcome is Outcome.PASS, failed([after])


def test_every_rule_has_a_case() -> None:
    """No data rule is left untried (704 concerns old kernels only, below)."""
    assert {case[0] for case in CASES} | {"RST704"} == set(ID)


def test_the_challenge_ack_limit_matters_before_6_1() -> None:
    """1000 is information on 5.10, 50 a warning; on 6.1 there is nothing to judge."""
    key = "net.ipv4.tcp_challenge_ack_limit"
    old = result_of("RST704", judged("5.10.0", {key: "1000"}, "default"))
    assert (old.outcome, old.severity) == (Outcome.FAIL, INFO)
    low = result_of("RST704", judged("5.10.0", {key: "50"}, "default"))
    assert low.severity is WARNING
    new = result_of("RST704", judged("6.1.0", {key: "50"}, "default"))
    assert new.outcome is Outcome.NOT_APPLICABLE
    assert "6.1" in str(new.reason)


def test_the_message_names_what_would_be_enough() -> None:
    """A value below two floors is told the higher one, with the graver severity."""
    running = {**untouched("6.18.44"), "net.ipv4.tcp_max_tw_buckets": "5000"}
    (finding,) = result_of("RST105", judged("6.18.44", running, "default")).findings
    assert "at least 32768" in finding.message
    assert finding.fix == "sysctl -w net.ipv4.tcp_max_tw_buckets=131072"
    assert finding.evidence["kernel default"] == "131072"


def test_numbers_with_a_space_are_quoted_in_the_fix() -> None:
    """The line can be pasted into a shell."""
    running = {"net.ipv4.ip_local_port_range": "40000\t40009"}
    (finding,) = result_of("RST109", judged("6.1.0", running, "client")).findings
    assert finding.fix == 'sysctl -w net.ipv4.ip_local_port_range="10240 65535"'
    assert "40000 40009" in finding.message


def test_a_small_machine_is_not_blamed_for_its_memory() -> None:
    """With 1 GiB the kernel itself starts at 4096; lowered below that is still an error."""
    running = untouched("6.18.44", 8192)
    assert result_of("RST105", judged("6.18.44", running, "default")).outcome is Outcome.PASS
    running["net.ipv4.tcp_max_tw_buckets"] = "4000"
    assert result_of("RST105", judged("6.18.44", running, "default")).severity is ERROR


def test_a_low_limit_whose_default_is_unknown_is_only_likely() -> None:
    """In an old container nothing shows how large the table is: a warning, not an error."""
    running = {"net.ipv4.tcp_max_tw_buckets": "4096"}
    (finding,) = result_of("RST105", judged("5.4.0", running, "default", False)).findings
    assert (finding.severity, finding.confidence) == (WARNING, Confidence.LIKELY)


def test_a_profile_that_does_not_judge_a_key() -> None:
    """mtu_probing is nothing that a web server needs."""
    found = result_of("RST508", judged("6.18.44", untouched("6.18.44"), "web"))
    assert found.outcome is Outcome.NOT_APPLICABLE
    assert found.reason == "profile web does not judge net.ipv4.tcp_mtu_probing"


def test_a_missing_key_does_not_hide_its_siblings() -> None:
    """What is known to be wrong is said; what is not known makes the rest unknown."""
    running = {"net.ipv4.tcp_keepalive_intvl": "60", "net.ipv4.tcp_keepalive_probes": "1"}
    found = result_of("RST402", judged("6.1.0", running, "client"))
    assert found.outcome is Outcome.FAIL
    assert [finding.subject for finding in found.findings] == ["net.ipv4.tcp_keepalive_probes"]
    assert "tcp_keepalive_time" in str(found.reason)
    running["net.ipv4.tcp_keepalive_probes"] = "5"
    assert result_of("RST402", judged("6.1.0", running, "client")).outcome is Outcome.UNKNOWN


def test_a_key_that_the_kernel_does_not_have_leaves_the_others_judged() -> None:
    """3.10 has no ecn_fallback: a good tcp_ecn is a pass there, not an unknown."""
    found = result_of("RST507", judged("3.10.0", {"net.ipv4.tcp_ecn": "2"}, "default"))
    assert found.outcome is Outcome.PASS
    delay = result_of("RST112", judged("5.10.0", {}, "default"))
    assert delay.outcome is Outcome.NOT_APPLICABLE


def test_a_recorded_absence_is_a_reason() -> None:
    """The gap of the collector decides: not loaded is unknown, absent is not applicable."""
    key = "net.netfilter.nf_conntrack_tcp_timeout_established"
    for reason, outcome in (("not-loaded", "unknown"), ("absent", "not-applicable")):
        host = make_host(gaps=[Gap(f"sysctl:{key}", reason, "no conntrack here")])
        found = run(rule("RST509"), make_context(host))
        assert (found.outcome.value, found.reason) == (outcome, "no conntrack here")


def test_a_value_that_is_no_number_is_unknown() -> None:
    """What the kernel shows is not understood, so nobody says that it is right."""
    found = result_of("RST110", judged("6.1.0", {"net.ipv4.tcp_timestamps": "yes"}, "default"))
    assert found.outcome is Outcome.UNKNOWN


def test_a_global_key_is_not_judged_in_another_namespace() -> None:
    """max_orphans belongs to the machine, even where a container can see it."""
    found = judged("6.18.44", {"net.ipv4.tcp_max_orphans": "10"}, "default", initial=False)
    assert result_of("RST703", found).outcome is Outcome.NOT_APPLICABLE


def test_keys_that_only_a_users_profile_judges() -> None:
    """Any sysctl can be asked for; ours judge none of these."""
    assert result_of("RST709", judged("6.1.0", {}, "web")).outcome is Outcome.NOT_APPLICABLE
    profile = parse_profile(b"name: mine\nsettings:\n  net.core.rmem_max: {at_least: 4096}", "p")
    found = result_of("RST709", judged("6.1.0", {"net.core.rmem_max": "1024"}, profile))
    (finding,) = found.findings
    assert finding.message == "net.core.rmem_max is 1024, profile mine wants at least 4096"
    assert finding.fix == "sysctl -w net.core.rmem_max=4096"


def test_a_fix_that_nobody_can_know_is_a_sentence() -> None:
    """'not 7' names no value to write."""
    profile = parse_profile(b"name: mine\nsettings:\n  net.core.x: {none_of: 7}", "p")
    (finding,) = result_of("RST709", judged("6.1.0", {"net.core.x": "7"}, profile)).findings
    assert finding.fix == "Set net.core.x to not 7."


def rule(rule_id: str) -> Rule:
    """The rule of that id."""
    (found,) = [entry for entry in value_rules() if entry.id == rule_id]
    return found


def test_every_rule_can_be_explained() -> None:
    """Ids and slugs are unique; each rule has its text and the worst severity of the profiles."""
    rules = value_rules()
    assert len({r.id for r in rules}) == len({r.slug for r in rules}) == len(rules)
    for entry in rules:
        text = entry.text()
        assert all((text.why, text.confirm, text.leave_alone, *text.references)), entry.id
    assert rule("RST206").severity is ERROR
    assert rule("RST508").severity is INFO
