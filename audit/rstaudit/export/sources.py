"""The catalogue's YAML sources, read strictly: what is not understood is an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import rstaudit

DATA = Path(rstaudit.__file__).parent / "catalogue" / "data"

_KEY = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)+")


class SourceError(ValueError):
    """A source that cannot be used: file, entry, what is wrong."""


class Field(NamedTuple):
    """One field of an entry: ``read`` turns what YAML gave into JSON, or raises ValueError."""

    read: Callable[[Any], Any]
    required: bool = True


Fields = Mapping[str, Field]


def load(name: str) -> list[dict[str, Any]]:
    """The entries of ``data/NAME.yaml``; raises `SourceError`."""
    import yaml

    try:
        found = yaml.load((DATA / f"{name}.yaml").read_text("utf-8"), _loader())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SourceError(f"{name}.yaml: {' '.join(str(error).split())}") from None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise SourceError(f"{name}.yaml: must be a list of entries")
    return found


def _loader() -> Any:
    """The fast loader (libyaml) where it is there, with keys given twice refused."""
    import yaml

    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc, valid-type]  # which base is known only here
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            # a merge (<<) may come more than once, and its keys may be given again
            plain = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
            if twice := {str(key) for key in plain if plain.count(key) > 1}:
                raise ValueError(f"line {node.start_mark.line + 1}: twice: {', '.join(twice)}")
            return super().construct_mapping(node, deep=deep)

    return Loader


def read_entry(entry: Mapping[str, Any], fields: Fields, where: str) -> dict[str, Any]:
    """Check one entry against ``fields``; raises `SourceError` naming ``where``."""
    if unknown := entry.keys() - fields.keys():
        raise SourceError(f"{where}: unknown field {', '.join(sorted(map(str, unknown)))}")
    found = {}
    for name, field in fields.items():
        if name not in entry:
            if field.required:
                raise SourceError(f"{where}: field {name} is missing")
            continue
        try:
            found[name] = field.read(entry[name])
        except ValueError as error:
            raise SourceError(f"{where}: {name}: {error}") from None
    return found


def text(value: object) -> str:
    """Prose: a string that is not empty and all ASCII."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not a sentence")
    if not value.isascii():
        raise ValueError(f"{value!r} holds characters outside ASCII")
    return " ".join(value.split())


def texts(value: object) -> list[str]:
    """A list of prose that is not empty."""
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of sentences")
    return [text(item) for item in value]


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not true or false")
    return value


def number(value: object) -> int:
    """A whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{value!r} is not a whole number above 0")
    return value


def key(value: object) -> str:
    """A dotted sysctl name."""
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise ValueError(f"{value!r} is not a sysctl name")
    return value
