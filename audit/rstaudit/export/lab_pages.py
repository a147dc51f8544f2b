"""The lab's scenarios as pages of docs/lab/, from docs/lab/record.json.

`rstaudit lab run --slow --record docs/lab/record.json` makes the record anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rstaudit.catalogue.causes import causes
from rstaudit.export.pages import ROOT, environment, tidy
from rstaudit.rules.registry import rules

_FOLDER = ROOT / "docs" / "lab"
RECORD = _FOLDER / "record.json"

#: Columns between the two ends of a ladder.
_ARROW = 44


def render() -> dict[Path, str]:
    """The pages by path; none where there is no clone, or no record, around the package."""
    if not RECORD.is_file():
        return {}
    recorded = json.loads(RECORD.read_text("utf-8"))
    templates = environment()
    templates.globals.update(
        ladder=ladder,
        fix=fix,
        title=_titles().get,
        engines=engines,
        said=said,
        reasons=reasons,
        happened=happened,
    )
    scenarios = recorded["scenarios"]
    page = templates.get_template("lab_scenario.md.j2")
    index = templates.get_template("lab_index.md.j2")
    pages = {
        _FOLDER / f"{one['id']}.md": tidy(page.render(one=one, kernel=recorded["kernel"]))
        for one in scenarios
    }
    matrix = {engine: Matrix(pairs) for engine, pairs in recorded["matrix"].items()}
    context = {"scenarios": scenarios, "matrix": matrix, "kernel": recorded["kernel"]}
    return {_FOLDER / "index.md": tidy(index.render(context)), **pages}


class Matrix:
    """What was named for what happened: ``[happened, named, times]``."""

    def __init__(self, pairs: list[tuple[str, str, int]]) -> None:
        self.total = sum(times for _, _, times in pairs)
        self.same = [pair for pair in pairs if pair[0] == pair[1]]
        self.alike = [pair for pair in pairs if _alike(pair[0], pair[1])]
        self.others = [pair for pair in pairs if pair not in self.same + self.alike]

    @staticmethod
    def count(pairs: list[tuple[str, str, int]]) -> int:
        """How often, in all."""
        return sum(times for _, _, times in pairs)


def _alike(happened: str, named: str) -> bool:
    """Whether ``named`` is the parent of what happened, or looks the same on the wire."""
    one, other = causes().get(happened), causes().get(named)
    if one is None or other is None or happened == named:
        return False
    return named == one.parent or named in one.equals or happened in other.equals


def engines() -> Mapping[str, str]:
    """The two that name causes, as a reader calls them."""
    return {"live": "`rstaudit watch`", "pcap": "`rstaudit pcap`"}


def ladder(steps: list[list[Any]]) -> str:
    """Segments between the two ends, one a line; times in seconds since the first."""
    lines = [f"{'':12}client{'':{_ARROW - 8}}server"]
    for seconds, sender, flags, seq, ack, length, _, note in steps:
        words = " ".join(filter(None, (
            flags, f"seq={seq}" if seq is not None else "",
            f"ack={ack}" if ack is not None and "ACK" in flags else "",
            f"len={length}" if length else "",
        )))  # fmt: skip
        line = words.center(_ARROW - 4, "-") if not words else f" {words} ".center(_ARROW - 4, "-")
        arrow = f"{line}->" if sender == "client" else f"<-{line}"
        lines.append(f"{seconds:>10.6f}  {arrow}  {note or ''}".rstrip())
    return "\n".join(lines)


def said(seen: list[Mapping[str, Any]], place: str) -> str:
    """The causes named at a place, each once, with confidence and alternatives."""
    words: dict[str, None] = {}
    for one in seen:
        if one["place"] == place:
            others = ", ".join(one["alternatives"])
            more = f"{one['confidence']}; or {others}" if others else one["confidence"]
            words[f"{one['cause']} ({more})"] = None
    return "; ".join(words) or "nothing"


def happened(one: Mapping[str, Any]) -> list[str]:
    """The causes that a scenario stages, each once."""
    places = [*one["expected_live"].values(), *one["expected_pcap"].values()]
    return list(dict.fromkeys(places))


def reasons(one: Mapping[str, Any]) -> list[str]:
    """The sentences of both engines, each once."""
    return list(dict.fromkeys(seen["why"] for seen in [*one["live"], *one["pcap"]]))


def fix(cause: str) -> tuple[str, ...]:
    """What the catalogue says to do about a cause."""
    known = causes().get(cause)
    return known.fixes if known is not None else ()


def _titles() -> dict[str, str]:
    return {rule.id: rule.title for rule in rules()}
