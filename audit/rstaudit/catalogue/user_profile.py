"""A user's own profile: a YAML file, checked so that a mistake is named in one line.

name: shop-frontend
title: Our web servers            # optional
extends: web                      # optional: one of the profiles we ship
settings:
net.ipv4.tcp_tw_reuse: 1                              # exactly, a warning
net.core.somaxconn: {at_least: 8192, severity: error} # recommend: VALUE for `tune`
net.ipv4.tcp_mtu_probing: null                        # not judged
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rstaudit.catalogue.checks import read_check, read_numbers
from rstaudit.catalogue.load import profiles
from rstaudit.model.setting import OPS, Expectation, Profile

if TYPE_CHECKING:
    import yaml

#: PyYAML's own parser takes about a second for this much.
LARGEST = 1 << 17

_FIELDS = ("name", "title", "extends", "settings")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_KEY = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_/@:-]+){1,9}")
_OPTIONS = ("severity", "recommend", "why")


class ProfileError(Exception):
    """A profile that cannot be used: one line with file, line, and what to do."""


def load_profile(path: str) -> Profile:
    """Read a profile from a YAML file; raises `ProfileError`."""
    return parse_profile(_read(path), path)


def parse_profile(data: bytes, path: str) -> Profile:
    """The profile that a file holds; ``path`` is for messages. Raises `ProfileError`."""
    root = _compose(path, data)
    fields = _mapping(path, root, "the profile")
    for field, (node, _) in fields.items():
        if field not in _FIELDS:
            raise _wrong(path, node, f"unknown field {field!r}; use {', '.join(_FIELDS)}")
    name = _word(path, fields, "name", root)
    known = profiles()
    if not _NAME.fullmatch(name) or name in known:
        why = "is one of ours; choose another" if name in known else "use a-z, 0-9, _ and -"
        raise _wrong(path, fields["name"][1], f"name {name[:64]!r}: {why}")
    extends = _word(path, fields, "extends", root) if "extends" in fields else None
    if extends is not None and extends not in known:
        what = f"unknown profile {extends[:64]!r}; extend {', '.join(known)}"
        raise _wrong(path, fields["extends"][1], what)
    title = _word(path, fields, "title", root) if "title" in fields else name
    expectations = dict(known[extends].expectations) if extends is not None else {}
    if "settings" in fields:
        _settings(path, fields["settings"][1], expectations)
    return Profile(name, " ".join(title.split()), extends, expectations, path)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise ProfileError(f"{path}: {why}; give --profile a readable file") from None
    if len(data) > LARGEST:
        raise ProfileError(f"{path}: larger than {LARGEST} bytes; is this a profile?")
    return data


def _compose(path: str, data: bytes) -> yaml.Node:
    """The nodes of the document. Values are taken as written: YAML's ``yes`` is no number here."""
    try:
        import yaml
    except ImportError:
        what = "reading profiles needs PyYAML; pip install PyYAML, or use a built-in profile"
        raise ProfileError(f"{path}: {what}") from None
    try:
        # The pure Python loader is meant: the C one overflows the stack on deep nesting.
        node = yaml.compose(data.decode(), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProfileError(f"{path}:{line}: not UTF-8; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ProfileError(f"{path}{where}: not valid YAML: {error.problem}; mend it") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: "\\UFFFFFFFF"
        why = " ".join(str(error).split())
        raise ProfileError(f"{path}: not valid YAML: {why}; mend it") from None
    except RecursionError:
        raise ProfileError(f"{path}: nested too deeply; is this a profile?") from None
    if node is None:
        raise ProfileError(f"{path}: is empty; write name: and settings:")
    return node


def _wrong(path: str, node: yaml.Node, what: str) -> ProfileError:
    mark = node.start_mark
    return ProfileError(f"{path}:{mark.line + 1}:{mark.column + 1}: {what}")


def _mapping(path: str, node: Any, what: str) -> dict[str, tuple[Any, Any]]:
    """The key and value nodes of a mapping by key."""
    if node.id != "mapping":
        raise _wrong(path, node, f"{what} must be a mapping, lines of 'key: value'")
    found: dict[str, tuple[Any, Any]] = {}
    for key, value in node.value:
        if key.id != "scalar":
            raise _wrong(path, key, "a key must be one word")
        if key.value in found:
            raise _wrong(path, key, f"{key.value[:64]!r} is given twice; keep one")
        found[key.value] = (key, value)
    return found


def _word(path: str, fields: dict[str, tuple[Any, Any]], name: str, root: Any) -> str:
    if name not in fields:
        raise _wrong(path, root, f"the profile has no {name}; add '{name}: ...'")
    node = fields[name][1]
    if node.id != "scalar" or not node.value.strip() or not node.value.isprintable():
        raise _wrong(path, node, f"{name} must be one line of words")
    return str(node.value).strip()


def _settings(path: str, node: Any, expectations: dict[str, Expectation]) -> None:
    """Add what the file asks for to what it extends; ``null`` takes a key away."""
    if node.id == "scalar" and _is_null(node):
        return
    for key, (key_node, value) in _mapping(path, node, "settings").items():
        if not _KEY.fullmatch(key):
            what = f"{key[:64]!r} is not a sysctl; write it with dots, as net.ipv4.tcp_tw_reuse"
            raise _wrong(path, key_node, what)
        if _is_null(value):
            expectations.pop(key, None)
        else:
            expectations[key] = _expectation(path, value)


def _is_null(node: Any) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _expectation(path: str, node: Any) -> Expectation:
    """One value (exactly, a warning), or a mapping with an operator."""
    if node.id != "mapping":
        return _checked(path, node, "exactly", node, {})
    fields = _mapping(path, node, "a setting")
    ops = [name for name in fields if name not in _OPTIONS]
    if len(ops) != 1:
        names = ", ".join(op.replace("-", "_") for op in OPS)
        raise _wrong(path, node, f"a setting needs one operator of {names}")
    key, value = fields[ops[0]]
    options = {name: _text(path, fields[name][1], name) for name in _OPTIONS if name in fields}
    return _checked(path, key, ops[0], value, options)


def _checked(path: str, key: Any, op: str, value: Any, options: dict[str, str]) -> Expectation:
    recommend = options.get("recommend")
    try:
        check = read_check(op, _plain(value), options.get("severity", "warning"))
        if recommend is not None:
            recommend = " ".join(map(str, read_numbers(recommend)))
            if not check.holds(read_numbers(recommend)):
                raise ValueError(f"recommend {recommend} is not {check}; mend one of them")
    except ValueError as error:
        raise _wrong(path, key, str(error)) from None
    return Expectation((check,), recommend, options.get("why", ""))


def _plain(node: Any) -> object:
    """A scalar as written, or a list of such; anything else is named by its kind."""
    if node.id == "scalar":
        return node.value
    if node.id == "sequence" and all(item.id == "scalar" for item in node.value):
        return [item.value for item in node.value]
    raise ValueError(f"a {node.id} where numbers are wanted; write a number or a list of numbers")


def _text(path: str, node: Any, name: str) -> str:
    if node.id != "scalar" or not node.value.isprintable():
        raise _wrong(path, node, f"{name} must be one line of words")
    return str(node.value)
