"""A user's profile: what it can say, and that each mistake gets one clear line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstaudit.catalogue.load import profiles
from rstaudit.catalogue.user_profile import LARGEST, ProfileError, load_profile, parse_profile
from rstaudit.model.rule import Severity
from rstaudit.model.setting import Check

GOOD = b"""\
name: shop
title: Our shop
extends: client
settings:
  net.ipv4.tcp_fin_timeout: 30
  net.ipv4.ip_local_port_range: "1024 65000"
  net.core.somaxconn: {at_least: 8192, severity: error, recommend: 16384, why: We burst.}
  net.ipv4.tcp_ecn: {one-of: [0, 2]}
  net.ipv4.tcp_mtu_probing: null
  net.ipv4.tcp_rfc1337:
"""


def error_of(text: str | bytes) -> str:
    """The one line that a profile gets."""
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ProfileError) as caught:
        parse_profile(data, "p.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_profile_takes_what_it_extends_and_changes_it() -> None:
    """Own keys replace, null takes away, everything else comes from the base."""
    found = parse_profile(GOOD, "p.yaml")
    client = profiles()["client"].expectations
    assert (found.name, found.title, found.extends, found.origin) == (
        "shop", "Our shop", "client", "p.yaml",
    )  # fmt: skip
    assert client.keys() - found.expectations.keys() == {
        "net.ipv4.tcp_mtu_probing",
        "net.ipv4.tcp_rfc1337",
    }
    assert found.expectations["net.ipv4.tcp_tw_reuse"] == client["net.ipv4.tcp_tw_reuse"]
    exactly = Check("exactly", (30,), Severity.WARNING)
    assert found.expectations["net.ipv4.tcp_fin_timeout"].checks == (exactly,)
    ports = found.expectations["net.ipv4.ip_local_port_range"].checks
    assert ports == (Check("exactly", (1024, 65000), Severity.WARNING),)
    listen = found.expectations["net.core.somaxconn"]
    assert listen.checks == (Check("at-least", (8192,), Severity.ERROR),)
    assert (listen.recommend, listen.why) == ("16384", "We burst.")
    assert found.expectations["net.ipv4.tcp_ecn"].checks[0].value == (0, 2)


def test_a_profile_may_stand_alone() -> None:
    """Without extends it judges only what it lists; the title is the name then."""
    found = parse_profile(b"name: bare\nsettings: {vm.swappiness: {at_most: 10}}", "p.yaml")
    assert (found.title, found.extends, list(found.expectations)) == (
        "bare", None, ["vm.swappiness"],
    )  # fmt: skip
    assert parse_profile(b"name: none\nextends: web", "p").expectations


def test_a_file_is_read(tmp_path: Path) -> None:
    """The path stands in the profile and in messages."""
    path = tmp_path / "shop.yaml"
    path.write_bytes(GOOD)
    assert load_profile(str(path)).origin == str(path)
    path.write_bytes(b"name: [")
    with pytest.raises(ProfileError, match=r"shop\.yaml:1:8: not valid YAML"):
        load_profile(str(path))


@pytest.mark.parametrize("base", ["default", "web", "client", "proxy", "database"])
def test_each_of_ours_can_be_extended(base: str) -> None:
    """An empty profile is its base under another name."""
    found = parse_profile(f"name: mine\nextends: {base}\nsettings:\n".encode(), "p")
    assert found.expectations == profiles()[base].expectations


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.yaml: is empty"),
        ("- name: x", "p.yaml:1:1: the profile must be a mapping"),
        ("web", "p.yaml:1:1: the profile must be a mapping"),
        ("name: a\nsettings: [", "p.yaml:2:12: not valid YAML"),
        ("name: a\n\tb: 1", "p.yaml:2:1: not valid YAML"),
        ("name: a\n---\nname: b", "p.yaml:2:1: not valid YAML"),
        ("extends: web", "p.yaml:1:1: the profile has no name"),
        ("name: web", "p.yaml:1:7: name 'web': is one of ours"),
        ("name: a b", "p.yaml:1:7: name 'a b': use"),
        ("name: [a]", "p.yaml:1:7: name must be one line"),
        ("name: a\nname: b", "p.yaml:2:1: 'name' is given twice"),
        ("name: a\nextends: wbe", "p.yaml:2:10: unknown profile 'wbe'; extend default, web"),
        ("name: a\nextend: web", "p.yaml:2:1: unknown field 'extend'"),
        ("name: a\nsettings: 3", "p.yaml:2:11: settings must be a mapping"),
        ("name: a\nsettings: {tcp_ecn: 1}", "p.yaml:2:12: 'tcp_ecn' is not a sysctl"),
        ("name: a\nsettings: {net/core/x: 1}", "p.yaml:2:12: 'net/core/x' is not a sysctl"),
        ("name: a\nsettings: {[a]: 1}", "p.yaml:2:12: a key must be one word"),
        ("name: a\nsettings: {a.b: 1, a.b: 2}", "p.yaml:2:20: 'a.b' is given twice"),
        ("name: a\nsettings: {a.b: yes}", "p.yaml:2:17: 'yes' is a yes or no"),
        ("name: a\nsettings: {a.b: {at_least: true}}", "p.yaml:2:18: 'true' is a yes or no"),
        ("name: a\nsettings: {a.b: 1.5}", "p.yaml:2:17: '1.5' is not a whole number"),
        ("name: a\nsettings: {a.b: 0x10}", "p.yaml:2:17: '0x10' is not a whole number"),
        ("name: a\nsettings: {a.b: 2020-01-01}", "p.yaml:2:17: '2020-01-01' is not a whole"),
        ("name: a\nsettings: {a.b: fast}", "p.yaml:2:17: 'fast' is not a whole number"),
        ("name: a\nsettings: {a.b: []}", "p.yaml:2:17: expected 1 to 16 numbers, found 0"),
        ("name: a\nsettings: {a.b: [[1]]}", "p.yaml:2:17: a sequence where numbers"),
        ("name: a\nsettings: {a.b: {at_lest: 1}}", "p.yaml:2:18: unknown operator 'at_lest'"),
        ("name: a\nsettings: {a.b: {}}", "p.yaml:2:17: a setting needs one operator"),
        (
            "name: a\nsettings: {a.b: {at_least: 1, at_most: 2}}",
            "p.yaml:2:17: a setting needs one operator",
        ),
        (
            "name: a\nsettings: {a.b: {at_least: 1, severity: bad}}",
            "p.yaml:2:18: unknown severity 'bad'; use info, warning, error",
        ),
        ("name: a\nsettings: {a.b: {covers: 1}}", "p.yaml:2:18: covers takes 2 numbers, not 1"),
        (
            "name: a\nsettings: {a.b: {at_least: 5, recommend: 4}}",
            "p.yaml:2:18: recommend 4 is not at least 5",
        ),
        (
            "name: a\nsettings: {a.b: {at_least: 5, recommend: [9]}}",
            "p.yaml:2:42: recommend must be one line",
        ),
        ('name: "\\UFFFFFFFF"', "p.yaml: not valid YAML"),
        ("name: !!python/object/apply:os.system [x]", "p.yaml:1:7: name must be one line"),
    ],
)
def test_a_mistake_gets_one_line_with_its_place(text: str, message: str) -> None:
    """File, line, column, what is wrong, and what to write instead."""
    assert error_of(text).startswith(message)


def test_bytes_that_are_no_text() -> None:
    """The line is named for what is not UTF-8; control characters are refused."""
    assert error_of(b"name: a\ntitle: \xff") == "p.yaml:2: not UTF-8; save it as UTF-8"
    assert "not valid YAML" in error_of(b"name: \x07")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a directory, too large, endless: each is one line."""
    for path, why in (
        (str(tmp_path / "none.yaml"), "no such file"),
        (str(tmp_path), "is a directory"),
        ("/dev/zero", "larger than"),
        ("a\0b", "null byte"),
    ):
        with pytest.raises(ProfileError, match=why):
            load_profile(path)


