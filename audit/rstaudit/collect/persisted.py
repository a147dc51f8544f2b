"""Which file and line sets each ``net.*`` key, and what it holds once boot has finished."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rstaudit.collect import atboot, managers
from rstaudit.collect.confdirs import Files
from rstaudit.collect.readers import PROCPS, SYSCTL_CONF, load, procps_reader, systemd_reader
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap, Kernel, MissingFact
from rstaudit.model.persisted import Assignment, Origin, Persisted, Reader
from rstaudit.parse.sysctld import as_path, parse_procps, parse_systemd

Lost = tuple[tuple[Assignment, str], ...]


def collect_persisted(
    tree: Tree, running: Mapping[str, str], kernel: Kernel | None = None
) -> Persisted:
    """Everything persisted, from the files of ``tree``; never raises.

    ``running`` are the host's running ``net.*`` values by dotted key: patterns are expanded
    over them and over the interfaces listed in the tree. Without ``kernel`` it is taken to be
    5.8 or later. What could not be read is in the result's ``gaps``.
    """
    files = Files(tree)
    existing = frozenset(_existing(tree, running))
    system = procps_reader(files, existing)
    name = atboot.boot_reader(files)
    boot = system if name == PROCPS else systemd_reader(files, existing)
    others = managers.from_cmdline(files, kernel)
    modules = atboot.Modules(files, kernel, running)
    lost = _lost(boot, others, modules, running)
    values = _boot_values(boot, others, lost)
    ufw = managers.from_ufw(files)
    values.update(_by_key(ufw))
    tuned = managers.from_tuned(files, lambda key: _now(key, values, running))
    values.update(_by_key(tuned))
    if tuned and managers.tuned_reapplies(files):
        again = _reapplied(files, system, running)
        values.update(again)
        lost = tuple(pair for pair in lost if pair[0].key not in again)
    return Persisted(
        boot=boot, system=system, boot_values=values, lost=lost, problems=_problems(files, system),
        others=others + ufw + tuned, tuners=managers.tuners(files),
        unread=_unread(files, boot, system), gaps=_gaps(files, name, boot, system) + modules.gaps(),
    )  # fmt: skip


def _existing(tree: Tree, running: Mapping[str, str]) -> set[str]:
    """Paths of the keys there are: the running ones, and those of interfaces in the tree."""
    paths = {as_path(key) for key in running}
    for base in ("ipv4/conf", "ipv6/conf", "ipv4/neigh", "ipv6/neigh"):
        if any(path.startswith(f"net/{base}/") for path in paths):
            continue
        folder = f"/proc/sys/net/{base}"
        try:
            leaves = tree.names(f"{folder}/default")
            interfaces = tree.names(folder)
        except MissingFact:
            continue
        # only the defaults of neighbour tables have the table's own limits
        paths.update(
            f"net/{base}/{interface}/{leaf}" for interface in interfaces for leaf in leaves
            if interface == "default" or not leaf.startswith("gc_")
        )  # fmt: skip
    return paths


def _lost(
    boot: Reader, others: Iterable[Assignment], modules: atboot.Modules, running: Mapping[str, str]
) -> Lost:
    """Assignments that have no effect when they are made, with the reason."""
    found = []
    for line in (*others, *boot.order):
        if modules.in_time(line.key) is False:
            module = atboot.module_of(line.key)
            found.append((line, f"written before the module {module} is loaded"))
        elif atboot.refused(line.key, line.value, running.get(line.key)):
            found.append((line, f"the kernel refuses {line.value!r}"))
    return tuple(found)


def _boot_values(
    boot: Reader, others: Iterable[Assignment], lost: Lost
) -> dict[str, Assignment]:  # fmt: skip
    """What command line and files leave behind: the last write of each key that took effect."""
    without = {id(line) for line, _ in lost}
    return _by_key(line for line in (*others, *boot.order) if id(line) not in without)


def _by_key(lines: Iterable[Assignment]) -> dict[str, Assignment]:
    return {line.key: line for line in lines}


def _now(key: str, values: Mapping[str, Assignment], running: Mapping[str, str]) -> str | None:
    """The value a key has when tuned starts, as far as it can be told."""
    return values[key].value if key in values else running.get(key)


def _reapplied(
    files: Files, system: Reader, running: Mapping[str, str]
) -> dict[str, Assignment]:  # fmt: skip
    """What tuned writes again: /run and /etc, /etc/sysctl.conf last, no patterns."""
    paths = [path for path in system.files if path.startswith(("/run/", "/etc/"))]
    lines = (line for path in paths for line in load(files, path, None))
    good = _by_key(
        line for line in lines if not atboot.refused(line.key, line.value, running.get(line.key))
    )
    return {key: line for key, line in good.items() if not line.globbed and not line.optional}


def _unread(files: Files, boot: Reader, system: Reader) -> tuple[Assignment, ...]:
    """Lines of /etc/sysctl.conf that `sysctl --system` reads and the boot reader does not."""
    if SYSCTL_CONF not in system.files:
        return ()
    real = files.real(SYSCTL_CONF)
    if real in {files.real(path) for path in boot.files}:
        return ()
    return tuple(line for line in system.order if line.origin.path == real)


def _problems(files: Files, system: Reader) -> tuple[tuple[Origin, str], ...]:
    """Lines that neither reader takes, for every key, not only those of ``net``."""
    found: dict[Origin, str] = {}
    for path in system.files:
        file = files.read(path)
        taken = {entry.line for entry in parse_systemd(file.data).entries}
        for problem in parse_procps(file.data).problems:
            if problem.line not in taken:
                found[Origin(file.real, problem.line)] = problem.why
    return tuple(found.items())


def _gaps(files: Files, name: str | None, boot: Reader, system: Reader) -> tuple[Gap, ...]:
    """What could not be read; not knowing the boot reader matters only where the two differ."""
    gaps = list(files.gaps)
    mine = {key: line.value for key, line in boot.winners.items()}
    theirs = {key: line.value for key, line in system.winners.items()}
    if name is None and mine != theirs:
        gaps.append(atboot.unknown_reader())
    return tuple(gaps)
