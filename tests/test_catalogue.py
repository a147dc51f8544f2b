"""The catalogue holds together, and says of each kernel what is true there."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.catalogue import load
from rstaudit.catalogue.checks import read_change, read_check, read_numbers, read_version
from rstaudit.model.rule import Severity
from rstaudit.model.setting import OPS, Check
from support.hosts import make_kernel
from support.tuned import KERNELS, failed, judged, untouched

PROFILES = ("default", "web", "client", "proxy", "database")


def test_the_profiles_of_the_contract_are_there_in_order() -> None:
    """default, web, client, proxy, database; each but the first extends default."""
    found = load.profiles()
    assert tuple(found) == PROFILES
    assert [found[name].extends for name in PROFILES] == [None, *["default"] * 4]


def test_everything_has_references_and_prose() -> None:
    """No setting, rule or device is without a source, and none leaves open how it was verified."""
    for setting in load.settings().values():
        prose = (setting.title, setting.unit, setting.meaning, setting.verified)
        assert all((*prose, setting.references, *setting.references)), setting.key
    for rule in load.value_rules():
        prose = (rule.title, rule.why, rule.confirm, rule.leave_alone)
        assert all((*prose, rule.references, *rule.references)), rule.id
    assert all(device.source and device.at_expiry for device in load.devices())


def test_rules_and_profiles_speak_of_known_settings() -> None:
    """Every key of a rule or an expectation is a setting of the catalogue."""
    known = load.settings().keys()
    assert {key for rule in load.value_rules() for key in rule.keys} <= known
    for profile in load.profiles().values():
        assert profile.expectations.keys() <= known


def test_every_expectation_is_judged_by_exactly_one_rule() -> None:
    """What a shipped profile expects of a key is somebody's business."""
    keys = [key for rule in load.value_rules() for key in rule.keys]
    assert len(keys) == len(set(keys))
    for profile in load.profiles().values():
        assert profile.expectations.keys() <= set(keys)


def test_defaults_lie_in_the_range_that_makes_sense() -> None:
    """A kernel's own default is never called out of range."""
    for setting in load.settings().values():
        for default in setting.defaults:
            for word in (default.value or "").split():
                if setting.valid is not None:
                    assert setting.valid[0] <= int(word) <= setting.valid[1], setting.key


@pytest.mark.parametrize("release", KERNELS)
@pytest.mark.parametrize("buckets", [4096, 8192, 32768, 262144])
def test_an_untouched_host_has_no_warning_under_default(release: str, buckets: int) -> None:
    """Kernel defaults, of machines from 512 MiB up, give no error and no warning."""
    results = judged(release, untouched(release, buckets), "default")
    grave = [r for r in results if r.findings and r.severity > Severity.INFO]
    assert not failed(grave)


def test_an_untouched_new_kernel_is_silent_under_default() -> None:
    """On 6.18 there is nothing to say at all."""
    assert not failed(judged("6.18.44", untouched("6.18.44"), "default"))


@pytest.mark.parametrize(
    ("key", "release", "default"),
    [
        ("net.ipv4.tcp_tw_reuse", "3.10.0-1160.el7", "0"),
        ("net.ipv4.tcp_tw_reuse", "4.18.0-553.el8", "2"),
        ("net.ipv4.tcp_tw_reuse", "5.14.0", "2"),
        ("net.ipv4.ip_local_port_range", "3.10.0", "32768 61000"),
        ("net.ipv4.ip_local_port_range", "3.10.0-1160.el7", "32768 60999"),
        ("net.ipv4.ip_local_port_range", "3.16.0", None),
        ("net.core.somaxconn", "5.3.0", "128"),
        ("net.core.somaxconn", "5.4.0", "4096"),
        ("net.ipv4.tcp_challenge_ack_limit", "3.10.0", "100"),
        ("net.ipv4.tcp_challenge_ack_limit", "5.10.0", "1000"),
        ("net.ipv4.tcp_challenge_ack_limit", "6.1.0", "2147483647"),
        ("net.ipv4.tcp_max_tw_buckets", "6.1.0", None),
    ],
)
def test_defaults_follow_the_kernel(key: str, release: str, default: str | None) -> None:
    """Defaults by version and vendor; None where memory decides or nobody looked."""
    assert load.settings()[key].default(make_kernel(release)) == default


@pytest.mark.parametrize(
    ("key", "release", "exists"),
    [
        ("net.ipv4.tcp_tw_recycle", "4.9.0", True),
        ("net.ipv4.tcp_tw_recycle", "4.11.0", True),
        ("net.ipv4.tcp_tw_recycle", "4.12.0", False),
        ("net.ipv4.tcp_migrate_req", "5.10.0", False),
        ("net.ipv4.tcp_migrate_req", "5.12.0", None),
        ("net.ipv4.tcp_migrate_req", "5.14.0", True),
        ("net.ipv4.tcp_invalid_ratelimit", "3.10.0", False),
        ("net.ipv4.tcp_invalid_ratelimit", "3.10.0-1160.el7", True),
        ("net.ipv4.tcp_tw_timeout", "6.1.0", False),
        ("net.ipv4.tcp_tw_timeout", "4.19.91-27.al7.x86_64", True),
        ("net.ipv4.vs.timeout_timewait", "3.10.0", False),
    ],
)
def test_keys_come_and_go_with_the_kernel(key: str, release: str, exists: bool | None) -> None:
    """Present, absent, or between two kernels that were looked at; vendors patch keys in."""
    assert load.settings()[key].exists(make_kernel(release)) is exists


