"""Network namespaces: their mounts and names, and the rule that holds them against the host."""

from __future__ import annotations

from typing import Unpack

from hypothesis import given
from hypothesis import strategies as st

from rstaudit.cli.audit import _waive
from rstaudit.collect.namespaces import Namespace, choose
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap
from rstaudit.model.names import HOST_SYSCTLS
from rstaudit.model.rule import Outcome, Result
from rstaudit.parse.mounts import parse_netns_mounts
from rstaudit.report.layout import plain
from rstaudit.report.text import render, verdicts
from rstaudit.rules.namespaces import RULES
from rstaudit.rules.registry import rules
from support.hosts import HostParts, judge, make_context, make_host
from support.reports import made_audit, made_result

MOUNTINFO = r"""22 26 0:20 / /proc rw,nosuid shared:12 - proc proc rw
64 26 0:23 /netns /run/netns rw,nosuid shared:5 - tmpfs tmpfs rw
65 64 0:4 net:[4026532177] /run/netns/blue rw shared:31 - nsfs nsfs rw
65 64 0:4 net:[4026532177] /run/netns/blue rw shared:31 - nsfs nsfs rw
66 64 0:4 net:[4026532258] /run/netns/a\040b\134 rw shared:32 - nsfs nsfs rw
67 26 0:4 mnt:[4026532300] /run/snapd/ns/x.mnt rw - nsfs nsfs rw
"""

SOMAXCONN = "net.core.somaxconn"


def test_mounts_of_network_namespaces() -> None:
    """Other mounts and other namespaces are left out, one seen twice counts once."""
    assert parse_netns_mounts(MOUNTINFO) == (
        ("net:[4026532177]", "/run/netns/blue"),
        ("net:[4026532258]", "/run/netns/a b\\"),
    )


@given(st.text() | st.text(st.sampled_from("net:[]0123456789 \\\n/")))
def test_any_text_is_read_as_mounts(text: str) -> None:
    """Whatever stands in the file, the answer is a list of namespaces and places."""
    for name, _ in parse_netns_mounts(text):
        assert name.startswith("net:[")


def space(id_: str, name: str, *aliases: str) -> Namespace:
    """A namespace that nobody enters."""
    return Namespace(id_, name, aliases, (), frozenset(), "")


def test_a_name_is_looked_for_before_an_alias() -> None:
    """One called web is meant even where another belongs to a container of that name."""
    web, other = space("net:[1]", "web"), space("net:[2]", "docker:5d", "web", "b.service")
    third = space("net:[3]", "docker:6e", "b.service")
    spaces = (web, other, third)
    assert choose(Tree(), spaces, "web") == (web,)
    assert choose(Tree(), spaces, "net:[3]") == (third,)
    assert choose(Tree(), spaces, "b.service") == (other, third)
    assert choose(Tree(), spaces, "nobody") == choose(Tree(), spaces, "0") == ()


def compared(here: object, there: object, **parts: Unpack[HostParts]) -> Result:
    """RST610 on a namespace with one setting, in profile web."""
    known: HostParts = {"sysctls": {SOMAXCONN: here}, "initial": False, "netns": "blue"}
    known["facts"] = {HOST_SYSCTLS: {SOMAXCONN: str(there)}}
    known.update(parts)
    return judge(RULES, "RST610", make_context(make_host(**known), profile="web"))


def test_a_namespace_with_defaults_on_a_tuned_host() -> None:
    """Both values and what the profile wants are said."""
    (finding,) = compared(128, 65535).findings
    assert finding.subject == SOMAXCONN
    assert finding.message.startswith(f"{SOMAXCONN} is 128 here and 65535 on the host; ")
    assert (finding.evidence["here"], finding.evidence["host"]) == ("128", "65535")


def test_where_host_and_namespace_agree_nothing_is_said() -> None:
    """Both good, both bad, or only the host bad: there is no tuning that got lost."""
    for here, there in ((65535, 65535), (128, 128), (65535, 128), (100, 128)):
        assert compared(here, there).outcome is Outcome.PASS


