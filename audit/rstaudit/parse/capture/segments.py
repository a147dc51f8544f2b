"""TCP segments as they come out of a capture: one row of a numpy array each."""

from __future__ import annotations

from collections.abc import Mapping
from mmap import mmap
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: The bits of ``flags`` (RFC 9293 section 3.1; AE is RFC 9768's, once NS).
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE = (1 << bit for bit in range(9))

#: The bits of ``ip_flags``. FRAGMENT: the first piece of a fragmented packet. NO_LENGTH: the IP
#: header says 0 (segmentation offload), so ``length`` is what the capture says of the packet.
#: EXTRA: an IPv4 header with options, or an IPv6 one with extension headers.
IP_DF, IP_MF, IP_FRAGMENT, IP_NO_LENGTH, IP_EXTRA = (1 << bit for bit in range(5))

#: The bits of ``options``. OPT_OTHER: a kind without a bit here. OPT_CUT: the capture ends within
#: the options. OPT_BAD: a length that cannot be; what stands before it is decoded.
OPT_TS, OPT_MSS, OPT_WSCALE, OPT_SACK_PERMITTED, OPT_SACK = (1 << bit for bit in range(5))
OPT_MPTCP, OPT_MP_FASTCLOSE, OPT_MP_TCPRST, OPT_TFO, OPT_AUTH = (1 << bit for bit in range(5, 10))
OPT_OTHER, OPT_CUT, OPT_BAD = (1 << bit for bit in range(10, 13))

NO_WSCALE = 255
NO_REASON = 255

#: What was peeled off around the IP header that carried the segment, the innermost of them.
TUNNELS = ("none", "IP in IP", "GRE", "VXLAN", "Geneve", "MPLS", "PPPoE")

PAYLOAD_BYTES = 256

#: One TCP segment, 112 bytes, little-endian.
#:
#: ``frame`` counts the capture's packets from 1; ``time`` is nanoseconds since the epoch. ``key``
#: is the same for both directions of a four-tuple and, but for one chance in 2**64, differs
#: between four-tuples; it is seeded anew for every capture. ``src``/``dst`` are IPv6 addresses,
#: IPv4 mapped into ::ffff:0:0/96. ``length`` is the TCP payload on the wire, ``captured`` how much
#: of it the capture holds (65535: that or more), ``head`` its first 8 bytes, padded with zeros.
#: ``side`` is 0 where (src, sport) sorts below (dst, dport). ``window``, ``mss`` and ``wscale``
#: (255: none) are raw. ``order`` fingerprints the kinds of a SYN's options in their order (0 for
#: other segments). ``tunnel`` indexes `TUNNELS`. ``mptcp_reason`` is MP_TCPRST's (RFC 8684 section
#: 3.6), 255 where there is none. ``interface`` is the capture's, counted from 0.
#: ``words`` is the length of the TCP header in units of 4 bytes.
SEGMENT = np.dtype(
    [
        ("frame", "<i8"),
        ("time", "<i8"),
        ("key", "<u8"),
        ("src", "V16"),
        ("dst", "V16"),
        ("head", "V8"),
        ("seq", "<u4"),
        ("ack", "<u4"),
        ("length", "<u4"),
        ("tsval", "<u4"),
        ("tsecr", "<u4"),
        ("sport", "<u2"),
        ("dport", "<u2"),
        ("window", "<u2"),
        ("flags", "<u2"),
        ("captured", "<u2"),
        ("ip_id", "<u2"),
        ("options", "<u2"),
        ("mss", "<u2"),
        ("interface", "<u2"),
        ("order", "<u2"),
        ("side", "u1"),
        ("family", "u1"),
        ("ttl", "u1"),
        ("ip_flags", "u1"),
        ("wscale", "u1"),
        ("mptcp_reason", "u1"),
        ("tunnel", "u1"),
        ("words", "u1"),
    ]
)

Rows = NDArray[np.void]

#: The same without fields: numpy copies rows of `SEGMENT` field by field, 30 times as slow as
#: bytes (measured: 365 ns and 4 ns a row, picked by index). ``rows.view(PLAIN)`` where they move.
PLAIN = np.dtype(f"V{SEGMENT.itemsize}")


def picked(rows: Rows, places: NDArray[np.intp]) -> Rows:
    """The rows at some places."""
    return rows.view(PLAIN).take(places).view(SEGMENT)


def place(field: str) -> int:
    """Where in a row a field begins, in bytes."""
    fields = SEGMENT.fields
    assert fields is not None
    return fields[field][1]


class SegmentBatch(NamedTuple):
    """Some segments in the capture's order.

    ``rows`` has dtype `SEGMENT`. ``payloads`` maps the frame of each segment that has both RST and
    payload to up to 256 bytes of it. A live source also gives batches without rows, about twice a
    second while nothing arrives, so that whoever waits for quiet can act.
    """

    rows: Rows
    payloads: Mapping[int, bytes] = MappingProxyType({})


#: What a live source gives while nothing arrives.
NOTHING = SegmentBatch(np.empty(0, SEGMENT))


def rows_over(memory: mmap, parts: int) -> Rows:
    """Shared memory as that many arrays of `PLAIN` rows, all of one length."""
    return np.frombuffer(memory, PLAIN).reshape(parts, -1)
