"""What the catalogue knows about one error, cause, rule or setting, as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from rstaudit.catalogue.causes import causes, causes_of, myths_about
from rstaudit.model.cause import Cause, Error, Report
from rstaudit.model.rule import RuleText, Severity
from rstaudit.model.setting import Default, Profile, Setting

SIDES: Mapping[str, str] = {
    "resetter": "resetting end",
    "reset": "reset end",
    "waiting": "end that gives up",
}


class RuleCard(NamedTuple):
    """A rule as `explain` needs it; ``settings`` are the keys it judges, if it is only data."""

    id: str
    slug: str
    title: str
    severity: Severity
    text: RuleText
    settings: tuple[str, ...] = ()


def explain_error(error: Error, width: int) -> str:
    """What an error means, which causes give it where, and what to run next."""
    found = causes_of(error)
    likely = [pair for pair in found if pair[0].id in error.causes]
    rarer = ", ".join(_label(cause) for cause, _ in found if cause.id not in error.causes)
    common = _common_notes(found)
    rows = [(_label(cause), _seen(reports, common), cause.apart) for cause, reports in likely]
    return _join(
        f"{error.name} ({error.number}): {error.words[0]}",
        _flow(error.meaning, width),
        _titled(
            "Causes, likeliest first", table(("cause", "who sees it", "tell it apart"), rows, width)
        ),
        _titled("Rarer", _flow(rarer, width, 2)),
        _titled("Good to know", _bullets(error.hints, width)),
        _titled("Rules that look for it", _flow(", ".join(error.rules), width, 2)),
        _next(error.next_step, width),
        _more(error, found, width),
    )


def explain_cause(cause: Cause, width: int) -> str:
    """What a cause is, what each end sees of it, how to prove it and how to mend it."""
    rows = [(SIDES[r.side], r.call, r.result, r.note) for r in cause.reports]
    seen = table(("who", "call", "returns", "when"), rows, width)
    return _join(
        _flow(f"{cause.id}: {cause.name}", width),
        _flow(cause.summary, width),
        _flow("Harmless: nothing is lost and nobody needs to act." * cause.benign, width),
        _titled("What each end sees", seen or "  No program notices, or it is not known."),
        _titled("What tells it apart", _flow(cause.apart, width, 2)),
        _titled("On the wire", _flow(f"{cause.wire} {_equals(cause)}", width, 2)),
        _titled("In the kernel", _flow(cause.kernel, width, 2)),
        _titled("Counters", _flow(_counters(cause), width, 2)),
        _titled("What to do", _bullets(cause.fixes, width)),
        _titled("Put to the test", _bullets(tested(cause.id), width)),
        _next(cause.next_step, width),
        _titled("References", _bullets(cause.references, width)),
        _flow(f"Verified: {cause.verified}.", width),
    )


def explain_rule(rule: RuleCard, width: int) -> str:
    """Why a rule exists, how to confirm it, when to leave it alone."""
    return _join(
        _flow(f"{rule.id} ({rule.slug}, {rule.severity.label}): {rule.title}", width),
        _flow(rule.text.why, width),
        _titled("Settings it judges", _bullets(rule.settings, width)),
        _titled("How to confirm it", _flow(rule.text.confirm, width, 2)),
        _titled("When to leave it alone", _flow(rule.text.leave_alone, width, 2)),
        _next(f"rstaudit --only {rule.id}", width),
        _titled("References", _bullets(rule.text.references, width)),
    )


def explain_setting(
    setting: Setting, profiles: Iterable[Profile], rules: Iterable[str], width: int
) -> str:
    """What a setting does, its defaults, what each profile wants, and wrong advice about it.

    ``rules`` are the ids of the rules that judge it.
    """
    only = ",".join(rules)
    judge = f"rstaudit --only {only}" if only else f"sysctl {setting.key}"
    return _join(
        _flow(f"{setting.key}: {setting.title}", width),
        _flow(setting.meaning, width),
        _titled("Facts", table(("", ""), _setting_facts(setting), width)),
        _titled("Profiles want", table(("", ""), wanted(setting.key, profiles), width)),
        _titled("Pitfalls", _bullets(setting.pitfalls, width)),
        _titled("Often advised, and wrong", _bullets(setting.wrong_advice, width)),
        _titled("Put to the test", _bullets(tested(setting.key), width)),
        _titled("Hazards of changing it", _bullets(setting.hazards, width)),
        _next(judge, width),
        _titled("References", _bullets(setting.references, width)),
        _flow(f"Verified: {setting.verified}" * bool(setting.verified), width),
    )


def explain_nothing(rules: Iterable[str], errors: Iterable[Error], width: int) -> str:
    """An overview of what can be explained; ``rules`` are ids."""
    return _join(
        _flow("Name an error, a cause, a rule or a setting, or paste a line from a log:", width),
        "  rstaudit explain ECONNRESET\n"
        '  rstaudit explain "recv() failed (104: Connection reset by peer)"\n'
        "  rstaudit explain close-unread\n"
        "  rstaudit explain tcp_tw_reuse",
        _titled("Errors", _flow(", ".join(error.name for error in errors), width, 2)),
        _titled("Causes (rstaudit causes)", _flow(", ".join(causes()), width, 2)),
        _titled("Rules (rstaudit rules)", _flow(", ".join(rules), width, 2)),
    )


def cause_table(entries: Iterable[Cause], width: int) -> str:
    """The table of `rstaudit causes`."""
    rows = [(c.id, c.name, c.parent or "", "harmless" * c.benign) for c in entries]
    return table(("id", "name", "parent", ""), rows, width) + "\n"


def wanted(key: str, profiles: Iterable[Profile]) -> list[tuple[str, str]]:
    """For each profile that judges ``key``: its name, and what it wants in words."""
    rows = []
    for profile in profiles:
        expectation = profile.expectations.get(key)
        if expectation is None:
            continue
        words = [f"{check} ({check.severity.label})" for check in expectation.checks]
        if expectation.recommend is not None:
            words.append(f"tune writes {expectation.recommend}")
        rows.append((profile.name, ". ".join(["; ".join(words), *filter(None, [expectation.why])])))
    return rows


def tested(name: str) -> list[str]:
    """The claims about a setting or a cause that were tested: claim, verdict, what happened."""
    return [
        f'"{myth.claim}" This is {myth.verdict}. {myth.measured} (rstaudit lab run {myth.id})'
        for myth in myths_about(name)
    ]


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Columns with wrapped cells, indented by 2; empty where there are no rows.

    The leading columns are as wide as they need, up to a share of ``width``; the last column
    takes the rest. Headers that are all empty are left out.
    """
    if not rows:
        return ""
    full = [headers, *rows] if any(headers) else list(rows)
    sizes = _columns(full, width - 2)
    lines: list[str] = []
    for row in full:
        cells = [
            textwrap.wrap(cell, size, break_on_hyphens=False) or [""]
            for cell, size in zip(row, sizes, strict=True)
        ]
        for level in range(max(map(len, cells))):
            parts = [cell[level] if level < len(cell) else "" for cell in cells]
            padded = (part.ljust(size) for part, size in zip(parts, sizes, strict=True))
            lines.append(("  " + "  ".join(padded)).rstrip())
    return "\n".join(lines)


