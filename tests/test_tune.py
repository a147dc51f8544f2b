"""What `tune` recommends satisfies the profile it was made for, and pins no more than that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstaudit.catalogue import load
from rstaudit.catalogue.tune import Recommendation, as_diff, as_json, as_sysctl, recommend
from rstaudit.catalogue.user_profile import parse_profile
from rstaudit.model.setting import Profile
from support.hosts import make_kernel
from support.tuned import KERNELS, failed, judged, tuned, untouched

PROFILES = ("default", "web", "client", "proxy", "database")
NEW = "6.18.44"


def found(
    running: dict[str, str],
    profile: Profile | str,
    release: str = NEW,
    initial: bool | None = True,
) -> dict[str, Recommendation]:
    """The recommendations by key."""
    chosen = load.profiles()[profile] if isinstance(profile, str) else profile
    entries = recommend(make_kernel(release), running, chosen, load.settings(), initial=initial)
    assert [entry.key for entry in entries] == sorted(entry.key for entry in entries)
    return {entry.key: entry for entry in entries}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("release", KERNELS)
@pytest.mark.parametrize("buckets", [8192, 262144])
def test_after_writing_nothing_fails(profile: str, release: str, buckets: int) -> None:
    """Recommended values silence every value rule of the profile, and are final."""
    after = tuned(release, untouched(release, buckets), profile)
    assert not failed(judged(release, after, profile))
    assert tuned(release, after, profile) == after


keys = st.sampled_from(sorted(load.profiles()["proxy"].expectations))
values = st.integers(-1, 300000).map(str)


@given(st.sampled_from(PROFILES), st.sampled_from(KERNELS), st.dictionaries(keys, values))
@settings(max_examples=60, deadline=None)
def test_whatever_was_set_before_nothing_fails(
    profile: str, release: str, odd: dict[str, str]
) -> None:
    """From any starting point the file makes the host pass, and a second run changes nothing."""
    start = untouched(release)
    start.update({key: value for key, value in odd.items() if key in start})
    after = tuned(release, start, profile)
    assert not failed(judged(release, after, profile))
    assert tuned(release, after, profile) == after


def test_an_untouched_new_kernel_needs_nothing_under_default() -> None:
    """Nothing is pinned that the kernel already gives."""
    assert not found(untouched(NEW), "default")


def test_only_keys_of_this_host() -> None:
    """A key that the host does not show is not written, nor one of another kernel."""
    assert "net.ipv4.tcp_migrate_req" in found(untouched(NEW), "web")
    assert "net.ipv4.tcp_migrate_req" not in found(untouched("4.18.0"), "web", "4.18.0")
    assert not found({}, "proxy")


def test_client_gets_the_whole_keepalive_trio() -> None:
    """Also where the kernel's value would pass: the profile prefers 60/60/5."""
    entries = found(untouched(NEW), "client")
    trio = [entries[f"net.ipv4.tcp_keepalive_{name}"].value for name in ("time", "intvl", "probes")]
    assert trio == ["60", "60", "5"]


def test_a_chosen_value_that_is_good_is_kept_and_stays_listed() -> None:
    """Somebody's 45 s keepalive is fine; the file keeps it, so that it survives the reboot."""
    running = {**untouched(NEW), "net.ipv4.tcp_keepalive_time": "45",
               "net.ipv4.ip_local_port_range": "1024\t65535"}  # fmt: skip
    entries = found(running, "client")
    assert entries["net.ipv4.tcp_keepalive_time"].value == "45"
    assert entries["net.ipv4.ip_local_port_range"].value == "1024 65535"


def test_a_larger_queue_is_neither_lowered_nor_pinned() -> None:
    """4096 is what web wants and what 6.18 gives; 65535 is somebody's business."""
    running = {**untouched(NEW), "net.core.somaxconn": "65535"}
    assert "net.core.somaxconn" not in found(running, "web")


def test_an_old_kernel_is_given_what_it_lacks_and_keeps_it() -> None:
    """Somaxconn is 128 before 5.4: raised, and still listed once it is raised."""
    running = untouched("4.18.0")
    assert found(running, "default", "4.18.0")["net.core.somaxconn"].value == "4096"
    running["net.core.somaxconn"] = "4096"
    assert found(running, "default", "4.18.0")["net.core.somaxconn"].value == "4096"


