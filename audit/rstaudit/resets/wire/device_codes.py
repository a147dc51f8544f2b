"""Codes that NetScaler (Citrix ADC) puts into the window field of the resets it sends.

The numbers are those of Citrix article CTX200852. Six resets of public captures carried one of
them and were NetScaler's; none of 2,265 carried one by chance.
"""

from __future__ import annotations

#: First and last of each block of codes in use.
_BLOCKS = (
    (8196, 8196), (8201, 8202), (8204, 8214), (9100, 9100), (9201, 9203), (9205, 9210),
    (9212, 9212), (9214, 9214), (9216, 9222), (9300, 9311), (9400, 9401), (9450, 9460),
    (9600, 9602), (9700, 9702), (9704, 9704), (9800, 9800), (9810, 9814), (9816, 9827),
    (9829, 9839), (9841, 9866), (9868, 9868), (9870, 9890), (9900, 9906), (9911, 9915),
    (9951, 9953), (9956, 9983), (10000, 10006), (10016, 10020), (10022, 10024), (10026, 10030),
    (10032, 10040), (10042, 10042),
)  # fmt: skip

CODES = frozenset(code for first, last in _BLOCKS for code in range(first, last + 1))

#: What the commoner ones mean.
MEANINGS = {
    8201: "a segment for a connection it had already closed",
    8202: "data for a connection it does not know, or whose SYN cookie expired",
    8204: "a repeated SYN with another sequence number",
    8205: "a wrong acknowledgement at the end of the handshake",
    8206: "a segment of an older connection met its SYN",
    8207: "a SYN inside an established connection",
    8208: "too many repeated segments",
    8209: "it was out of memory",
    8211: "an idle connection was cleared away",
    8212: "a segment for which it has no service or connection",
    9100: "an HTTP request that was never finished",
    9300: "an idle connection, or one of a service that is down, was cleared away",
    9301: "an idle connection, or one of a service that is down, was cleared away",
    9302: "an idle connection, or one of a service that is down, was cleared away",
    9303: "an idle connection, or one of a service that is down, was cleared away",
    9304: "the peer's window stayed closed",
    9305: "the server acknowledged something else than its SYN",
    9310: "keepalive probes went unanswered",
    9400: "a pooled connection to the server could not be used again",
    9401: "the connection made room for others, or its service was removed",
    9700: "it passed on a reset of the other side",
    9701: "it passed on a reset of the other side",
    9702: "data came after a FIN",
    9800: "a health check ran into its timeout",
    9811: "the TLS handshake failed",
    9812: "the address was removed from its configuration",
    9814: "a policy says reset",
    9830: "an access rule denies the session",
    9845: "an application firewall policy says reset",
    9855: "its queue of waiting requests was full",
    9952: "the peer sent a fatal TLS alert",
}
