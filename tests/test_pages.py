"""The generated pages: valid Markdown that says what the catalogue says, and links that lead on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rstaudit.catalogue.causes import causes, errors
from rstaudit.catalogue.load import profiles, settings
from rstaudit.export import pages
from rstaudit.export.markdown import cell, code, flow, plain, slug
from rstaudit.rules.registry import rules

DOCS = Path(__file__).parent.parent / "docs"

_MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def shown(tokens: Iterable[Token]) -> str:
    """What a reader sees of these tokens, without any white space."""
    parts = []
    for token in tokens:
        if token.type == "inline":
            parts.append(shown(token.children or []))
        elif token.type in ("text", "code_inline", "fence"):
            parts.append(token.content)
    return squeezed("".join(parts))


def squeezed(text: str) -> str:
    """Text without white space, and without the backticks around code."""
    return "".join(re.sub(r"(?<!`)`([^`]+)`(?!`)", r"\1", text).split())


def kinds(tokens: Iterable[Token]) -> set[str]:
    """The kinds of blocks there are."""
    return {token.type for token in tokens if not token.type.endswith("_close")} - {"inline"}


SENTENCES = st.text(st.sampled_from("ab1 _*`<>[]()|~&#;+-=.!\\/$:'\"x"), min_size=1).filter(
    str.strip
)


@given(SENTENCES)
def test_a_paragraph_is_shown_as_it_is(text: str) -> None:
    """Whatever characters a sentence holds, it is one paragraph of just these characters."""
    tokens = _MARKDOWN.parse(flow(text))
    assert kinds(tokens) == {"paragraph_open"}
    assert shown(tokens) == squeezed(text)


@given(SENTENCES)
def test_a_sentence_in_a_line_is_shown_as_it_is(text: str) -> None:
    """Also behind other words, as in a list or behind a title in bold."""
    tokens = _MARKDOWN.parse(f"**Why:** {plain(text)}")
    assert kinds(tokens) == {"paragraph_open"}
    assert shown(tokens) == f"Why:{squeezed(text)}"


@given(SENTENCES, SENTENCES)
def test_a_cell_stays_one_cell(left: str, right: str) -> None:
    """Pipes, in code too, neither end the cell nor change."""
    tokens = _MARKDOWN.parse(f"| a | b |\n|---|---|\n| {cell(left)} | {cell(right)} |\n")
    cells = [tokens[at + 1] for at, token in enumerate(tokens) if token.type == "td_open"]
    assert [shown([token]) for token in cells] == [squeezed(left), squeezed(right)]


@given(st.text(st.sampled_from("ab `|\\*<"), min_size=1).filter(lambda text: text.strip(" `")))
def test_code_is_shown_as_it_is(text: str) -> None:
    """A name or value that holds backticks itself gets a longer fence."""
    (inline,) = [token for token in _MARKDOWN.parse(f"x {code(text)} y") if token.children]
    (span,) = [token for token in inline.children or [] if token.type == "code_inline"]
    assert span.content.strip() == text.strip()


def test_paragraphs_stay_apart() -> None:
    """Blank lines part them; line breaks inside do not."""
    assert flow("one\ntwo\n\nthree") == "one two\n\nthree"


def rendered() -> dict[str, str]:
    """The pages by name."""
    return {path.stem: text for path, text in pages.render().items()}


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_table_row_has_the_cells_of_its_header(page: str) -> None:
    """A row with more or fewer cells would be cut off or shifted."""
    lines = rendered()[page].splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|"):
            head = number
            while lines[head - 1].startswith("|"):
                head -= 1
            assert bars(line) == bars(lines[head]), line
            assert number != head or re.fullmatch(r"\|(---\|)+", lines[head + 1])


def bars(line: str) -> int:
    """The pipes of a row that part its cells."""
    return len(re.findall(r"(?<!\\)\|", line))


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    """To an anchor of this page or another; no anchor is there twice."""
    texts = rendered()
    anchors = {name: re.findall(r'<a id="([^"]+)"></a>', text) for name, text in texts.items()}
    assert len(anchors[page]) == len(set(anchors[page]))
    links = re.findall(r"\]\(([^)#]*)#([^)]+)\)", texts[page])
    assert links
    for target, anchor in links:
        assert anchor in anchors[target.removesuffix(".md") or page]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("rules", [rule.id for rule in rules()]),
        ("causes", list(causes())),
        ("settings", list(settings())),
        ("profiles", list(profiles())),
        ("errors", [error.name for error in errors()]),
    ],
)
def test_every_entry_has_its_place(page: str, names: list[str]) -> None:
    """One anchor for each, in the order of the catalogue."""
    assert re.findall(r'<a id="([^"]+)">', rendered()[page]) == [slug(name) for name in names]


def test_every_word_of_the_catalogue_is_shown() -> None:
    """A field that a template forgets, or that Markdown swallows, is missing here."""
    seen = {name: shown(_MARKDOWN.parse(text)) for name, text in rendered().items()}
    for rule in rules():
        text = rule.text()
        for words in (rule.title, rule.slug, *text.why.split("\n\n"), text.confirm,
                      text.leave_alone, *text.references):  # fmt: skip
            assert squeezed(words) in seen["rules"], rule.id
    for cause in causes().values():
        notes = [report.note for report in cause.reports]
        for words in (cause.name, cause.summary, cause.apart, cause.wire, cause.kernel, *notes,
                      *cause.fixes, *cause.references, cause.verified, *cause.counters,
                      cause.next_step):  # fmt: skip
            assert squeezed(words) in seen["causes"], cause.id
    for setting in settings().values():
        for words in (setting.title, setting.meaning, setting.unit, *setting.pitfalls,
                      *setting.wrong_advice, *setting.hazards, *setting.references,
                      setting.verified):  # fmt: skip
            assert squeezed(words) in seen["settings"], setting.key
    for error in errors():
        for words in (error.meaning, *error.words, *error.hints, error.next_step):
            assert squeezed(words) in seen["errors"], error.name
    for profile in profiles().values():
        assert squeezed(profile.title) in seen["profiles"]


def test_what_profiles_want_stands_with_rule_setting_and_profile() -> None:
    """A value rule shows the expectation of each profile; so does the setting."""
    texts = rendered()
    row = next(
        line for line in texts["rules"].splitlines()
        if line.startswith("| [client](profiles.md#client) | 1 (warning) | `1` |")
    )  # fmt: skip
    assert row in texts["settings"]
    assert "| A port in TIME_WAIT becomes usable again" in row
    assert (
        "[`net.ipv4.tcp_tw_reuse`](settings.md#net-ipv4-tcp-tw-reuse) | 1 (warning) | `1` |"
        in (texts["profiles"])
    )


def test_no_page_is_made_where_there_is_no_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed package has no docs/ to write to."""
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    assert pages.render() == {}


def test_the_index_links_every_page() -> None:
    """docs/index.md leads to all of them, and to no file that is not there."""
    index = (DOCS / "index.md").read_text()
    links = re.findall(r"\]\(([^)#]+)", index)
    for page in pages.PAGES:
        assert f"catalogue/{page}.md" in links
    for link in links:
        assert (DOCS / link).exists(), link
