"""Verdicts: runs of a scenario judged together, and the JSON of a whole lab run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rstaudit.lab import judge
from rstaudit.lab.perform import Run
from rstaudit.lab.scenario import Named, Scenario
from rstaudit.lab.seen import Seen
from rstaudit.model.verdict import FAIL, NOTHING, PASS, SKIPPED, Matrix, SaidCall, Verdict

SCHEMA = "rstaudit/lab/1"


class Result(NamedTuple):
    """A scenario judged. ``faults`` are what is wrong, or why it was skipped; empty on a pass."""

    scenario: Scenario
    runs: tuple[Run, ...]
    outcome: str
    faults: tuple[str, ...]


def listed(scenario: Scenario) -> Verdict:
    """A scenario that has not been run."""
    return verdict(Result(scenario, (), "", ()))


def skipped(scenario: Scenario, why: str) -> Result:
    """A scenario that this machine, or this run, does not stage."""
    return Result(scenario, (), SKIPPED, (why,))


def judged(scenario: Scenario, runs: Iterable[Run], ordinary: frozenset[str]) -> Result:
    """The verdict over all runs; ``ordinary`` are rules that fail on an untouched host too."""
    runs = tuple(sorted(runs, key=lambda run: (run.twin, run.draw.number)))
    faults = tuple(
        f"{_run_name(run)}: {fault}" for run in runs for fault in _faults(scenario, run, ordinary)
    )
    return Result(scenario, runs, FAIL if faults else PASS, faults)


def _run_name(run: Run) -> str:
    return "healthy twin" if run.twin else f"draw {run.draw.number} (IPv{run.draw.family})"


def _faults(scenario: Scenario, run: Run, ordinary: frozenset[str]) -> list[str]:
    if run.broken is not None:
        return [f"could not be staged: {run.broken}"]
    expected: Mapping[str, Named] = {} if run.twin else scenario.live
    found = ["live: nobody watched"] if run.live is None else []
    found += [f"live: {fault}" for fault in judge.faults(expected, run.live or ())]
    expected = {} if run.twin else scenario.pcap
    found += [f"pcap: {fault}" for fault in judge.faults(expected, run.pcap)]
    return found + (_extra_rules(run, ordinary) if run.twin else _silent_rules(scenario, run))


def _silent_rules(scenario: Scenario, run: Run) -> list[str]:
    return [
        f"audit: {end}: {rule} did not fail"
        for end, rules in scenario.audit.items()
        for rule in rules
        if rule not in run.audit.get(end, ())
    ]


def _extra_rules(run: Run, ordinary: frozenset[str]) -> list[str]:
    return [
        f"audit: {end}: {rule} fails"
        for end, failed in run.audit.items()
        for rule in sorted(set(failed) - ordinary)
    ]


def verdict(result: Result) -> Verdict:
    """What reports show of a result."""
    scenario = result.scenario
    draws = [run for run in result.runs if not run.twin]
    calls = draws[0].calls if draws else ()
    rules = {rule for run in draws for failed in run.audit.values() for rule in failed}
    return Verdict(
        scenario.id,
        scenario.rows,
        scenario.title,
        scenario.story,
        scenario.slow,
        {place: named.cause for place, named in scenario.live.items()},
        {place: named.cause for place, named in scenario.pcap.items()},
        scenario.audit,
        named_causes(seen for run in draws for seen in run.live or ()),
        named_causes(seen for run in draws for seen in run.pcap),
        tuple(sorted(rules)),
        result.outcome,
        result.faults,
        tuple(SaidCall(call.end, call.call, call.result) for call in calls),
    )


def document(kernel: str, verdicts: Iterable[Verdict]) -> dict[str, object]:
    """What ``--format json`` prints; the schema is docs/schema/lab.schema.json."""
    return {"schema": SCHEMA, "kernel": kernel, "scenarios": [_entry(one) for one in verdicts]}


def _entry(one: Verdict) -> dict[str, object]:
    return {
        "id": one.id,
        "title": one.title,
        "expected": {
            "live": dict(one.expected_live),
            "pcap": dict(one.expected_pcap),
            "audit": {end: list(rules) for end, rules in one.expected_audit.items()},
        },
        "live": {place: list(causes) for place, causes in one.live.items()},
        "pcap": {place: list(causes) for place, causes in one.pcap.items()},
        "audit": list(one.audit),
        "outcome": one.outcome or None,
        "detail": list(one.detail),
    }


def named_causes(seen: Iterable[Seen]) -> dict[str, tuple[str, ...]]:
    """Place -> the cause ids named there, each once, in order of first sight."""
    found: dict[str, dict[str, None]] = {}
    for reset in seen:
        found.setdefault(reset.place, {})[reset.cause] = None
    return {place: tuple(causes) for place, causes in found.items()}


def matrix(results: Iterable[Result], engine: str) -> Matrix:
    """What was named for what happened; ``engine`` is ``live`` or ``pcap``.

    A place that showed no reset counts as `NOTHING`, and so does a reset where none belonged.
    Resets whose cause is one of those that may follow count as that cause.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for result in results:
        expected: Mapping[str, Named] = getattr(result.scenario, engine)
        for run in result.runs:
            if not run.twin and run.broken is None:
                counts.update(_pairs(expected, getattr(run, engine) or ()))
    return counts


def _pairs(expected: Mapping[str, Named], seen: Iterable[Seen]) -> list[tuple[str, str]]:
    seen = tuple(seen)
    pairs = [
        (named.cause, NOTHING)
        for place, named in expected.items()
        if not any(reset.place == place for reset in seen)
    ]
    return pairs + [(_truth(expected.get(reset.place), reset), reset.cause) for reset in seen]


def _truth(named: Named | None, reset: Seen) -> str:
    if named is None:
        return NOTHING
    return reset.cause if reset.cause in named.also else named.cause
