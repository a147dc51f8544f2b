"""What the two readers of sysctl.d files would write, in order, and what wins.

Both read the ``*.conf`` files of five directories sorted by name. They differ in
/etc/sysctl.conf, which `sysctl --system` reads last and systemd-sysctl only where a link in a
directory leads to it; in what an explicit key does to patterns; and in repeated keys:
systemd-sysctl writes each key once, at the place of the last line that changed its value.
procps before 3.3.17 put /run before /etc, and before 4.0 had no globs; 4.x is modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from rstaudit.collect.confdirs import ConfFile, Files
from rstaudit.model.persisted import Assignment, Origin, Reader
from rstaudit.parse.globs import braces, is_glob, matches
from rstaudit.parse.sysctld import (
    Entry,
    Parsed,
    as_key,
    parse_procps,
    parse_systemd,
    simplify,
    swap,
)

SYSTEMD = "systemd-sysctl"
PROCPS = "sysctl --system"
SYSCTL_CONF = "/etc/sysctl.conf"

#: Where the credential ``sysctl.extra`` of systemd-sysctl.service may lie (systemd 250).
_CREDENTIALS = (
    "/run/credentials/@system/sysctl.extra", "/etc/credstore/sysctl.extra",
    "/run/credstore/sysctl.extra", "/usr/lib/credstore/sysctl.extra",
)  # fmt: skip


#: Keys of cryptographic secrets: never taken in, so that no report can leak them.
_SECRET = ("/tcp_fastopen_key", "/stable_secret")


class Placed(NamedTuple):
    """An entry and where it stands."""

    entry: Entry
    origin: Origin
    manager: str | None


#: Says which paths below /proc/sys a pattern covers.
Expand = Callable[[str], Iterable[str]]


def systemd_reader(files: Files, existing: frozenset[str]) -> Reader:
    """What systemd-sysctl writes; ``existing`` are the paths of the keys there are."""
    listing = files.listing("sysctl.d")
    paths = listing.paths + _credential(files)
    order = systemd_order(_placed(files, paths, parse_systemd), _expander(existing, brace=True))
    return _reader(SYSTEMD, order, paths, listing.masked)


def procps_reader(files: Files, existing: frozenset[str]) -> Reader:
    """What `sysctl --system` of procps 4 writes."""
    listing = files.listing("sysctl.d", hidden=True)
    paths = listing.paths
    if files.regular(SYSCTL_CONF):
        paths += (SYSCTL_CONF,)
    order = procps_order(_placed(files, paths, parse_procps), _expander(existing, brace=False))
    return _reader(PROCPS, order, paths, listing.masked)


def load(files: Files, path: str, manager: str | None) -> tuple[Assignment, ...]:
    """What `sysctl -p FILE` writes for the plain keys of one file, by ``manager``."""
    return procps_order(_placed(files, (path,), parse_procps, manager), lambda _: ())


def systemd_order(lines: Iterable[Placed], expand: Expand) -> tuple[Assignment, ...]:
    """The writes of systemd-sysctl (src/sysctl/sysctl.c parse_file(), apply_all())."""
    options: dict[str, Placed] = {}
    for line in lines:
        path = line.entry.path
        before = options.get(path)
        if before is not None and before.entry.value == line.entry.value:
            continue
        options.pop(path, None)
        options[path] = line
    order: list[Assignment | None] = []
    for path, line in options.items():
        if line.entry.value is None:
            continue
        if is_glob(path):
            order += [_assign(hit, line) for hit in expand(path) if hit not in options]
        else:
            order.append(_assign(path, line))
    return tuple(filter(None, order))


def procps_order(lines: Iterable[Placed], expand: Expand) -> tuple[Assignment, ...]:
    """The writes of procps (src/sysctl.c write_setting_list()).

    An explicit line keeps patterns away only where it is spelt as the pattern yields it.
    """
    placed = list(lines)
    spelt = {line.entry.path for line in placed}
    order: list[Assignment | None] = []
    for line in placed:
        path = line.entry.path
        if line.entry.value is None:
            continue
        if is_glob(path):
            plain = simplify(path)
            hits = expand(plain)
            order += [_assign(hit, line) for hit in hits if path != plain or hit not in spelt]
        elif (real := _resolved(path)) is not None:
            order.append(_assign(real, line))
    return tuple(filter(None, order))


def _resolved(path: str) -> str | None:
    """Where the kernel finds a path that procps did not tidy; None where it finds no file."""
    if path.endswith(("/", "/.")):
        return None
    done: list[str] = []
    for part in simplify(path).split("/"):
        if part != "..":
            done.append(part)
        elif done:
            done.pop()
        else:
            return None
    return "/".join(done)


def _assign(path: str, line: Placed) -> Assignment | None:
    """The assignment of one write; None where the key is none of ours."""
    entry = line.entry
    if not path.startswith("net/") or entry.value is None or path.endswith(_SECRET):
        return None
    key = as_key(path)
    pattern = swap(entry.path) if is_glob(entry.path) else key
    return Assignment(key, entry.value, line.origin, pattern, entry.optional, line.manager)


def _placed(
    files: Files,
    paths: Iterable[str],
    parse: Callable[[bytes], Parsed],
    manager: str | None = None,
) -> Iterable[Placed]:
    for path in paths:
        file = files.read(path)
        owner = manager or writer_of(file)
        for entry in parse(file.data).entries:
            yield Placed(entry, Origin(file.real, entry.line), owner)


def writer_of(file: ConfFile) -> str | None:
    """Who writes a file when not the administrator: a package or cloud-init; None otherwise."""
    if file.real.startswith(("/usr/lib/", "/lib/", "/usr/share/")):
        return "package"
    notes = [line for line in file.data[:4096].splitlines() if line.lstrip().startswith(b"#")]
    cloud = "cloud-init" in file.path or "cloudimg" in file.path
    return "cloud-init" if cloud or any(b"cloud-init" in note for note in notes) else None


def _expander(existing: frozenset[str], *, brace: bool) -> Expand:
    known: dict[str, tuple[str, ...]] = {}

    def expand(pattern: str) -> tuple[str, ...]:
        if pattern not in known:
            parts = braces(pattern) if brace else (pattern,)
            hits = {path for part in parts for path in existing if matches(part, path)}
            known[pattern] = tuple(sorted(hits))
        return known[pattern]

    return expand


def _credential(files: Files) -> tuple[str, ...]:
    return tuple(path for path in _CREDENTIALS if files.regular(path))[:1]


def _reader(
    name: str, order: tuple[Assignment, ...], paths: tuple[str, ...], masked: tuple[str, ...]
) -> Reader:
    winners: Mapping[str, Assignment] = {line.key: line for line in order}
    return Reader(name, winners, order, paths, masked)