def _columns(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Widths that fill ``room`` at most, two blanks between columns.

    Columns that fit in an equal share get what they need; the others share what is left.
    """
    need = [max(1, *map(len, column)) for column in zip(*rows, strict=True)]
    room -= 2 * (len(need) - 1)
    sizes = [0] * len(need)
    open_columns = sorted(range(len(need)), key=lambda column: need[column])
    while open_columns:
        column = open_columns.pop(0)
        sizes[column] = min(need[column], max(6, room // (len(open_columns) + 1)))
        room -= sizes[column]
    return sizes


def _seen(reports: Iterable[Report], common: Container[str]) -> str:
    """``reset end: read, write (the second write)``, without the notes that are ``common``.

    A call that reports the error without any condition is named once, without its conditions.
    """
    by_side: dict[str, dict[str, str]] = {}
    for report in reports:
        calls = by_side.setdefault(SIDES[report.side], {})
        note = "" if report.note in common else f" ({report.note})"
        calls[report.call] = min(note, calls.get(report.call, note))
    return "; ".join(
        f"{side}: {', '.join(call + note for call, note in calls.items())}"
        for side, calls in by_side.items()
    )


def _common_notes(found: Iterable[tuple[Cause, list[Report]]]) -> set[str]:
    """Notes that stand with so many causes of an error that they tell none apart, and ``""``."""
    notes = [note for _, reports in found for note in {report.note for report in reports}]
    return {"", *(note for note in notes if notes.count(note) > 2)}


def _label(cause: Cause) -> str:
    return f"{cause.id} (harmless)" if cause.benign else cause.id


def _equals(cause: Cause) -> str:
    lines = []
    if cause.equals:
        lines.append(f"Looks the same on the wire: {', '.join(cause.equals)}.")
    if cause.parent:
        lines.append(f"A kind of {cause.parent}, which is named where no more can be proven.")
    if kinds := [other.id for other in causes().values() if other.parent == cause.id]:
        lines.append(f"Kinds of it: {', '.join(kinds)}.")
    return " ".join(lines)


def _counters(cause: Cause) -> str:
    parts = []
    if cause.counters:
        parts.append(f"Here (the end that resets or gives up): {', '.join(cause.counters)}.")
    if cause.peer_counters:
        parts.append(f"At the other end: {', '.join(cause.peer_counters)}.")
    return " ".join(parts)


def _setting_facts(setting: Setting) -> list[tuple[str, str]]:
    rows = [("default", "; ".join(map(_default, setting.defaults)))]
    if setting.valid is not None:
        low, high = setting.valid
        unit = f" ({setting.unit})" if setting.unit else ""
        rows.append(("makes sense", f"{low} to {high}{unit}"))
    if setting.releases:
        rows.append(
            ("kernels", ("" if setting.mainline else "only ") + ", ".join(setting.releases))
        )
    if setting.added is not None:
        rows.append(("since", str(setting.added)))
    if setting.removed is not None:
        rows.append(("removed", str(setting.removed)))
    scope = "never, it is the whole machine's"
    if setting.always_netns:
        scope = "always"
    elif setting.netns is not None:
        scope = str(setting.netns)
    return [*rows, ("per namespace", scope)]


def _default(entry: Default) -> str:
    words = [entry.value if entry.value is not None else "set from memory size"]
    if entry.releases:
        words.append(f"on {', '.join(entry.releases)}")
    if entry.since is not None:
        words.append(f"since {entry.since[0]}.{entry.since[1]}")
    if entry.until is not None:
        words.append(f"before {entry.until[0]}.{entry.until[1]}")
    return " ".join(words)


def _next(step: str, width: int) -> str:
    """The command on a line of its own, whatever its length, and below it where or why."""
    command, _, remark = step.partition("#")
    return _titled(
        "Run next", _join(f"  {command.strip()}", _flow(remark.strip(), width, 4), gap="\n")
    )


def _more(error: Error, found: Sequence[tuple[Cause, list[Report]]], width: int) -> str:
    names = [cause.id for cause, _ in found[:1]] or [*error.rules[:1]]
    return _flow(f"More on one of them: rstaudit explain {names[0]}" if names else "", width)


def _titled(title: str, body: str) -> str:
    return f"{title}:\n{body}" if body else ""


def _bullets(texts: Iterable[str], width: int) -> str:
    return "\n".join(
        textwrap.fill(
            text, width, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False
        )
        for text in texts
    )


def _flow(text: str, width: int, indent: int = 0) -> str:
    """Fill each paragraph of ``text``."""
    blank = " " * indent
    return "\n\n".join(
        textwrap.fill(
            part, width, initial_indent=blank, subsequent_indent=blank, break_on_hyphens=False
        )
        for part in text.split("\n\n")
    )


def _join(*parts: str, gap: str = "\n\n") -> str:
    """The parts that are not empty, one blank line apart, the whole ended by a newline."""
    kept = [part.rstrip("\n") for part in parts if part.strip()]
    return gap.join(kept) + "\n"
