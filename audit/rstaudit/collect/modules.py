"""Whether asking the kernel something would make it load a module."""

from __future__ import annotations

from typing import NamedTuple

from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap, MissingFact
from rstaudit.parse.errors import ParseError
from rstaudit.parse.procfs import module_name, parse_builtin, parse_modules

#: What has to be there before sock_diag may be asked for TCP sockets.
SOCK_DIAG = ("inet_diag", "tcp_diag")
NFTABLES = ("nf_tables",)


class ModuleState(NamedTuple):
    """Modules in the kernel. ``builtin`` is None where the list of built-in ones is unreadable.

    ``loadable`` is False where no module can be loaded at all: a kernel without module support,
    or one with ``kernel.modules_disabled`` set. ``allowed`` is True when the user said
    ``--load-modules``. Names as the kernel prints them, with underscores.
    """

    loaded: frozenset[str]
    builtin: frozenset[str] | None
    loadable: bool = True
    allowed: bool = False

    def present(self, name: str) -> bool | None:
        """Whether the kernel has module ``name`` in it now; None when that is unknown."""
        name = module_name(name)
        if name in self.loaded or (self.builtin is not None and name in self.builtin):
            return True
        return None if self.builtin is None else False

    def may_ask(self, *names: str) -> bool:
        """Whether asking what needs the modules ``names`` loads none, or loading is allowed."""
        return self.allowed or not self.loadable or all(self.present(name) for name in names)

    def refusal(self, fact: str, *names: str) -> Gap:
        """The gap of ``fact``, which was not asked for because of the modules ``names``."""
        missing = [name for name in names if not self.present(name)]
        state = "is not loaded" if len(missing) == 1 else "are not loaded"
        if self.builtin is None:
            state += ", or is built in and that cannot be told here"
        detail = (
            f"{' and '.join(missing)} {state}; --load-modules lets the kernel load what it asks"
        )
        return Gap(fact, "not-loaded", detail)


def module_state(tree: Tree, release: str, *, allowed: bool = False) -> ModuleState:
    """The modules of the kernel ``release``; ``allowed`` is the option ``--load-modules``."""
    loaded = _names(tree, "/proc/modules")
    if loaded is None and not tree.exists("/proc/modules"):
        # kernel/module/procfs.c: the file is there on every kernel that can load modules
        return ModuleState(frozenset(), None, not tree.live, allowed)
    builtin = _names(tree, f"/lib/modules/{release}/modules.builtin")
    return ModuleState((loaded or frozenset()) | _sysfs(tree), builtin, _can_load(tree), allowed)


def _names(tree: Tree, path: str) -> frozenset[str] | None:
    parse = parse_modules if path == "/proc/modules" else parse_builtin
    try:
        return parse(tree.text(path))
    except (MissingFact, ParseError):
        return None


def _sysfs(tree: Tree) -> frozenset[str]:
    """Modules with a directory in /sys: loaded ones, and built-in ones that have parameters."""
    try:
        return frozenset(tree.names("/sys/module"))
    except MissingFact:
        return frozenset()


def _can_load(tree: Tree) -> bool:
    try:
        return tree.text("/proc/sys/kernel/modules_disabled").strip() != "1"
    except MissingFact:
        return True
