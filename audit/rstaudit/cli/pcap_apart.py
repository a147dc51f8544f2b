"""Two processes that share the work on the flows of a large capture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from rstaudit.collect.aside import Aside
from rstaudit.collect.forks import possible
from rstaudit.resets.wire.work import Piece, Worked, in_threads, joined, work_apart

#: Flows with fewer segments than this are not worth handing over.
_LEAST = 4096
#: Shared memory for each direction: more than two pieces of the usual size.
_ROOM = 24 << 20


class Apart:
    """Does what `in_threads` does, with the help of a child, forked when it is first of use."""

    def __init__(self, wanted: bool) -> None:
        """``wanted``: False leaves all to `in_threads`."""
        self._wanted = wanted and possible()
        self._other: Aside | None = None

    def spread(self, work: Callable[[Piece], Worked], pieces: Sequence[Piece]) -> Iterable[Worked]:
        """``work`` done on each of ``pieces``, the last first."""
        if not self._wanted or len(pieces) < 2 or sum(len(p.rows) for p in pieces) < _LEAST:
            return in_threads(work, pieces)
        if self._other is None:
            try:
                self._other = Aside(work_apart, _ROOM)
            except OSError:  # no more processes, or no memory, for this user
                self._wanted = False
                return in_threads(work, pieces)
        return _shared(work, pieces, self._other)

    def close(self) -> None:
        """End the child."""
        if self._other:
            self._other.close()
            self._other = None


def _shared(
    work: Callable[[Piece], Worked], pieces: Sequence[Piece], other: Aside
) -> Iterator[Worked]:
    """Pieces from the front for the child, from the back for this process."""
    done: dict[int, Worked] = {}
    first, last = 0, len(pieces)
    given = -1
    for place in reversed(range(len(pieces))):
        while place not in done:
            if other.busy and (first == last or other.ready()):
                columns = other.result()
                piece = pieces[given]
                done[given] = work(piece) if columns is None else joined(piece, columns)
            elif not other.busy and other.start(pieces[first].columns()):
                given, first = first, first + 1
            else:
                last -= 1
                done[last] = work(pieces[last])
        yield done.pop(place)
