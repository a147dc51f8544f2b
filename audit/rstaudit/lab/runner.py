"""Many scenarios at once: most only wait, so a handful run side by side."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from rstaudit.lab import auditor, wirecheck
from rstaudit.lab.drawing import draw, missing
from rstaudit.lab.network import Lab
from rstaudit.lab.observer import Observer
from rstaudit.lab.perform import Run, perform
from rstaudit.lab.results import Result, judged, skipped
from rstaudit.lab.scenario import Scenario

#: Runs side by side; two processors are kept busy by about this many.
WORKERS = 6
#: Labs made ahead, and how old one is before it is used, in seconds.
_AHEAD, _AGE = 16, 2.0


class Options(NamedTuple):
    """How to run: ``draws`` a scenario (at least 2 prove something), and what is allowed."""

    draws: int = 2
    slow: bool = False
    host_settings: bool = False
    workers: int = WORKERS


class _Job(NamedTuple):
    scenario: Scenario
    number: int
    twin: bool


def run(
    chosen: Iterable[Scenario],
    options: Options,
    on_result: Callable[[Result], None],
    wanted: frozenset[str] = frozenset(),
) -> list[Result]:
    """Run these scenarios; ``on_result`` hears of each as it is judged, in order of completion.

    ``wanted`` are ids that were asked for by name, and run even when they are slow. Returns the
    results in the given order. Raises `rstaudit.model.facts.MissingFact` when namespaces
    cannot be made or nothing can be watched.
    """
    chosen = tuple(chosen)
    results: dict[str, Result] = {}

    def settle(result: Result) -> None:
        results[result.scenario.id] = result
        on_result(result)

    todo = []
    for scenario in chosen:
        why = _why_not(scenario, options, wanted)
        if why is None:
            todo.append(scenario)
        else:
            settle(skipped(scenario, why))
    if todo:
        _run_all(todo, options, settle)
    return [results[scenario.id] for scenario in chosen]


def _why_not(scenario: Scenario, options: Options, wanted: frozenset[str]) -> str | None:
    if scenario.slow and not options.slow and scenario.id not in wanted:
        return "waits for long kernel timers: give --slow, or name it"
    return missing(scenario, host_settings=options.host_settings)


def _run_all(todo: list[Scenario], options: Options, settle: Callable[[Result], None]) -> None:
    """Those that touch nothing outside their namespaces together, then the others one by one."""
    wirecheck.prepare()
    ordinary = _ordinary_findings()
    observer = Observer()
    shared = [one for one in todo if "host-settings" not in one.needs]
    try:
        for result in _judge_all(shared, options, observer, ordinary):
            settle(result)
        alone = options._replace(workers=1)
        for scenario in todo:
            if scenario not in shared:
                for result in _judge_all([scenario], alone, observer, ordinary):
                    settle(result)
    finally:
        observer.close()


def _ordinary_findings() -> frozenset[str]:
    """The rules that fail on a host on which nothing has happened yet."""
    lab = Lab("direct")
    try:
        return frozenset(auditor.failed_rules(lab.server))
    finally:
        lab.close()


def _judge_all(
    todo: list[Scenario], options: Options, observer: Observer, ordinary: frozenset[str]
) -> Iterable[Result]:
    """Results as they come."""
    pool = _Pool(observer, options.workers)
    jobs = [_Job(scenario, 1, True) for scenario in todo]
    jobs += [_Job(one, n, False) for one in todo for n in range(1, options.draws + 1)]
    expected = options.draws + 1
    runs: dict[str, list[Run]] = {scenario.id: [] for scenario in todo}
    try:
        for job, done in pool.work(sorted(jobs, key=lambda job: -job.scenario.seconds)):
            mine = runs[job.scenario.id]
            mine.append(done)
            if len(mine) == expected:
                yield judged(job.scenario, mine, ordinary)
    finally:
        pool.stop()


class _Ready(NamedTuple):
    """A job whose lab stands since ``made`` (seconds of the monotonic clock)."""

    job: _Job
    lab: Lab
    made: float


class _Pool:
    """Threads that perform jobs, and one that makes their labs ahead of them.

    A host's namespaces are older than its troubles: the watch shall have had time to find a lab's
    namespaces before anything happens in them.
    """

    def __init__(self, observer: Observer, workers: int) -> None:
        self._observer = observer
        self._workers = workers
        self._stopped = threading.Event()
        self._ready: queue.Queue[_Ready | None] = queue.Queue(_AHEAD)
        self._done: queue.SimpleQueue[tuple[_Job, Run | BaseException]] = queue.SimpleQueue()

    def work(self, jobs: list[_Job]) -> Iterable[tuple[_Job, Run]]:
        """Each job with its run, as they end; raises what a job raised."""
        _start(lambda: self._prepare(jobs))
        for _ in range(self._workers):
            _start(self._serve)
        for _ in jobs:
            job, outcome = self._done.get()
            if isinstance(outcome, BaseException):
                raise outcome
            yield job, outcome

    def stop(self) -> None:
        """Let what runs end on its own, and begin nothing more."""
        self._stopped.set()
        with suppress(queue.Empty):
            while (ready := self._ready.get_nowait()) is not None:
                ready.lab.close()

    def _prepare(self, jobs: list[_Job]) -> None:
        """Make labs in the order of the jobs."""
        for job in jobs:
            if self._stopped.is_set():
                return
            try:
                ready = _Ready(job, Lab(job.scenario.network), time.monotonic())
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                self._done.put((job, error))
                return
            self._ready.put(ready)
        for _ in range(self._workers):
            self._ready.put(None)

    def _serve(self) -> None:
        while (ready := self._ready.get()) is not None:
            job, lab, made = ready
            if self._stopped.wait(max(0.0, made + _AGE - time.monotonic())):
                lab.close()
                return
            try:
                numbers = draw(job.scenario, job.number)
                outcome: Run | BaseException = perform(
                    lab, job.scenario, numbers, self._observer, twin=job.twin
                )
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                outcome = error
            self._done.put((job, outcome))


def _start(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="lab", daemon=True).start()
