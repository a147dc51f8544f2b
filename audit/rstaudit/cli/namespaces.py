"""``rstaudit audit --all-netns`` and ``--netns``: one report for each network namespace."""

from __future__ import annotations

import os

from rstaudit.cli.errors import UsageError
from rstaudit.collect.inside import Inside, host_sysctls, start
from rstaudit.collect.namespaces import Namespace, choose, find_namespaces, may_enter
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap, HostState, Kernel, MissingFact
from rstaudit.model.names import HOST_SYSCTLS
from rstaudit.model.rule import HostReport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rstaudit.collect.crew import Answer
    from rstaudit.collect.host import Options
    from rstaudit.rules.context import Rule

_SHOWN = 20


class Spaces:
    """The namespaces that the user asked for, at work from the first moment on.

    Raises `UsageError` where they cannot be entered, or the name is nobody's.
    """

    def __init__(self, word: str | None, options: Options, *, everything: bool) -> None:
        option = _checked(word, options, everything=everything)
        tree = Tree()
        try:
            found = find_namespaces(tree)
        except MissingFact as missing:
            raise UsageError(f"{option}: {missing.gap.detail}") from None
        spaces = self._compare(tree, found.spaces)
        chosen = spaces if word is None else (_chosen(tree, spaces, word),)
        self._one = word is not None
        self._gap = None if self._one else found.gap
        self.interval = options.interval
        self._crew = start(chosen, options)
        self._unjudged: list[Answer[Inside]] = []
        self._order = {space.id: number for number, space in enumerate(chosen)}

    def _compare(self, tree: Tree, spaces: tuple[Namespace, ...]) -> tuple[Namespace, ...]:
        """Keep the initial namespace's values to compare with; ``spaces`` with that one named."""
        self._host: Mapping[str, str] | Gap
        try:
            initial, self._host = host_sysctls(tree, spaces)
        except MissingFact as missing:
            self._host = missing.gap
            return spaces
        named = [space._replace(name="initial") for space in spaces if space.id == initial]
        return (*named, *(space for space in spaces if space.id != initial))

    def reports(
        self, judge: Callable[[HostState], HostReport], chosen: tuple[Rule, ...]
    ) -> tuple[tuple[HostReport, ...], bool]:
        """A report for each namespace that still exists, and whether Ctrl-C cut it short."""
        done: dict[str, HostReport] = {}
        interrupted = stopping = False
        while True:
            try:
                for answer in self._answers():
                    report = self._report(answer, judge, chosen)
                    if report is not None:
                        done[answer.space.id] = report
                    interrupted |= isinstance(answer.value, Inside) and answer.value.stopped
                    self._unjudged.clear()
                break
            except KeyboardInterrupt:
                if stopping:
                    raise
                interrupted = stopping = True
                self._crew.stop()
        ordered = sorted(done, key=self._order.__getitem__)
        return self._marked([done[id_] for id_ in ordered]), interrupted

    def _answers(self) -> Iterator[Answer[Inside]]:
        """The answers; one that Ctrl-C left unjudged comes again."""
        yield from list(self._unjudged)
        for answer in self._crew.answers():
            self._unjudged.append(answer)
            yield answer

    def close(self) -> None:
        """End what is still at work."""
        self._crew.close()

    def _marked(self, reports: list[HostReport]) -> tuple[HostReport, ...]:
        """The reports, the first with the gap of namespaces that may have been missed."""
        if self._gap is not None and reports:
            reports[0] = reports[0]._replace(gaps=(*reports[0].gaps, self._gap))
        return tuple(reports)

    def _report(
        self,
        answer: Answer[Inside],
        judge: Callable[[HostState], HostReport],
        chosen: tuple[Rule, ...],
    ) -> HostReport | None:
        """The report of one namespace; None of one that has ended meanwhile."""
        space, value = answer
        if isinstance(value, Inside):
            return _inside(judge(self._with_host(value.host)), space)
        if value.reason == "absent":
            if self._one:
                raise UsageError(f"--netns: {space.name}: {value.detail}")
            return None
        from rstaudit.rules.engine import unreached

        detail = f"network namespace {space.name}: {value.detail}"
        return unreached(_unread(space), value._replace(detail=detail), chosen)

    def _with_host(self, host: HostState) -> HostState:
        """``host`` with the values of the initial namespace, which it is compared with."""
        if host.initial:
            return host
        name = HOST_SYSCTLS.name
        if isinstance(self._host, Gap):
            return host._replace(gaps={**host.gaps, name: self._host})
        return host._replace(facts={**host.facts, name: self._host})


def _checked(word: str | None, options: Options, *, everything: bool) -> str:
    """The option that was given; raises `UsageError` where it cannot be followed."""
    option = "--all-netns" if everything else "--netns"
    if everything and word is not None:
        raise UsageError("--netns names one namespace, --all-netns takes every one: give one")
    if os.path.abspath(options.root) != "/":
        raise UsageError(f"{option} looks into this host, --root into a recorded tree: give one")
    if not may_enter():
        raise UsageError(f"{option}: entering a network namespace needs CAP_SYS_ADMIN; run as root")
    return option


def _chosen(tree: Tree, spaces: tuple[Namespace, ...], word: str) -> Namespace:
    """The one namespace that ``word`` names; raises `UsageError` with the names there are."""
    found = choose(tree, spaces, word)
    if len(found) == 1:
        return found[0]
    among = found or spaces
    names = ", ".join(space.name for space in among[:_SHOWN])
    more = f" and {len(among) - _SHOWN} more" if len(among) > _SHOWN else ""
    if found:
        raise UsageError(f"--netns {word}: this may be one of {names}{more}; give one of these")
    kind = "process" if word.isascii() and word.isdigit() else "network namespace"
    raise UsageError(f"--netns {word}: no such {kind}; there are {names}{more}")


def _inside(report: HostReport, space: Namespace) -> HostReport:
    """The report with commands to paste that run in the namespace, not on the host."""
    if not space.enter:
        return report
    results = tuple(
        result._replace(
            findings=tuple(
                finding._replace(fix=f"{space.enter} {finding.fix}")
                if finding.fix.startswith("sysctl -w net.")
                else finding
                for finding in result.findings
            )
        )
        for result in report.results
    )
    return report._replace(results=results)


def _unread(space: Namespace) -> HostState:
    """A namespace of which nothing is known but where it is."""
    system = os.uname()
    kernel = Kernel(system.release, (0, 0, 0))
    return HostState(system.nodename, space.name, None, "live", kernel, {}, {})