@pytest.mark.parametrize(
    ("key", "release", "own"),
    [
        ("net.ipv4.tcp_max_orphans", "6.18.44", False),
        ("net.core.somaxconn", "3.10.0", True),
        ("net.ipv4.tcp_tw_reuse", "4.9.0", False),
        ("net.ipv4.tcp_tw_reuse", "4.10.0", None),
        ("net.ipv4.tcp_tw_reuse", "4.12.0", True),
    ],
)
def test_which_keys_a_namespace_has_of_its_own(key: str, release: str, own: bool | None) -> None:
    """Global, per namespace, or not known."""
    assert load.settings()[key].per_netns(make_kernel(release)) is own


def test_a_default_from_memory_is_read_off_its_neighbours() -> None:
    """Half the connection table; from max_orphans where the kernel does not show the table."""
    buckets = load.settings()["net.ipv4.tcp_max_tw_buckets"]
    new, old = make_kernel("6.18.44"), make_kernel("4.18.0")
    assert buckets.default_here(new, {"net.ipv4.tcp_ehash_entries": "-8192\n"}) == "4096"
    assert buckets.default_here(old, {"net.ipv4.tcp_max_orphans": "16384"}) == "16384"
    assert buckets.default_here(old, {}) is None


numbers = st.lists(st.integers(-5, 70000), min_size=0, max_size=3).map(tuple)


@given(st.sampled_from(OPS), st.lists(st.integers(0, 70000), min_size=2, max_size=2), numbers)
def test_a_check_never_raises_and_has_words(
    op: str, want: list[int], have: tuple[int, ...]
) -> None:
    """Whatever the kernel shows, an expectation holds or it does not, and can be put in words."""
    check = Check(op, tuple(want), Severity.WARNING)
    assert check.holds(have) in (True, False)
    assert str(want[0]) in str(check)


@given(st.integers(), st.integers())
def test_bounds_mean_what_they_say(want: int, have: int) -> None:
    """at-least, at-most and exactly agree with arithmetic; floor spares the kernel's default."""
    ops = {op: Check(op, (want,), Severity.INFO).holds((have,)) for op in OPS if op != "covers"}
    assert ops["at-least"] is (have >= want)
    assert ops["at-most"] is (have <= want)
    assert ops["exactly"] is ops["one-of"] is (have == want)
    assert ops["none-of"] is (have != want)
    assert Check("floor", (want,), Severity.INFO).holds((have,), (have,))
    assert Check("floor", (want,), Severity.INFO).holds((have,), (have + 1,)) is (have >= want)


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_ranges_cover_and_span(first: int, last: int) -> None:
    """A range that covers another is at least as long; 1024 65000 spans as much as it holds."""
    covers = Check("covers", (32768, 60999), Severity.INFO).holds((first, last))
    span = Check("span", (28232,), Severity.INFO).holds((first, last))
    assert covers is (first <= 32768 and last >= 60999)
    assert span is (last - first >= 28231)
    assert span or not covers


def test_checks_apply_to_their_kernels() -> None:
    """Since counts, until does not."""
    check = read_check("at-least", 1, "info", "5.4", "6.1")
    applies = [check.applies(make_kernel(v)) for v in ("5.3.0", "5.4.0", "6.0.9", "6.1.0")]
    assert applies == [False, True, True, False]


def test_a_bracket_is_unknown_in_between() -> None:
    """4.9..4.12: not yet in 4.9, there in 4.12, nobody knows about 4.10; 4.12 alone is exact."""
    change = read_change("4.9..4.12")
    happened = [change.happened(make_kernel(v)) for v in ("4.9.1", "4.10.0", "4.12.0", "5.0.0")]
    assert happened == [False, None, True, True]
    assert read_change("4.12").happened(make_kernel("4.11.0")) is False
    assert str(change) == "after 4.9, by 4.12"


@pytest.mark.parametrize("wrong", [4.1, "4", "4.x", "", None, "4.12..4.9", "4.9.1"])
def test_versions_that_are_none(wrong: object) -> None:
    """A version is text of two numbers; an unquoted 4.10 is refused."""
    with pytest.raises(ValueError, match="version"):
        read_change(wrong)
    with pytest.raises(ValueError, match="version"):
        read_version(wrong if wrong != "4.12..4.9" else None)


@given(st.one_of(st.text(), st.booleans(), st.floats(), st.none(), st.lists(st.integers())))
def test_numbers_are_numbers_or_a_value_error(value: object) -> None:
    """Any plain value is read as integers or refused; never another exception."""
    try:
        found = read_numbers(value)
    except ValueError:
        return
    assert found
    assert all(type(number) is int for number in found)


def test_an_audit_reads_the_catalogue_without_yaml() -> None:
    """The generated file is enough; PyYAML costs more than all the rest."""
    code = (
        "import json, sys; from rstaudit.catalogue import load; from rstaudit.rules import values;"
        "values.value_rules(); load.settings(); load.devices();"
        "print(json.dumps([m for m in ('yaml', 'jinja2', 'rich', 'logging')"
        " if m in sys.modules]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
