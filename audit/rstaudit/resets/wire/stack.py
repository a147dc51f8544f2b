"""Whose TCP an end of a flow seems to run, from its packets in that flow alone."""

from __future__ import annotations

from rstaudit.parse.capture.options import fingerprint
from rstaudit.resets.wire.facts import Stack

#: What first TTLs there are; a packet has lost fewer than 64 on its way.
_UNIX, _WINDOWS = 64, 128

#: The kinds of options of Linux's SYNs and SYN-ACKs (tcp_output.c: tcp_options_write): MSS, SACK
#: permitted, timestamps, window scale, without what is off or was not offered; MPTCP last.
_LINUX_KINDS = (
    (2, 4, 8, 1, 3), (2, 4, 8), (2, 1, 1, 4, 1, 3), (2, 1, 1, 4), (2, 1, 1, 8, 1, 3),
    (2, 4, 8, 1, 3, 30), (2, 4, 8, 30),
)  # fmt: skip


#: The ``order`` of SYNs and SYN-ACKs that Linux sends.
LINUX_ORDERS = frozenset(fingerprint(kinds) for kinds in _LINUX_KINDS)


def stack_of(ttl_high: int, linux_order: bool) -> Stack:
    """The stack of an end whose segments without RST arrive with at most that TTL.

    ``ttl_high`` is 0 where it sent none. ``linux_order``: one of its SYNs or SYN-ACKs has an
    ``order`` that is in `LINUX_ORDERS`.
    """
    if ttl_high == 0:
        return Stack.UNKNOWN
    if ttl_high > _WINDOWS:
        return Stack.OTHER
    if ttl_high > _UNIX:
        return Stack.WINDOWS
    return Stack.LINUX if linux_order else Stack.UNIX
