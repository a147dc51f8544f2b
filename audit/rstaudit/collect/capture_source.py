"""Where a capture's bytes come from: files and pipes, unpacked on the way."""

from __future__ import annotations

import os
import select
import stat
import zlib
from typing import BinaryIO, Protocol

from rstaudit.parse.capture.sniff import GZIP, ZSTD
from rstaudit.parse.errors import ParseError

_PACKED = 1 << 18  # bytes of packed input at a time
_ZSTD_PACKED = 1 << 16  # what was unpacked of these is lost where they are damaged
_MAGIC = 4
_PIPE = 1 << 20  # what a pipe may hold without privilege (pipe(7))


class SourceError(Exception):
    """The bytes cannot go on; the message says why."""


class Source(Protocol):
    """Something to read from."""

    def readinto(self, view: memoryview) -> int:
        """Read at most ``len(view)`` bytes; 0 where there are none (now). Raises `SourceError`."""


class Raw:
    """A file descriptor or a file object, with the first bytes given back.

    ``live``: more may come after a pause, because it is a pipe or the like.
    ``position`` counts the bytes read. Raises OSError where a path cannot be opened or read.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO) -> None:
        self._file: BinaryIO | None = None
        self._fd = -1
        self._ours = False
        self.size: int | None = None
        self.live = False
        self.position = 0
        if isinstance(source, str | os.PathLike):
            path = os.fspath(source)
            self._ours = path != "-"
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if self._ours else 0
            self._look()
        else:
            self._file = source
        self._first = b""

    def _look(self) -> None:
        state = os.fstat(self._fd)
        if stat.S_ISREG(state.st_mode):
            self.size = state.st_size
        else:
            self.live = True
        if stat.S_ISFIFO(state.st_mode):
            import fcntl

            try:
                fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _PIPE)
            except (AttributeError, OSError):
                return  # another system, or the user's limit on pipes: only slower

    def peek(self) -> bytes:
        """The first bytes, at most `_MAGIC`, which will be read again."""
        first, self._first = self._first, b""
        while len(first) < _MAGIC:
            more = self.read(_MAGIC - len(first))
            if not more:
                break
            first += more
        self._first = first
        self.position = 0
        return first

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes; none at the end, or where there are none now."""
        buffer = bytearray(count)
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def readinto(self, view: memoryview) -> int:
        """As `Source` has it."""
        if self._first:
            got = min(len(self._first), len(view))
            view[:got], self._first = self._first[:got], self._first[got:]
        elif self._file is not None:
            data = self._file.read(len(view))
            got = len(data)
            view[:got] = data
        else:
            got = os.readv(self._fd, [view])
        self.position += got
        return got

    def ready(self, seconds: float) -> bool:
        """Whether reading would not block, after waiting for at most so long."""
        if not self.live or self._first:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def shrunk(self) -> bool:
        """Whether a file has become shorter than what was read of it."""
        return self.size is not None and os.fstat(self._fd).st_size < self.position

    def file(self) -> tuple[int, int]:
        """Its device and inode."""
        state = os.fstat(self._fd)
        return state.st_dev, state.st_ino

    def close(self) -> None:
        """Close what this opened."""
        if self._ours:
            os.close(self._fd)
            self._ours = False


def unpacked(raw: Raw) -> Source:
    """The source as it is, or unpacked if it is compressed with gzip or zstd.

    Raises `ParseError` where zstd's library is needed and missing.
    """
    first = raw.peek()
    if first[:2] == GZIP:
        return _Gzip(raw)
    if first == ZSTD:
        return _Zstd(raw)
    return raw


class _Gzip:
    """gzip, one member after the other, never more unpacked than is asked for."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._member = zlib.decompressobj(31)
        self._packed = b""

    def readinto(self, view: memoryview) -> int:
        while True:
            if self._member.eof and not self._next():
                return 0
            try:
                data = self._member.decompress(self._packed, len(view))
            except zlib.error as error:
                raise SourceError(f"damaged gzip data ({error})") from None
            ended = self._member.eof
            self._packed = self._member.unused_data if ended else self._member.unconsumed_tail
            if data:
                view[: len(data)] = data
                return len(data)
            if not ended:
                self._packed = self._raw.read(_PACKED)
                if not self._packed:
                    return 0

    def _next(self) -> bool:
        """Begin the next member, if there is one; files may be padded with zeros."""
        rest = self._packed.lstrip(b"\0")
        while len(rest) < len(GZIP):
            more = self._raw.read(_PACKED)
            if not more:
                break
            rest = (rest + more).lstrip(b"\0")
        if rest and rest[: len(GZIP)] != GZIP:
            raise SourceError("bytes that are not gzip follow the gzip data")
        self._packed = rest
        if rest:
            self._member = zlib.decompressobj(31)
        return bool(rest)


class _Zstd:
    """zstd by the `zstandard` package."""

    def __init__(self, raw: Raw) -> None:
        try:
            import zstandard
        except ImportError:
            raise ParseError(
                "compressed with zstd: pip install 'rstaudit[zstd]', or pipe what zstd -dc gives"
            ) from None
        self._error = zstandard.ZstdError
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        self._stream = decompressor.stream_reader(
            raw,  # type: ignore[arg-type] # only its read() is used
            read_size=_ZSTD_PACKED,
            read_across_frames=True,
        )

    def readinto(self, view: memoryview) -> int:
        try:
            return self._stream.readinto1(view)
        except self._error as error:
            raise SourceError(f"damaged zstd data ({error})") from None
