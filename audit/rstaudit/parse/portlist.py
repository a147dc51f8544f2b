"""Port lists as `net.ipv4.ip_local_reserved_ports` prints them: ``8080,9148-9150``."""

from __future__ import annotations

from rstaudit.parse.errors import ParseError


def parse_ports(text: str) -> frozenset[int]:
    """The ports of a comma-separated list of numbers and ranges; raises `ParseError`."""
    ports: set[int] = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        low, dash, high = word.partition("-")
        first, last = _port(low), _port(high if dash else low)
        if first > last:
            raise ParseError(f"port range {word!r} runs backwards")
        ports.update(range(first, last + 1))
    return frozenset(ports)


def format_ports(ports: frozenset[int]) -> str:
    """The shortest list `parse_ports` reads back: ``8080,9148-9150``."""
    spans: list[list[int]] = []
    for port in sorted(ports):
        if spans and spans[-1][1] == port - 1:
            spans[-1][1] = port
        else:
            spans.append([port, port])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def _port(word: str) -> int:
    digits = word.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 5):
        raise ParseError(f"{word!r} is not a port")
    port = int(digits)
    if port > 65535:
        raise ParseError(f"port {port} is above 65535")
    return port
