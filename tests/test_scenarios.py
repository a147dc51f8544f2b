"""The scenarios of the lab as data: complete, and of things that exist."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from rstaudit.catalogue.causes import causes
from rstaudit.lab.listing import scenarios
from rstaudit.lab.scenario import NETWORKS, Scenario
from rstaudit.rules.registry import rules

#: tcp_tw_recycle was removed in 4.12: no kernel of today can stage it.
_NOT_STAGED = {"S20"}

_ROWS = {f"S{number:02}" for number in range(1, 31)}

_PLACES = {f"{end} {way}" for end in ("client", "middle", "server") for way in ("sent", "received")}


def test_ids_are_slugs_and_each_is_used_once() -> None:
    """Users name scenarios by id."""
    ids = Counter(scenario.id for scenario in scenarios())
    assert max(ids.values()) == 1
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in ids)


def test_every_situation_of_the_documents_is_staged() -> None:
    """Each of the thirty situations has a scenario, except the one that cannot be staged."""
    staged = {row for scenario in scenarios() for row in scenario.rows}
    assert staged <= _ROWS
    assert staged >= _ROWS - _NOT_STAGED


def test_every_cause_that_a_kernel_can_bring_about_is_staged() -> None:
    """What no scenario expects is a parent, or something that Linux does not do."""
    staged = {
        named.cause
        for scenario in scenarios()
        for expected in (scenario.live, scenario.pcap)
        for named in expected.values()
    }
    assert set(causes()) - staged == {"app-abort", "connect-timeout", "undetermined"}


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.id)
def test_a_scenario_speaks_of_things_that_exist(scenario: Scenario) -> None:
    """Causes and rules are in the catalogue, ends and networks are ones that a lab has."""
    known = set(causes())
    for named in (*scenario.live.values(), *scenario.pcap.values()):
        assert {named.cause, *named.equals, *named.also} <= known
        assert named.cause not in named.equals
    assert set(scenario.live) <= _PLACES
    assert set(scenario.pcap) <= {"client", "server"}
    assert set(scenario.audit) <= {"client", "middle", "server"}
    ids = {rule.id for rule in rules()}
    assert {rule for failed in scenario.audit.values() for rule in failed} <= ids
    assert scenario.network in NETWORKS


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.id)
def test_a_scenario_is_told_in_plain_words(scenario: Scenario) -> None:
    """Title and story are ASCII sentences; the title has no full stop, the story ends with one."""
    assert scenario.title.isascii()
    assert scenario.story.isascii()
    assert not scenario.title.endswith(".")
    assert scenario.story.endswith(".")
    assert "!" not in scenario.title + scenario.story


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.id)
def test_only_what_the_kernel_cannot_tell_apart_may_be_named_as_something_else(
    scenario: Scenario,
) -> None:
    """Live, an equal id passes only where it is the cause's equal or parent in the catalogue."""
    known = causes()
    for place, named in scenario.live.items():
        cause = known[named.cause]
        allowed = {*cause.equals, cause.parent}
        assert set(named.equals) <= allowed, f"{place}: {named.equals}"
