"""What a scenario of the lab is: its story, how it is staged, and what must be said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rstaudit.lab.network import Lab

#: How the ends are joined (`rstaudit.lab.network` makes each):
#: ``direct``: client and server by a pair of veth;
#: ``middle``: client - middle - server, the middle a router with a kernel of its own settings;
#: ``wire``: client and server by TUN devices and a wire in user space that delays, drops,
#: rewrites and injects (`lab.wire`).
NETWORKS = ("direct", "middle", "wire")


class Named(NamedTuple):
    """What must be said of the resets seen at one place.

    ``cause`` is what happened. ``equals`` are ids that pass as well, as long as ``cause`` is
    among the alternatives: only for pairs that neither the kernel nor the packets can tell
    apart. ``also`` are causes of further resets that may follow at that place. ``benign`` is
    what must be said about harm; None asks nothing.
    """

    cause: str
    equals: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    benign: bool | None = None


class Draw(NamedTuple):
    """The parameters of one run of a scenario, drawn at random.

    ``number`` counts from 1; ``family`` is 4 or 6; ``port`` is the server's; ``size`` bytes of
    payload, small enough for any socket buffer; ``delay`` seconds of a short pause (0.02-0.12).
    """

    number: int
    family: int
    port: int
    size: int
    delay: float


Stage = Callable[["Lab", Draw], None]

_NONE: Mapping[str, Named] = MappingProxyType({})
_NO_RULES: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Scenario(NamedTuple):
    """One way to a reset (or to the silence that people take for one).

    ``id`` is a slug, ``rows`` the situations of the documents that it stages (``S05``), ``title``
    one line, ``story`` a few plain sentences: who does what, and what the kernel answers.

    ``stage`` performs it with real sockets of ``lab.client``, ``lab.server``, ``lab.middle``; it
    returns when the last call has returned, and need not close anything. ``twin`` is the same
    situation done right: no reset, and no rule fails that does not fail on an untouched host.

    ``live`` maps ``client sent``, ``server received`` ... to what `watch` must say of the resets
    of that end; ``pcap`` maps ``client`` and ``server`` to what must be said from the packets
    captured at that end. A place that is not named must show no reset.

    ``audit`` maps an end to the rule ids that fail there when ``stage`` calls ``lab.audit()``,
    or after ``stage`` when it does not. ``needs`` may hold ``host-settings`` (a setting of the
    machine itself), ``nft``, ``conntrack``, ``mptcp``, ``tun`` and names of programs
    (``program:nmap``). ``seconds`` is about how long a draw takes: the longest are begun first.
    """

    id: str
    rows: tuple[str, ...]
    title: str
    story: str
    stage: Stage
    twin: Stage
    live: Mapping[str, Named] = _NONE
    pcap: Mapping[str, Named] = _NONE
    audit: Mapping[str, tuple[str, ...]] = _NO_RULES
    network: str = "direct"
    families: tuple[int, ...] = (4, 6)
    needs: frozenset[str] = frozenset()
    slow: bool = False
    seconds: float = 1.0


#: What packets alone may say of a close that resets: its kinds look the same on the wire.
ABORT_ON_WIRE = ("app-abort",)


def both(cause: str, *equals: str, also: tuple[str, ...] = ()) -> Mapping[str, Named]:
    """``pcap``: the same at both ends."""
    named = Named(cause, equals, also)
    return {"client": named, "server": named}


def from_to(
    sender: str, cause: str, *equals: str, also: tuple[str, ...] = ()
) -> Mapping[str, Named]:
    """``live`` of a reset that ``sender`` (client or server) sends and the other end receives."""
    receiver = {"client": "server", "server": "client"}[sender]
    named = Named(cause, equals, also)
    return {f"{sender} sent": named, f"{receiver} received": named}
