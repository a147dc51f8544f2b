"""`explain` answers the first question people have, for whatever they paste or type."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.catalogue.causes import causes, causes_of, errors
from rstaudit.catalogue.load import profiles, settings, value_rules
from rstaudit.cli import explain as command
from rstaudit.cli.errors import UsageError
from rstaudit.model.cause import Cause, Error
from rstaudit.model.setting import Setting
from rstaudit.report.explain import RuleCard, explain_setting, table
from rstaudit.rules.registry import rules
from support.cli import rstaudit

SCHEMAS = Path(__file__).parent.parent / "docs" / "schema"
WIDTHS = (60, 80, 200)

EVERYTHING = [
    *(error.name for error in errors()), *causes(), *(rule.id for rule in rules()), *settings(),
]  # fmt: skip


def validate(kind: str, document: object) -> None:
    """Check a document against docs/schema/KIND.schema.json."""
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)


def text_of(name: str, width: int = 80) -> str:
    """The text of one subject."""
    subject = command.find(name)
    assert subject is not None
    return command.as_text(subject, width)


def flat(text: str) -> str:
    """Text without its line breaks."""
    return " ".join(text.split())


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_width_but_a_command_to_paste(width: int) -> None:
    """Everything wraps; a command stays in one piece below ``Run next:``."""
    for name in EVERYTHING:
        before = ""
        for line in text_of(name, width).splitlines():
            assert len(line) <= width or before == "Run next:", (name, line)
            before = line


@pytest.mark.parametrize("name", EVERYTHING)
def test_json_follows_its_schema(name: str) -> None:
    """Each kind has the fields of docs/schema/explain.schema.json and no others."""
    subject = command.find(name)
    assert subject is not None
    document = command.as_object(subject)
    validate("explain", json.loads(json.dumps(document)))
    assert document["id"] == name


@pytest.mark.parametrize("error", errors(), ids=lambda error: error.name)
def test_an_error_names_each_cause_with_side_and_call(error: Error) -> None:
    """The likely ones in a table, in their order; the others by name; then what to run."""
    text = text_of(error.name, 1000)
    places = [text.index(f"\n  {cause} ") for cause in error.causes]
    assert places == sorted(places)
    for cause, reports in causes_of(error):
        assert cause.id in text
        if cause.id in error.causes:
            assert cause.apart in text
            (row,) = (line for line in text.splitlines() if line.startswith(f"  {cause.id} "))
            assert all(report.call in row for report in reports)
    assert error.next_step.partition("#")[0].strip() in text
    assert all(rule in text for rule in error.rules)


def test_a_harmless_cause_is_marked() -> None:
    """In its own text, and in the list of causes."""
    assert "Harmless:" in text_of("late-segment")
    assert "Harmless:" not in text_of("close-unread")
    listing = rstaudit("causes", COLUMNS="120").stdout
    assert [line.split()[0] for line in listing.splitlines() if "harmless" in line] == [
        cause.id for cause in causes().values() if cause.benign
    ]


@pytest.mark.parametrize("cause", causes().values(), ids=lambda cause: cause.id)
def test_a_cause_shows_everything_known_of_it(cause: Cause) -> None:
    """What each end sees, what tells it apart, the fixes, the next command and the references."""
    text = text_of(cause.id)
    words = [cause.name, cause.summary, cause.apart, cause.wire, cause.kernel, cause.verified]
    for part in [*words, *cause.fixes, *cause.references, *cause.equals, *cause.counters]:
        assert flat(part) in flat(text)
    for report in cause.reports:
        assert report.result in text
    assert cause.next_step.partition("#")[0].strip() in text


def test_a_class_of_causes_names_its_kinds() -> None:
    """The parent lists its children, and a child its parent."""
    assert "Kinds of it: close-unread, linger-abort, listener-closed" in flat(text_of("app-abort"))
    assert "A kind of app-abort" in flat(text_of("linger-abort"))


def test_a_rule_is_found_by_id_and_slug_in_any_case() -> None:
    """Code rules and rules that are only data alike; the text has why, confirm, leave alone."""
    for rule in rules():
        card = command.find(rule.id.lower())
        assert isinstance(card, RuleCard)
        assert card == command.find(rule.slug.upper())
        text = flat(text_of(rule.id))
        said = rule.text()
        assert all(flat(part) in text for part in (said.why, said.confirm, said.leave_alone))
        assert f"rstaudit --only {rule.id}" in text
    only_data = {rule.id: rule.keys for rule in value_rules()}
    assert all(all(key in text_of(name) for key in keys) for name, keys in only_data.items())


@pytest.mark.parametrize(
    "name",
    ["net.ipv4.tcp_tw_reuse", "tcp_tw_reuse", "TCP_TW_REUSE", "ipv4.tcp_tw_reuse",
     "net/ipv4/tcp_tw_reuse", "/proc/sys/net/ipv4/tcp_tw_reuse"],
)  # fmt: skip
def test_a_setting_is_found_by_any_spelling_of_its_key(name: str) -> None:
    """Dotted, with slashes, or only its end."""
    found = command.find(name)
    assert isinstance(found, Setting)
    assert found.key == "net.ipv4.tcp_tw_reuse"


@pytest.mark.parametrize("key", settings())
def test_a_setting_shows_what_it_does_and_what_is_wrongly_said_of_it(key: str) -> None:
    """Meaning, wrong advice, hazards, what each profile wants, and the rules that judge it."""
    setting, text = settings()[key], flat(text_of(key, 200))
    for part in (setting.meaning, *setting.wrong_advice, *setting.hazards, *setting.references):
        assert flat(part) in text
    for profile in profiles().values():
        for check in ((expectation := profile.expectations.get(key)) and expectation.checks) or ():
            assert f"{check} ({check.severity.label})" in text
    for rule in value_rules():
        assert (rule.id in text) or key not in rule.keys


def test_a_setting_that_no_rule_judges_is_looked_at_with_sysctl() -> None:
    """There is always a command to run next."""
    setting = next(iter(settings().values()))
    assert f"sysctl {setting.key}" in explain_setting(setting, (), (), 80)


def test_several_ids_are_explained_one_after_the_other() -> None:
    """As texts with a line between them, as JSON in one array."""
    text = rstaudit("explain", "RST101", "close-unread").stdout
    assert text.index("RST101") < text.index("-" * 80) < text.index("close-unread:")
    documents = json.loads(rstaudit("explain", "RST101", "EPIPE", "--format", "json").stdout)
    assert [document["id"] for document in documents] == ["RST101", "EPIPE"]


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["Connection", "reset", "by", "peer"], "ECONNRESET (104)"),
        (["recv() failed (104: Connection reset by peer)"], "ECONNRESET (104)"),
        (["Broken", "pipe"], "EPIPE (32)"),
        (["99"], "EADDRNOTAVAIL (99)"),
        (["econnrefused"], "ECONNREFUSED (111)"),
    ],
)
def test_words_without_quotes_are_one_phrase(words: list[str], first: str) -> None:
    """What people paste need not be quoted."""
    done = rstaudit("explain", *words)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith(first)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["tcp_tw_reus"], "tcp_tw_reuse"), (["ECONRESET"], "ECONNRESET"), (["RST1011"], "RST101"),
        (["close-unred"], "close-unread"), (["RST101", "clos-unread"], "close-unread"),
    ],
)  # fmt: skip
def test_an_unknown_id_suggests_the_nearest(words: list[str], near: str) -> None:
    """One line on stderr, exit status 2."""
    done = rstaudit("explain", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"did you mean '{near}'?" in done.stderr


@pytest.mark.parametrize("word", ["zzzz", "", " ", "\x1b[31mred", "a\nb", "x" * 5000])
def test_nonsense_gets_one_harmless_line(word: str) -> None:
    """Nothing near: the line says where to look; control characters do not reach the terminal."""
    done = rstaudit("explain", word)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip("\n").isprintable()
    assert len(done.stderr) < 200


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_any_words_are_explained_or_refused(words: list[str]) -> None:
    """Never another exception, whatever is typed."""
    with suppress(UsageError):
        assert command.resolve(words)


def test_no_id_lists_what_there_is() -> None:
    """Every error, cause and rule by name, as text and as JSON."""
    text = rstaudit("explain").stdout
    assert all(name in text for name in [*causes(), *(rule.id for rule in rules())])
    document: dict[str, Any] = json.loads(rstaudit("explain", "--format", "json").stdout)
    validate("explain", document)
    named = [*document["errors"], *document["causes"], *document["rules"], *document["settings"]]
    assert named == EVERYTHING


def test_causes_lists_every_cause() -> None:
    """One row each, with its parent, and JSON with every field."""
    rows = rstaudit("causes", COLUMNS="120").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == list(causes())
    assert {row.split()[0] for row in rows if row.split()[-1] == "app-abort"} == {
        cause.id for cause in causes().values() if cause.parent == "app-abort"
    }
    document = json.loads(rstaudit("causes", "--format", "json").stdout)
    validate("causes", document)
    assert [entry["id"] for entry in document["causes"]] == list(causes())


CELLS = st.text("abc -", max_size=60)


@given(
    st.integers(1, 4).flatmap(
        lambda count: st.lists(st.lists(CELLS, min_size=count, max_size=count), max_size=5)
    ),
    st.integers(60, 200),
)
def test_a_table_fits_and_loses_no_word(rows: list[list[str]], width: int) -> None:
    """Cells wrap within their columns; every letter is printed."""
    text = table([""] * len(rows[0]) if rows else [], rows, width)
    assert all(len(line) <= width for line in text.splitlines())
    letters = "".join(cell for row in rows for cell in row).replace(" ", "")
    assert sorted(text.replace(" ", "").replace("\n", "")) == sorted(letters)
