"""Waivers: findings that somebody decided to live with, why, and until when.

A YAML list; each entry has ``rule`` (id or slug) and ``justification``, and may have ``host``
and ``subject`` (patterns with ``*`` and ``?``), ``expires`` (a date, the last day it holds) and
``owner``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from rstaudit.model.rule import Finding, HostReport, Outcome, Result, Severity

if TYPE_CHECKING:
    import yaml

_FIELDS = ("rule", "justification", "host", "subject", "expires", "owner")
_REQUIRED = ("rule", "justification")
_LARGEST = 1 << 18

#: How a note ends that says of a waiver that it is not needed, on this host.
UNUSED = "matches nothing; remove it"


class WaiverError(Exception):
    """A waiver file that cannot be used: one line with file, line and what to do."""


class Waiver(NamedTuple):
    """One entry; ``origin`` is ``FILE:LINE``. Patterns are None where anything matches."""

    origin: str
    rule: str
    justification: str
    host: str | None
    subject: str | None
    expires: date | None
    owner: str | None

    def covers(self, host: str, result: Result) -> bool:
        """Whether it speaks of this rule on this host (expired or not)."""
        named = self.rule.casefold() in (result.rule.casefold(), result.slug.casefold())
        return named and _matches(self.host, host)


def load_waivers(path: str) -> tuple[Waiver, ...]:
    """Read a waiver file; raises `WaiverError`. An empty file holds no waivers."""
    root = _parse(path, _read(path))
    if root is None:
        return ()
    if not isinstance(root.value, list) or _is_mapping(root):
        raise _error(path, root, "must be a list of waivers; start each with '- rule: RST101'")
    return tuple(_waiver(path, node) for node in root.value)


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise WaiverError(f"{path}: {why}; give --waivers a readable file") from None
    if len(data) > _LARGEST:
        raise WaiverError(f"{path}: larger than {_LARGEST} bytes; is this a waiver file?")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WaiverError(f"{path}:{line}: not UTF-8; save it as UTF-8") from None


def _parse(path: str, text: str) -> yaml.Node | None:
    """The nodes of the YAML document: values are read from them as written, without YAML's types.

    The pure Python loader is meant: the C one can overflow the stack on deep nesting.
    """
    try:
        import yaml
    except ImportError:
        raise WaiverError(f"{path}: reading waivers needs PyYAML; pip install PyYAML") from None
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise WaiverError(f"{path}{line}: not valid YAML: {error.problem}; mend it") from None
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise WaiverError(f"{path}: not valid YAML: {why}; mend it") from None
    except RecursionError:
        raise WaiverError(f"{path}: nested too deeply; is this a waiver file?") from None
    return node


def _error(path: str, node: yaml.Node, what: str) -> WaiverError:
    return WaiverError(f"{path}:{node.start_mark.line + 1}: {what}")


def _is_mapping(node: yaml.Node) -> bool:
    import yaml

    return isinstance(node, yaml.MappingNode)


def _waiver(path: str, node: yaml.Node) -> Waiver:
    if not _is_mapping(node):
        raise _error(path, node, "not a waiver; write '- rule: RST101' and its fields below")
    fields: dict[str, str] = {}
    for key, value in node.value:
        if not isinstance(key.value, str) or key.value not in _FIELDS:
            raise _error(path, key, f"unknown field {_short(key)}; use one of {', '.join(_FIELDS)}")
        if key.value in fields:
            raise _error(path, key, f"{key.value} is given twice; keep one")
        if not isinstance(value.value, str) or not value.value.strip():
            raise _error(path, value, f"{key.value} must be a word or a sentence")
        fields[key.value] = value.value.strip()
    for name in _REQUIRED:
        if name not in fields:
            raise _error(path, node, f"the waiver has no {name}; add '{name}: ...'")
    return Waiver(
        f"{path}:{node.start_mark.line + 1}",
        fields["rule"],
        " ".join(fields["justification"].split()),
        fields.get("host"),
        fields.get("subject"),
        _date(path, node, fields["expires"]) if "expires" in fields else None,
        fields.get("owner"),
    )


def _short(node: yaml.Node) -> str:
    return repr(node.value[:40]) if isinstance(node.value, str) else "that is not a word"


def _date(path: str, node: yaml.Node, text: str) -> date:
    line = next(value for key, value in node.value if key.value == "expires")
    try:
        return date.fromisoformat(text)
    except ValueError:
        what = f"expires: {text[:40]!r} is not a date; write it as 2027-01-31"
        raise _error(path, line, what) from None


def _matches(pattern: str | None, text: str) -> bool:
    """Only ``*`` and ``?`` are special: brackets belong to IPv6 addresses."""
    if pattern is None:
        return True
    parts = (
        {"*": ".*", "?": "."}.get(part, re.escape(part)) for part in re.split(r"([*?])", pattern)
    )
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def apply(
    report: HostReport,
    waivers: Iterable[Waiver],
    today: date,
    severities: Mapping[str, Severity],
) -> tuple[HostReport, tuple[str, ...]]:
    """Waive what is waived; returns the new report and notes for the reader.

    ``severities`` holds each rule's own severity by id: what is left of a result may be milder.
    A waiver holds through its last day. Crashed and unknown rules cannot be waived.
    """
    notes: list[str] = []
    results = {result.rule: result for result in report.results}
    for waiver in waivers:
        for before in report.results:
            if not waiver.covers(report.host, before):
                continue
            if waiver.expires is not None and waiver.expires < today:
                about = f"{waiver.origin}: the waiver of {before.rule}"
                notes.append(f"{about} expired on {waiver.expires} and does not apply")
                continue
            after, note = _waive(results[before.rule], waiver, severities.get(before.rule))
            results[before.rule] = after
            notes += [note] if note else []
    return report._replace(results=tuple(results.values())), tuple(notes)


def _waive(result: Result, waiver: Waiver, severity: Severity | None) -> tuple[Result, str | None]:
    """The result after one waiver, and a note where not all of it or nothing was waived."""
    hit = [f for f in result.findings if _matches(waiver.subject, f.subject)]
    if result.outcome is not Outcome.FAIL or not hit:
        done = result.outcome is Outcome.WAIVED
        unused = f"{waiver.origin}: the waiver of {result.rule} {UNUSED}"
        return result, None if done else unused
    rest = tuple(finding for finding in result.findings if finding not in hit)
    if not rest:
        waived = result._replace(outcome=Outcome.WAIVED, reason=_why(waiver))
        return waived, None
    count = f"{len(hit)} of {len(result.findings)} findings"
    note = f"{waiver.origin}: {count} of {result.rule} waived: {_why(waiver)}"
    return result._replace(findings=rest, severity=_worst(rest, severity, result)), note


def _why(waiver: Waiver) -> str:
    extra = [f"owner {waiver.owner}"] if waiver.owner else []
    extra += [f"until {waiver.expires}"] if waiver.expires else []
    return waiver.justification + (f" ({', '.join(extra)})" if extra else "")


def _worst(findings: tuple[Finding, ...], own: Severity | None, before: Result) -> Severity:
    return max(finding.severity or own or before.severity for finding in findings)
