"""The text report: verdict first, worst first, nothing wider than asked, nothing hostile."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.model.facts import Gap
from rstaudit.model.rule import Confidence, Outcome, Severity
from rstaudit.report.finding import evidence
from rstaudit.report.layout import Span, cells, coloured, plain, wrap
from rstaudit.report.safe import printable
from rstaudit.report.summary import Audit
from rstaudit.report.text import render, verdict
from support.reports import EVERYTHING, made_audit, made_finding, made_result

LONG = "accept queue of nginx is full and drops connections while clients wait " * 4


def text(audit: Audit, width: int = 80, verbose: bool = False) -> str:
    """The report as a pipe would get it."""
    return plain(render(audit, width, verbose))


def test_the_verdict_is_the_first_line_and_says_what_is_not_known() -> None:
    """One glance at the first line tells how bad it is, where, and how much is unknown."""
    first = plain(verdict(EVERYTHING.hosts[0], EVERYTHING, 200))
    assert first == (
        "1 error, 1 warning, 1 info on web1 (kernel 6.1.0-32-amd64, profile web); "
        "2 checks could not be made; 1 rule crashed\n"
    )
    assert text(EVERYTHING, 200).startswith(first)


def test_a_clean_host_with_unknown_rules_is_not_called_clean() -> None:
    """Unknown is never a pass: the verdict says so in the same breath."""
    audit = made_audit(made_result("RST101", Outcome.PASS), made_result("RST301", Outcome.UNKNOWN))
    assert text(audit, 200).splitlines()[0] == (
        "nothing wrong found on web1 (kernel 6.1.0-32-amd64, profile web); "
        "1 check could not be made"
    )


def test_the_verdict_names_a_namespace_and_a_recording() -> None:
    """What is not this host's own network, live, is said to be something else."""
    audit = made_audit()
    host = audit.hosts[0].__class__("web1", "net:[4026]", "root:/var/tree", "5.14.0", (), ())
    line = plain(verdict(host, audit, 200))
    assert "namespace net:[4026]" in line
    assert "recorded in /var/tree" in line


def test_findings_come_worst_first_with_fix_and_explain() -> None:
    """Errors before warnings before information; each says what to paste and where to read."""
    lines = text(EVERYTHING).splitlines()
    heads = [line.split()[:2] for line in lines if line.startswith(("error", "warning", "info"))]
    assert heads == [["error", "RST101"], ["warning", "RST102"], ["info", "RST103"]]
    assert lines.count("    fix: sysctl -w net.ipv4.tcp_fin_timeout=60") == 3
    assert "    explain: rstaudit explain RST102" in lines


def test_what_could_not_be_checked_is_grouped_by_reason() -> None:
    """Rules with one reason share a line; facts that no rule named stand there too."""
    shown = text(EVERYTHING)
    assert "  - run as root to read owners: RST301, RST302\n" in shown
    assert "  - counters: permission denied: RST103 (in part)\n" in shown
    assert "  - nf_tables is not loaded\n" in shown
    assert "  - RST401 Title of RST401: KeyError: 'x'\n" in shown
    assert "  - RST501 Title of RST501: known and harmless\n" in shown
    assert "expired on 2020-01-01" in shown


def test_facts_that_do_not_exist_here_are_no_gap() -> None:
    """A kernel without the thing leaves nothing to check, and nothing to report."""
    gap = Gap("counter:TcpExt.X", "absent", "this kernel does not count TcpExt.X")
    assert "TcpExt.X" not in text(made_audit(gaps=(gap,)))


def test_passes_and_not_applicable_are_shown_on_request_only() -> None:
    """-v lists them; without it the last line says how many are hidden."""
    assert "RST201" not in text(EVERYTHING)
    assert "1 passed, 1 not applicable (-v shows these too)" in text(EVERYTHING, 200)
    shown = text(EVERYTHING, 200, verbose=True)
    assert "  - RST201 Title of RST201\n" in shown
    assert "  - RST202 Title of RST202: because\n" in shown
    assert "-v shows" not in shown


def test_many_findings_of_one_rule_are_cut_with_a_count() -> None:
    """Ten findings, then how many more there are; the one fix they share is printed once."""
    found = [made_finding(f"listener {n} is full", str(n)) for n in range(25)]
    shown = text(made_audit(made_result("RST201", Outcome.FAIL, Severity.ERROR, *found)))
    assert shown.count("is full") == 10
    assert "and 15 more (--format json shows all)" in shown
    assert shown.count("fix:") == 1


