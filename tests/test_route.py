"""To whom the kernel would hand a packet: its answers, and what is not one."""

from __future__ import annotations

import socket
import struct
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.collect.route import next_router
from rstaudit.parse.errors import ParseError
from rstaudit.parse.route import parse_gateway, route_request
from support.netns import network_namespace

_HEADER = struct.Struct("=IHHII")


def reply(*attributes: tuple[int, bytes], kind: int = 24) -> bytes:
    """RTM_NEWROUTE with attributes."""
    body = bytes(12)
    for name, value in attributes:
        body += struct.pack("=HH", 4 + len(value), name) + value + bytes(-len(value) % 4)
    return _HEADER.pack(_HEADER.size + len(body), kind, 0, 1, 0) + body


def test_the_router_is_named() -> None:
    """RTA_GATEWAY after the destination; in RTA_VIA behind its family; none on the link."""
    router = bytes((192, 0, 2, 1))
    assert parse_gateway(reply((1, bytes(4)), (5, router))) == router
    assert parse_gateway(reply((18, struct.pack("=H", 10) + bytes(15) + b"\x01"))) == (
        bytes(15) + b"\x01"
    )
    assert parse_gateway(reply((1, bytes(4)), (4, bytes(4)))) is None
    assert parse_gateway(reply(kind=2)) is None  # no route


def test_the_question_holds_the_whole_address() -> None:
    """A host route, so the length is all bits."""
    for address in (bytes(4), bytes(16)):
        asked = route_request(address)
        assert _HEADER.unpack_from(asked)[0] == len(asked)
        assert asked[17] == 8 * len(address)


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda body: reply()[:16] + body))
def test_any_bytes_are_an_answer_or_an_error(data: bytes) -> None:
    """Nothing but ParseError comes of bytes that the kernel did not send."""
    with suppress(ParseError):
        parse_gateway(data)


def ip(*words: str) -> None:
    """Configure the namespace that this thread is in."""
    subprocess.run(("ip", *words), check=True)


@pytest.mark.live
def test_the_kernel_is_asked() -> None:
    """Of both families: through a router, on the link, and nowhere."""
    with network_namespace():
        ip("link", "add", "name", "a", "type", "veth", "peer", "name", "b")
        ip("addr", "add", "192.0.2.1/24", "dev", "a")
        ip("addr", "add", "2001:db8::1/64", "dev", "a", "nodad")
        ip("link", "set", "dev", "a", "up")
        ip("link", "set", "dev", "b", "up")
        ip("route", "add", "198.51.100.0/24", "via", "192.0.2.9")
        ip("route", "add", "2001:db8:1::/64", "via", "2001:db8::9")
        six, router = (socket.inet_pton(10, one) for one in ("2001:db8:1::5", "2001:db8::9"))
        assert next_router(socket.inet_aton("198.51.100.7")) == socket.inet_aton("192.0.2.9")
        assert next_router(six) == router
        assert next_router(socket.inet_aton("192.0.2.7")) is None
        assert next_router(socket.inet_aton("203.0.113.7")) is None
