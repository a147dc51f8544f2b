"""The JSON reports follow the contract and their schemas, whatever the strings hold."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.model.facts import Gap
from rstaudit.model.rule import Outcome, Severity
from rstaudit.report.as_json import dumps, render
from rstaudit.report.summary import Audit, exit_status
from support.cli import rstaudit
from support.reports import EVERYTHING, made_audit, made_finding, made_result

SCHEMAS = Path(__file__).parent.parent / "docs" / "schema"


def validate(kind: str, document: object) -> None:
    """Check a document against docs/schema/KIND.schema.json."""
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)


def document(audit: Audit) -> dict[str, Any]:
    """The report, read back."""
    read: dict[str, Any] = json.loads(render(audit))
    return read


def test_the_shape_is_the_contract() -> None:
    """The names that people script against are there, at every level, in order."""
    read = document(EVERYTHING)
    assert list(read) == ["schema", "tool", "profile", "hosts", "summary"]
    host = read["hosts"][0]
    assert list(host) == ["host", "netns", "source", "kernel", "results", "gaps"]
    result = host["results"][0]
    assert list(result) == [
        "rule", "slug", "title", "outcome", "severity", "findings", "reason"
    ]  # fmt: skip
    finding = result["findings"][0]
    assert list(finding) == ["message", "subject", "confidence", "evidence", "fix"]
    validate("audit", read)


def test_the_summary_counts_what_is_there() -> None:
    """Outcomes, severities of failures and gaps are counted; the status is the process's."""
    summary = document(EVERYTHING)["summary"]
    assert summary["outcomes"] == {
        "pass": 1, "fail": 3, "unknown": 2, "not-applicable": 1, "error": 1, "waived": 1
    }  # fmt: skip
    assert summary["failures"] == {"error": 1, "warning": 1, "info": 1}
    assert summary["gaps"] == 1
    assert summary["exit_status"] == exit_status(EVERYTHING) == 4
    assert summary["notes"] == list(EVERYTHING.notes)


FAIL_ERROR = made_result("RST101", Outcome.FAIL, Severity.ERROR)
FAIL_WARNING = made_result("RST101", Outcome.FAIL, Severity.WARNING)
FAIL_INFO = made_result("RST101", Outcome.FAIL, Severity.INFO)
UNKNOWN = made_result("RST102", Outcome.UNKNOWN)
CRASHED = made_result("RST103", Outcome.ERROR)
WAIVED = made_result("RST104", Outcome.WAIVED)
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


@pytest.mark.parametrize(
    ("audit", "status"),
    [
        (made_audit(), 0),
        (made_audit(WAIVED), 0),
        (made_audit(UNKNOWN), 0),
        (made_audit(FAIL_WARNING), 0),
        (made_audit(FAIL_ERROR), 1),
        (made_audit(FAIL_WARNING, fail_on=WARNING), 1),
        (made_audit(FAIL_INFO, fail_on=WARNING), 0),
        (made_audit(FAIL_INFO, fail_on=INFO), 1),
        (made_audit(FAIL_ERROR, fail_on=None), 0),
        (made_audit(UNKNOWN, strict=True), 3),
        (made_audit(FAIL_ERROR, UNKNOWN, strict=True), 3),
        (made_audit(gaps=(Gap("f", "permission", "no"),), strict=True), 3),
        (made_audit(gaps=(Gap("f", "absent", "none"),), strict=True), 0),
        (made_audit(gaps=(Gap("f", "permission", "no"),)), 0),
        (made_audit(CRASHED), 4),
        (made_audit(CRASHED, UNKNOWN, FAIL_ERROR, strict=True), 4),
        (made_audit(CRASHED, fail_on=None), 4),
        (made_audit(FAIL_ERROR, interrupted=True), 130),
    ],
)
def test_the_exit_status_follows_the_contract(audit: Audit, status: int) -> None:
    """4 over 3 over 1 over 0; waived findings do not count, --strict counts what is unknown."""
    assert exit_status(audit) == status
    read = document(audit)
    validate("audit", read)
    assert read["summary"]["exit_status"] == status


ANY_TEXT = st.text(st.characters(exclude_categories=()))

JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@given(JSON_LIKE)
def test_any_value_becomes_json_that_every_reader_takes(value: object) -> None:
    """ASCII only, no lone surrogates, no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = dumps(value)
    assert text.isascii()
    read = json.loads(text, parse_constant=refuse)
    json.dumps(read, ensure_ascii=False).encode()  # a lone surrogate would raise here


def test_hostile_names_survive_as_data() -> None:
    """Escape codes are data in JSON; bytes that are no text are spelled out."""
    name = "\x1b[2J\n\udcff"
    audit = made_audit(
        made_result(
            "RST301", Outcome.FAIL, ERROR, made_finding(name, name, evidence={"rate": math.inf})
        )
    )
    read = document(audit)
    validate("audit", read)
    finding = read["hosts"][0]["results"][0]["findings"][0]
    assert finding["subject"] == "\x1b[2J\n\\udcff"
    assert finding["evidence"] == {"rate": None}


def test_the_schema_refuses_what_is_not_in_the_contract() -> None:
    """A field too many, one too few, or an unknown word is an error: the schema has teeth."""
    for damage in ("extra", "missing", "word"):
        read = document(EVERYTHING)
        if damage == "extra":
            read["hosts"][0]["results"][0]["extra"] = 1
        elif damage == "missing":
            del read["hosts"][0]["gaps"]
        else:
            read["hosts"][0]["results"][0]["outcome"] = "ok"
        with pytest.raises(jsonschema.ValidationError):
            validate("audit", read)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("audit", ["--interval", "0"]),
        ("audit", ["--interval", "0.1", "--profile", "web", "--only", "RST101"]),
        ("sockets", ["sockets"]),
        ("rules", ["rules"]),
        ("profiles", ["profiles"]),
        ("causes", ["causes"]),
        ("tune", ["tune", "--profile", "client"]),
        ("tune", ["tune"]),
        ("explain", ["explain"]),
        ("explain", ["explain", "ECONNRESET"]),
        ("explain", ["explain", "EADDRNOTAVAIL"]),
        ("explain", ["explain", "close-unread"]),
        ("explain", ["explain", "RST101"]),
        ("explain", ["explain", "RST108"]),
        ("explain", ["explain", "tcp_tw_reuse"]),
        ("explain", ["explain", "tcp_tw_recycle"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_real_output_follows_its_schema(kind: str, arguments: list[str]) -> None:
    """What the commands print on this machine is what docs/schema promises."""
    done = rstaudit(*arguments, "--format", "json")
    assert done.stderr == ""
    assert done.returncode in (0, 1)
    read = json.loads(done.stdout)
    assert read["schema"] == f"rstaudit/{kind}/1"
    validate(kind, read)


def test_several_explanations_are_a_list() -> None:
    """Each of them follows the schema; settings are all explained alike."""
    overview = json.loads(rstaudit("explain", "--format", "json").stdout)
    names = overview["settings"] + overview["errors"] + overview["causes"] + overview["rules"]
    read = json.loads(rstaudit("explain", "--format", "json", *names).stdout)
    assert [entry["id"] for entry in read] == names
    for entry in read:
        validate("explain", entry)


def test_one_result_for_each_rule() -> None:
    """An audit answers every rule exactly once, in the order of their ids."""
    every = json.loads(rstaudit("rules", "--format", "json").stdout)["rules"]
    audit = json.loads(rstaudit("--interval", "0", "--format", "json").stdout)
    ids = [result["rule"] for result in audit["hosts"][0]["results"]]
    assert ids == [rule["id"] for rule in every] == sorted(set(ids))
