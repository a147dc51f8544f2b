"""Waivers: what they cover, when they end, and what is said about those that do nothing."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.catalogue.waivers import Waiver, WaiverError, apply, load_waivers
from rstaudit.model.rule import Outcome, Severity
from rstaudit.report.summary import exit_status
from support.reports import made_audit, made_finding, made_result

TODAY = date(2026, 6, 15)
SEVERITIES = {"RST101": Severity.WARNING, "RST102": Severity.ERROR}


def waiver(rule: str = "RST101", **more: object) -> Waiver:
    """A waiver without patterns or an end, but for ``more``."""
    made = Waiver("w.yaml:1", rule, "known", None, None, None, None)
    return made._replace(**more)  # type: ignore[arg-type]  # the fields' own types


def written(folder: Path, text: str) -> tuple[Waiver, ...]:
    """The waivers of a file with this text."""
    path = folder / "w.yaml"
    path.write_text(text)
    return load_waivers(str(path))


def test_every_field_is_read_as_written(tmp_path: Path) -> None:
    """Words stay words: YAML's own ideas of dates, numbers and booleans play no part."""
    text = """\
# agreed on in the review
- rule: RST101
  justification: >
    the batch host
    may do this
  host: "batch-*"
  subject: 10
  expires: 2027-01-31
  owner: yes
- {rule: close-wait, justification: old}
"""
    first, second = written(tmp_path, text)
    assert first == Waiver(
        f"{tmp_path}/w.yaml:2", "RST101", "the batch host may do this", "batch-*", "10",
        date(2027, 1, 31), "yes",
    )  # fmt: skip
    assert second[:3] == (f"{tmp_path}/w.yaml:10", "close-wait", "old")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[]"])
