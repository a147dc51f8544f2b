"""The socket table of this network namespace, asked from the kernel over NETLINK_SOCK_DIAG."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.sockets import ROW_SIZE, Chunk, SocketTable
from rstaudit.parse.errors import ParseError
from rstaudit.parse.inet_diag import (
    ALL_BUT_TIME_WAIT,
    ONLY_TIME_WAIT,
    WITH_INFO_AND_MEMORY,
    Datagram,
    KernelRefusal,
    gather,
    request,
    split,
    uniform,
)

_NETLINK_SOCK_DIAG = 4
_FAMILIES = (socket.AF_INET, socket.AF_INET6)

#: The kernel fills at most 32 KiB a datagram (af_netlink.c, netlink_dump).
_BUFFER = 64 * 1024
_TIMEOUT = 30.0
_TRIES = 3


class Interrupted(Exception):  # noqa: N818 - tells the caller to ask again
    """The table changed under the dump (NLM_F_DUMP_INTR): rows may be missing or doubled."""


def collect_sockets() -> SocketTable:
    """All TCP sockets of the calling thread's network namespace, IPv4 and IPv6.

    TIME_WAIT is asked for apart, without extensions: its rows then all have one length, which is
    what makes hundreds of thousands of them cheap. Raises `MissingFact` when the kernel refuses
    (the errno is named), stays silent for 30 s, or interrupts the dump three times running.
    """
    try:
        for _ in range(_TRIES):
            try:
                return _dump_all()
            except Interrupted:
                continue
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
    raise _gap("interrupted", f"the table changed during each of {_TRIES} dumps")


def _gap(reason: str, detail: str) -> MissingFact:
    return MissingFact(Gap("sockets", reason, f"sock_diag: {detail}"))


def _dump_all() -> SocketTable:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_TIMEOUT)
        waiting = [chunk for family in _FAMILIES for chunk in _time_wait(netlink, family)]
        blob = bytearray()
        offsets: list[int] = []
        ends: list[int] = []
        for family in _FAMILIES:
            _send(netlink, request(family, ALL_BUT_TIME_WAIT, WITH_INFO_AND_MEMORY, 1))
            for data, datagram in _answers(netlink):
                base = len(blob)
                blob += data
                offsets += [base + start for start, _ in datagram.spans]
                ends += [base + end for _, end in datagram.spans]
    return SocketTable(waiting, bytes(blob), offsets, ends)


def _time_wait(netlink: socket.socket, family: int) -> Iterator[Chunk]:
    _send(netlink, request(family, ONLY_TIME_WAIT, 0, 1))
    while True:
        data = netlink.recv(_BUFFER)
        chunk = uniform(data)
        if chunk is not None:
            yield chunk
            continue
        datagram = _checked(data)
        yield from gather(data[at : at + ROW_SIZE] for at, _ in datagram.spans)
        if datagram.done:
            return


def _answers(netlink: socket.socket) -> Iterator[tuple[bytes, Datagram]]:
    while True:
        data = netlink.recv(_BUFFER)
        datagram = _checked(data)
        yield data, datagram
        if datagram.done:
            return


def _checked(data: bytes) -> Datagram:
    datagram = split(data)
    if datagram.interrupted:
        raise Interrupted
    return datagram


def _send(netlink: socket.socket, message: bytes) -> None:
    netlink.sendto(message, (0, 0))
