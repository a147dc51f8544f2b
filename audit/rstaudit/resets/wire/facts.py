"""The kinds of facts about a reset that decide why it was sent.

Words used here. *Reset*: the RST segment in question. *Sender*: the end whose address it carries
as its source. *Peer*: the other end. *Before*: the segments of the same flow ahead of the reset,
duplicates of one packet left out. *Tail*: the last 32 of them. ``end(segment)`` is its sequence
number + payload + SYN + FIN. ``nxt(side)`` is the highest ``end`` before the reset of that side's
segments without RST; ``acked(side)`` the highest acknowledgement the other side's segments without
RST gave it. All comparisons are modulo 2**32 (RFC 9293 section 3.4). *Trigger*: the peer's last
segment before the reset that is not itself a RST. *Run* of a side: its unbroken row of segments
without RST just before the reset, within the tail; RSTs in between are passed over. *Last run*:
the same, but the other side's run may lie between it and the reset. A *retry* has payload, SYN or
FIN and an ``end`` not above what its side had reached before; a *probe* is a segment of 0 or 1
byte, without SYN or FIN, whose sequence number is one below that (keepalive). Data is payload
that is not of a probe.
"""

from __future__ import annotations

from enum import IntEnum


class Side(IntEnum):
    """Who did something; with two, who did it first."""

    NOBODY = 0
    SENDER = 1
    PEER = 2
    BOTH_SENDER_FIRST = 3
    BOTH_PEER_FIRST = 4


class Seq(IntEnum):
    """Where the reset's sequence number lies.

    UNKNOWN: the sender has no other segment before. EXACT: ``nxt(sender)``. UNACKED: below it,
    and at or above ``acked(sender)``. OLD: below ``acked(sender)``, by less than 2**30. PROBE:
    ``nxt(sender) - 1`` (takes precedence over UNACKED and OLD). BEYOND: above ``nxt(sender)`` by
    at most 2**20. FAR: anything else.
    """

    UNKNOWN = 0
    EXACT = 1
    UNACKED = 2
    OLD = 3
    PROBE = 4
    BEYOND = 5
    FAR = 6


class Ack(IntEnum):
    """The reset's acknowledgement number.

    NONE: no ACK flag, and the field is 0. FIELD: no ACK flag, and the field is not 0. With the
    flag, against ``nxt(peer)``: EXACT; BEHIND: below it by less than 2**30; AHEAD: above it by at
    most 2**20; FAR: anything else; UNKNOWN: the peer has no segment before.
    """

    NONE = 0
    FIELD = 1
    EXACT = 2
    BEHIND = 3
    AHEAD = 4
    FAR = 5
    UNKNOWN = 6


class Window(IntEnum):
    """The reset's raw window: 0, as in the sender's last segment without SYN or RST, or other."""

    ZERO = 0
    SAME = 1
    OTHER = 2


class Ttl(IntEnum):
    """The reset's TTL or hop limit against the range of the sender's segments without RST before.

    UNKNOWN: there are none. WITHIN the range; else how far outside the nearer bound it is.
    """

    UNKNOWN = 0
    WITHIN = 1
    ONE_MORE = 2
    ONE_LESS = 3
    MORE = 4
    LESS = 5


class IpId(IntEnum):
    """The reset's IP ID. NEXT: 1 to 1024 ahead of the sender's last ID that was not 0."""

    UNKNOWN = 0  # IPv6
    ZERO = 1
    NEXT = 2
    OTHER = 3  # also where the sender has no ID but 0 before


class IdHabit(IntEnum):
    """How the sender numbers its IP packets, from its segments in the tail without RST.

    Those with ID 0 are left out unless all are 0 (ZERO). COUNTS: two or more, each 1 to 2048
    ahead of the one before. MIXED: two or more, not so. UNKNOWN: fewer, or IPv6.
    """

    UNKNOWN = 0
    ZERO = 1
    COUNTS = 2
    MIXED = 3


class Df(IntEnum):
    """The reset's Don't Fragment bit against the sender's segments without RST before.

    UNKNOWN: IPv6 or none before. DIFFERS: all of those have the other value. SAME: otherwise.
    """

    UNKNOWN = 0
    SAME = 1
    DIFFERS = 2


class Stack(IntEnum):
    """Whose TCP the sender seems to be, by `rstaudit.resets.wire.stack.stack_of`."""

    UNKNOWN = 0
    LINUX = 1
    WINDOWS = 2
    UNIX = 3  # BSD, macOS, or a Linux without a handshake in the capture
    OTHER = 4  # first TTL 255: appliances, Solaris, lwIP


class Payload(IntEnum):
    """The reset's payload. DIAGNOSTIC: begins 33 AA. TEXT: its first 4 bytes print. CUT: not kept.

    Less than 4 bytes count as TEXT where all of them print (0x20-0x7e, tab, CR, LF).
    """

    NONE = 0
    TEXT = 1
    DIAGNOSTIC = 2
    OTHER = 3
    CUT = 4


class Mptcp(IntEnum):
    """The MPTCP option of the reset. FASTCLOSE where both are there."""

    NONE = 0
    FASTCLOSE = 1
    TCPRST = 2


