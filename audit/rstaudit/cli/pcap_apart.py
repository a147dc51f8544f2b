"""Two processes that share the work on the flows of a large capture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rstaudit.collect.ahead import possible
from rstaudit.collect.aside import Aside
from rstaudit.resets.wire.threads import in_threads
from rstaudit.resets.wire.work import Piece, Worked, joined, work_apart

#: Flows with fewer segments than this are not worth handing over.
_LEAST = 4096
#: Shared memory for each direction: more than two pieces of the usual size.
_ROOM = 24 << 20


class Apart:
    """Does what `in_threads` does with the help of a child, forked when it is first of use."""

    def __init__(self, wanted: bool) -> None:
        """``wanted``: False leaves all to `in_threads`."""
        self._wanted = wanted and possible()
        self._other: Aside | None = None

    def spread(self, work: Callable[[Piece], Worked], pieces: Sequence[Piece]) -> list[Worked]:
        """``work`` done on each of ``pieces``, in their order."""
        if not self._wanted or len(pieces) < 2 or sum(len(p.rows) for p in pieces) < _LEAST:
            return in_threads(work, pieces)
        if self._other is None:
            self._other = Aside(work_apart, _ROOM)
        return _shared(work, pieces, self._other)

    def close(self) -> None:
        """End the child."""
        if self._other:
            self._other.close()
            self._other = None


def _shared(work: Callable[[Piece], Worked], pieces: Sequence[Piece], other: Aside) -> list[Worked]:
    """Pieces from the front for the child, from the back for this process."""
    done: dict[int, Worked] = {}
    first, last = 0, len(pieces)
    given = -1
    while first < last or other.busy:
        if other.busy and (first == last or other.ready()):
            columns = other.result()
            piece = pieces[given]
            done[given] = work(piece) if columns is None else joined(piece, columns)
        elif not other.busy and first < last and other.start(pieces[first].columns()):
            given, first = first, first + 1
        elif first < last:
            last -= 1
            done[last] = work(pieces[last])
    return [done[place] for place in range(len(pieces))]
