"""Records of the trace ring buffer as `Event`s.

Where each field lies comes from the ``format`` files of the running kernel: the layouts of 4.15,
4.18, 4.20 to 6.9 and 6.10 and later differ, and so do the numbers of the reasons.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any

from rstaudit.model.sockets import NEW_SYN_RECV, STATE_NAMES
from rstaudit.parse.errors import ParseError
from rstaudit.parse.reset_event import (
    DESTROY,
    DROP,
    ERROR,
    KINDS,
    RECEIVE,
    RETRANSMIT,
    SEND,
    STATE,
    Event,
)
from rstaudit.parse.trace_format import Field, Layout

#: Of common_flags (include/linux/trace_events.h): hard interrupt, soft interrupt, NMI.
_INTERRUPT = 0x08 | 0x10 | 0x40

_INET, _INET6, _TCP, _MPTCP = 2, 10, 6, 262
_MAPPED = bytes(10) + b"\xff\xff"
_LITTLE = sys.byteorder == "little"
_SHORTEST = 8  # bytes of the fields that all events have
_CODES = {(1, False): "B", (1, True): "b", (2, False): "H", (2, True): "h",
          (4, False): "I", (4, True): "i", (8, False): "Q", (8, True): "q"}  # fmt: skip

#: (kind, reason) -> how many
Counts = dict[tuple[str, "str | None"], int]
#: A record of this layout at an offset, with its time and processor, as an event.
_Reader = Callable[[bytes, int, int, int], "Event | None"]


class Decoder:
    """Turns records into events, for the events whose layouts it was given.

    ``layouts`` may be of any kernel; one that lacks what its kind needs is refused with
    ParseError when the decoder is made.
    """

    def __init__(self, layouts: Iterable[Layout]) -> None:
        self._readers: dict[int, tuple[int, _Reader]] = {}
        self._resets: dict[int, tuple[int, str, Callable[[bytes, int], str | None]]] = {}
        for layout in layouts:
            kind = KINDS.get(layout.name)
            if kind is None:
                raise ParseError(f"{layout.name} is not an event that is looked at here")
            self._readers[layout.id] = (layout.size, _READERS[kind](layout))
            if kind in (SEND, RECEIVE):
                self._resets[layout.id] = (layout.size, kind, _reason_of(layout))

    def decode(self, data: bytes, records: Iterable[tuple[int, int, int]], cpu: int) -> list[Event]:
        """The events among ``records``, which are (time, begin, end) in ``data``.

        Records of other events and of other protocols are left out. Raises ParseError for a
        record that is too short.
        """
        found = []
        for time, begin, end in records:
            size, reader = self._readers.get(_type(data, begin, end), _OTHER)
            if end - begin < size:
                raise ParseError(f"trace record of {end - begin} bytes; it needs {size}")
            event = reader(data, begin, time, cpu)
            if event is not None:
                found.append(event)
        return found

    def count(self, data: bytes, records: Iterable[tuple[int, int, int]], counts: Counts) -> None:
        """Add the resets among ``records`` to ``counts``; those too short are left out.

        A fraction of the work of `decode`, for when there is too much to do.
        """
        for _, begin, end in records:
            known = self._resets.get(_type(data, begin, end))
            if known is not None and end - begin >= known[0]:
                key = (known[1], known[2](data, begin))
                counts[key] = counts.get(key, 0) + 1


def _type(data: bytes, begin: int, end: int) -> int:
    """common_type, the number of the event; -1 in a record too short for it."""
    if end - begin < _SHORTEST:
        return -1
    if _LITTLE:
        return data[begin] | data[begin + 1] << 8
    return data[begin] << 8 | data[begin + 1]


_OTHER: tuple[int, _Reader] = (0, lambda *_: None)


def _columns(layout: Layout, *names: str) -> Callable[[bytes, int], tuple[Any, ...]]:
    """A function that takes the fields ``names`` out of the record at an offset, in this order.

    A field whose name ends in ``?`` may be missing; its value is b"" then. Raises ParseError.
    """
    places = []
    for index, name in enumerate(names):
        field = layout.fields.get(name.rstrip("?"))
        if field is None and not name.endswith("?"):
            raise ParseError(f"trace format of {layout.name}: no field {name}")
        places.append((*_place(layout, name, field), index))
    places.sort()
    code, at = "=", 0
    for offset, size, part, _ in places:
        if offset < at:
            raise ParseError(f"trace format of {layout.name}: its fields overlap")
        code += f"{offset - at}x{part}"
        at = offset + size
    unpack = struct.Struct(code).unpack_from
    order = [index for *_, index in places]
    take = itemgetter(*map(order.index, range(len(names))))
    return lambda data, offset: take(unpack(data, offset))


def _place(layout: Layout, name: str, field: Field | None) -> tuple[int, int, str]:
    """Offset, size and code for `struct` of a field; of no field, one of no bytes."""
    if field is None:
        return 0, 0, "0s"
    number = _CODES.get((field.size, field.signed))
    if number is None and not name.startswith(("saddr", "daddr")):
        raise ParseError(f"trace format of {layout.name}: {name} of {field.size} bytes")
    return field.offset, field.size, number or f"{field.size}s"


def _need(layout: Layout, size: int, *names: str) -> None:
    """Raise ParseError unless the fields ``names`` are arrays of ``size`` bytes."""
    for name in names:
        field = layout.fields.get(name)
        if field is None or field.size != size:
            raise ParseError(f"trace format of {layout.name}: {name} is not {size} bytes")


def _states(layout: Layout, name: str) -> Mapping[Any, str]:
    """Names of states by number: the kernel's own words, or those of include/net/tcp_states.h.

    Many kernels print the states with words whose numbers their format file does not tell.
    """
    words = {**STATE_NAMES, NEW_SYN_RECV: "NEW_SYN_RECV", **layout.symbols.get(name, {})}
    return {number: word.removeprefix("TCP_") for number, word in words.items()}


def _reason_of(layout: Layout) -> Callable[[bytes, int], str | None]:
    """A function that reads the reason of the record at an offset."""
    field = layout.fields.get("reason")
    words = layout.symbols.get("reason", {})
    if field is None or field.size != 4:
        return lambda _data, _begin: None
    start, end = field.offset, field.offset + 4
    return lambda data, at: words.get(int.from_bytes(data[at + start : at + end], sys.byteorder))


def _plain(address: bytes) -> bytes:
    """IPv4 in IPv6 as the 4 bytes that it stands for."""
    return address[12:] if address[:12] == _MAPPED else address


def _sockaddr(raw: bytes) -> tuple[int, bytes, int]:
    """Family, address and port of a struct sockaddr_in or sockaddr_in6."""
    family = raw[0] if _LITTLE else raw[1]
    port = raw[2] << 8 | raw[3]
    if family == _INET6:
        return family, _plain(raw[8:24]), port
    return family, raw[4:8], port


def _family(address: bytes) -> int:
    return _INET if len(address) == 4 else _INET6


def _send(layout: Layout) -> _Reader:
    """tcp_send_reset: with sockaddrs and a reason from 6.10, with arrays before."""
    if "reason" not in layout.fields:
        return _with_addresses(layout, SEND)
    _need(layout, 28, "saddr", "daddr")
    take = _columns(
        layout, "common_flags", "common_pid", "skaddr", "state", "reason", "saddr", "daddr"
    )
    states, reasons = _states(layout, "state"), layout.symbols.get("reason", {})

    def read(data: bytes, at: int, time: int, cpu: int) -> Event:
        flags, pid, sk, state, reason, saddr, daddr = take(data, at)
        family, src, sport = _sockaddr(saddr)
        _, dst, dport = _sockaddr(daddr)
        return Event(
            time, cpu, SEND, flags & _INTERRUPT != 0, pid, sk, family, src, sport, dst, dport,
            states.get(state, "UNKNOWN"), None, reasons.get(reason),
        )  # fmt: skip

    return read


def _with_addresses(layout: Layout, kind: str) -> _Reader:
    """The events that carry two arrays of addresses and the ports in host order."""
    _need(layout, 16, "saddr_v6", "daddr_v6")
    take = _columns(
        layout, "common_flags", "common_pid", "skaddr?", "sport", "dport", "saddr_v6", "daddr_v6",
        "state?", "sock_cookie?", "error?", "protocol?",
    )  # fmt: skip
    states = _states(layout, "state")

    def read(data: bytes, at: int, time: int, cpu: int) -> Event | None:
        flags, pid, sk, sport, dport, saddr, daddr, state, cookie, error, protocol = take(data, at)
        if protocol not in (_TCP, _MPTCP, b""):
            return None
        src, dst = _plain(saddr), _plain(daddr)
        return Event(
            time, cpu, kind, flags & _INTERRUPT != 0, pid, sk or 0, _family(src), src, sport, dst,
            dport, states.get(state), None, None, cookie or 0, error or 0, protocol == _MPTCP,
        )  # fmt: skip

    return read


def _change(layout: Layout) -> _Reader:
    """inet_sock_set_state: without family and protocol in 4.15, when it was TCP's alone."""
    _need(layout, 16, "saddr_v6", "daddr_v6")
    take = _columns(
        layout, "common_flags", "common_pid", "skaddr", "oldstate", "newstate", "sport", "dport",
        "saddr_v6", "daddr_v6", "protocol?",
    )  # fmt: skip
    states = _states(layout, "newstate")

    def read(data: bytes, at: int, time: int, cpu: int) -> Event | None:
        flags, pid, sk, old, new, sport, dport, saddr, daddr, protocol = take(data, at)
        if protocol not in (_TCP, _MPTCP, b""):
            return None
        src, dst = _plain(saddr), _plain(daddr)
        return Event(
            time, cpu, STATE, flags & _INTERRUPT != 0, pid, sk, _family(src), src, sport, dst,
            dport, states.get(new), states.get(old), None, 0, 0, protocol == _MPTCP,
        )  # fmt: skip

    return read


def _drop(layout: Layout) -> _Reader:
    """kfree_skb: a reason from 5.17, the receiving socket from 6.11, never addresses."""
    take = _columns(layout, "common_flags", "common_pid", "rx_sk?", "reason?")
    reasons: Mapping[Any, str] = layout.symbols.get("reason", {})

    def read(data: bytes, at: int, time: int, cpu: int) -> Event:
        flags, pid, sk, reason = take(data, at)
        return Event(
            time, cpu, DROP, flags & _INTERRUPT != 0, pid, sk or 0, 0, b"", 0, b"", 0,
            None, None, reasons.get(reason),
        )  # fmt: skip

    return read


_READERS: Mapping[str, Callable[[Layout], _Reader]] = {
    SEND: _send,
    RECEIVE: lambda layout: _with_addresses(layout, RECEIVE),
    STATE: _change,
    DESTROY: lambda layout: _with_addresses(layout, DESTROY),
    ERROR: lambda layout: _with_addresses(layout, ERROR),
    RETRANSMIT: lambda layout: _with_addresses(layout, RETRANSMIT),
    DROP: _drop,
}
