"""What the user typed to choose sockets: states, ports, peers, processes, units."""

from __future__ import annotations

import socket

from rstaudit.model.listing import PeerFilter, address_number
from rstaudit.model.sockets import (
    CLOSE,
    LISTEN,
    NEW_SYN_RECV,
    STATE_NAMES,
    SYN_RECV,
    SYN_SENT,
    TIME_WAIT,
)
from rstaudit.parse.errors import ParseError

#: The largest process id there can be (include/linux/threads.h, PID_MAX_LIMIT).
_MAX_PID = 4 * 1024 * 1024

_BUCKET = {SYN_RECV, NEW_SYN_RECV, TIME_WAIT}
_CONNECTED = set(STATE_NAMES) - {LISTEN, CLOSE}

#: Names without case, hyphens, underscores: the kernel's, those of `ss` (ss(8), also what its
#: output calls them), and the groups of states that ss knows.
_STATES: dict[str, set[int]] = {
    "all": set(STATE_NAMES),
    "connected": _CONNECTED,
    "synchronized": _CONNECTED - {SYN_SENT},
    "bucket": _BUCKET,
    "big": set(STATE_NAMES) - _BUCKET,
    "estab": {1},
    "closed": {CLOSE},
    "unconn": {CLOSE},
    "listening": {LISTEN},
}
for _number, _name in STATE_NAMES.items():
    _STATES.setdefault(_name.replace("_", "").lower(), set()).add(_number)


def parse_state(text: str) -> frozenset[int]:
    """``close-wait``, ``CLOSE_WAIT``, ``TCP_CLOSE_WAIT``, ``connected``; raises ParseError."""
    word = text.strip().lower().replace("-", "").replace("_", "")
    found = _STATES.get(word) or _STATES.get(word.removeprefix("tcp"))
    if found is None:
        known = ", ".join(dict.fromkeys(STATE_NAMES.values()))
        raise ParseError(f"unknown state {text!r}; use {known}, or as ss spells them")
    return frozenset(found)


def parse_pid(text: str) -> int:
    """A process id; raises ParseError."""
    number = _whole(text, _MAX_PID)
    if not number:
        raise ParseError(f"{text!r} is no process id")
    return number


def parse_unit(text: str) -> str:
    """A unit or a container, wildcards allowed; raises ParseError."""
    if not text.strip():
        raise ParseError("the name is empty; give a unit such as nginx.service, or a container")
    return text.strip()


def parse_ports(text: str) -> range:
    """``443`` or ``8000-8100``; raises ParseError."""
    low, dash, high = text.partition("-")
    first = _whole(low, 65535)
    last = _whole(high, 65535) if dash else first
    if first is None or last is None or last < first:
        raise ParseError(f"{text!r} is no port; give 443, or 8000-8100")
    return range(first, last + 1)


def parse_peer(text: str) -> PeerFilter:
    """An address, address:port or CIDR block (with :port too); raises ParseError.

    An IPv6 address that a port follows stands in brackets.
    """
    block, port = _split(text.strip())
    address, slash, length = block.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        packed = socket.inet_pton(family, address)
    except (OSError, ValueError):  # ValueError: characters beyond ASCII, or a NUL
        hint = "give an address, address:port or CIDR block (names are not resolved)"
        raise ParseError(f"{text!r} is no peer; {hint}") from None
    width = 8 * len(packed)
    bits = _whole(length, width) if slash else width
    if bits is None:
        raise ParseError(f"{text!r}: the length after / is 0 to {width}")
    return PeerFilter(address_number(family, packed), 128 - width + bits, port)


def _split(text: str) -> tuple[str, int | None]:
    """The address or block, and the port where one is given."""
    if text.startswith("["):
        block, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ParseError(f"{text!r} is no peer; give [2001:db8::1]:443")
        return block, _port(rest[1:], text) if rest else None
    if text.count(":") == 1:
        block, _, port = text.partition(":")
        return block, _port(port, text)
    return text, None


def _port(text: str, whole: str) -> int:
    number = _whole(text, 65535)
    if number is None:
        raise ParseError(f"{whole!r}: {text!r} is no port")
    return number


def _whole(text: str, largest: int) -> int | None:
    """A decimal number up to ``largest``; None for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return None
    number = int(text)
    return number if number <= largest else None
