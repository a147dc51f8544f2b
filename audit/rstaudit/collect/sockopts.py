"""Options of other processes' sockets: pidfd_open, pidfd_getfd, getsockopt, close.

While the duplicate is held, the owner's close() does not end the connection: its FIN or reset
waits for our close. So a duplicate is held for the getsockopt calls only, some ten microseconds;
meanwhile signals are blocked, garbage is not collected, no file is read. If the owner closes a
socket with a positive SO_LINGER in that moment, our close() may wait in its place.
docs/socket-options.md says it all, and `--no-socket-options` switches it off.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import os
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.options import OptionTable, SocketOptions

#: The same numbers on every architecture (include/uapi/asm-generic/unistd.h); from 5.3 and 5.6.
#: Not os.pidfd_open: a Python built on an old system lacks it.
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438

# include/uapi/linux/{tcp,in}.h, asm-generic/socket.h; Python does not always name these
_TCP_USER_TIMEOUT, _TCP_LINGER2, _TCP_DEFER_ACCEPT, _TCP_FASTOPEN = 18, 8, 9, 23
_IP_BIND_ADDRESS_NO_PORT, _SO_PROTOCOL, _MPTCP = 24, 38, 262

_SO_COOKIE = 57

_COOKIE = struct.Struct("=Q")
#: tcpi_last_data_sent, tcpi_last_data_recv, tcpi_last_ack_recv
_LAST = struct.Struct("=44xI4xII")
_TIMEVAL, _LINGER = struct.Struct("@ll"), struct.Struct("@ii")

#: Answers that are an integer, and those that are a structure; each with its level and name.
_INTEGERS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    (socket.SOL_SOCKET, socket.SO_REUSEADDR),
    (socket.SOL_SOCKET, socket.SO_REUSEPORT),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    (socket.IPPROTO_TCP, _TCP_USER_TIMEOUT),
    (socket.IPPROTO_TCP, _TCP_LINGER2),
    (socket.IPPROTO_TCP, _TCP_DEFER_ACCEPT),
    (socket.IPPROTO_TCP, _TCP_FASTOPEN),
    (socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT),
)
_STRUCTURES = (
    (socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.size),
    (socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.size),
    (socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.size),
)
#: The same by column, for map(), which is quicker than a loop.
_LEVELS, _NAMES = zip(*_INTEGERS, strict=True)
_STRUCTURE_LEVELS, _STRUCTURE_NAMES, _SIZES = zip(*_STRUCTURES, strict=True)

#: The integers, then the structures, as the kernel gave them.
Answers = tuple[int | bytes, ...]

#: SOCK_NONBLOCK only tells Python to leave O_NONBLOCK alone: the owner shares that flag, and
#: after socket.setdefaulttimeout() a new socket object would set it.
_KIND = socket.SOCK_STREAM | socket.SOCK_NONBLOCK

#: Sockets of one process read in a row: at first, so that every process gets its turn soon, and
#: at most, so that the clock and pending signals are looked at often enough.
_FIRST_BATCH, _LARGEST_BATCH = 16, 64

#: Not CDLL, which lets other threads run between the system call and what follows.
_SYSCALL = ctypes.PyDLL(None, use_errno=True).syscall


class Held(NamedTuple):
    """A descriptor of a process that is a TCP socket."""

    fd: int
    inode: int
    family: int


class Budget(NamedTuple):
    """How much may be read: sockets in all, and seconds."""

    sockets: int = 50_000
    seconds: float = 2.0


def collect_options(sockets: Mapping[int, Sequence[Held]], budget: Budget) -> OptionTable:
    """Options of the sockets in ``sockets`` (by pid), each socket once.

    Where the budget does not suffice, every process gets the same share, the first ones of its
    sequence. Raises `MissingFact` when the kernel is older than 5.6 or nobody let us look.
    """
    start = time.monotonic()
    reader = _Reader()
    denied: set[int] = set()
    cut = False
    with _Undisturbed() as undisturbed:
        for pid, batch in _fair(sockets, budget.sockets):
            left = budget.sockets - len(reader.found)
            cut = left <= 0 or time.monotonic() - start > budget.seconds
            if cut:
                break
            if pid in denied:
                continue
            undisturbed.let_signals_in()
            try:
                reader.read(pid, batch, left)
            except PermissionError:
                denied.add(pid)
            except ProcessLookupError:
                continue
    found = reader.found
    if denied and not found:
        raise MissingFact(_denied(len(denied)))
    wanted = len({held.inode for several in sockets.values() for held in several})
    seconds = time.monotonic() - start
    return OptionTable(found, wanted, len(found), len(denied), seconds, cut and wanted > len(found))


class Glimpse(NamedTuple):
    """One socket of another process, found by its cookie: how it is set up, and its tcp_info.

    ``unread`` bytes are waiting for the process; milliseconds since data was sent and received,
    and since the peer acknowledged something.
    """

    pid: int
    options: SocketOptions
    unread: int
    sent_ms: int
    received_ms: int
    acked_ms: int


def glimpse(pid: int, fds: Sequence[int], cookie: int, family: int) -> Glimpse | None:
    """The socket with ``cookie`` among the descriptors ``fds`` of a process.

    None where it is not among them or we may not look. Each socket asked is held as long as
    those of `collect_options`. The kernel knows cookies from 4.12 (SO_COOKIE).
    """
    with _Undisturbed():
        try:
            pidfd = _call(_PIDFD_OPEN, pid, 0)
        except (OSError, MissingFact):
            return None
        try:
            for fd in fds:
                found = _glimpse(pidfd, fd, cookie, family)
                if found is not None:
                    answers, unread, info = found
                    return Glimpse(pid, _decode(answers), unread, *_LAST.unpack_from(info))
        finally:
            os.close(pidfd)
    return None


def _glimpse(pidfd: int, fd: int, cookie: int, family: int) -> tuple[Answers, int, bytes] | None:
    """Options, unread bytes and tcp_info of one socket if it is the one with the cookie."""
    duplicate = _SYSCALL(_PIDFD_GETFD, pidfd, fd, 0)
    if duplicate < 0:
        return None
    try:
        sock = socket.SocketType(family, _KIND, socket.IPPROTO_TCP, duplicate)
    except OSError:  # not a socket any more
        os.close(duplicate)
        return None
    try:
        if _COOKIE.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8))[0] != cookie:
            return None
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return _answers(sock.getsockopt), _unread(duplicate), info.ljust(104, b"\0")
    except OSError:  # another protocol
        return None
    finally:
        sock.close()


def _unread(fd: int) -> int:
    """Bytes in the receive queue."""
    raw = bytearray(4)
    fcntl.ioctl(fd, termios.FIONREAD, raw)
    return int.from_bytes(raw, sys.byteorder)


def _fair(sockets: Mapping[int, Sequence[Held]], limit: int) -> Iterator[tuple[int, list[Held]]]:
    """Batches of all processes in turn, so that a cut leaves none of them out."""
    queues = {pid: list(held) for pid, held in sockets.items() if held}
    size, left = _FIRST_BATCH, limit
    while queues:
        step = max(1, min(size, left // len(queues)))
        for pid in list(queues):
            batch = queues[pid][:step]
            yield pid, batch
            left -= len(batch)
            del queues[pid][:step]
            if not queues[pid]:
                del queues[pid]
        size = min(2 * size, _LARGEST_BATCH)


class _Undisturbed:
    """Neither a signal handler nor the garbage collector runs in this thread within the block."""

    def __enter__(self) -> _Undisturbed:
        self._collecting = gc.isenabled()
        gc.disable()
        self._all = signal.valid_signals()
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._all)
        return self

    def let_signals_in(self) -> None:
        """Handle what is waiting; to be called while no duplicate is held."""
        if signal.sigpending():
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
            signal.pthread_sigmask(signal.SIG_BLOCK, self._all)

    def __exit__(self, *_: object) -> None:
        if self._collecting:
            gc.enable()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


class _Reader:
    """What has been read so far. Sockets set up alike, which is most, share one record."""

    def __init__(self) -> None:
        self.found: dict[int, SocketOptions] = {}
        self._alike: dict[Answers, SocketOptions] = {}

    def read(self, pid: int, batch: Sequence[Held], limit: int) -> None:
        """Read at most ``limit`` sockets of one process that have not been read yet."""
        new = [held for held in batch if held.inode not in self.found][:limit]
        if not new:
            return
        pidfd = _call(_PIDFD_OPEN, pid, 0)
        try:
            for held in new:
                answers = _ask(pidfd, held)
                if answers is not None:
                    self.found[held.inode] = self._decoded(answers)
        finally:
            os.close(pidfd)

    def _decoded(self, answers: Answers) -> SocketOptions:
        options = self._alike.get(answers)
        if options is None:
            options = self._alike[answers] = _decode(answers)
        return options


def _ask(pidfd: int, held: Held) -> Answers | None:
    """Everything about one socket; None when the process has closed or replaced it since.

    From the first line to close() the duplicate is held.
    """
    duplicate = _SYSCALL(_PIDFD_GETFD, pidfd, held.fd, 0)
    if duplicate < 0:
        number = ctypes.get_errno()
        if number != errno.EBADF:
            _refuse(number)
        return None
    try:
        sock = socket.SocketType(held.family, _KIND, socket.IPPROTO_TCP, duplicate)
    except OSError:  # not a socket any more
        os.close(duplicate)
        return None
    try:
        return _answers(sock.getsockopt) if os.fstat(duplicate).st_ino == held.inode else None
    except OSError:  # another protocol
        return None
    finally:
        sock.close()


def _answers(get: Callable[..., int | bytes]) -> Answers:
    try:
        return (
            *map(get, _LEVELS, _NAMES),
            *map(get, _STRUCTURE_LEVELS, _STRUCTURE_NAMES, _SIZES),
        )
    except OSError:
        if get(socket.SOL_SOCKET, _SO_PROTOCOL) != _MPTCP:
            raise
        integers = (_supported(get, level, name) for level, name in _INTEGERS)
        return (*integers, *(get(*question) for question in _STRUCTURES))


def _supported(get: Callable[..., int | bytes], level: int, name: int) -> int | bytes:
    """An option that MPTCP does not know (net/mptcp/sockopt.c) cannot be set either: zero."""
    try:
        return get(level, name)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return 0


def _decode(answers: Sequence[Any]) -> SocketOptions:
    """The answers in the order of `_INTEGERS` and `_STRUCTURES` by name."""
    (
        keepalive, reuse_address, reuse_port, keepidle, keepintvl, keepcnt, user_timeout, linger2,
        defer_accept, fastopen, no_port, linger, send_timeout, receive_timeout,
    ) = answers  # fmt: skip
    lingers, seconds = _LINGER.unpack(linger)
    return SocketOptions(
        linger=seconds if lingers else None,
        keepalive=bool(keepalive),
        keepidle=keepidle,
        keepintvl=keepintvl,
        keepcnt=keepcnt,
        user_timeout_ms=user_timeout,
        linger2=linger2,
        send_timeout_ms=_milliseconds(send_timeout),
        receive_timeout_ms=_milliseconds(receive_timeout),
        reuse_address=bool(reuse_address),
        reuse_port=bool(reuse_port),
        defer_accept=defer_accept,
        fastopen=fastopen,
        bind_address_no_port=bool(no_port),
    )


def _milliseconds(timeval: bytes) -> int:
    seconds, microseconds = _TIMEVAL.unpack(timeval)
    return int(seconds * 1000 + microseconds // 1000)


def _call(number: int, *arguments: int) -> int:
    result: int = _SYSCALL(number, *arguments)
    if result < 0:
        _refuse(ctypes.get_errno())
    return result


def _refuse(number: int) -> None:
    """Raise what a refusal of pidfd_open or pidfd_getfd means."""
    if number in (errno.EPERM, errno.EACCES):
        raise PermissionError(number, os.strerror(number))
    if number in (errno.ESRCH, errno.EINVAL):  # pidfd_open says EINVAL of a thread
        raise ProcessLookupError(number, os.strerror(number))
    if number == errno.ENOSYS:
        detail = "pidfd_getfd needs kernel 5.6 or newer"
        raise MissingFact(Gap("options", "unsupported", detail))
    raise MissingFact(Gap("options", "unreadable", f"pidfd_getfd: {os.strerror(number).lower()}"))


def _denied(count: int) -> Gap:
    hint = "run as root" if os.geteuid() else "Yama or a container forbids ptrace"
    detail = f"the sockets of {count} processes may not be looked at; {hint}"
    return Gap("options", "permission", detail)