def test_bombs_are_harmless() -> None:
    """Nesting, aliases that multiply, tags: refused or taken as text, and quickly."""
    assert "nested too deeply" in error_of(b"[" * LARGEST)
    laughs = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(20)
    )
    assert "unknown field 'a'" in error_of(laughs)
    assert "given twice" in error_of("name: a\nsettings: {<<: {a.b: 1}, <<: {a.b: 2}}")
    assert "is not a sysctl" in error_of("name: a\nsettings: {<<: {a.b: 1}}")
    assert "a setting needs one operator" in error_of("name: a\nsettings: &s {a.b: {a: *s, b: 1}}")


def outcome(data: bytes) -> str:
    """The title of the profile, or the message of its error; anything else is raised."""
    try:
        return parse_profile(data, "p").title
    except ProfileError as error:
        return str(error)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_give_a_profile_or_an_error(data: bytes) -> None:
    """Never another exception."""
    assert "\n" not in outcome(data)


@given(st.text(alphabet="abnmet. :{}[]&*!|>-'\"\n\t01\\Ux,?%@#", max_size=60))
@settings(deadline=None)
def test_any_yaml_under_settings_gives_a_profile_or_an_error(text: str) -> None:
    """Never another exception, close to the syntax."""
    for head in ("name: a\nsettings:\n  net.a: ", "name: a\nsettings: ", "name: "):
        assert "\n" not in outcome((head + text).encode())


def test_without_pyyaml_the_message_says_so() -> None:
    """An interpreter that sees only the package: one line, no traceback."""
    import rstaudit

    code = (
        "from rstaudit.catalogue.user_profile import *\n"
        "try: parse_profile(b'name: a', 'p.yaml')\n"
        "except ProfileError as error: print(error)"
    )
    path = str(Path(rstaudit.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        "p.yaml: reading profiles needs PyYAML; pip install PyYAML, or use a built-in profile\n"
    )
