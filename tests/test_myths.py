"""Popular claims: each is tested by a scenario of the lab, and explained where it belongs."""

from __future__ import annotations

import pytest

from rstaudit.catalogue.causes import causes, myths, myths_about
from rstaudit.catalogue.load import settings
from rstaudit.lab.listing import scenarios
from rstaudit.model.cause import Myth
from support.cli import rstaudit


def test_every_myth_has_a_scenario_and_every_such_scenario_a_myth() -> None:
    """`rstaudit lab run` repeats each claim under the id that `explain` prints."""
    staged = {scenario.id for scenario in scenarios() if scenario.id.startswith("myth-")}
    assert staged == {myth.id for myth in myths()}


@pytest.mark.parametrize("myth", myths(), ids=lambda myth: myth.id)
def test_a_myth_belongs_to_something_that_exists(myth: Myth) -> None:
    """Its settings and causes are in the catalogue, and it has at least one of either."""
    assert set(myth.settings) <= settings().keys()
    assert set(myth.causes) <= causes().keys()
    assert myth.settings or myth.causes
    assert myth.verdict in ("wrong", "half true")


@pytest.mark.parametrize("myth", myths(), ids=lambda myth: myth.id)
def test_what_was_measured_holds_figures(myth: Myth) -> None:
    """A result without a number proves nothing."""
    assert any(char.isdigit() for char in myth.measured)


def test_the_title_of_the_scenario_is_the_claim() -> None:
    """The lab and `explain` say the same of what was tested."""
    titles = {scenario.id: scenario.title for scenario in scenarios()}
    for myth in myths():
        claim = f"Claim: {myth.claim}".removesuffix(".").casefold()
        assert titles[myth.id].casefold() == claim


def test_explain_quotes_the_result() -> None:
    """The measured sentence stands in what `explain` says of the setting."""
    said = " ".join(rstaudit("explain", "tcp_fin_timeout").stdout.split())
    myth = next(iter(myths_about("net.ipv4.tcp_fin_timeout")))
    assert myth.measured in said
    assert f"rstaudit lab run {myth.id}" in said
