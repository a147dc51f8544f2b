"""Persisted sysctls: which file and line would set a key, according to which reader."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from rstaudit.model.facts import Gap

#: Name of the gap that leaves open which keys exist when the boot reader runs.
MODULES_GAP = "persisted:modules"


class Origin(NamedTuple):
    """A place in a file: path as on the host (links followed, no recorded root), line from 1."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Assignment(NamedTuple):
    """One ``key = value`` line that applies to ``key`` (globs already expanded).

    ``pattern`` is the key as the reader took it from the line, dotted. ``manager`` names who
    writes that file when it is not the administrator: ``tuned``, ``ufw``, ``cloud-init``,
    ``package`` (below /usr or /lib), ``kernel command line``.
    ``optional`` is the ``-`` prefix: failures are not reported.
    """

    key: str
    value: str
    origin: Origin
    pattern: str
    optional: bool
    manager: str | None

    @property
    def globbed(self) -> bool:
        """Whether a pattern named the key, not the line itself."""
        return self.pattern != self.key


class Reader(NamedTuple):
    """What one reader would do: ``systemd-sysctl`` at boot or ``sysctl --system`` by hand.

    ``winners`` holds, for each key, the assignment that is applied last; ``order`` all
    assignments of net.* keys in the order applied; ``files`` every file read, in order;
    ``masked`` files that a same-named file or a link to /dev/null replaces.
    """

    name: str
    winners: Mapping[str, Assignment]
    order: tuple[Assignment, ...]
    files: tuple[str, ...]
    masked: tuple[str, ...]


class Persisted(NamedTuple):
    """Everything on disk and on the kernel command line that sets ``net.*`` keys.

    ``boot`` is the reader that runs at boot here (systemd-sysctl, or `sysctl --system` where
    there is no systemd), ``system`` what `sysctl --system` does. ``boot_values`` is what a key
    holds after boot has finished, with everything counted (command line, conntrack keys set
    before their module is loaded and so lost, tuned and ufw applied after the files).
    ``lost`` are assignments that boot does not make effective, with the reason.
    ``problems`` are lines that no reader understands, with where and why.
    ``others`` are the assignments of ufw, tuned and the kernel command line; ``tuners`` the
    keys that a running program changes as it sees fit, with its name; ``unread`` lines of
    /etc/sysctl.conf that the boot reader does not come across; ``gaps`` what could not be read.
    """

    boot: Reader
    system: Reader
    boot_values: Mapping[str, Assignment]
    lost: tuple[tuple[Assignment, str], ...] = ()
    problems: tuple[tuple[Origin, str], ...] = ()
    others: tuple[Assignment, ...] = ()
    tuners: Mapping[str, str] = MappingProxyType({})
    unread: tuple[Assignment, ...] = ()
    gaps: tuple[Gap, ...] = ()
