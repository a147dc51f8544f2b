"""The socket table of this network namespace, asked from the kernel over NETLINK_SOCK_DIAG."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar, cast

from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.sockets import ROW_SIZE, Chunk, Run, SocketTable, by_state
from rstaudit.parse.errors import ParseError
from rstaudit.parse.inet_diag import (
    ALL_BUT_TIME_WAIT,
    ONLY_TIME_WAIT,
    WITH_INFO_AND_MEMORY,
    Datagram,
    KernelRefusal,
    gather,
    request,
    request_by_family,
    split,
    uniform,
)

_NETLINK_SOCK_DIAG = 4
#: The kernel fills at most 32 KiB a datagram (af_netlink.c, netlink_dump).
_BUFFER = 64 * 1024
_TIMEOUT = 30.0
_TRIES = 3

T = TypeVar("T")


class Interrupted(Exception):  # noqa: N818 - tells the caller to ask again
    """The table changed under the dump (NLM_F_DUMP_INTR): rows may be missing or doubled."""


def collect_sockets() -> SocketTable:
    """All TCP sockets of the calling thread's network namespace, IPv4 and IPv6.

    TIME_WAIT is asked for apart, without extensions: its rows then all have one length, which is
    what makes hundreds of thousands of them cheap. Raises `MissingFact` when the kernel refuses
    (the errno is named), stays silent for 30 s, or interrupts the dump three times running.
    """
    return start_sockets()()


def start_sockets() -> Callable[[], SocketTable]:
    """As `collect_sockets`, but at work while the caller does something else.

    Returns the function that waits for the table. The dump of TIME_WAIT spends its time in the
    kernel, so its thread and the caller really run side by side.
    """
    first = _Dump(request)
    return lambda: _finish(first)


def collect_states(*states: int, details: bool = False) -> SocketTable:
    """The sockets in ``states`` (never TIME_WAIT) alone, with ``details`` tcp_info and memory.

    Raises `MissingFact`.
    """
    wanted = sum(1 << state for state in states)
    asked = WITH_INFO_AND_MEMORY if details else 0
    return _explained(lambda: SocketTable((), *_others(request_by_family(wanted, asked))))


def _finish(first: _Dump) -> SocketTable:
    return _explained(lambda: _again(first))


def _explained(read: Callable[[], SocketTable]) -> SocketTable:
    """What ``read`` returns, its failures as gaps."""
    try:
        return read()
    except Interrupted:
        raise _gap("interrupted", "the table changed during the dump") from None
    except KernelRefusal as refusal:
        raise _gap("unsupported", f"the kernel refused: {os.strerror(refusal.errno)}") from None
    except ParseError as error:
        raise _gap("malformed", str(error)) from None
    except TimeoutError:
        raise _gap("unreadable", f"no answer within {_TIMEOUT:.0f} s") from None
    except PermissionError:
        raise _gap("permission", "opening a netlink socket is not allowed here") from None
    except OSError as error:
        raise _gap("unsupported", f"netlink socket: {error.strerror}") from None


def _again(dump: _Dump) -> SocketTable:
    """The table of ``dump``, or of another one where it was refused or interrupted."""
    for _ in range(_TRIES):
        try:
            return dump.table()
        except Interrupted:
            dump = _Dump(dump.form)
        except KernelRefusal:  # emulated kernels know only the newer request
            if dump.form is request_by_family:
                raise
            dump = _Dump(request_by_family)
    raise _gap("interrupted", f"the table changed during each of {_TRIES} dumps")


def _gap(reason: str, detail: str) -> MissingFact:
    return MissingFact(Gap("sockets", reason, f"sock_diag: {detail}"))


class _Dump:
    """The long dump under way, the short one to come; ``form`` makes the requests."""

    def __init__(self, form: Callable[[int, int], list[bytes]]) -> None:
        self.form = form
        self._waiting = _Task(lambda: _time_wait(form(ONLY_TIME_WAIT, 0)))

    def table(self) -> SocketTable:
        """The finished table; raises what either dump raised."""
        others = _others(self.form(ALL_BUT_TIME_WAIT, WITH_INFO_AND_MEMORY))
        return SocketTable(self._waiting.result(), *others)


class _Task(Generic[T]):
    """A function at work in a thread of its own."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._result: T | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = threading.Thread(target=self._run, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # this user may start no more threads (RLIMIT_NPROC)
            self._thread = None

    def result(self) -> T:
        """What the function returned; raises what it raised."""
        if self._thread is None:
            return self._function()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return cast("T", self._result)

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            self._error = error


def _netlink() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    netlink.settimeout(_TIMEOUT)
    return netlink


def _time_wait(messages: list[bytes]) -> list[Chunk]:
    chunks: list[Chunk] = []
    with _netlink() as netlink:
        for message in messages:
            netlink.sendto(message, (0, 0))
            while not _read_chunk(netlink, chunks):
                pass
    return chunks


def _read_chunk(netlink: socket.socket, chunks: list[Chunk]) -> bool:
    """Append the rows of one datagram; whether the dump ends with it."""
    data = netlink.recv(_BUFFER)
    chunk = uniform(data)
    if chunk is not None:
        chunks.append(chunk)
        return False
    datagram = _checked(data)
    chunks += gather(data[at : at + ROW_SIZE] for at, _ in datagram.spans)
    return datagram.done


def _others(messages: list[bytes]) -> tuple[bytes, dict[int, list[Run]]]:
    """All rows but TIME_WAIT in one blob, and where in it they are, by state."""
    parts: list[bytes] = []
    runs: dict[int, list[Run]] = {}
    base = 0
    with _netlink() as netlink:
        for message in messages:
            for data, found in _answers(netlink, message):
                for state, several in found.items():
                    runs.setdefault(state, []).extend(_moved(run, base) for run in several)
                parts.append(data)
                base += len(data)
    return b"".join(parts), runs


def _moved(run: Run, base: int) -> Run:
    starts = run.starts
    return Run(range(starts.start + base, starts.stop + base, starts.step), run.length)


def _answers(
    netlink: socket.socket, message: bytes
) -> Iterator[tuple[bytes, Mapping[int, Sequence[Run]]]]:
    """Datagrams, and where in each its rows are, by state."""
    netlink.sendto(message, (0, 0))
    while True:
        data = netlink.recv(_BUFFER)
        chunk = uniform(data)
        if chunk is not None:
            yield data, _runs(chunk)
            continue
        datagram = _checked(data)
        yield data, by_state(data, datagram.spans)
        if datagram.done:
            return


def _runs(chunk: Chunk) -> Mapping[int, Sequence[Run]]:
    """The rows of a chunk; most chunks hold rows of one state."""
    data, stride, offset = chunk
    starts = range(offset, len(data), stride)
    states = data[offset + 1 :: stride]
    if states.count(states[0]) == len(states):
        return {states[0]: [Run(starts, stride - offset)]}
    return by_state(data, [(start, start + stride - offset) for start in starts])


def _checked(data: bytes) -> Datagram:
    datagram = split(data)
    if datagram.interrupted:
        raise Interrupted
    return datagram
