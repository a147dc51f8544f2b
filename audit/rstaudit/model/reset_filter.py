"""Which of the resets that are seen live the user asked for."""

from __future__ import annotations

import socket
from collections.abc import Collection
from typing import NamedTuple

from rstaudit.model.diagnosis import LiveReset
from rstaudit.model.listing import PeerFilter, address_number


class ResetFilter(NamedTuple):
    """Filters of one kind are alternatives, filters of several kinds must all hold.

    ``pids`` are processes at our end, ``ports`` are of either end, ``peers`` of the other end,
    ``causes`` are ids. Empty: every reset.
    """

    pids: frozenset[int] = frozenset()
    ports: tuple[range, ...] = ()
    peers: tuple[PeerFilter, ...] = ()
    causes: frozenset[str] = frozenset()

    def accepts(self, reset: LiveReset, family: Collection[int] | None = None) -> bool:
        """Whether to report ``reset``; with ``family`` only those of these processes."""
        pid = reset.owner.pid if reset.owner is not None else None
        if family is not None and pid not in family:
            return False
        if self.pids and pid not in self.pids:
            return False
        if self.causes and reset.diagnosis.cause not in self.causes:
            return False
        return self._ends(reset)

    def _ends(self, reset: LiveReset) -> bool:
        if not (self.ports or self.peers):
            return True
        ours, peer = ours_and_peer(reset)
        address, port = split(peer)
        if self.ports:
            both = (port, split(ours)[1])
            if not any(one in ports for ports in self.ports for one in both):
                return False
        return not self.peers or any(one.accepts(_number(address), port) for one in self.peers)


def ours_and_peer(reset: LiveReset) -> tuple[str, str]:
    """Our end of a reset, and the other one."""
    if reset.direction == "sent":
        return reset.src, reset.dst
    return reset.dst, reset.src


def split(endpoint: str) -> tuple[str, int]:
    """``192.0.2.1:80`` or ``[2001:db8::1]:80`` as address and port; port 0 where none is told."""
    address, _, port = endpoint.rpartition(":")
    return address.strip("[]"), int(port) if port.isdecimal() else 0


def _number(address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return address_number(family, socket.inet_pton(family, address))
