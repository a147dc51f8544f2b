"""RTM_GETROUTE (include/uapi/linux/rtnetlink.h): to whom the kernel would hand a packet."""

from __future__ import annotations

import socket
import struct

from rstaudit.parse.errors import ParseError

_NLM_F_REQUEST = 1
_NLMSG_ERROR, _RTM_NEWROUTE, _RTM_GETROUTE = 2, 24, 26
_RTA_DST, _RTA_GATEWAY, _RTA_VIA = 1, 5, 18

_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=8BI")  # struct rtmsg
_ATTRIBUTE = struct.Struct("=HH")
#: The flags NLA_F_NESTED and NLA_F_NET_BYTEORDER share the field with the type.
_TYPE = 0x3FFF


def route_request(destination: bytes) -> bytes:
    """The question for the route to an address of 4 or 16 bytes."""
    family = socket.AF_INET if len(destination) == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, len(destination) * 8, 0, 0, 0, 0, 0, 0, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(destination), _RTA_DST) + destination
    return _HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body


def parse_gateway(reply: bytes) -> bytes | None:
    """The address of the next router, in 4 or 16 bytes.

    None where the destination is on the link or local, or where there is no route to it. Raises
    `ParseError`.
    """
    if len(reply) < _HEADER.size:
        raise ParseError(f"route: a reply of {len(reply)} bytes")
    length, kind, *_ = _HEADER.unpack_from(reply)
    if kind == _NLMSG_ERROR:
        return None
    if kind != _RTM_NEWROUTE or not _HEADER.size + _ROUTE.size <= length <= len(reply):
        raise ParseError(f"route: a message of type {kind} with {length} of {len(reply)} bytes")
    at = _HEADER.size + _ROUTE.size
    while at + _ATTRIBUTE.size <= length:
        size, name = _ATTRIBUTE.unpack_from(reply, at)
        if size < _ATTRIBUTE.size or at + size > length:
            raise ParseError(f"route: an attribute of {size} bytes at byte {at}")
        value = reply[at + _ATTRIBUTE.size : at + size]
        if name & _TYPE == _RTA_VIA:
            value = value[2:]  # after the address family
        if name & _TYPE in (_RTA_GATEWAY, _RTA_VIA):
            if len(value) not in (4, 16):
                raise ParseError(f"route: a router's address of {len(value)} bytes")
            return value
        at += (size + 3) & ~3
    return None
