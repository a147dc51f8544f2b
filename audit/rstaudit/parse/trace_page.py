"""Pages of the trace ring buffer as ``trace_pipe_raw`` gives them (kernel/trace/ring_buffer.c)."""

from __future__ import annotations

import sys
from typing import NamedTuple

from rstaudit.parse.errors import ParseError
from rstaudit.parse.trace_format import PageLayout

#: Beside the length in the commit field (include/linux/ring_buffer.h, RB_MISSED_*).
_MISSED_EVENTS, _MISSED_STORED = 1 << 31, 1 << 30
_LENGTH = (1 << 27) - 1

_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_TIME_BITS = 27
#: An absolute time stamp carries 59 bits; the rest stays as it was.
_HIGH_BITS = 0x1F << 59

_BIG = sys.byteorder == "big"


class Page(NamedTuple):
    """The records of a page: ``(time, begin, end)`` each, offsets into its bytes.

    ``missed`` is how many events the buffer dropped before this page, None where it dropped some
    without counting.
    """

    records: list[tuple[int, int, int]]
    missed: int | None


def parse_page(data: bytes, layout: PageLayout) -> Page:
    """The records of one page, which may be cut short; raises ParseError with the offset.

    Times are in the units of the trace clock. Padding and time records are worked in and left
    out. ``data`` is of this machine's byte order.
    """
    base = layout.data
    if len(data) < base:
        raise ParseError(f"trace page of {len(data)} bytes; its header has {base}")
    time = int.from_bytes(data[:8], sys.byteorder)
    commit = layout.commit
    flags = int.from_bytes(data[commit.offset : commit.offset + commit.size], sys.byteorder)
    end = base + (flags & _LENGTH)
    if end > len(data):
        raise ParseError(f"trace page: {end - base} bytes of records in {len(data) - base}")
    missed = 0 if not flags & _MISSED_EVENTS else _missed(data, end, flags, commit.size)
    return Page(_records(data, base, end, time), missed)


def _missed(data: bytes, at: int, flags: int, size: int) -> int | None:
    """The number of lost events, stored behind the records where there was room for it."""
    if not flags & _MISSED_STORED or at + size > len(data):
        return None
    return int.from_bytes(data[at : at + size], sys.byteorder)


def _records(data: bytes, at: int, end: int, time: int) -> list[tuple[int, int, int]]:
    """Walk the records; a struct ring_buffer_event is a word of type and time, then its array."""
    if end & 3 or at & 3:
        raise ParseError(f"trace page: records end at byte {end}, not on a word")
    words = memoryview(data)[:end].cast("I")
    found: list[tuple[int, int, int]] = []
    while at < end:
        word = words[at >> 2]
        kind, delta = (word >> 27, word & 0x7FFFFFF) if _BIG else (word & 31, word >> 5)
        start = at + 4
        if 0 < kind < _PADDING:
            time += delta
            at = start + (kind << 2)
            found.append((time, start, at))
        elif kind == _PADDING and delta == 0:  # nothing follows on this page
            break
        elif start == end:
            raise ParseError(f"trace page: record at byte {at} is cut off")
        else:
            time, at = _special(kind, time, delta, words[start >> 2], start)
            if kind == 0:
                found.append((time, start + 4, at))
        if at > end:
            raise ParseError(f"trace page: record at byte {start - 4} runs over the end")
    return found


def _special(kind: int, time: int, delta: int, extra: int, start: int) -> tuple[int, int]:
    """Time after, and where the next record begins, of a record that is not short and plain.

    ``extra`` is the first word of its array, at ``start``: for long records and for padding the
    length of the array, that word counted in; for the others the upper bits of a time.
    """
    if kind == _TIME_EXTEND:
        return time + (extra << _TIME_BITS | delta), start + 4
    if kind == _TIME_STAMP:
        return time & _HIGH_BITS | extra << _TIME_BITS | delta, start + 4
    if extra < 4:
        raise ParseError(f"trace page: a length of {extra} at byte {start}")
    return time + delta, start + (extra + 3 & ~3)
