"""Batches made by a second process while the first works on those it has.

Decoding a large capture takes about as long as following its flows, and one process does only one
of both at a time. The child is forked from the reader, so nothing has to be set up or handed over;
rows come back through shared memory, the rest by a pipe.
"""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from rstaudit.collect.forks import fork, possible, receive, send
from rstaudit.parse.capture.segments import PLAIN, SEGMENT, Rows, SegmentBatch, rows_over

__all__ = ["Ahead", "ChildError", "State", "possible"]

#: Batches that may be under way.
_SLOTS = 3

#: Slots that are none: all is read; the child has met an error of ours.
_ALL, _BROKEN = -1, -2

#: What one message says: slot, rows in it, payloads of resets, and the state of the reader.
State = tuple[Any, ...]


class ChildError(Exception):
    """The child ended without saying that all is read; the message says how."""


class Ahead:
    """Runs ``batches`` in a child; iterate over it once, then `close` it.

    ``state`` gives what the caller wants to know of the reader, in types that `marshal` knows;
    it is called in the child after each batch, and ``learn`` with its value in the parent.
    A batch has at most ``most`` rows.
    """

    def __init__(
        self,
        batches: Iterator[SegmentBatch],
        most: int,
        state: Callable[[], State],
        learn: Callable[[State], None],
    ) -> None:
        self._learn = learn
        self._shared = mmap.mmap(-1, _SLOTS * most * SEGMENT.itemsize)
        self._slots = rows_over(self._shared, _SLOTS)
        news, tell = os.pipe()
        wait, free = os.pipe()
        self._child = fork(
            lambda: _child(batches, state, self._slots, wait, os.fdopen(tell, "wb")), news, free
        )
        os.close(tell)
        os.close(wait)
        self._free = free
        os.write(free, bytes(range(_SLOTS)))
        self._news = os.fdopen(news, "rb")

    def __iter__(self) -> Iterator[SegmentBatch]:
        """The child's batches; raises `ChildError`."""
        while True:
            message = receive(self._news)
            if message is None:
                _, status = os.waitpid(self._child, 0)
                self._child = 0
                raise ChildError(f"the process that reads it ended with status {status}")
            slot, count, payloads, state = message
            if slot == _BROKEN:
                raise RuntimeError(f"while reading ahead: {state[0]}")
            self._learn(state)
            if slot == _ALL:
                return
            rows = self._slots[slot, :count].copy().view(SEGMENT)
            with suppress(BrokenPipeError):  # the next message, or its absence, says more
                os.write(self._free, bytes([slot]))
            yield SegmentBatch(rows, payloads)

    def close(self) -> None:
        """End the child, if it still runs, and free what was shared."""
        if self._child:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = 0
        self._news.close()
        if self._free >= 0:
            os.close(self._free)
            self._free = -1


def _child(
    batches: Iterator[SegmentBatch],
    state: Callable[[], State],
    slots: Rows,
    wait: int,
    tell: BinaryIO,
) -> None:
    """Hand over every batch, then say that this was all; the parent's end ends it too."""
    try:
        for batch in batches:
            taken = os.read(wait, 1)
            if not taken:
                os._exit(0)
            slots[taken[0], : len(batch.rows)] = batch.rows.view(PLAIN)
            send(tell, (taken[0], len(batch.rows), dict(batch.payloads), state()))
        send(tell, (_ALL, 0, {}, state()))
    except Exception as error:  # noqa: BLE001 - the parent raises it
        send(tell, (_BROKEN, 0, {}, (repr(error),)))
    os._exit(0)
