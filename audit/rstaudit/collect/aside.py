"""A second process that works on arrays while the first goes on with its own."""

from __future__ import annotations

import mmap
import os
import select
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rstaudit.collect.forks import fork, receive, send

Arrays = Sequence[NDArray[Any]]
Work = Callable[[Arrays], Arrays]

#: Arrays begin at multiples of this.
_APART = 64


class Aside:
    """Calls ``work`` in a child, forked here, which shares ``room`` bytes for either direction.

    Arrays may have any dtype without Python objects. Whatever befalls the child, `start` and
    `result` only say that it did not do its work: the caller can do it instead. `close` it.
    """

    def __init__(self, work: Work, room: int) -> None:
        self._shared = mmap.mmap(-1, 2 * room)
        self._there, self._back = _halves(self._shared, room)
        hear, ask = os.pipe()
        news, tell = os.pipe()
        self._child = fork(
            lambda: self._serve(work, os.fdopen(hear, "rb"), os.fdopen(tell, "wb")), ask, news
        )
        os.close(hear)
        os.close(tell)
        self._ask, self._news = os.fdopen(ask, "wb"), os.fdopen(news, "rb")
        self.busy = False

    def start(self, arrays: Arrays) -> bool:
        """Have the child work on these; False where they have no room or it is gone."""
        if not self._child or self.busy:
            return False
        layout = _put(self._there, arrays)
        if layout is None:
            return False
        try:
            send(self._ask, layout)
        except OSError:
            self._gone()
            return False
        self.busy = True
        return True

    def ready(self) -> bool:
        """Whether `result` would not wait."""
        return self.busy and bool(select.select([self._news], [], [], 0)[0])

    def result(self) -> Arrays | None:
        """What came of the arrays that were given last; None where nothing did.

        Good until the next `start`.
        """
        layout = receive(self._news) if self.busy else None
        self.busy = False
        if layout is None:
            self._gone()
            return None
        return _get(self._back, layout) if layout else None

    def close(self) -> None:
        """End the child."""
        if self._child:
            self._gone()
        self._news.close()
        with suppress(OSError):
            self._ask.close()

    def _gone(self) -> None:
        if self._child:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = 0

    def _serve(self, work: Work, hear: BinaryIO, tell: BinaryIO) -> None:
        """The child: until the parent's end of the pipe closes."""
        while True:
            layout = receive(hear)
            if layout is None:
                os._exit(0)
            done = _put(self._back, work(_get(self._there, layout)))
            send(tell, done or ())


def _halves(shared: mmap.mmap, room: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    whole = np.frombuffer(shared, np.uint8)
    return whole[:room], whole[room:]


def _put(memory: NDArray[np.uint8], arrays: Arrays) -> tuple[Any, ...] | None:
    """Copy arrays to shared memory; gives what `_get` wants to know, None without the room."""
    layout, at = [], 0
    for array in arrays:
        end = at + array.nbytes
        if end > len(memory):
            return None
        memory[at:end].view(array.dtype).reshape(array.shape)[...] = array
        layout.append((array.dtype.str, array.shape, at))
        at = -(-end // _APART) * _APART
    return tuple(layout)


def _get(memory: NDArray[np.uint8], layout: tuple[Any, ...]) -> Arrays:
    """The arrays in shared memory, not copied."""
    found = []
    for code, shape, at in layout:
        kind = np.dtype(code)
        size = int(np.prod(shape)) * kind.itemsize
        found.append(memory[at : at + size].view(kind).reshape(shape))
    return found
