"""Options of other processes' sockets: pidfd_open, pidfd_getfd, getsockopt, close.

While the duplicate is held, the owner's close() does not end the connection: its FIN or reset
waits for our close. So a duplicate is held for the getsockopt calls only, some ten microseconds;
signals are blocked meanwhile, no file is read, nothing is allocated that could wait. If the
owner closes a socket with a positive SO_LINGER in that moment, our close() may wait in its place.
`--no-socket-options` switches all of this off.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.options import OptionTable, SocketOptions

#: The same numbers on every architecture (include/uapi/asm-generic/unistd.h); from 5.3 and 5.6.
_PIDFD_GETFD = 438

_TCP_USER_TIMEOUT, _TCP_LINGER2, _TCP_DEFER_ACCEPT, _TCP_FASTOPEN = 18, 8, 9, 23
_IP_BIND_ADDRESS_NO_PORT = 24

_TIMEVAL = struct.Struct("@ll")
_LINGER = struct.Struct("@ii")

#: Sockets between two looks at the clock and at pending signals.
_BATCH = 32

_LIBC = ctypes.CDLL(None, use_errno=True)


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

    Raises `MissingFact` when the kernel is older than 5.6 or nobody let us look.
    """
    start = time.monotonic()
    wanted = sum(map(len, sockets.values()))
    found: dict[int, SocketOptions] = {}
    denied: set[int] = set()
    for pid, batch in _fair(sockets, budget.sockets):
        if time.monotonic() - start > budget.seconds:
            break
        if pid in denied:
            continue
        try:
            _read_batch(pid, batch, found)
        except PermissionError:
            denied.add(pid)
        except ProcessLookupError:
            continue
    if denied and not found:
        raise MissingFact(_denied(len(denied)))
    return OptionTable(found, wanted, len(found), len(denied), time.monotonic() - start)


def _fair(sockets: Mapping[int, Sequence[Held]], limit: int) -> Iterator[tuple[int, list[Held]]]:
    """Batches of all processes in turn, so that a cut leaves none of them out."""
    queues = {pid: list(held) for pid, held in sockets.items()}
    left = limit
    while queues and left > 0:
        for pid in list(queues):
            batch = queues[pid][: min(_BATCH, left)]
            del queues[pid][:_BATCH]
            if not queues[pid]:
                del queues[pid]
            left -= len(batch)
            if batch:
                yield pid, batch


def _read_batch(pid: int, batch: Sequence[Held], found: dict[int, SocketOptions]) -> None:
    """Read a few sockets of one process, signals blocked while any duplicate is held."""
    pidfd = os.pidfd_open(pid)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        for held in batch:
            if held.inode not in found and (options := _read(pidfd, held)) is not None:
                found[held.inode] = options
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(pidfd)


def _read(pidfd: int, held: Held) -> SocketOptions | None:
    """The options of one socket; None when the process has closed or replaced it since."""
    duplicate = _LIBC.syscall(_PIDFD_GETFD, pidfd, held.fd, 0)
    if duplicate < 0:
        _refused(ctypes.get_errno())
        return None
    try:
        sock = socket.socket(held.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, duplicate)
    except OSError:
        os.close(duplicate)
        return None
    with sock:
        try:
            if os.fstat(duplicate).st_ino != held.inode:
                return None
            return _options(sock)
        except OSError:
            return None


def _options(sock: socket.socket) -> SocketOptions:
    """Fourteen getsockopt calls; raises OSError where one of them is refused."""
    get, tcp, level = sock.getsockopt, socket.IPPROTO_TCP, socket.SOL_SOCKET
    on, seconds = _LINGER.unpack(get(level, socket.SO_LINGER, _LINGER.size))
    return SocketOptions(
        linger=seconds if on else None,
        keepalive=bool(get(level, socket.SO_KEEPALIVE)),
        keepidle=get(tcp, socket.TCP_KEEPIDLE),
        keepintvl=get(tcp, socket.TCP_KEEPINTVL),
        keepcnt=get(tcp, socket.TCP_KEEPCNT),
        user_timeout_ms=get(tcp, _TCP_USER_TIMEOUT),
        linger2=get(tcp, _TCP_LINGER2),
        send_timeout_ms=_milliseconds(get(level, socket.SO_SNDTIMEO, _TIMEVAL.size)),
        receive_timeout_ms=_milliseconds(get(level, socket.SO_RCVTIMEO, _TIMEVAL.size)),
        reuse_address=bool(get(level, socket.SO_REUSEADDR)),
        reuse_port=bool(get(level, socket.SO_REUSEPORT)),
        defer_accept=get(tcp, _TCP_DEFER_ACCEPT),
        fastopen=get(tcp, _TCP_FASTOPEN),
        bind_address_no_port=bool(get(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT)),
    )


def _milliseconds(timeval: bytes) -> int:
    seconds, microseconds = _TIMEVAL.unpack(timeval)
    return int(seconds * 1000 + microseconds // 1000)


def _refused(number: int) -> None:
    """Raise what a refusal of pidfd_getfd means; nothing where only the socket is gone."""
    if number in (errno.EPERM, errno.EACCES):
        raise PermissionError(number, os.strerror(number))
    if number == errno.ENOSYS:
        detail = "pidfd_getfd needs kernel 5.6 or newer"
        raise MissingFact(Gap("options", "unsupported", detail))
    if number == errno.ESRCH:
        raise ProcessLookupError(number, os.strerror(number))


def _denied(count: int) -> Gap:
    hint = "run as root" if os.geteuid() else "Yama or a container forbids ptrace"
    detail = f"the sockets of {count} processes may not be looked at; {hint}"
    return Gap("options", "permission", detail)