class Trigger(IntEnum):
    """The kind of the trigger. The first that holds, from the top."""

    NONE = 0  # the peer has no segment before
    SYN = 1
    SYN_ACK = 2
    PROBE = 3
    FIN = 4  # also with payload
    DATA = 5
    RETRY = 6  # payload or FIN, nothing new
    ACK = 7


class Fit(IntEnum):
    """The trigger's acknowledgement number against the sender's numbers.

    NO_ACK: no ACK flag (or no trigger). UNKNOWN: the sender has no segment before. EXACT:
    ``nxt(sender)``. WITHIN: below it, and not below the sender's first sequence number in the flow
    (its ISN where the capture has it). OUTSIDE: anything else.
    """

    NO_ACK = 0
    UNKNOWN = 1
    EXACT = 2
    WITHIN = 3
    OUTSIDE = 4


class Gap(IntEnum):
    """How soon after the trigger the reset came.

    ``rtt`` is how fast the sender answered in the handshake: from the peer's last SYN ahead of it
    to the sender's first SYN-ACK, or from the peer's first SYN-ACK to the sender's first ACK after
    it. EARLY: ``rtt`` is 4 ms or more, and the gap below half of it. PROMPT: at most 2 ``rtt`` +
    60 ms, or at most 400 ms where ``rtt`` is not known. SLOW: at most 1 s more than that. LATE.
    """

    NONE = 0  # no trigger
    EARLY = 1
    PROMPT = 2
    SLOW = 3
    LATE = 4


class Idle(IntEnum):
    """A silence of the whole flow.

    KNOWN: 50 s or more, and within 1.5 s or 1 % (the larger) of a number in `IDLE_LIMITS`.
    """

    NONE = 0  # nothing before to measure from
    SHORT = 1  # below 1 s
    SECONDS = 2  # below 10 s
    TENS = 3  # below 50 s
    LONG = 4
    KNOWN = 5


class Pace(IntEnum):
    """The gaps within a series of segments.

    NONE: fewer than two gaps. EVEN: none above 1.3 times the smallest. GROWING: the last at least
    1.5 times the first, and none below 0.7 of the one before. OTHER.
    """

    NONE = 0
    EVEN = 1
    GROWING = 2
    OTHER = 3


class Late(IntEnum):
    """The most telling thing the peer sent after the sender's first FIN, before the reset."""

    NOTHING = 0  # also: no FIN of the sender
    ACK = 1
    RETRY = 2
    FIN = 3  # without data; also a FIN of which the data came before
    DATA = 4


class Content(IntEnum):
    """The peer's last data before the reset, by its first bytes (TLS record headers).

    ALERT: record type 21, version 3.x. ALERT_13: type 23, version 3.x and a payload of exactly 24
    bytes with record length 19 (an encrypted alert of TLS 1.3). RECORD: another TLS record.
    """

    NONE = 0
    OTHER = 1
    ALERT = 2
    ALERT_13 = 3
    RECORD = 4


class Earlier(IntEnum):
    """The form of the sender's first RST before the reset.

    BARE: no ACK flag. PLAIN: ACK flag, window 0 and no timestamp option. FULL: ACK flag and either.
    """

    NONE = 0
    BARE = 1
    PLAIN = 2
    FULL = 3


class After(IntEnum):
    """What the sender sent after the reset. The highest that holds.

    Counted are 2 s, and no more than up to and with the first SYN (with or without ACK) of either
    side.

    OLD: segments without RST or SYN with ``end`` at or below ``nxt(sender)`` and acknowledging
    nothing above the highest ACK the sender gave before. SYN: a SYN. RESETS: RSTs. LADDER: RSTs,
    the first of which has a sequence number above this reset's and above ``nxt(sender)``. NEW: a
    segment without RST or SYN with ``end`` above ``nxt(sender)``, or acknowledging more than the
    sender before and the reset itself (where it has the ACK flag) did.
    """

    NOTHING = 0
    OLD = 1
    SYN = 2
    RESETS = 3
    LADDER = 4
    NEW = 5


class PeerAfter(IntEnum):
    """What the peer sent in the same time: the highest that holds."""

    NOTHING = 0
    OTHER = 1
    RESET = 2
    DATA = 3  # new data, so it goes on as if there was no reset


class Scan(IntEnum):
    """How many (address, port) pairs the client sent SYNs to, about when it sent this flow's first.

    From 5 s before it to 2 s after; of very many, those of the nearest 128 SYNs on either side.
    """

    UNKNOWN = 0  # no SYN, or more than 5 s before the reset, or the handshake was finished
    FEW = 1  # fewer than 8
    SEVERAL = 2  # fewer than 30
    MANY = 3


#: Idle timeouts devices are known for, in seconds: those of catalogue/data/devices.yaml, and
#: round ones that people configure.
IDLE_LIMITS = (
    60, 65, 75, 90, 120, 180, 240, 300, 350, 400, 600, 610, 900, 1200, 1800, 3600, 7200, 7440,
    86400, 432000,
)  # fmt: skip
