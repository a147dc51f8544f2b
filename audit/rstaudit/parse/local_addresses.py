"""A network namespace's own addresses, from /proc/net/fib_trie and /proc/net/if_inet6."""

from __future__ import annotations

import re
import socket
from contextlib import suppress

_LEAF = re.compile(r"\|-- (\d{1,3}(?:\.\d{1,3}){3})\n(?:\s+/\d+ .*\n)*?\s+/32 host LOCAL", re.ASCII)


def parse_fib_trie(text: str) -> frozenset[bytes]:
    """The IPv4 addresses that are local, 4 bytes each (net/ipv4/fib_trie.c, fib_trie_seq_show).

    Lines of another form are left out.
    """
    found = set()
    for word in _LEAF.findall(text):
        with suppress(OSError):
            found.add(socket.inet_aton(word))
    return frozenset(found)


def parse_if_inet6(text: str) -> frozenset[bytes]:
    """The IPv6 addresses of all interfaces, 16 bytes each (net/ipv6/addrconf.c).

    Lines of another form are left out.
    """
    found = set()
    for line in text.split("\n"):
        digits = line.partition(" ")[0]
        if len(digits) == 32:
            with suppress(ValueError):
                found.add(bytes.fromhex(digits))
    return frozenset(found)
