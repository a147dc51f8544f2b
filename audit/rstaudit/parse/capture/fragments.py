"""Lengths of TCP segments that came in several IPv4 fragments."""

from __future__ import annotations

import struct

import numpy as np

from rstaudit.parse.capture.records import Buffer, Offsets
from rstaudit.parse.capture.segments import IP_FRAGMENT, Rows

_MOST = 4096
_MORE, _PLACE, _TCP = 0x2000, 0x1FFF, 6
_Key = tuple[bytes, bytes, int]


class Fragments:
    """What the last fragments of a batch's packets add to the segments in their first ones.

    At most 4096 packets are remembered; the rest keep the length of their first fragment.
    """

    def __init__(self) -> None:
        self._totals: dict[_Key, int] = {}

    def later(self, rows: Rows, buffer: Buffer, at: Offsets, stop: Offsets) -> None:
        """Later fragments: their IPv4 headers are at ``at``, the fragments end at ``stop``."""
        for row, start, end in zip(rows, at.tolist(), stop.tolist(), strict=True):
            if row["family"] != 4 or len(self._totals) >= _MOST:
                continue
            bits, protocol = struct.unpack_from(">HxB", buffer, start + 6)
            size = end - start - 4 * (buffer[start] & 15)
            if not bits & _MORE and protocol == _TCP:
                self._totals[_key(row)] = (bits & _PLACE) * 8 + max(size, 0)

    def settle(self, rows: Rows) -> None:
        """Give the segments of a finished batch their whole length; what is left is forgotten."""
        if not self._totals:
            return
        for index in np.flatnonzero(rows["ip_flags"] & IP_FRAGMENT).tolist():
            row = rows[index]
            total = self._totals.pop(_key(row), 0) - 4 * int(row["words"])
            rows["length"][index] = max(int(row["length"]), total)
        self._totals.clear()


def _key(row: np.void) -> _Key:
    """What the fragments of one packet have in common (RFC 791)."""
    return row["src"].tobytes(), row["dst"].tobytes(), int(row["ip_id"])
