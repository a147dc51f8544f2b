"""TCP options, one option of every segment at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.packets import Kinds, Packets
from rstaudit.parse.capture.records import Offsets
from rstaudit.parse.capture.segments import (
    OPT_AUTH,
    OPT_BAD,
    OPT_CUT,
    OPT_MP_FASTCLOSE,
    OPT_MP_TCPRST,
    OPT_MPTCP,
    OPT_MSS,
    OPT_OTHER,
    OPT_SACK,
    OPT_SACK_PERMITTED,
    OPT_TFO,
    OPT_TS,
    OPT_WSCALE,
    SYN,
    Rows,
)

_END, _NOP, _MSS, _WSCALE, _TS, _MPTCP = 0, 1, 2, 3, 8, 30
_MP_FASTCLOSE, _MP_TCPRST = 7, 8

#: Kind -> bit (https://www.iana.org/assignments/tcp-parameters).
_BITS = np.full(256, OPT_OTHER, np.uint16)
_BITS[[_END, _NOP]] = 0
_BITS[[_MSS, _WSCALE, 4, 5, _TS]] = OPT_MSS, OPT_WSCALE, OPT_SACK_PERMITTED, OPT_SACK, OPT_TS
_BITS[[19, 29, _MPTCP, 34]] = OPT_AUTH, OPT_AUTH, OPT_MPTCP, OPT_TFO

#: The lengths that options may have; the first bytes of END and NOP are all they have.
_LEAST, _LONGEST = np.full(256, 2, np.uint8), np.full(256, 255, np.uint8)
for _kind, _size in {_END: 1, _NOP: 1, _MSS: 4, _WSCALE: 3, 4: 2, _TS: 10}.items():
    _LEAST[_kind] = _LONGEST[_kind] = _size

_VALUED = np.isin(np.arange(256), (_MSS, _WSCALE, _TS, _MPTCP))
_MOST_OPTIONS = 40

Index = NDArray[np.intp]


def fingerprint(kinds: tuple[int, ...]) -> int:
    """The ``order`` of a SYN whose options have these kinds, padding included."""
    order = 0
    for kind in kinds:
        order = (order * 41 + kind + 1) & 0xFFFF
    return order


def decode_options(
    packets: Packets, rows: Rows, header: Offsets, limit: Offsets, end: Offsets
) -> None:
    """Fill in what options say, for segments whose TCP header begins at ``header``.

    The options end at ``limit``, the captured bytes at ``end``; the row's other fields are set.
    """
    data = packets.bytes
    cut = limit > end
    options = np.zeros(len(rows), np.uint16)
    order = np.zeros(len(rows), np.uint16)
    left = np.flatnonzero(header + 20 < np.minimum(limit, end))
    place, last = header[left] + 20, np.minimum(limit, end)[left]
    for _ in range(_MOST_OPTIONS):
        if not len(left):
            break
        kind = data[place]
        size = np.where(kind <= _NOP, np.uint8(1), data[place + 1])
        order[left] = order[left] * np.uint16(41) + kind + np.uint16(1)
        sound = (size >= _LEAST[kind]) & (size <= _LONGEST[kind])
        whole = sound & (place + size <= last)
        if not whole.all():
            seen = sound | (place + 1 >= last) & (kind > _NOP)  # as far as the capture goes
            options[left[~whole & ~(seen & cut[left])]] |= np.uint16(OPT_BAD)
            left, place, last = left[whole], place[whole], last[whole]
            kind, size = kind[whole], size[whole]
        options[left] |= _BITS[kind]
        if _VALUED[kind].any():
            _values(packets, rows, left, place, kind, size, options)
        place = place + size
        more = (kind != _END) & (place < last)
        if not more.all():
            left, place, last = left[more], place[more], last[more]
    rows["options"] = options | cut * np.uint16(OPT_CUT)
    rows["order"] = order * ((rows["flags"] & SYN) != 0)


def _values(
    packets: Packets,
    rows: Rows,
    index: Index,
    place: Offsets,
    kind: Kinds,
    size: Kinds,
    options: NDArray[np.uint16],
) -> None:
    """What the options at ``place`` carry, into the rows at ``index``."""
    chosen = np.flatnonzero(kind == _MSS)
    if len(chosen):
        rows["mss"][index[chosen]] = packets.number(place[chosen] + 2)
    chosen = np.flatnonzero(kind == _WSCALE)
    if len(chosen):
        rows["wscale"][index[chosen]] = packets.bytes[place[chosen] + 2]
    chosen = np.flatnonzero(kind == _TS)
    if len(chosen):
        rows["tsval"][index[chosen]] = packets.number(place[chosen] + 2, ">u4")
        rows["tsecr"][index[chosen]] = packets.number(place[chosen] + 6, ">u4")
    chosen = np.flatnonzero((kind == _MPTCP) & (size >= 4))
    if len(chosen):
        subtype = packets.bytes[place[chosen] + 2] >> 4
        options[index[chosen[subtype == _MP_FASTCLOSE]]] |= np.uint16(OPT_MP_FASTCLOSE)
        resets = chosen[subtype == _MP_TCPRST]
        options[index[resets]] |= np.uint16(OPT_MP_TCPRST)
        rows["mptcp_reason"][index[resets]] = packets.bytes[place[resets] + 3]