def test_an_empty_file_holds_no_waivers(tmp_path: Path, text: str) -> None:
    """A file prepared for later is fine."""
    assert written(tmp_path, text) == ()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("rule: RST101", 1, "must be a list"),
        ("just words", 1, "must be a list"),
        ("- RST101", 1, "not a waiver"),
        ("- [RST101]", 1, "not a waiver"),
        ("- rule: RST101", 1, "no justification"),
        ("- justification: x", 1, "no rule"),
        ("- rule: RST101\n  justification: ''", 2, "justification must be"),
        ("- rule: RST101\n  justification: [a]", 2, "justification must be"),
        ("- rule: RST101\n  justification: x\n  until: 2027", 3, "unknown field 'until'"),
        ("- rule: RST101\n  justification: x\n  [a]: b", 3, "unknown field"),
        ("- rule: RST101\n  justification: x\n  rule: RST102", 3, "twice"),
        ("- rule: RST101\n  justification: x\n  expires: soon", 3, "'soon' is not a date"),
        ("- rule: RST101\n  justification: x\n  expires: 2027-02-30", 3, "not a date"),
        ("- rule: RST101\n  justification: 'x", 2, "not valid YAML"),
        ("- rule: a\n- rule: {", 2, "not valid YAML"),
        ("- rule: *nothing", 1, "not valid YAML"),
        ("--- []\n--- []", 2, "not valid YAML"),
    ],
)
def test_mistakes_are_named_with_file_and_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    """One line says where and what, so that it can be mended without guessing."""
    with pytest.raises(WaiverError, match=r"w\.yaml") as caught:
        written(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/w.yaml:{line}: ")
    assert words in message
    assert "\n" not in message


def test_files_that_are_no_waiver_files_are_refused(tmp_path: Path) -> None:
    """A missing file, a directory, bytes that are no text, huge and bottomless files."""
    for name, data in {
        "binary": b"- rule: \xff\xfe", "nul": b"- rule: \0", "huge": b"#" * 300_000,
        "deep": b"[" * 50_000,
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WaiverError, match=name) as caught:
            load_waivers(str(tmp_path / name))
        assert "\n" not in str(caught.value)
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(WaiverError, match="readable file"):
            load_waivers(str(missing))


YAMLISH = st.text("-:[]{}&*!|>'\"# \nrulejstific", max_size=80).map(str.encode)


@given(st.binary(max_size=200) | YAMLISH)
def test_any_bytes_give_waivers_or_a_waiver_error(data: bytes) -> None:
    """Reading never ends in any other exception, nor in more than one line."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            load_waivers(file.name)
            message = ""
        except WaiverError as error:
            message = str(error)
    assert "\n" not in message


def test_a_waived_result_keeps_its_findings_and_says_why() -> None:
    """The finding is still reported, as waived, and no longer decides the exit status."""
    audit = made_audit(made_result("RST101"), made_result("RST102", Outcome.PASS))
    after, notes = apply(audit.hosts[0], [waiver(owner="net", expires=TODAY)], TODAY, SEVERITIES)
    assert notes == ()
    assert [result.outcome for result in after.results] == [Outcome.WAIVED, Outcome.PASS]
    assert after.results[0].findings == audit.hosts[0].results[0].findings
    assert after.results[0].reason == "known (owner net, until 2026-06-15)"
    assert exit_status(audit) == 1
    assert exit_status(audit._replace(hosts=(after,))) == 0


@pytest.mark.parametrize(
    ("entry", "waived"),
    [
        (waiver("rst101"), True),
        (waiver("SLUG-rst101"), True),
        (waiver("RST102"), False),
        (waiver(host="web1"), True),
        (waiver(host="web*"), True),
        (waiver(host="w?b1"), True),
        (waiver(host="db*"), False),
        (waiver(host="web"), False),
        (waiver(subject="[2001:db8::1]:80"), True),
        (waiver(subject="[2001*"), True),
        (waiver(subject="2"), False),
        (waiver(expires=date(2026, 6, 14)), False),
        (waiver(expires=date(2026, 6, 15)), True),
    ],
)
def test_what_a_waiver_covers(entry: Waiver, waived: bool) -> None:
    """Id or slug, host and subject patterns, and the last day; brackets are not special."""
    found = made_finding("queue full", "[2001:db8::1]:80")
    audit = made_audit(made_result("RST101", Outcome.FAIL, Severity.ERROR, found))
    after, _ = apply(audit.hosts[0], [entry], TODAY, SEVERITIES)
    assert (after.results[0].outcome is Outcome.WAIVED) is waived


def test_the_rest_of_a_partly_waived_result_still_fails() -> None:
    """Only matching findings go; severity is that of what is left; a note says what went."""
    bad = made_finding("queue full", "nginx", severity=Severity.ERROR)
    mild = made_finding("queue half full", "redis")
    audit = made_audit(made_result("RST101", Outcome.FAIL, Severity.ERROR, bad, mild))
    after, notes = apply(audit.hosts[0], [waiver(subject="nginx")], TODAY, SEVERITIES)
    result = after.results[0]
    assert (result.outcome, result.severity) == (Outcome.FAIL, Severity.WARNING)
    assert result.findings == (mild,)
    assert notes == ("w.yaml:1: 1 of 2 findings of RST101 waived: known",)


def test_several_waivers_can_cover_one_result_together() -> None:
    """Each takes its findings; when none is left the result is waived."""
    found = [made_finding("full", "nginx"), made_finding("full", "redis")]
    audit = made_audit(made_result("RST101", Outcome.FAIL, Severity.ERROR, *found))
    pair = [waiver(subject="nginx"), waiver(subject="redis")]
    after, _ = apply(audit.hosts[0], pair, TODAY, SEVERITIES)
    assert after.results[0].outcome is Outcome.WAIVED


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.UNKNOWN])
def test_a_crash_or_an_unknown_cannot_be_waived(outcome: Outcome) -> None:
    """Nobody can agree to live with what nobody saw."""
    audit = made_audit(made_result("RST101", outcome))
    after, notes = apply(audit.hosts[0], [waiver()], TODAY, SEVERITIES)
    assert after == audit.hosts[0]
    assert "matches nothing" in notes[0]


def test_expired_and_unused_waivers_are_mentioned() -> None:
    """Nobody has to find out by accident; waivers of other hosts and rules not run are quiet."""
    audit = made_audit(made_result("RST101"), made_result("RST102", Outcome.PASS))
    entries = [
        waiver(expires=date(2020, 1, 1)),
        waiver("RST102"),
        waiver("RST102", host="db*"),
        waiver("RST999"),
    ]
    _, notes = apply(audit.hosts[0], entries, TODAY, SEVERITIES)
    assert notes == (
        "w.yaml:1: the waiver of RST101 expired on 2020-01-01 and does not apply",
        "w.yaml:1: the waiver of RST102 matches nothing; remove it",
    )