def test_the_worst_findings_of_a_rule_come_first() -> None:
    """A finding that is milder than its rule says so and stands below."""
    mild = made_finding("mild one", "a", severity=Severity.INFO)
    bad = made_finding("bad one", "b", confidence=Confidence.LIKELY)
    shown = text(made_audit(made_result("RST201", Outcome.FAIL, Severity.ERROR, mild, bad)))
    assert shown.index("b: bad one (likely)") < shown.index("info: a: mild one")


def test_evidence_does_not_repeat_the_message() -> None:
    """Values that the message already shows are left out; others stand behind their name."""
    finding = made_finding(
        "net.core.somaxconn is 128, profile web wants at least 4096",
        "net.core.somaxconn",
        evidence={"now": 128, "wanted": "at least 4096", "drops": 28, "rate": 0.125, "who": None},
    )
    assert evidence(finding) == "drops: 28; rate: 0.12; who: unknown"


def test_a_sentence_as_fix_is_wrapped_and_a_command_is_not() -> None:
    """What is to be pasted stays on one line, however long it is."""
    command = "sysctl -w " + " ".join(f"net.ipv4.key{n}=1" for n in range(12))
    sentence = "Let the program close its sockets " * 5 + "soon."
    found = [made_finding(fix=command), made_finding(fix=sentence)]
    shown = text(made_audit(made_result("RST301", Outcome.FAIL, Severity.ERROR, *found)), 60)
    assert f"    fix: {command}\n" in shown
    assert max(len(line) for line in shown.splitlines() if command not in line) <= 60


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Long messages, evidence, reasons and titles hang below their first line."""
    found = made_finding(LONG, "x" * 300, fix="Do it.", evidence={"detail": LONG})
    audit = made_audit(
        made_result("RST101", Outcome.FAIL, Severity.ERROR, found),
        made_result("RST301", Outcome.UNKNOWN, reason=LONG),
        made_result("RST302", Outcome.WAIVED, reason=LONG),
        gaps=(Gap("f", "unreadable", "漢字" * 200),),
        notes=(LONG,),
    )
    lines = text(audit, width, verbose=True).splitlines()
    assert max(map(cells, lines)) <= width
    assert max(map(cells, lines)) > width - 15


HOSTILE = [
    "\x1b[2J\x1b[31mroot", "a\nb", "a\r\tb", "\u202eevil", "\udcff\udc1b", "\x9b31m", "a\u2028b"
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_cannot_reach_the_terminal(name: str) -> None:
    """Whatever a process calls itself, only printable characters are written."""
    finding = made_finding(f"{name} holds sockets", name, fix=f"kill {name}", evidence={name: name})
    audit = made_audit(
        made_result("RST301", Outcome.FAIL, Severity.ERROR, finding),
        made_result("RST302", Outcome.UNKNOWN, reason=name),
        gaps=(Gap(name, "unreadable", f"{name}!"),),
        notes=(name,),
    )
    for line in text(audit, verbose=True).split("\n"):
        assert line.isprintable()
    assert printable(name).isprintable()


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_printable_is_printable_and_keeps_what_was(name: str) -> None:
    """No control, format, separator or surrogate character is left; plain text is untouched."""
    shown = printable(name)
    assert shown.isprintable()
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in shown)
    assert shown == name or not name.isprintable()


def test_bytes_that_are_no_text_show_as_the_bytes_they_were() -> None:
    """A name read with surrogateescape shows its bytes; a bidi control its code point."""
    assert printable(b"\xffx\x1b".decode("utf-8", "surrogateescape")) == r"\xffx\x1b"
    assert printable("\u202e") == r"\u202e"
    assert printable("\U000e0001") == r"\U000e0001"


@given(st.lists(st.text("ab é漢\u0301", max_size=30)), st.integers(10, 60), st.integers(0, 8))
def test_wrapping_loses_nothing_and_never_exceeds_the_width(
    texts: list[str], width: int, indent: int
) -> None:
    """Every character but spaces comes out again, in order, within the width."""
    lines = wrap([Span(part, "dim") for part in texts], width, indent)
    out = ["".join(span.text for span in line) for line in lines]
    assert all(cells(line) <= width for line in out)
    assert "".join(out).replace(" ", "") == "".join(texts).replace(" ", "")


def test_colour_changes_nothing_but_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the escape codes taken out, the coloured report is the plain one."""
    import re

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    lines = render(EVERYTHING, 60, verbose=True)
    with_codes = coloured(lines)
    assert "\x1b[1;31m" in with_codes
    without = re.sub(r"\x1b\[[0-9;]*m", "", with_codes)
    assert [line.rstrip() for line in without.splitlines()] == plain(lines).splitlines()
