"""A process that reads a large pcap file and finds its records, while numpy is being imported.

That import takes 0.07 s, a quarter of what it takes to read and walk through a million packets. So
this needs none of it: the child is forked at once, and hands over pieces of the file with the
places of their records.
"""

from __future__ import annotations

import mmap
import os
import signal
import stat
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from rstaudit.collect.forks import fork, possible, receive, send
from rstaudit.parse.capture.hop import (
    CHUNK,
    HEADER_SIZE,
    LONGEST_PACKET,
    RECORD,
    SLACK,
    hop,
    is_common,
    left,
)

#: A file from this size on is worth it.
LARGE = 32 << 20
#: Pieces that may be under way.
_SLOTS = 4
#: Room in a slot for a piece, and for the places of its records, 4 bytes each.
_PIECE = CHUNK + 4096
_PLACES = 4 * (CHUNK // RECORD + 1024)
_ALL = -1


class HopperError(Exception):
    """The file cannot be read on; the message says why."""


class Piece(NamedTuple):
    """A part of the file, from the beginning of a record to wherever it was read.

    ``places`` holds where captured lengths stand, as native 4-byte numbers; ``end`` is how much of
    ``buffer`` was read, ``stop`` where the record after the last would begin, ``position`` how
    much of the file has been read. Good until the next piece is asked for.
    """

    buffer: memoryview
    places: memoryview
    end: int
    stop: int
    position: int


def hopper(path: str) -> Hopper | None:
    """A `Hopper` for a file that is large and in the commonest format; None for others."""
    if not possible():
        return None
    try:
        state = os.stat(path)  # before it is opened: that wakes whoever writes to a named pipe
        if not stat.S_ISREG(state.st_mode) or state.st_size < LARGE:
            return None
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with suppress(OSError):  # unreadable; no more processes, or no memory, for this user
        if is_common(os.pread(fd, HEADER_SIZE, 0)):
            return Hopper(fd)
    os.close(fd)
    return None


class Hopper:
    """Iterate once over its pieces, in any process forked from this one; `close` it here.

    ``file`` tells the file by device and inode.
    """

    def __init__(self, fd: int) -> None:
        """``fd`` is an open pcap file, which is taken over."""
        state = os.fstat(fd)
        self.file = state.st_dev, state.st_ino
        memory = memoryview(mmap.mmap(-1, _SLOTS * (_PIECE + _PLACES)))
        self._slots = [memory[at * _PIECE :][:_PIECE] for at in range(_SLOTS)]
        rest = memory[_SLOTS * _PIECE :]
        self._places = [rest[at * _PLACES :][:_PLACES] for at in range(_SLOTS)]
        news, tell = os.pipe()
        wait, free = os.pipe()
        self._child = fork(lambda: self._serve(fd, wait, os.fdopen(tell, "wb")), news, free)
        for ours in (fd, tell, wait):
            os.close(ours)
        os.write(free, bytes(range(_SLOTS)))
        self._free, self._news = free, os.fdopen(news, "rb")

    def __iter__(self) -> Iterator[Piece]:
        """The pieces of the file. Raises `HopperError` where there should be more."""
        while True:
            message = receive(self._news)
            if message is None:
                raise HopperError("the process that reads it ended")
            slot, end, stop, count, position, error = message
            if error:
                raise HopperError(error)
            if slot == _ALL:
                return
            yield Piece(self._slots[slot], self._places[slot][: 4 * count], end, stop, position)
            try:
                os.write(self._free, bytes([slot]))
            except BrokenPipeError:  # the next message, or its absence, says more
                continue

    def leave(self) -> None:
        """Another process will iterate."""
        if self._free >= 0:
            os.close(self._free)
            self._free = -1
            self._news.close()

    def close(self) -> None:
        """End the child."""
        self.leave()
        if self._child:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = 0

    def _serve(self, fd: int, wait: int, tell: BinaryIO) -> None:
        """The child: until the file or those who want it have come to an end."""
        rest, position = b"", HEADER_SIZE
        while True:
            taken = os.read(wait, 1)
            if not taken:
                os._exit(0)
            slot = self._slots[taken[0]]
            slot[: len(rest)] = rest
            end = len(rest)
            try:
                while end < CHUNK:
                    got = os.preadv(fd, [slot[end:CHUNK]], position)
                    end, position = end + got, position + got
                    if not got:
                        break
            except OSError as error:
                reason = f"reading failed: {error.strerror or error}"
                send(tell, (_ALL, 0, 0, 0, position, reason))
                os._exit(0)
            if end == len(rest):
                send(tell, (_ALL, end, 0, 0, position, ""))
                os._exit(0)
            found, stop = hop(slot[: CHUNK + SLACK], 0, end, RECORD)
            places = array("I", found)
            self._places[taken[0]][: 4 * len(found)] = memoryview(places).cast("B")
            send(tell, (taken[0], end, stop, len(found), position, ""))
            begin = left(found, stop, end)
            rest = bytes(slot[begin:end])
            if len(rest) > 2 * LONGEST_PACKET:  # damage, which the other side finds too
                send(tell, (_ALL, 0, 0, 0, position, ""))
                os._exit(0)
