"""An audit as text that a tired person can act on: verdict, findings, what is not known."""

from __future__ import annotations

from collections.abc import Iterable

from rstaudit.model.rule import HostReport, Outcome, Result
from rstaudit.report.finding import group
from rstaudit.report.layout import Line, Span, wrap
from rstaudit.report.safe import printable
from rstaudit.report.summary import Audit, by_outcome, by_severity, real_gaps, results

#: Notes, gaps and the like shown before "and N more".
SHOWN = 10

_PLURALS = {"error": "errors", "warning": "warnings", "info": "info"}


def render(audit: Audit, width: int, verbose: bool = False) -> list[Line]:
    """The whole report, no line wider than ``width`` except fixes to paste."""
    lines = _overall(audit, width) if len(audit.hosts) > 1 else []
    for host in audit.hosts:
        lines += [()] if lines else []
        brief = len(audit.hosts) > 1 and not verbose and _nothing_to_say(host)
        lines += verdict(host, audit, width) if brief else _host(host, audit, width, verbose)
    return lines + _section("Notes", [(None, note) for note in audit.notes], width)


def verdicts(audit: Audit, width: int) -> list[Line]:
    """The verdict over everything where there are several hosts, and that on each."""
    lines = _overall(audit, width) if len(audit.hosts) > 1 else []
    return lines + [line for host in audit.hosts for line in verdict(host, audit, width)]


def _overall(audit: Audit, width: int) -> list[Line]:
    """``2 errors, 1 warning in 3 network namespaces``, and what is not known."""
    everything = results(audit)
    spans = _found(by_severity(everything))
    where = f" in {len(audit.hosts)} network namespaces of {audit.hosts[0].host}"
    spans.append(Span(printable(where), "strong"))
    return wrap(spans + _unknown(everything, audit), width)


def verdict(host: HostReport, audit: Audit, width: int) -> list[Line]:
    """``2 errors, 1 warning on web1 (kernel 6.1, profile web)``, and what is not known."""
    spans = _found(by_severity(list(host.results)))
    where = f" on {host.host} (kernel {host.kernel}, profile {audit.profile}"
    where += "" if host.netns == "initial" else f", namespace {host.netns}"
    where += "" if host.source == "live" else f", recorded in {host.source.removeprefix('root:')}"
    spans.append(Span(printable(where + ")"), "strong"))
    return wrap(spans + _unknown(list(host.results), audit), width)


def _unknown(of: list[Result], audit: Audit) -> list[Span]:
    """What is not known, in the same breath as the verdict."""
    counts = by_outcome(of)
    spans: list[Span] = []
    if unknown := counts["unknown"]:
        spans.append(Span(f"; {_number(unknown, 'check')} could not be made", "warning"))
    if crashed := counts["error"]:
        spans.append(Span(f"; {_number(crashed, 'rule')} crashed", "error"))
    if audit.interrupted:
        spans.append(Span("; interrupted", "warning"))
    return spans


def _found(failures: dict[str, int]) -> list[Span]:
    spans: list[Span] = []
    for label, count in failures.items():
        if count:
            spans += [Span(", ")] if spans else []
            spans.append(Span(f"{count} {label if count == 1 else _PLURALS[label]}", label))
    return spans or [Span("nothing wrong found", "good")]


def _host(host: HostReport, audit: Audit, width: int, verbose: bool) -> list[Line]:
    lines = verdict(host, audit, width)
    for result in sorted(_having(host, Outcome.FAIL), key=lambda r: (-r.severity, r.rule)):
        lines += [(), *group(result, width)]
    crashed = [(result, result.reason or "") for result in _having(host, Outcome.ERROR)]
    lines += _section("Crashed rules (a bug in rstaudit; nothing was judged)", crashed, width)
    lines += _unchecked(host, width)
    waived = [(result, result.reason or "") for result in _having(host, Outcome.WAIVED)]
    lines += _section("Waived", waived, width)
    if verbose:
        lines += _quiet_results(host, width)
    return [*lines, (), *_counts(host, width, verbose)]


def _nothing_to_say(host: HostReport) -> bool:
    """Whether the verdict is all there is, so that the others stand out."""
    quiet = (Outcome.PASS, Outcome.NOT_APPLICABLE)
    return not real_gaps(host) and all(result.outcome in quiet for result in host.results)


def _having(host: HostReport, outcome: Outcome) -> list[Result]:
    return [result for result in host.results if result.outcome is outcome]


def _unchecked(host: HostReport, width: int) -> list[Line]:
    """What could not be checked, grouped by reason, the rules that suffer listed."""
    rules: dict[str, list[str]] = {}
    for result in host.results:
        if result.outcome is Outcome.UNKNOWN:
            rules.setdefault(result.reason or "no reason given", []).append(result.rule)
        elif result.outcome is Outcome.FAIL and result.reason:
            rules.setdefault(result.reason, []).append(f"{result.rule} (in part)")
    details = dict.fromkeys(gap.detail for gap in real_gaps(host) if gap.detail not in rules)
    spare = list(details)[:SHOWN]
    texts = [(None, f"{reason}: {', '.join(ids)}") for reason, ids in rules.items()]
    texts += [(None, detail) for detail in spare]
    if len(details) > len(spare):
        texts.append((None, f"and {len(details) - len(spare)} more (--format json shows all)"))
    return _section("Could not be checked", texts, width)


def _quiet_results(host: HostReport, width: int) -> list[Line]:
    passed = [(result, "") for result in _having(host, Outcome.PASS)]
    other = [(result, result.reason or "") for result in _having(host, Outcome.NOT_APPLICABLE)]
    return [
        *_section("Passed (none of these is true here)", passed, width),
        *_section("Not applicable", other, width),
    ]


def _section(title: str, entries: Iterable[tuple[Result | None, str]], width: int) -> list[Line]:
    """A titled list; of a result its id and title come first. Nothing when it is empty."""
    lines: list[Line] = []
    for result, text in entries:
        spans = [Span(printable(text))] if text else []
        if result is not None:
            colon = ":" if text else ""
            spans = [Span(f"{result.rule} {printable(result.title)}{colon} "), *spans]
        lines += wrap(spans, width, 4, (Span("  -"),))
    return [(), (Span(title, "strong"),), *lines] if lines else []


def _counts(host: HostReport, width: int, verbose: bool) -> list[Line]:
    counts = by_outcome(list(host.results))
    words = {
        "fail": "failed", "error": "crashed", "unknown": "unknown", "waived": "waived",
        "pass": "passed", "not-applicable": "not applicable",
    }  # fmt: skip
    parts = [f"{counts[key]} {word}" for key, word in words.items() if counts[key]]
    text = f"{_number(len(host.results), 'rule')}: {', '.join(parts) or 'none run'}"
    hidden = counts["pass"] + counts["not-applicable"]
    text += "" if verbose or not hidden else " (-v shows these too)"
    return wrap([Span(text, "dim")], width)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
