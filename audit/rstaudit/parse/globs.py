"""Patterns of glob(7) over names already known, without asking a file system.

The time is bounded whatever the pattern: hostile files are read too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

#: More alternatives than this in one pattern are not expanded.
_MOST = 256

_CLASSES: dict[str, Callable[[str], bool]] = {
    "alpha": str.isalpha, "digit": str.isdecimal, "alnum": str.isalnum, "lower": str.islower,
    "upper": str.isupper, "space": str.isspace, "punct": lambda c: 32 < ord(c) < 127
    and not c.isalnum(), "xdigit": lambda c: c in "0123456789abcdefABCDEF",
}  # fmt: skip


def is_glob(path: str) -> bool:
    """Whether the readers of sysctl.d files take ``path`` for a pattern."""
    return any(mark in path for mark in "*?[")


class _Token(NamedTuple):
    """``*`` (kind many), ``?`` (any), a bracket (set) or one character (char)."""

    kind: str
    text: str


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern covers a path, component by component, as glob(3) without flags."""
    wanted, have = pattern.split("/"), path.split("/")
    return len(wanted) == len(have) and all(map(_component, wanted, have))


def braces(pattern: str) -> tuple[str, ...]:
    """``a{b,c}`` as ``ab`` and ``ac`` (GLOB_BRACE, as systemd-sysctl asks for)."""
    done: list[str] = []
    todo = [pattern]
    while todo and len(done) + len(todo) <= _MOST:
        text = todo.pop()
        inner = re.search(r"\{([^{}]*)\}", text)
        if inner is None or inner[0] == "{}":
            done.append(text)
            continue
        todo += [text[: inner.start()] + part + text[inner.end() :] for part in inner[1].split(",")]
    return tuple(dict.fromkeys(done))


def _component(pattern: str, name: str) -> bool:
    """Match one name; a star never needs more than one step back."""
    tokens = _tokens(pattern)
    if name.startswith(".") and tokens and tokens[0].kind != "char":
        return False
    at = place = 0
    star, mark = -1, 0
    while place < len(name):
        if at < len(tokens) and tokens[at].kind == "many":
            star, mark = at, place
            at += 1
        elif at < len(tokens) and _one(tokens[at], name[place]):
            at += 1
            place += 1
        elif star >= 0:
            mark += 1
            at, place = star + 1, mark
        else:
            return False
    return all(token.kind == "many" for token in tokens[at:])


@lru_cache(maxsize=256)
def _tokens(pattern: str) -> tuple[_Token, ...]:
    tokens: list[_Token] = []
    place = 0
    while place < len(pattern):
        char = pattern[place]
        end = _bracket_end(pattern, place) if char == "[" else -1
        if end > 0:
            tokens.append(_Token("set", pattern[place + 1 : end]))
            place = end + 1
        elif char == "\\" and place + 1 < len(pattern):
            tokens.append(_Token("char", pattern[place + 1]))
            place += 2
        else:
            tokens.append(_Token({"*": "many", "?": "any"}.get(char, "char"), char))
            place += 1
    return tuple(tokens)


def _bracket_end(pattern: str, start: int) -> int:
    """Where the bracket that opens at ``start`` closes, -1 where it does not."""
    place = start + 1 + pattern.startswith(("!", "^"), start + 1)
    place += pattern.startswith("]", place)
    while place < len(pattern) and pattern[place] != "]":
        if pattern.startswith("[:", place):
            close = pattern.find(":]", place)
            place = close + 1 if close > 0 else place
        place += 1
    return place if place < len(pattern) else -1


def _one(token: _Token, char: str) -> bool:
    if token.kind != "set":
        return token.kind == "any" or token.text == char
    text = token.text
    negated = text[:1] in ("!", "^")
    return _in_set(text[negated:], char) != negated


def _in_set(text: str, char: str) -> bool:
    for name, test in _CLASSES.items():
        if f"[:{name}:]" in text:
            if test(char):
                return True
            text = text.replace(f"[:{name}:]", "")
    ranges = re.findall(r"(.)-(.)", text, re.DOTALL)
    if any(low <= char <= high for low, high in ranges):
        return True
    return char in re.sub(r".-.", "", text, flags=re.DOTALL)