def test_a_lowered_limit_goes_back_to_the_kernels_own() -> None:
    """Half the connection table, not a number from a book."""
    running = {**untouched(NEW, 65536), "net.ipv4.tcp_max_tw_buckets": "5000"}
    assert found(running, "default")["net.ipv4.tcp_max_tw_buckets"].value == "32768"


def test_global_keys_are_left_to_the_host() -> None:
    """In another namespace max_orphans is not ours to write, even where it can be seen."""
    running = {**untouched(NEW), "net.ipv4.tcp_max_orphans": "10"}
    assert "net.ipv4.tcp_max_orphans" in found(running, "default")
    assert "net.ipv4.tcp_max_orphans" not in found(running, "default", initial=False)


def test_values_that_are_no_numbers_are_left_alone() -> None:
    """Nobody knows what to write over what nobody understands."""
    running = {**untouched(NEW), "net.ipv4.tcp_tw_reuse": "maybe"}
    assert "net.ipv4.tcp_tw_reuse" not in found(running, "client")


def test_a_users_profile_is_tuned_for() -> None:
    """Values come from recommend, else from the expectation itself; 'not 7' gives none."""
    profile = parse_profile(
        b"name: mine\nsettings:\n"
        b"  net.core.a: {at_least: 10}\n"
        b"  net.core.b: {at_most: 10, recommend: 5}\n"
        b"  net.core.c: {one_of: [3, 4]}\n"
        b"  net.core.d: {none_of: 7}\n"
        b"  net.core.e: 1\n",
        "p",
    )
    running = {f"net.core.{name}": "7" for name in "abcd"} | {"net.core.b": "70"}
    entries = found(running, profile)
    assert {key[-1]: entry.value for key, entry in entries.items()} == {
        "a": "10", "b": "5", "c": "3",
    }  # fmt: skip


def test_the_sysctl_file_says_why() -> None:
    """Comments and lines that sysctl -p reads; a host that needs nothing gets a comment."""
    kernel, profile = make_kernel(NEW), load.profiles()["client"]
    text = as_sysctl(found(untouched(NEW), "client").values(), profile, kernel)
    assert text.startswith("# rstaudit tune: profile client, kernel 6.18.44\n")
    assert "\nnet.ipv4.ip_local_port_range = 10240 65535\n" in text
    for line in text.splitlines():
        assert not line or line.startswith("# ") or " = " in line
    assert "Nothing to set" in as_sysctl([], profile, kernel)


def test_the_json_document() -> None:
    """rstaudit/tune/1 with key, current, value and why."""
    kernel, profile = make_kernel(NEW), load.profiles()["client"]
    document = json.loads(as_json(found(untouched(NEW), "client").values(), profile, kernel))
    assert document["schema"] == "rstaudit/tune/1"
    assert (document["kernel"], document["profile"]) == (NEW, "client")
    reuse = next(e for e in document["settings"] if e["key"] == "net.ipv4.tcp_tw_reuse")
    assert (reuse["current"], reuse["value"]) == ("2", "1")
    assert reuse["why"]


def test_the_diff_shows_only_changes() -> None:
    """Old and new line for each key that would change."""
    running = {**untouched(NEW), "net.ipv4.tcp_keepalive_time": "45"}
    kernel, profile = make_kernel(NEW), load.profiles()["client"]
    text = as_diff(found(running, "client").values(), profile, kernel)
    assert "-net.ipv4.tcp_tw_reuse = 2\n+net.ipv4.tcp_tw_reuse = 1\n" in text
    assert "tcp_keepalive_time" not in text


@pytest.mark.live
@pytest.mark.parametrize("profile", PROFILES)
def test_a_tuned_namespace_has_no_findings(profile: str) -> None:
    """The sysctl text through `sysctl -p -` in a fresh namespace: accepted, and nothing fails."""
    script = Path(__file__).parent / "support" / "namespace_values.py"
    done = subprocess.run(
        ["unshare", "-n", sys.executable, str(script), profile],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer = json.loads(done.stdout)
    assert answer["status"] == 0, answer["complaints"]
    assert not answer["failed"]
    assert not answer["left"]
    assert bool(answer["applied"]) is (profile != "default")
