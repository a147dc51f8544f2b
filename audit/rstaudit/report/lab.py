"""The lab as text: what there is, a line for each verdict, what was taken for what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rstaudit.catalogue.causes import myths
from rstaudit.model.verdict import FAIL, PASS, SKIPPED, Matrix, Verdict
from rstaudit.report.layout import Line, Span, wrap
from rstaudit.report.safe import printable

_STYLES = {PASS: "good", FAIL: "error", SKIPPED: "dim"}
_OUTCOME = 8
_INDENT = 4


def listing(verdicts: Iterable[Verdict], width: int) -> list[Line]:
    """Every scenario with its title, and what is expected of it."""
    lines: list[Line] = []
    for one in verdicts:
        mark = " (slow)" if one.slow else ""
        lines.append((Span(one.id, "strong"), Span(f"{mark}  {' '.join(one.rows)}", "dim")))
        lines += wrap([Span(one.title)], width, _INDENT)
        lines += wrap([Span(_expectation(one), "dim")], width, _INDENT)
    return lines


def _expectation(one: Verdict) -> str:
    causes = dict.fromkeys((*one.expected_live.values(), *one.expected_pcap.values()))
    rules = dict.fromkeys(rule for rules in one.expected_audit.values() for rule in rules)
    words = " ".join(causes) or "no reset"
    return f"{words}; audit: {' '.join(rules)}" if rules else words


def line(one: Verdict, width: int, *, verbose: bool = False) -> list[Line]:
    """A verdict: live, pcap and audit in a line, faults and (when asked) calls below it.

    A claim that was put to the test always says what the kernel did.
    """
    head = Span(one.outcome.ljust(_OUTCOME), _STYLES.get(one.outcome, ""))
    said = Span("" if one.outcome == SKIPPED else f"  {_said(one)}", "dim")
    lines = wrap([Span(one.id, "strong"), said], width, _OUTCOME + 1, (head,))
    claim = next((myth for myth in myths() if myth.id == one.id), None)
    if claim is not None:
        text = f'"{claim.claim}" This is {claim.verdict}.'
        lines += wrap([Span(text)], width, _OUTCOME + _INDENT, (Span(" " * _OUTCOME),))
    if (verbose or claim is not None) and one.outcome != SKIPPED:
        for end, call, result in one.calls:
            text = printable(f"{end}: {call} -> {result}")
            lines += wrap([Span(text, "dim")], width, _OUTCOME + _INDENT, (Span(" " * _OUTCOME),))
    for fault in one.detail:
        lines += wrap([Span(printable(fault))], width, _OUTCOME + _INDENT, (Span(" " * _OUTCOME),))
    return lines


def _said(one: Verdict) -> str:
    parts = [f"live: {_causes(one.live)}", f"pcap: {_causes(one.pcap)}"]
    if one.expected_audit:
        parts.append(f"audit: {' '.join(one.audit) or 'nothing'}")
    return ", ".join(parts)


def _causes(named: Mapping[str, tuple[str, ...]]) -> str:
    return " ".join(dict.fromkeys(cause for causes in named.values() for cause in causes)) or "none"


def summary(verdicts: Iterable[Verdict], width: int) -> list[Line]:
    """How many passed; what a skipped one would need is said at its line."""
    counts = {PASS: 0, FAIL: 0, SKIPPED: 0}
    for one in verdicts:
        counts[one.outcome] += 1
    words = f"{counts[PASS]} passed, {counts[FAIL]} failed, {counts[SKIPPED]} skipped"
    return [(), *wrap([Span(words, "strong")], width)]


def matrix(title: str, counts: Matrix, width: int) -> list[Line]:
    """What was named for what happened: one line for each cause, the right answer first."""
    lines: list[Line] = [(), (Span(f"{title}: what happened, and what was named", "strong"),)]
    for truth in sorted({truth for truth, _ in counts}):
        named = {name: count for (one, name), count in counts.items() if one == truth}
        order = sorted(named, key=lambda name: (name != truth, -named[name]))
        spans = [
            Span(f"{name} {named[name]}  ", "good" if name == truth else "warning")
            for name in order
        ]
        lines += wrap(spans, width, 24, (Span(truth),))
    return lines
