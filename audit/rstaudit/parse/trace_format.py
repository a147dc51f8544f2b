"""``format`` files and ``events/header_page`` of tracefs: where each field of a record lies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from rstaudit.parse.errors import ParseError

_NAME = re.compile(r"^name: (\w{1,80})$", re.MULTILINE | re.ASCII)
_ID = re.compile(r"^ID: (\d{1,5})$", re.MULTILINE | re.ASCII)
_FIELD = re.compile(
    r"^\s*field:([^;\n]{1,200});\s*offset:(\d{1,5});\s*size:(\d{1,5});(?:\s*signed:([01]);)?",
    re.MULTILINE | re.ASCII,
)
_DECLARED = re.compile(r"(\w+)\s*(?:\[[^\]]*\])?$", re.ASCII)
_SYMBOLIC = re.compile(r"__print_symbolic\(\s*REC->(\w+)\s*,", re.ASCII)
_PAIR = re.compile(r'\s*\{\s*([^,{}"]{1,80}?)\s*,\s*"([^"\n]{0,80})"\s*\}\s*,?', re.ASCII)

#: A page larger than this is no page (the largest sub-buffer is 128 KiB in 6.18).
_LARGEST_PAGE = 1 << 20


class Field(NamedTuple):
    """A field of a record: where it begins, its bytes, whether it is a signed number."""

    offset: int
    size: int
    signed: bool


class Layout(NamedTuple):
    """One kind of event. ``size`` is the least length of its records in bytes.

    ``symbols`` holds, by field, the words the kernel prints for its numbers. Words whose number
    stands as a name that only the kernel's source explains are left out.
    """

    name: str
    id: int
    fields: Mapping[str, Field]
    symbols: Mapping[str, Mapping[int, str]]
    size: int


class PageLayout(NamedTuple):
    """The ring buffer's page: bytes in all, where the commit field and the records begin."""

    size: int
    commit: Field
    data: int


def parse_format(text: str) -> Layout:
    """The layout that a ``format`` file describes (kernel/trace/trace_events.c); ParseError."""
    name, number = _NAME.search(text), _ID.search(text)
    if name is None or number is None:
        raise ParseError("trace format: no line with the name or the ID of the event")
    fields = _fields(text, name[1])
    for needed in ("common_type", "common_flags", "common_pid"):
        if needed not in fields:
            raise ParseError(f"trace format of {name[1]}: no field {needed}")
    size = max(field.offset + field.size for field in fields.values())
    return Layout(name[1], int(number[1]), fields, _symbols(text), size)


def parse_header_page(text: str) -> PageLayout:
    """The page layout that ``events/header_page`` describes; raises ParseError."""
    fields = _fields(text, "header_page")
    commit, data = fields.get("commit"), fields.get("data")
    if commit is None or data is None or commit.size not in (4, 8) or commit.offset < 8:
        raise ParseError("trace header_page: no usable field commit or data")
    size = data.offset + data.size
    if data.offset < commit.offset + commit.size or size > _LARGEST_PAGE:
        raise ParseError(f"trace header_page: data of {data.size} bytes at {data.offset}")
    return PageLayout(size, commit, data.offset)


def _fields(text: str, event: str) -> dict[str, Field]:
    """Fields by name; ``header_page`` has two at one place, of which the later is a trick."""
    found: dict[str, Field] = {}
    for declaration, offset, size, signed in _FIELD.findall(text):
        name = _DECLARED.search(declaration.strip())
        if name is not None:
            found.setdefault(name[1], Field(int(offset), int(size), signed == "1"))
    if not found:
        raise ParseError(f"trace format of {event}: no fields")
    return found


def _symbols(text: str) -> dict[str, dict[int, str]]:
    """The pairs of each ``__print_symbolic(REC->field, {number, "word"}, ...)``."""
    found: dict[str, dict[int, str]] = {}
    for start in _SYMBOLIC.finditer(text):
        words = found.setdefault(start[1], {})
        at = start.end()
        while (pair := _PAIR.match(text, at)) is not None:
            number = _number(pair[1])
            if number is not None:
                words.setdefault(number, pair[2])
            at = pair.end()
    return found


def _number(word: str) -> int | None:
    try:
        return int(word, 0)
    except ValueError:
        return None
