"""Why a reset was sent: what both engines, live events and captured packets, conclude."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from rstaudit.model.rule import Confidence, Evidence
from rstaudit.model.sockets import Owner

UNDETERMINED = "undetermined"


class Diagnosis(NamedTuple):
    """The cause of one reset.

    ``cause`` and ``alternatives`` (likeliest first) are ids of the catalogue's causes;
    ``confidence`` is certain only where the evidence excludes every other cause. ``benign`` says
    that nothing was lost and nobody needs to act. ``why`` is one sentence; each number in it
    stands in ``evidence``. For ``undetermined`` it says what is missing.
    """

    cause: str
    confidence: Confidence
    why: str
    alternatives: tuple[str, ...] = ()
    benign: bool = False
    evidence: Evidence = MappingProxyType({})


class LiveReset(NamedTuple):
    """A reset this host sent or received, as `watch` reports it.

    ``time_ns`` is nanoseconds since the epoch. ``direction`` is ``sent`` or ``received``.
    ``src``/``dst`` are the reset's own, whichever end is ours. ``kernel_reason`` is the kernel's
    word (``NO_SOCKET``), None where it gives none. ``owner`` is None where nobody can be named.
    ``netns`` is the inode number of the network namespace, as `lsns` prints it, None if unknown.
    """

    time_ns: int
    direction: str
    src: str
    dst: str
    diagnosis: Diagnosis
    kernel_reason: str | None
    owner: Owner | None
    netns: int | None
