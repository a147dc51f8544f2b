"""What becomes of assignments at boot: which reader runs, which lines come too early."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rstaudit.collect.confdirs import Files
from rstaudit.collect.readers import PROCPS, SYSTEMD
from rstaudit.model.facts import Gap, Kernel, MissingFact
from rstaudit.model.persisted import MODULES_GAP

#: Beginning of a key -> the module that brings it.
_MODULES = (
    ("net.netfilter.nf_conntrack", "nf_conntrack"), ("net.nf_conntrack", "nf_conntrack"),
    ("net.bridge.", "br_netfilter"), ("net.ipv4.vs.", "ip_vs"), ("net.sctp.", "sctp"),
)  # fmt: skip

_SYSTEMD_SYSCTL = ("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")
_SYSTEMD_SIGNS = ("/run/systemd/system", "/usr/lib/systemd/systemd", "/lib/systemd/systemd")
_INIT_SCRIPTS = ("/etc/init.d/procps", "/etc/init.d/sysctl", "/etc/init.d/procps.sh")

#: Words of values that are no plain numbers although they may look so.
_NOT_NUMBERS = ("mask", "bitmap", "reserved_ports", "key", "secret", "nf_log", "congestion")

_NUMBER = re.compile(r"-?(0[xX][0-9a-fA-F]+|[0-9]+)")


def boot_reader(files: Files) -> str | None:
    """Which reader runs at boot: `SYSTEMD`, `PROCPS`, or None where the tree does not tell."""
    systemd = files.exists(_SYSTEMD_SYSCTL)
    if systemd and files.text("/proc/1/comm").strip() != "init":
        return SYSTEMD
    if files.exists(_INIT_SCRIPTS):
        return PROCPS
    return SYSTEMD if systemd or files.exists(_SYSTEMD_SIGNS) else None


def module_of(key: str) -> str | None:
    """The kernel module that brings ``key``, where it is one that is often loaded late."""
    return next((module for start, module in _MODULES if key.startswith(start)), None)


def refused(key: str, value: str, running: str | None) -> bool:
    """Whether the kernel refuses ``value`` because it is not the numbers that ``key`` holds.

    As __do_proc_dointvec() (kernel/sysctl.c) reads: decimal, octal or hexadecimal, with a
    blank, tab or line feed behind it (no carriage return, comma or unit). Only the first number
    decides: those read before a bad one are kept, what follows the last is ignored.
    """
    have = (running or "").split()
    if not have or not all(map(_NUMBER.fullmatch, have)) or any(n in key for n in _NOT_NUMBERS):
        return False
    return not _NUMBER.fullmatch(re.split(r"[ \t\n]", value.lstrip())[0])


class Modules:
    """Which modules are there when the boot reader runs."""

    def __init__(self, files: Files, kernel: Kernel | None, running: Mapping[str, str]) -> None:
        self._files = files
        self._lib = f"/lib/modules/{kernel.release}" if kernel else "/nonexistent"
        self._running = running
        self._early: dict[str, bool | None] = {}

    def in_time(self, key: str) -> bool | None:
        """Whether ``key`` exists when the boot reader runs; None where that cannot be told."""
        module = module_of(key)
        if module is None:
            return True
        if module not in self._early:
            self._early[module] = self._is_early(module)
        return self._early[module]

    def gaps(self) -> tuple[Gap, ...]:
        """One gap for the modules that were asked for and could not be told."""
        names = ", ".join(name for name, early in self._early.items() if early is None)
        detail = f"whether {names} is there before the sysctls are set was not recorded"
        return (Gap(MODULES_GAP, "not-recorded", detail),) if names else ()

    def _is_early(self, module: str) -> bool | None:
        built_in = self._built_in(module)
        if built_in or self._asked_for(module) or self._set_by_rule(module):
            return True
        return built_in

    def _built_in(self, module: str) -> bool | None:
        """From the list of loaded modules, then from the kernel's list of built-in ones."""
        try:
            loaded = self._files.tree.text("/proc/modules")
        except MissingFact as missing:
            if missing.gap.reason == "absent":
                return True  # a kernel without modules has everything built in
            return self._listed(module) or None
        if re.search(rf"^{module} ", loaded, re.MULTILINE):
            return False
        if self._listed(module):
            return True
        return any(module_of(key) == module for key in self._running)

    def _listed(self, module: str) -> bool:
        return f"/{module}.ko" in self._files.text(f"{self._lib}/modules.builtin")

    def _asked_for(self, module: str) -> bool:
        """Whether modules-load.d or the command line loads it, or one that depends on it."""
        words = re.findall(r"(?:^|\s)(?:rd\.)?modules[-_]load=(\S+)", self._files.text(_CMDLINE))
        wanted = {name for word in words for name in word.split(",")}
        for path in self._files.listing("modules-load.d").paths:
            lines = (line.strip() for line in self._files.text(path).splitlines())
            wanted.update(line for line in lines if line and line[0] not in "#;")
        wanted = {name.replace("-", "_") for name in wanted}
        return module in wanted or any(name in self._dependants(module) for name in wanted)

    def _dependants(self, module: str) -> set[str]:
        """Modules that load ``module`` with them, by modules.dep."""
        names = set()
        for line in self._files.text(f"{self._lib}/modules.dep").splitlines():
            name, _, needs = line.partition(":")
            if re.search(rf"/{module}\.ko", needs):
                names.add(name.rpartition("/")[2].partition(".")[0].replace("-", "_"))
        return names

    def _set_by_rule(self, module: str) -> bool:
        """Whether a udev or modprobe rule runs a sysctl reader once the module is there."""
        folders = ("/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/etc/modprobe.d")
        for folder in folders:
            try:
                names = self._files.tree.names(folder)
            except MissingFact:
                continue
            for name in names:
                text = self._files.text(f"{folder}/{name}").replace("\\\n", " ")
                if any(module in line and "sysctl" in line for line in text.splitlines()
                       if not line.lstrip().startswith("#")):  # fmt: skip
                    return True
        return False


_CMDLINE = "/proc/cmdline"


def unknown_reader() -> Gap:
    """The gap for a tree that does not tell which reader runs at boot."""
    detail = f"no sign of the boot's sysctl reader; taken as {SYSTEMD}, which most hosts have"
    return Gap("persisted", "not-recorded", detail)
