"""What the user typed to choose resets of a capture: a flow, a frame, a moment."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime
from typing import NamedTuple

from rstaudit.model.listing import PeerFilter, address_number
from rstaudit.parse.errors import ParseError
from rstaudit.parse.socket_filter import parse_peer

_SECOND = 1_000_000_000

#: A whole number of seconds and a fraction, nanoseconds at the finest.
_SECONDS = re.compile(r"(\d{1,11})(?:\.(\d{1,9}))?", re.ASCII)

#: A fraction of a second at the end of a clock time, before the offset from UTC.
_FRACTION = re.compile(r"[.,](\d{1,9})(?=$|Z|z|[+-]\d\d:?\d\d$)", re.ASCII)


class FlowFilter(NamedTuple):
    """Which flows: that of the reset in ``frame``, or those with ``ends`` (one or two of them)."""

    frame: int | None
    ends: tuple[PeerFilter, ...]

    def accepts(self, frame: int, src: str, dst: str) -> bool:
        """Whether a reset is meant; its ends as ``192.0.2.1:80`` or ``[2001:db8::1]:80``."""
        if self.frame is not None:
            return frame == self.frame
        ends = _end(src), _end(dst)
        return any(
            all(wanted.accepts(*end) for wanted, end in zip(self.ends, order, strict=False))
            for order in (ends, ends[::-1])
        )


class Moment(NamedTuple):
    """A time in nanoseconds: since the epoch, or since the beginning of the capture."""

    nanoseconds: int
    relative: bool

    def since_epoch(self, first_ns: int) -> int:
        """Nanoseconds since the epoch, in a capture that begins at ``first_ns``."""
        return first_ns + self.nanoseconds if self.relative else self.nanoseconds


def parse_flow(text: str) -> FlowFilter:
    """``A[:P]-B[:P]``, one end of it, or the number of a reset's frame; raises ParseError."""
    word = text.strip()
    if word.isascii() and word.isdigit() and len(word) < 19:
        return FlowFilter(int(word), ())
    try:
        ends = tuple(parse_peer(part) for part in word.split("-"))
    except ParseError:
        ends = ()
    if not 1 <= len(ends) <= 2:
        hint = "give 10.0.0.9:51234-10.0.0.5:80 (ports may be left out), or a frame number"
        raise ParseError(f"{text!r} is no flow; {hint}")
    return FlowFilter(None, ends)


def parse_moment(text: str) -> Moment:
    """RFC 3339, seconds since the epoch, or ``+12.5`` from the beginning; raises ParseError.

    A time without an offset is UTC, as in what the tool prints.
    """
    word = text.strip()
    if found := _SECONDS.fullmatch(word.removeprefix("+")):
        return Moment(_nanoseconds(found[1], found[2]), word.startswith("+"))
    fraction = _FRACTION.search(word)
    whole = word if fraction is None else word[: fraction.start()] + word[fraction.end() :]
    try:
        time = datetime.fromisoformat(whole.upper())
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
        seconds = int(time.timestamp())
    except (ValueError, OverflowError):
        hint = "give 2026-11-21T18:42:37Z, seconds since the epoch, or +12.5 from the beginning"
        raise ParseError(f"{text!r} is no time; {hint}") from None
    return Moment(seconds * _SECOND + _nanoseconds("0", fraction and fraction[1]), relative=False)


def _nanoseconds(whole: str, fraction: str | None) -> int:
    return int(whole) * _SECOND + int((fraction or "0").ljust(9, "0"))


def _end(text: str) -> tuple[int, int]:
    """Address and port of ``192.0.2.1:80`` or ``[2001:db8::1]:80``, as `PeerFilter` has them."""
    address, _, port = text.rpartition(":")
    family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
    return address_number(family, socket.inet_pton(family, address.strip("[]"))), int(port)
