"""Which router the kernel would choose, in the calling thread's network namespace."""

from __future__ import annotations

import socket

from rstaudit.parse.errors import ParseError
from rstaudit.parse.route import parse_gateway, route_request

_TIMEOUT = 1.0


def next_router(destination: bytes) -> bytes | None:
    """The address of the next router on the way to an address; each in 4 or 16 bytes.

    None where there is none (the destination is on the link), or the kernel does not say. It is a
    question to the kernel alone: no packet is sent.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
            channel.settimeout(_TIMEOUT)
            channel.sendto(route_request(destination), (0, 0))
            return parse_gateway(channel.recv(1 << 16))
    except (OSError, ParseError):
        return None
