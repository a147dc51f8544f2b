"""Plain sentences as Markdown that shows them as they are (CommonMark, and GitHub's tables)."""

from __future__ import annotations

import re

#: A command or name that the catalogue sets in backticks.
_CODE = re.compile(r"((?<!`)`[^`]+`(?!`))")

#: What Markdown could take for its own. An underscore inside a word is none of it.
_SPECIAL = re.compile(r"[\\`*<>\[\]~|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")

#: An ampersand that would begin an entity.
_ENTITY = re.compile(r"&(?=#?[A-Za-z0-9]+;)")

#: What would begin a heading, a list, a rule or a quotation at the start of a line.
_START = re.compile(r"^([#+=-]|\d{1,9}(?=[.)]))")


def plain(text: str) -> str:
    """Text inside a line: white space joined, code in backticks kept, the rest escaped."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part if _CODE.fullmatch(part) else _escaped(part) for part in parts)


def flow(text: str) -> str:
    """Paragraphs, which blank lines part."""
    return "\n\n".join(_begun(plain(part)) for part in re.split(r"\n\s*\n", text.strip()))


def cell(text: str) -> str:
    """A cell of a table: as `plain`, and nothing in it ends the cell."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(
        part.replace("|", "\\|") if _CODE.fullmatch(part) else _escaped(part) for part in parts
    )


def code(text: str) -> str:
    """A command or name as a code span, whatever it holds; `cell` escapes it for a table."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def slug(text: str) -> str:
    """A name as an anchor that its own heading does not depend on."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _begun(line: str) -> str:
    """A line that begins a paragraph, and nothing else."""
    return _START.sub(lambda found: _backslashed(found[1]), line)


def _backslashed(start: str) -> str:
    return f"\\{start}" if not start.isdigit() else f"{start}\\"


def _escaped(text: str) -> str:
    return _ENTITY.sub("&amp;", _SPECIAL.sub(lambda found: f"\\{found[0]}", text))
