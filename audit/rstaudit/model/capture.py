"""What was read of one capture, beside its resets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class CaptureSummary(NamedTuple):
    """One capture, read as far as it goes.

    ``file`` is the name as it was given (``-`` for standard input). ``truncated`` says where and
    why reading stopped before the end, None where it did not. ``skipped`` counts packets that
    are no TCP segment, or none that can be read, by the reason. ``first_ns`` and ``last_ns`` are
    the time of the first and last packet, nanoseconds since the epoch, None without any.
    ``resets`` counts all resets, also those that a filter left out. ``forgotten`` counts flows
    that were let go before they ended, because too many were open at once.
    """

    file: str
    packets: int
    tcp_packets: int
    flows: int
    resets: int
    truncated: str | None = None
    skipped: Mapping[str, int] = MappingProxyType({})
    first_ns: int | None = None
    last_ns: int | None = None
    forgotten: int = 0


class Unreadable(NamedTuple):
    """A capture of which nothing could be read, and why."""

    file: str
    reason: str
