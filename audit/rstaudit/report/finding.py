"""The findings of one rule as lines: message, evidence, fix to paste, where to read more."""

from __future__ import annotations

import re

from rstaudit.model.rule import Confidence, Finding, Result
from rstaudit.report.layout import Line, Span, wrap
from rstaudit.report.safe import printable

#: Findings of one rule shown before "and N more".
SHOWN = 10

#: Entries of a list in the evidence shown before "...".
_SHOWN_WORDS = 5

_INDENT = 4


def group(result: Result, width: int) -> list[Line]:
    """Everything about one failing rule, its worst findings first."""
    head = Span(f"{result.severity.label:8}", result.severity.label)
    title = [Span(f"{result.rule} ", "strong"), Span(printable(result.title), "strong")]
    lines = wrap(title, width, _INDENT, (head,))
    ordered = sorted(result.findings, key=lambda f: -(f.severity or result.severity))
    shown = ordered[:SHOWN]
    common = len(shown) > 1 and len({finding.fix for finding in ordered}) == 1
    for finding in shown:
        lines += _finding(finding, result, width)
        lines += [] if common else _fix(finding.fix, width)
    if len(ordered) > SHOWN:
        more = f"and {len(ordered) - SHOWN} more (--format json shows all)"
        lines += wrap([Span(more)], width, _INDENT)
    lines += _fix(shown[0].fix, width) if common else []
    explain = Span(f"rstaudit explain {result.rule}", "dim")
    return [*lines, *wrap([explain], width, _INDENT, (Span("    explain:", "dim"), Span(" ")))]


def _finding(finding: Finding, result: Result, width: int) -> list[Line]:
    subject, message = printable(finding.subject), printable(finding.message)
    text = message if _says(message, subject) else f"{subject}: {message}"
    spans = [Span(text)]
    if finding.confidence is not Confidence.CERTAIN:
        spans.append(Span(f" ({finding.confidence.value})", "dim"))
    if finding.severity not in (None, result.severity):
        spans.insert(0, Span(f"{finding.severity.label}: ", finding.severity.label))
    lines = wrap(spans, width, _INDENT, (Span("  -"),))
    if rest := evidence(finding):
        lines += wrap(
            [Span(rest, "dim")], width, _INDENT + 2, (Span("    seen:", "dim"), Span(" "))
        )
    return lines


def evidence(finding: Finding) -> str:
    """The evidence that the message does not already show: ``free: 232; backlog: 128``."""
    message = f"{finding.subject} {finding.message}"
    shown = {key: _value(value) for key, value in finding.evidence.items()}
    parts = [f"{key}: {text}" for key, text in shown.items() if not _says(message, text)]
    return printable("; ".join(parts))


def _says(message: str, text: str) -> bool:
    """Whether ``text`` stands in ``message`` as a word of its own, not inside another."""
    return re.search(rf"(?<![\w.]){re.escape(text)}(?!\w|\.\d)", message) is not None


def _value(value: str | float | list[str] | None) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, list):
        more = ", ..." if len(value) > _SHOWN_WORDS else ""
        return ", ".join(map(str, value[:_SHOWN_WORDS])) + more
    if isinstance(value, float):
        if 0 < abs(value) < 0.01:
            return f"{value:.2g}"
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)


def _fix(fix: str, width: int) -> list[Line]:
    """A sentence is wrapped; a command stays on one line, so that it can be pasted."""
    if not fix:
        return []
    text, head = printable(fix), (Span("    fix:", "strong"), Span(" "))
    if text.endswith("."):
        return wrap([Span(text)], width, _INDENT + 2, head)
    return [(*head, Span(text, "strong"))]