def test_nothing_is_compared_on_the_host_or_without_its_values() -> None:
    """A plain audit of a container does not know the host's."""
    assert compared(128, 65535, initial=True).outcome is Outcome.NOT_APPLICABLE
    assert compared(128, 65535, facts={}).outcome is Outcome.NOT_APPLICABLE
    assert compared(128, 65535, sysctls={}).outcome is Outcome.NOT_APPLICABLE


def test_what_could_not_be_read_is_unknown() -> None:
    """The host's values, or the namespace's own."""
    gap = Gap(HOST_SYSCTLS.name, "unreadable", "run it on the host")
    assert compared(128, 65535, facts={}, gaps=[gap]).outcome is Outcome.UNKNOWN
    gap = Gap(f"sysctl:{SOMAXCONN}", "permission", "denied")
    assert compared(128, 65535, sysctls={}, gaps=[gap]).outcome is Outcome.UNKNOWN


def test_a_value_that_is_no_number_is_unknown() -> None:
    """What cannot be compared does not count as equal."""
    assert compared("x", 65535).outcome is Outcome.UNKNOWN


def test_several_namespaces_have_one_verdict_first() -> None:
    """The sum stands above the sections, each with its own verdict and name."""
    one = made_audit(made_result("RST101"), made_result("RST201", Outcome.UNKNOWN))
    blue = one.hosts[0]._replace(netns="blue", results=(made_result("RST101"),))
    audit = one._replace(hosts=(*one.hosts, blue))
    first = "2 errors in 2 network namespaces of web1; 1 check could not be made"
    lines = plain(render(audit, 100)).splitlines()
    assert lines[0] == first
    assert [line for line in lines if line.startswith("1 error on web1")] == [
        "1 error on web1 (kernel 6.1.0-32-amd64, profile web); 1 check could not be made",
        "1 error on web1 (kernel 6.1.0-32-amd64, profile web, namespace blue)",
    ]
    assert plain(verdicts(audit, 100)).splitlines()[0] == first
    assert len(verdicts(audit, 100)) == 3
    assert len(verdicts(one, 100)) == 1


def test_a_namespace_with_nothing_to_say_has_one_line() -> None:
    """What is wrong elsewhere stands out; -v shows what passed; one alone keeps its counts."""
    fine = made_audit(made_result("RST101", Outcome.PASS))
    blue = fine.hosts[0]._replace(netns="blue")
    audit = fine._replace(hosts=(*fine.hosts, blue))
    assert plain(render(audit, 100)).splitlines() == [
        "nothing wrong found in 2 network namespaces of web1",
        "",
        "nothing wrong found on web1 (kernel 6.1.0-32-amd64, profile web)",
        "",
        "nothing wrong found on web1 (kernel 6.1.0-32-amd64, profile web, namespace blue)",
    ]
    assert plain(render(audit, 100, verbose=True)).count("1 rule: 1 passed") == 2
    assert "1 rule: 1 passed" in plain(render(fine, 100))


def test_a_waiver_used_in_one_namespace_is_used() -> None:
    """Only one that matches nothing anywhere is called unneeded."""
    from rstaudit.catalogue.waivers import Waiver

    bad = made_audit(made_result("RST101")).hosts[0]
    good = bad._replace(netns="blue", results=(made_result("RST101", Outcome.PASS),))
    waiver = Waiver("w.yaml:1", "RST101", "known", None, None, None, None)
    chosen = tuple(rule for rule in rules() if rule.id == "RST101")
    (first, second), notes = _waive((bad, good), (waiver,), chosen)
    assert first.results[0].outcome is Outcome.WAIVED
    assert second.results[0].outcome is Outcome.PASS
    assert notes == ()
    _, notes = _waive((good, good), (waiver,), chosen)
    assert notes == ("w.yaml:1: the waiver of RST101 matches nothing; remove it",)
