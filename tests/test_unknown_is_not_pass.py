"""A fact that is missing never turns a finding into a pass, nor a pass into a finding.

What may become of a rule when facts are taken away: a failure stays a failure, or becomes
unknown or not applicable (with a reason that says so); a pass stays a pass or becomes one of
those; nothing crashes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rstaudit.model.facts import NOTHING_TO_JUDGE, Counters, Gap, HostState, Sample
from rstaudit.model.names import ALL, COUNTERS, SOCKETS
from rstaudit.model.rule import Outcome, Result
from rstaudit.model.sockets import LISTEN, ROW_SIZE, STATE_NAMES, TIME_WAIT, SocketTable
from rstaudit.rules.context import Context, Rule
from rstaudit.rules.engine import run
from rstaudit.rules.registry import rules
from support.bad_hosts import bad_hosts, context_of
from support.hosts import make_context, make_host
from support.rows import table_of
from support.stock import STOCK, stock_host

RULES = rules()
KEEPS_QUIET = {Outcome.UNKNOWN, Outcome.NOT_APPLICABLE}


@cache
def bad() -> tuple[HostState, ...]:
    """Hosts on which every rule fires; the tree they were read from is not needed any more."""
    with TemporaryDirectory() as folder:
        return tuple(bad_hosts(Path(folder)))


@cache
def good() -> tuple[HostState, ...]:
    """Untouched hosts."""
    with TemporaryDirectory() as folder:
        return tuple(stock_host(stock, Path(folder, stock.name)) for stock in STOCK)


@cache
def outcomes(which: str, number: int) -> Mapping[str, Outcome]:
    """What the rules say while nothing is missing."""
    host, see = (bad()[number], context_of) if which == "bad" else (good()[number], make_context)
    return {result.rule: result.outcome for result in results(see(host))}


def results(context: Context) -> list[Result]:
    """Every rule."""
    return [run(rule, context) for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
@pytest.mark.parametrize("profile", ["default", "web", "client", "proxy", "database"])
@pytest.mark.parametrize("source", ["live", "root:/x"])
def test_nothing_known_is_never_a_verdict(rule: Rule, profile: str, source: str) -> None:
    """A host of which only the kernel is known: unknown or not applicable, with the reason."""
    result = run(rule, make_context(make_host(source=source), profile=profile))
    assert result.outcome in KEEPS_QUIET
    assert result.reason


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_gaps_of_every_kind_are_never_a_verdict(rule: Rule) -> None:
    """Every fact is a gap, whatever its reason."""
    for reason in ("permission", "not-loaded", "malformed", "unreadable", "global", "absent"):
        gaps = [Gap(fact.name, reason, f"it is {reason}") for fact in ALL]
        keys = {key for host in bad() for key in host.sysctls}
        gaps += [Gap(f"sysctl:{key}", reason, f"it is {reason}") for key in keys]
        result = run(rule, context_of(make_host(gaps=gaps)))
        assert result.outcome in KEEPS_QUIET, reason
        assert result.reason, reason


#: What can be taken from a host: facts, running values, counters.
FACTS = sorted(fact.name for fact in ALL)
KEYS = sorted({key for host in (*bad(), *good()) for key in host.sysctls})
NAMES = sorted({name for host in (*bad(), *good())
                for name in host.need(COUNTERS).first.values})  # fmt: skip

#: Reasons that leave us not knowing; without one only a recorded tree lacks a fact.
REASONS = ("not-recorded", "permission", "malformed", "unreadable", None)

losses = st.fixed_dictionaries(
    {
        "facts": st.dictionaries(st.sampled_from(FACTS), st.sampled_from(REASONS), max_size=4),
        "keys": st.dictionaries(st.sampled_from(KEYS), st.sampled_from(REASONS), max_size=12),
        "junk": st.sets(st.sampled_from(KEYS), max_size=4),
        "counters": st.sets(st.sampled_from(NAMES), max_size=4),
        "fallback": st.booleans(),
    }
)


def without(host: HostState, lost: Mapping[str, object], source: str) -> HostState:
    """``host`` with facts lost; a loss of reason None leaves a gap behind only where live."""
    facts: dict[str, str | None] = lost["facts"]  # type: ignore[assignment] # as drawn above
    keys: dict[str, str | None] = lost["keys"]  # type: ignore[assignment] # as drawn above
    junk: set[str] = lost["junk"]  # type: ignore[assignment] # as drawn above
    counters: set[str] = lost["counters"]  # type: ignore[assignment] # as drawn above
    named = {**facts, **{f"sysctl:{key}": reason for key, reason in keys.items()}}
    if source == "live":
        named = {name: reason or "unreadable" for name, reason in named.items()}
    gaps = {name: Gap(name, reason, f"lost: {reason}") for name, reason in named.items() if reason}
    kept = {name: value for name, value in host.facts.items() if name not in facts}
    if COUNTERS.name in kept:
        kept[COUNTERS.name] = _fewer(host.need(COUNTERS), counters)
    if lost["fallback"] and SOCKETS.name in kept:
        kept[SOCKETS.name] = _fallback(host.need(SOCKETS))
    left = {key: value for key, value in host.sysctls.items() if key not in keys}
    left.update(dict.fromkeys(junk & left.keys(), "junk"))
    return host._replace(
        source=source, sysctls=left, facts=kept, gaps={**host.gaps, **gaps}
    )  # fmt: skip


def _fewer(counters: Counters, lost: set[str]) -> Counters:
    def cut(sample: Sample) -> Sample:
        left = {name: value for name, value in sample.values.items() if name not in lost}
        return sample._replace(values=left)

    second = cut(counters.second) if counters.second else None
    return counters._replace(first=cut(counters.first), second=second)


def _fallback(table: SocketTable) -> SocketTable:
    """The same sockets as /proc/net/tcp shows them: no attributes, no limit of a listener."""
    rows = []
    for state in sorted(set(STATE_NAMES) - {TIME_WAIT}):
        for start, _ in table.places(state):
            row = table.blob[start : start + ROW_SIZE]
            rows.append(row[:60] + bytes(4) + row[64:] if state == LISTEN else row)
    for chunk in table.time_wait:
        starts = range(chunk.offset, len(chunk.data), chunk.stride)
        rows += [chunk.data[start : start + ROW_SIZE] for start in starts]
    return table_of(*rows, source="procfs")


def check(which: str, number: int, lost: Mapping[str, object]) -> None:
    """No verdict is turned round by the loss."""
    host: HostState = (bad() if which == "bad" else good())[number]
    see: Callable[[HostState], Context] = context_of if which == "bad" else make_context
    before = outcomes(which, number)
    junk: set[str] = lost["junk"]  # type: ignore[assignment] # as drawn above
    for source in ("live", "root:/x"):
        found = results(see(without(host, lost, source)))
        passed = {result.rule for result in found if result.outcome is Outcome.PASS}
        for result in found:
            was, now = before[result.rule], result.outcome
            assert now is not Outcome.ERROR, (result.rule, result.reason)
            if was is Outcome.FAIL and not _excused(result.rule, passed):
                assert now is not Outcome.PASS, (result.rule, lost)
            elif was is Outcome.PASS and not junk:
                assert now is not Outcome.FAIL, (result.rule, result.findings, lost)
            if now in KEEPS_QUIET:
                assert result.reason, result.rule


def _excused(rule: str, passed: set[str]) -> bool:
    """RST105 and RST703: two limits with one default, half the table of connections.

    Without tcp_ehash_entries each is the only measure of the other, so of two that were lowered
    the larger is taken for the default. The smaller is still told.
    """
    pair = {"RST105", "RST703"}
    return rule in pair and not pair <= passed


@pytest.mark.parametrize("number", range(len(bad())))
@hypothesis_settings(max_examples=100, deadline=None)
@given(lost=losses)
def test_no_finding_becomes_a_pass(number: int, lost: Mapping[str, object]) -> None:
    """On hosts where everything is wrong."""
    check("bad", number, lost)


@pytest.mark.parametrize("number", range(len(STOCK)))
@hypothesis_settings(max_examples=60, deadline=None)
@given(lost=losses)
def test_no_pass_becomes_a_finding(number: int, lost: Mapping[str, object]) -> None:
    """On hosts where nothing is wrong: not knowing is no accusation either."""
    check("good", number, lost)


@pytest.mark.parametrize("number", range(len(bad())))
@pytest.mark.parametrize("reason", ["not-recorded", "permission", None])
def test_one_fact_at_a_time(number: int, reason: str | None) -> None:
    """Each fact, key and counter alone, so that none depends on what Hypothesis draws."""
    nothing = {"facts": {}, "keys": {}, "junk": set(), "counters": set(), "fallback": False}
    for name in FACTS:
        check("bad", number, {**nothing, "facts": {name: reason}})
    for key in KEYS if number < 2 else _judged_keys(number):
        check("bad", number, {**nothing, "keys": {key: reason}})
    for name in NAMES:
        check("bad", number, {**nothing, "counters": {name}})
    check("bad", number, {**nothing, "fallback": True})


def _judged_keys(number: int) -> list[str]:
    """Keys in which this host differs from the first one."""
    first = bad()[0].sysctls
    return [key for key, value in bad()[number].sysctls.items() if first.get(key) != value]


def test_a_reason_that_leaves_nothing_to_judge_is_the_only_way_to_not_applicable() -> None:
    """A key that could not be read for want of rights is unknown, never not applicable."""
    for rule in RULES:
        gaps = [Gap(fact.name, "permission", "run as root") for fact in ALL]
        keys = set(bad()[0].sysctls)
        gaps += [Gap(f"sysctl:{key}", "permission", "run as root") for key in keys]
        result = run(rule, context_of(make_host(gaps=gaps, kernel="6.18.44")))
        # only kernels before 6.1; only other namespaces than the initial one
        judged_elsewhere = rule.id in ("RST704", "RST610")
        assert result.outcome is Outcome.UNKNOWN or judged_elsewhere, (rule.id, result.reason)
    assert "permission" not in NOTHING_TO_JUDGE
