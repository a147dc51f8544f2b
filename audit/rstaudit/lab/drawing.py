"""The parameters of a run, drawn at random, and what a scenario needs of this machine."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable

from rstaudit.lab.scenario import Draw, Scenario

#: Below the ephemeral ports of a new namespace (32768), above what programs listen on.
_PORTS = (20000, 32000)

_MPTCP = 262  # IPPROTO_MPTCP, linux/in.h


def draw(scenario: Scenario, number: int) -> Draw:
    """The parameters of run ``number`` (from 1): families in turn, the rest at random."""
    family = scenario.families[(number - 1) % len(scenario.families)]
    chance = random.SystemRandom()
    port = chance.randrange(*_PORTS)
    return Draw(number, family, port, chance.randrange(64, 4000), chance.uniform(0.02, 0.12))


def missing(scenario: Scenario, *, host_settings: bool) -> str | None:
    """Why this machine cannot stage the scenario; None when it can."""
    for need in sorted(scenario.needs):
        if need == "host-settings":
            if not host_settings:
                return "changes a setting of the whole machine: give --allow-host-settings"
        elif need.startswith("program:"):
            name = need.partition(":")[2]
            if shutil.which(name) is None:
                return f"needs the program {name}, which is not installed"
        elif not _CHECKS[need]():
            return f"needs {need}, which this kernel or host does not have"
    if scenario.network == "wire" and not _has_tun():
        return "needs /dev/net/tun, which this kernel or host does not have"
    return None


def _has_tun() -> bool:
    return os.path.exists("/dev/net/tun")


def _has_mptcp() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, _MPTCP).close()
    except OSError:
        return False
    return True


def _has_nft() -> bool:
    return shutil.which("nft") is not None


def _has_conntrack() -> bool:
    return os.path.exists("/proc/sys/net/netfilter") and _has_nft()


_CHECKS: dict[str, Callable[[], bool]] = {
    "nft": _has_nft,
    "conntrack": _has_conntrack,
    "mptcp": _has_mptcp,
    "tun": _has_tun,
}
