"""What holds for every rule: its text, its name, and a host on which it fires and one where not.

The hosts are those of `support.bad_hosts` (everything is wrong) and `support.stock` (nothing
is). A rule without either fails here, whatever its family's own tests do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from rstaudit.catalogue.load import devices, profiles, settings
from rstaudit.cli.main import main
from rstaudit.model.facts import HostState
from rstaudit.model.names import HOST_SYSCTLS
from rstaudit.model.rule import Finding, Outcome, Result
from rstaudit.rules import (
    closing,
    conntrack,
    idle,
    limits,
    linger,
    listen,
    namespaces,
    persistence,
    ports,
    reuse,
    stale,
    stalls,
    timeouts,
)
from rstaudit.rules.context import Context, Rule
from rstaudit.rules.engine import run
from rstaudit.rules.registry import rules
from support.bad_hosts import bad_hosts, context_of
from support.hosts import check_numbers, make_context
from support.stock import STOCK, exemplary_host, stock_host
from support.tuned import tuned

RULES = rules()
IDS = [rule.id for rule in RULES]
each_rule = pytest.mark.parametrize("rule", RULES, ids=IDS)

#: Module -> the first digit of its rules.
FAMILIES = {
    ports: "1", listen: "2", closing: "3", idle: "4", conntrack: "5", persistence: "6", stale: "6",
    limits: "7", reuse: "1", linger: "3", timeouts: "4", stalls: "4",
    namespaces: "6",
}  # fmt: skip

#: What the audit promises -> the rules that keep the promise.
PROMISED: Mapping[str, tuple[str, ...]] = {
    "ephemeral ports running out per destination": ("RST101", "RST109"),
    "tw_reuse on with timestamps off": ("RST102", "RST110"),
    "rfc1337 with timestamps off": ("RST103", "RST111"),
    "max_tw_buckets low or overflowing": ("RST104", "RST105"),
    "port range over listeners, not reserved": ("RST106",),
    "tw_reuse on a host that only serves": ("RST107",),
    "listeners that cannot be restarted": ("RST113",),
    "clients that bind before they connect, or never reuse a connection": ("RST114", "RST115"),
    "tw_reuse and its delay": ("RST108", "RST112"),
    "an accept queue full or near full": ("RST201",),
    "a listener still on an old limit": ("RST202",),
    "somaxconn or backlog low for the profile": ("RST203", "RST204"),
    "overflows and drops counted": ("RST205",),
    "SYN cookies off, always on, or being used": ("RST206", "RST207"),
    "abort_on_overflow": ("RST208",),
    "reuseport listeners without migrate_req": ("RST209", "RST211"),
    "max_syn_backlog tuned while cookies make it moot": ("RST210",),
    "retries of SYN and SYN-ACK": ("RST212",),
    "CLOSE_WAIT held by a process": ("RST301",),
    "close will reset where bytes are unread": ("RST302",),
    "FIN_WAIT_2 and orphans against their limits": ("RST303", "RST304", "RST307"),
    "SO_LINGER and TCP_LINGER2 of running programs": ("RST308", "RST309"),
    "orphan_retries": ("RST305",),
    "what share of the resets each counter explains": ("RST306",),
    "keepalive_time against the path and the known devices": ("RST401", "RST402"),
    "long idle connections without keepalive": ("RST403",),
    "timeouts of programs against the handshake and the path": ("RST406", "RST408"),
    "unread data and closed windows": ("RST409", "RST410"),
    "sockets in retransmission back-off": ("RST404",),
    "retries2 against the profile": ("RST405",),
    "conntrack table near full": ("RST501",),
    "established timeout below keepalive": ("RST502", "RST509"),
    "close_wait, be_liberal and loose where the host does NAT": ("RST503", "RST504", "RST505"),
    "firewall rules that reject with a reset": ("RST506",),
    "ECN and path MTU": ("RST507", "RST508"),
    "running value differs from what boot would set": ("RST601",),
    "two files that disagree": ("RST602",),
    "keys that this kernel no longer has or never had": ("RST603", "RST604"),
    "values out of range that the kernel accepts": ("RST605",),
    "advice that does not do what is believed": ("RST606",),
    "another manager owning the same key": ("RST607",),
    "what boot really does to a value": ("RST608", "RST609"),
    "the host is tuned, this container is not": ("RST610",),
    "descriptors": ("RST701", "RST705"),
    "tcp_mem pressure": ("RST702",),
    "max_orphans lowered": ("RST703",),
    "challenge_ack_limit of old kernels": ("RST704",),
    "any key of a user's own profile": ("RST709",),
}


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Result]:
    """Rule -> the first failing result among the hosts where everything is wrong."""
    found: dict[str, Result] = {}
    for host in bad_hosts(tmp_path_factory.mktemp("bad")):
        for rule, result in _run(context_of(host)).items():
            if result.outcome is Outcome.FAIL:
                found.setdefault(rule, result)
    return found


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, set[Outcome]]:
    """Rule -> its outcomes on untouched hosts, through the profiles of the catalogue."""
    found: dict[str, set[Outcome]] = {rule: set() for rule in IDS}
    for stock in STOCK:
        host = stock_host(stock, tmp_path_factory.mktemp(stock.name.replace(" ", "-")))
        for profile in profiles():
            better = host._replace(sysctls=tuned(stock.release, host.sysctls, profile))
            for one in (host, better):
                for rule, result in _run(_seen(one, profile)).items():
                    found[rule].add(result.outcome)
    exemplary = exemplary_host(tmp_path_factory.mktemp("new"))
    as_on_the_host = {**exemplary.facts, HOST_SYSCTLS.name: exemplary.sysctls}
    inside = exemplary._replace(initial=False, netns="net:[1]", facts=as_on_the_host)
    for host in (exemplary, inside):
        for rule, result in _run(context_of(host)).items():
            found[rule].add(result.outcome)
    return found


def _run(context: Context) -> dict[str, Result]:
    return {rule.id: run(rule, context) for rule in RULES}


def _seen(host: HostState, profile: str) -> Context:
    return make_context(
        host, profile=profile, settings=dict(settings()), devices=tuple(devices())
    )  # fmt: skip


@each_rule
def test_a_rule_fires_somewhere(rule: Rule, fired: Mapping[str, Result]) -> None:
    """With a subject, a fix and evidence for every number it says."""
    assert rule.id in fired, "make it fire in support/bad_hosts.py"
    for finding in fired[rule.id].findings:
        check_numbers(finding)
        assert_readable(finding)


def assert_readable(finding: Finding) -> None:
    """One line each, nothing empty, no closing full stop after a message."""
    for text in (finding.message, finding.subject, finding.fix):
        assert text.strip() == text != ""
        assert text.isprintable(), text
    assert not finding.message.endswith(".")
    assert finding.evidence


@each_rule
def test_a_rule_is_silent_somewhere(rule: Rule, silent: Mapping[str, set[Outcome]]) -> None:
    """It passes on an untouched host, on one tuned for its profile, or on an exemplary one."""
    assert Outcome.PASS in silent[rule.id]


def test_an_exemplary_gateway_has_no_finding(tmp_path: Path) -> None:
    """NAT, a known path, a profile of its own, a raised somaxconn: all of it done right."""
    results = _run(context_of(exemplary_host(tmp_path))).values()
    assert {r.rule: r.reason for r in results if r.outcome is not Outcome.PASS} == {
        "RST610": "this is the initial network namespace",
        "RST704": "profile mine does not judge net.ipv4.tcp_challenge_ack_limit on kernel 6.18",
    }


@each_rule
def test_the_text_is_complete(rule: Rule) -> None:
    """Why, how to confirm, when to leave it alone, and at least one reference."""
    text = rule.text()
    for part in (text.why, text.confirm, text.leave_alone):
        assert len(part.split()) >= 2, part
        assert part.endswith((".", ":", "`", "?", "?)")) or part[-1].isalnum(), part
    assert text.references
    assert all(reference.strip() for reference in text.references)


@each_rule
def test_the_name_is_well_formed(rule: Rule) -> None:
    """Id by family, slug in kebab case, a title that is a statement without a full stop."""
    assert re.fullmatch(r"RST[1-8]\d\d", rule.id)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.slug)
    assert not rule.title.endswith(".")
    first = rule.title.split()[0]
    assert first[0].isupper() or first[0] == "/" or first in _kernel_words()


def _kernel_words() -> set[str]:
    """Keys by their last word and as a whole: a title may begin with one."""
    return {word for key in settings() for word in (key, key.rpartition(".")[2])}


def test_ids_belong_to_the_family_of_their_module() -> None:
    """1xx in ports, 2xx in listen, and so on."""
    for module, digit in FAMILIES.items():
        assert {rule.id[3] for rule in module.RULES.rules} == {digit}, module.__name__


def test_no_id_or_slug_twice() -> None:
    """And the registry is sorted by id."""
    assert sorted(IDS) == IDS
    assert len(set(IDS)) == len({rule.slug for rule in RULES}) == len(RULES)


def test_every_promise_has_its_rule_and_every_rule_its_promise() -> None:
    """A rule that goes, or one that comes, is missed here."""
    kept = [rule for named in PROMISED.values() for rule in named]
    assert sorted(kept) == IDS


@pytest.mark.parametrize("form", ["text", "json"])
@each_rule
def test_explain_knows_the_rule(rule: Rule, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By id and by slug, in either format."""
    said = []
    for name in (rule.id, rule.slug):
        assert main(["explain", name, "--format", form]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert rule.id in said[0]
    assert " ".join(rule.title.split()[:3]) in " ".join(said[0].split())


def test_the_list_of_rules_has_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    """`rstaudit rules` shows each once."""
    assert main(["rules"]) == 0
    assert re.findall(r"^RST\d{3}", capsys.readouterr().out, re.MULTILINE) == IDS


def test_no_rule_looks_at_the_host_it_runs_on(tmp_path: Path) -> None:
    """The same facts give the same findings, however often and wherever they are judged."""
    (host, *_) = bad_hosts(tmp_path)
    assert _run(context_of(host)) == _run(context_of(host))
