"""docs/json.md: its example is one, and what it says is complete."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rstaudit.model.rule import Outcome
from rstaudit.report.summary import CRASHED, FINDINGS, INCOMPLETE, INTERRUPTED, OK
from rstaudit.rules.registry import rules
from support.cli import rstaudit

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "json.md").read_text()


def example() -> dict[str, Any]:
    """The document that the page shows."""
    (text,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    read: dict[str, Any] = json.loads(text)
    return read


def schema(name: str) -> dict[str, Any]:
    """A schema of docs/schema/."""
    read: dict[str, Any] = json.loads((DOCS / "schema" / name).read_text())
    return read


def test_the_example_validates() -> None:
    """Against the schema that the page names for it."""
    jsonschema.validate(example(), schema("audit.schema.json"), jsonschema.Draft202012Validator)


def test_the_example_is_of_this_release() -> None:
    """Its rules have the names that they have now, and its summary counts what is there."""
    known = {rule.id: rule for rule in rules()}
    (host,) = example()["hosts"]
    for result in host["results"]:
        rule = known[result["rule"]]
        assert (result["slug"], result["title"]) == (rule.slug, rule.title)
    counts = Counter(result["outcome"] for result in host["results"])
    summary = example()["summary"]
    assert {name: count for name, count in summary["outcomes"].items() if count} == counts
    assert {"pass", "fail", "not-applicable"} <= counts.keys()


def test_the_command_of_the_example_is_one() -> None:
    """It runs, and gives the results of the same rules."""
    (command,) = re.findall(r"`rstaudit (--interval [^`]+)`", PAGE)
    done = rstaudit(*command.split())
    ours = [result["rule"] for result in json.loads(done.stdout)["hosts"][0]["results"]]
    assert ours == [result["rule"] for result in example()["hosts"][0]["results"]]


def test_every_schema_is_linked_and_nothing_else() -> None:
    """One row for each file, with the id that the schema asks for."""
    rows = re.findall(r"\| `(rstaudit/\w+/\d)` \| \[([\w.]+)\]\(schema/([\w.]+)\) \|", PAGE)
    assert {file for _, _, file in rows} == {path.name for path in (DOCS / "schema").iterdir()}
    for name, label, file in rows:
        assert label == file
        assert name in json.dumps(schema(file))


@pytest.mark.parametrize(
    "values",
    [
        [outcome.value for outcome in Outcome],
        [str(status) for status in (OK, FINDINGS, 2, INCOMPLETE, CRASHED, INTERRUPTED)],
    ],
    ids=["outcomes", "statuses"],
)
def test_the_tables_are_complete(values: list[str]) -> None:
    """Every outcome and every exit status has its row."""
    for value in values:
        assert re.search(rf"^\| `?{value}`? \|", PAGE, re.MULTILINE), value


def test_every_link_leads_to_a_file() -> None:
    """Relative to docs/."""
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (DOCS / link).is_file(), link
