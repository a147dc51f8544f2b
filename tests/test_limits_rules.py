"""Rules about memory and the table of open files."""

from __future__ import annotations

import pytest

from rstaudit.collect.counters import sample
from rstaudit.collect.sysctls import collect_sysctls
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Counters, Gap
from rstaudit.model.names import COUNTERS
from rstaudit.model.rule import Outcome, Severity
from rstaudit.rules.limits import RULES
from support.hosts import judge, make_host

TCP_MEM = "100 200 300"
QUIET = {
    "sockstat.TCP.mem": 10,
    "TcpExt.TCPMemoryPressures": 4,
    "TcpExt.TCPAbortOnMemory": 2,
}


@pytest.mark.parametrize(
    ("pages", "severity"),
    [(200, None), (201, Severity.WARNING), (300, Severity.WARNING), (301, Severity.ERROR)],
)
def test_memory_against_its_marks(pages: int, severity: Severity | None) -> None:
    """Above the pressure mark a warning, above the limit an error."""
    host = make_host(
        sysctls={"net.ipv4.tcp_mem": TCP_MEM}, counters={**QUIET, "sockstat.TCP.mem": pages}
    )
    result = judge(RULES, "RST702", host)
    if severity is None:
        assert result.outcome is Outcome.PASS
    else:
        assert (result.outcome, result.severity) == (Outcome.FAIL, severity)
        assert result.findings[0].evidence["pages"] == pages


def test_memory_events_count_only_while_they_happen() -> None:
    """A total since boot is history; a counter that moves between two samples is not."""
    sysctls = {"net.ipv4.tcp_mem": TCP_MEM}
    still = make_host(sysctls=sysctls, counters=QUIET, later=QUIET)
    assert judge(RULES, "RST702", still).outcome is Outcome.PASS
    moving = make_host(
        sysctls=sysctls, counters=QUIET, later={**QUIET, "TcpExt.TCPAbortOnMemory": 7}
    )
    result = judge(RULES, "RST702", moving)
    assert (result.outcome, result.severity) == (Outcome.FAIL, Severity.ERROR)
    assert result.findings[0].evidence["per_second"] == 5.0


def test_in_a_namespace_tcp_mem_is_not_judged() -> None:
    """The key is the machine's; the namespace's own counters still are."""
    gap = Gap("sysctl:net.ipv4.tcp_mem", "global", "judge it on the host")
    quiet = make_host(counters=QUIET, gaps=[gap], initial=False)
    assert judge(RULES, "RST702", quiet).outcome is Outcome.NOT_APPLICABLE
    later = {**QUIET, "TcpExt.TCPMemoryPressures": 5}
    moving = make_host(counters=QUIET, later=later, gaps=[gap], initial=False)
    assert judge(RULES, "RST702", moving).outcome is Outcome.FAIL


def test_unreadable_counters_are_not_a_pass() -> None:
    """A gap in the counters leaves the rule unknown."""
    gap = Gap("counter:TcpExt", "malformed", "/proc/net/netstat: damaged")
    host = make_host(
        sysctls={"net.ipv4.tcp_mem": TCP_MEM}, counters={"sockstat.TCP.mem": 1}, gaps=[gap]
    )
    assert judge(RULES, "RST702", host).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("table", "outcome", "severity"),
    [
        ("800\t0\t1000", Outcome.PASS, None),
        ("950\t150\t1000", Outcome.PASS, None),
        ("810\t0\t1000", Outcome.FAIL, Severity.INFO),
        ("960\t0\t1000", Outcome.FAIL, Severity.WARNING),
        ("1\t0", Outcome.UNKNOWN, None),
        ("1\t0\tmany", Outcome.UNKNOWN, None),
    ],
)
def test_the_hosts_file_table(table: str, outcome: Outcome, severity: Severity | None) -> None:
    """Above 80 percent worth knowing, above 95 a warning; free entries do not count as used."""
    result = judge(RULES, "RST705", make_host(sysctls={"fs.file-nr": table}))
    assert result.outcome is outcome
    assert severity is None or result.severity is severity


def test_this_host_is_quiet() -> None:
    """Real values of a healthy machine find nothing."""
    tree = Tree()
    counters = Counters(sample(tree)[0], None, None)
    host = make_host(sysctls=collect_sysctls(tree)[0], facts={COUNTERS: counters})
    assert judge(RULES, "RST702", host).outcome is Outcome.PASS
    assert judge(RULES, "RST705", host).outcome is Outcome.PASS
