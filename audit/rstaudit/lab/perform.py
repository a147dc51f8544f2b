"""One run: a lab made, a scenario staged in it, and everything seen of it brought back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rstaudit.lab import auditor
from rstaudit.lab.capture import ETHERNET, Packet, pcap
from rstaudit.lab.namespaces import CommandFailed
from rstaudit.lab.network import Lab
from rstaudit.lab.observer import Observer
from rstaudit.lab.parties import Broken, Call, Party
from rstaudit.lab.scenario import Draw, Scenario
from rstaudit.lab.seen import Seen
from rstaudit.lab.wirecheck import named_by_packets

#: Seconds after the last call in which a reset may still be on its way.
_AFTERMATH = 0.12
#: Seconds that the observer may be behind, on a machine that is busy with other things.
_LIVE_PATIENCE = 60.0


class Capture(NamedTuple):
    """What was captured at one end."""

    end: str
    link_type: int
    packets: tuple[Packet, ...]

    @property
    def header(self) -> int:
        """Bytes of the link layer before the IP header."""
        return 14 if self.link_type == ETHERNET else 0

    def pcap(self) -> bytes:
        """As a pcap file."""
        return pcap(list(self.packets), self.link_type)


class Run(NamedTuple):
    """What was seen of one draw of a scenario, or of its twin.

    ``broken`` says why it could not be staged. ``live`` is None when nobody watched. ``audit``
    are the rules that failed, by end; ``counters`` those that moved, by end; ``names`` the ends
    by address.
    """

    draw: Draw
    twin: bool
    broken: str | None
    calls: tuple[Call, ...]
    live: tuple[Seen, ...] | None
    pcap: tuple[Seen, ...]
    audit: Mapping[str, tuple[str, ...]]
    counters: Mapping[str, Mapping[str, int]]
    captures: tuple[Capture, ...]
    names: Mapping[str, str]


def perform(
    lab: Lab, scenario: Scenario, draw: Draw, observer: Observer | None, *, twin: bool
) -> Run:
    """Stage a scenario or its twin once in a fresh lab of its network, and close the lab.

    What goes wrong is said in ``broken``. Raises `rstaudit.model.facts.MissingFact` when the
    observer has ended.
    """
    try:
        return _perform(lab, scenario, draw, observer, twin=twin)
    finally:
        lab.close()


def _perform(
    lab: Lab, scenario: Scenario, draw: Draw, observer: Observer | None, *, twin: bool
) -> Run:
    audited: dict[str, tuple[str, ...]] = {}
    ends = ("client", "server") if twin else tuple(scenario.audit)
    lab.on_audit = lambda lab: audited.update(
        {party.name: auditor.failed_rules(party) for party in lab.parties if party.name in ends}
    )
    broken = _attempt(lambda: (scenario.twin if twin else scenario.stage)(lab, draw))
    time.sleep(_AFTERMATH)
    captures = tuple(
        Capture(end, lab.link_type, tuple(tap.drain())) for end, tap in lab.taps.items()
    )
    until = time.time_ns()
    if not audited:
        broken = broken or _attempt(lab.audit)
    names = lab.names()
    live: tuple[Seen, ...] | None = None
    if observer is not None:
        broken = broken or _attempt(lambda: _catch_up(observer, until))
        live = tuple(observer.seen(names, until))
    packets = [
        seen for capture in captures for seen in named_by_packets(capture.end, capture.pcap())
    ]
    counters = {party.name: _moved(party) for party in lab.parties}
    calls = tuple(lab.calls)
    return Run(draw, twin, broken, calls, live, tuple(packets), audited, counters, captures, names)


def _attempt(action: Callable[[], None]) -> str | None:
    """Do it; returns why that failed, None when it did not."""
    try:
        action()
    except (Broken, CommandFailed, OSError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _catch_up(observer: Observer, until: int) -> None:
    """Wait until the observer has named everything up to ``until``; raises `Broken`."""
    deadline = time.monotonic() + _LIVE_PATIENCE
    while observer.known_until < until:
        observer.check()
        if time.monotonic() > deadline:
            raise Broken(f"the watch is more than {_LIVE_PATIENCE:g} s behind")
        time.sleep(0.02)


def _moved(party: Party) -> dict[str, int]:
    """Counters of TCP that are not zero; a new namespace begins with all of them at zero."""
    return {
        name: value
        for name, value in party.counters(".").items()
        if value and name.startswith(("Tcp.", "TcpExt.", "MPTcpExt."))
    }
