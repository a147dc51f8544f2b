"""Pages of the trace ring buffer as kernels of other versions would write them."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from rstaudit.model.sockets import NEW_SYN_RECV, STATE_NAMES
from rstaudit.parse.reset_event import KINDS, SEND, STATE, Event
from rstaudit.parse.trace_decoder import Decoder
from rstaudit.parse.trace_format import Layout, PageLayout, parse_format, parse_header_page
from rstaudit.parse.trace_page import parse_page

FOLDER = Path(__file__).parent.parent / "events"

#: Every version whose formats are in `FOLDER`, oldest first; 6.18's are recorded.
KERNELS = ("4.15", "4.18", "5.4", "5.15", "6.1", "6.8", "6.11", "6.12", "6.18")

_NUMBERS = {word: number for number, word in STATE_NAMES.items() if number != NEW_SYN_RECV} | {
    "NEW_SYN_RECV": NEW_SYN_RECV,
    "UNKNOWN": 0,
}
_SOFTIRQ = 0x10
_MISSED_EVENTS, _MISSED_STORED = 1 << 31, 1 << 30


@lru_cache
def layouts(kernel: str) -> tuple[Layout, ...]:
    """The events of a kernel version."""
    files = sorted((FOLDER / kernel).glob("*.format"))
    return tuple(parse_format(path.read_text()) for path in files)


@lru_cache
def page_layout() -> PageLayout:
    """The page, the same in all of them."""
    return parse_header_page((FOLDER / "header_page").read_text())


def as_seen_on(kernel: str, events: Iterable[Event]) -> list[Event]:
    """What a program on that kernel gets to know of ``events``: written, read, decoded.

    Before 6.10 resets without a full socket have no event (include/trace/events/tcp.h).
    """
    known = layouts(kernel)
    page = encode(kernel, [event for event in events if _told(known, event)])
    parsed = parse_page(page, page_layout())
    return Decoder(known).decode(page, parsed.records, cpu=0)


def _told(known: Iterable[Layout], event: Event) -> bool:
    fields = next((entry.fields for entry in known if KINDS[entry.name] == event.kind), None)
    if fields is None:
        return False
    partial = event.state in ("UNKNOWN", "TIME_WAIT", "NEW_SYN_RECV")
    return not (event.kind == SEND and "reason" not in fields and partial)


def encode(kernel: str, events: Iterable[Event], missed: int | None = 0) -> bytes:
    """One page with ``events``, whatever it takes of space; ``missed`` None: lost, not counted."""
    by_kind = {KINDS[layout.name]: layout for layout in layouts(kernel)}
    ordered = list(events)
    first = last = ordered[0].time_ns if ordered else 0
    body = b""
    for event in ordered:
        body += _record(_body(by_kind[event.kind], event), event.time_ns - last)
        last = event.time_ns
    return page(body, first, missed)


def page(body: bytes, time: int, missed: int | None = 0) -> bytes:
    """A page around encoded records."""
    flags, tail = len(body), b""
    if missed is None:
        flags |= _MISSED_EVENTS
    elif missed:
        flags |= _MISSED_EVENTS | _MISSED_STORED
        tail = missed.to_bytes(8, sys.byteorder)
    return struct.pack("=QQ", time, flags) + (body + tail).ljust(page_layout().size - 16, b"\0")


def word(kind: int, delta: int) -> bytes:
    """The first word of a record: its type or length, and the time since the one before."""
    value = kind << 27 | delta if sys.byteorder == "big" else kind | delta << 5
    return struct.pack("=I", value)


def _record(body: bytes, delta: int) -> bytes:
    """A record, with a time extension where the delta is longer than 27 bits."""
    body = body.ljust(-(-len(body) // 4) * 4, b"\0")
    before = b""
    if delta >= 1 << 27:
        before = word(30, delta & 0x7FFFFFF) + struct.pack("=I", delta >> 27)
        delta = 0
    if len(body) > 28 * 4:
        return before + word(0, delta) + struct.pack("=I", len(body) + 4) + body
    return before + word(len(body) // 4, delta) + body


def _body(layout: Layout, event: Event) -> bytes:
    data = bytearray(layout.size)
    data[0:2] = layout.id.to_bytes(2, sys.byteorder)
    for name, value in _values(layout, event).items():
        field = layout.fields.get(name)
        if field is not None:
            raw = value if isinstance(value, bytes) else _number(value, field.size)
            data[field.offset : field.offset + field.size] = raw
    return bytes(data)


def _number(value: int, size: int) -> bytes:
    return (value & (1 << 8 * size) - 1).to_bytes(size, sys.byteorder)


def _values(layout: Layout, event: Event) -> Mapping[str, int | bytes]:
    found: dict[str, int | bytes] = {
        "common_flags": _SOFTIRQ if event.irq else 0, "common_pid": event.pid,
        "skaddr": event.sk, "rx_sk": event.sk, "sport": event.sport, "dport": event.dport,
        "family": event.family, "sock_cookie": event.cookie, "error": event.error,
        "protocol": 262 if event.mptcp else 6, "state": _NUMBERS.get(event.state or "UNKNOWN", 0),
    }  # fmt: skip
    reasons = {text: number for number, text in layout.symbols.get("reason", {}).items()}
    found["reason"] = reasons.get(event.reason or "", 0)
    if event.kind == STATE:
        found["newstate"] = found["state"]
        found["oldstate"] = _NUMBERS[event.old or "UNKNOWN"]
    for name, address, port in (
        ("saddr", event.src, event.sport),
        ("daddr", event.dst, event.dport),
    ):
        field = layout.fields.get(name)
        if field is not None and field.size == 28:
            found[name] = _sockaddr(event.family, address, port)
        elif field is not None:
            found[name] = address if len(address) == 4 else bytes(4)
            found[f"{name}_v6"] = _mapped(address)
    return found


def _mapped(address: bytes) -> bytes:
    return bytes(10) + b"\xff\xff" + address if len(address) == 4 else address


def _sockaddr(family: int, address: bytes, port: int) -> bytes:
    head = family.to_bytes(2, sys.byteorder) + port.to_bytes(2, "big")
    if family == 10:
        return head + bytes(4) + _mapped(address) + bytes(4)
    return (head + address).ljust(28, b"\0")
