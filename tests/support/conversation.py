"""TCP conversations told step by step, with the numbers that real stacks would put in."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

from rstaudit.collect.capture import open_capture
from rstaudit.model.diagnosis import Diagnosis
from rstaudit.resets.wire.case import Case, Numbers
from rstaudit.resets.wire.decide import decide
from rstaudit.resets.wire.explain import explain_case
from rstaudit.resets.wire.tracker import Tracker
from support.oracle import resets
from support.plain import Seg, plain
from support.wire import (
    NOP,
    SACK_PERMITTED,
    Packet,
    ethernet,
    ip,
    linux_data,
    linux_syn,
    mss,
    pcap,
    tcp,
    wscale,
)

#: 2026-11-21T18:00:00Z
START = 1_795_284_000 * 10**9

TLS_ALERT = b"\x15\x03\x03\x00\x1a" + bytes(26)
TLS13_ALERT = b"\x17\x03\x03\x00\x13" + bytes(19)


class Stack(NamedTuple):
    """What tells one system's packets from another's."""

    ttl: int
    stamps: bool
    syn: Callable[[int, int], bytes]
    window: int


LINUX = Stack(64, True, linux_syn, 502)
WINDOWS = Stack(
    128,
    False,
    lambda *_: mss(1460) + NOP + wscale(8) + NOP + NOP + SACK_PERMITTED,
    8212,
)
MACOS = Stack(64, False, lambda *_: mss(1460) + NOP + wscale(6) + SACK_PERMITTED, 2058)


class End:
    """One end: its address and where it is in its sequence space."""

    def __init__(self, address: str, port: int, stack: Stack, isn: int, hops: int) -> None:
        self.address, self.port, self.stack = address, port, stack
        self.isn = self.nxt = isn
        self.stamp = 0
        self.ip_id, self.ttl = 4000 + hops, stack.ttl - hops


class Conversation:
    """Segments one after the other; ``now`` is seconds since the capture began.

    Each method returns the conversation. ``who`` is ``c`` (client) or ``s`` (server).
    """

    def __init__(
        self,
        client: Stack = LINUX,
        server: Stack = LINUX,
        *,
        rtt: float = 0.0002,
        port: int = 40000,
        family: int = 4,
    ) -> None:
        """``rtt`` is how long answers of the server take: the capture is on the client."""
        near, far = ("192.0.2.1", "192.0.2.80") if family == 4 else ("2001:db8::1", "2001:db8::80")
        self.c = End(near, port, client, 1_000_000, 0)
        self.s = End(far, 8080, server, 3_000_000_000, 3)
        self.rtt, self.now = rtt, 0.0
        self.packets: list[Packet] = []

    def end(self, who: str) -> tuple[End, End]:
        """That end and the other."""
        return (self.c, self.s) if who == "c" else (self.s, self.c)

    def wait(self, seconds: float) -> Conversation:
        """Let time pass."""
        self.now += seconds
        return self

    def segment(
        self,
        who: str,
        flags: str,
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        window: int | None = None,
        options: bytes | None = None,
        ttl: int | None = None,
        ip_id: int | None = None,
        df: bool = True,
        lost: bool = False,
    ) -> Conversation:
        """One segment with the numbers it should have, but for those given.

        ``lost``: it is sent and taken, but not in the capture.
        """
        me, peer = self.end(who)
        self.now += 0.00005 if who == "c" else self.rtt
        where = me.nxt if seq is None else seq
        number = (peer.nxt if ack is None else ack) if "A" in flags else (ack or 0)
        body = tcp(
            me.port, peer.port, flags, where, number, data,
            window=me.stack.window if window is None else window,
            options=self._options(me, peer, flags) if options is None else options,
        )  # fmt: skip
        if "R" not in flags or ip_id is None:
            me.ip_id += 1
        packet = ip(
            body, me.address, peer.address,
            ttl=me.ttl if ttl is None else ttl,
            ip_id=me.ip_id if ip_id is None else ip_id, df=df,
        )  # fmt: skip
        if not lost:
            self.packets.append(Packet(START + round(self.now * 1e9), ethernet(packet)))
        if "R" not in flags:
            me.nxt = max(me.nxt, where + len(data) + ("S" in flags) + ("F" in flags))
        return self

    def _options(self, me: End, peer: End, flags: str) -> bytes:
        me.stamp = round(self.now * 1000) + me.isn
        if "S" in flags:
            return me.stack.syn(me.stamp, peer.stamp if "A" in flags else 0)
        return linux_data(me.stamp, peer.stamp) if me.stack.stamps else b""

    def open(self) -> Conversation:
        """The three segments of a handshake."""
        return self.segment("c", "S").segment("s", "SA").segment("c", "A")

    def say(self, who: str, data: bytes | int, *, taken: bool = True) -> Conversation:
        """Data, and its acknowledgement unless it is not ``taken``."""
        self.segment(who, "PA", data if isinstance(data, bytes) else b"x" * data)
        return self.segment("s" if who == "c" else "c", "A") if taken else self

    def talk(self) -> Conversation:
        """A handshake, a request and a response."""
        return self.open().say("c", 300).say("s", 900)

    def close(self, who: str, *, taken: bool = True) -> Conversation:
        """A FIN, and its acknowledgement unless it is not ``taken``."""
        self.segment(who, "FA")
        return self.segment("s" if who == "c" else "c", "A") if taken else self

    def abort(self, who: str) -> Conversation:
        """RST+ACK as this end's system sends it for a socket it has."""
        windows = self.end(who)[0].stack is WINDOWS
        return self.segment(who, "RA", window=0 if windows else None)

    def answer(
        self,
        who: str,
        *,
        seq: int | None = None,
        ttl: int | None = None,
        ip_id: int = 0,
        df: bool = True,
        window: int = 0,
    ) -> Conversation:
        """RST as a kernel without the connection answers the other end's last segment."""
        me = self.end(who)[0]
        return self.segment(
            who, "R", seq=me.nxt if seq is None else seq, window=window, options=b"",
            ttl=ttl, ip_id=ip_id, df=df,
        )  # fmt: skip

    def pcap(self) -> bytes:
        """The capture."""
        return pcap(self.packets, nano=True)


class Judged(NamedTuple):
    """A reset and what is said of it."""

    reset: Seg
    case: Case
    numbers: Numbers
    diagnosis: Diagnosis


def judge(*conversations: Conversation) -> list[Judged]:
    """Each reset of these conversations, captured together."""
    packets = sorted(packet for one in conversations for packet in one.packets)
    return judge_capture(pcap(packets, nano=True))


def judge_capture(data: bytes) -> list[Judged]:
    """Each reset of a capture, by the slow oracle and the real decisions.

    The tracker, which works the facts out in its own way, has to come to the same.
    """
    capture = open_capture(io.BytesIO(data))
    batches = list(capture)
    rows = [plain(row) for batch in batches for row in batch.rows]
    payloads = {frame: text for batch in batches for frame, text in batch.payloads.items()}
    found = [
        Judged(reset, case, numbers, explain_case(case, numbers, decide(case)))
        for reset, case, numbers in resets(rows, payloads)
    ]
    tracker = Tracker()
    tracked = [one for batch in batches for one in tracker.feed(batch)] + list(tracker.finish())
    diagnoses = {one.frame: one.diagnosis for one in tracked}
    assert {one.reset.frame: one.diagnosis for one in found} == diagnoses
    return found


def last(*conversations: Conversation) -> Diagnosis:
    """What is said of the last reset."""
    return judge(*conversations)[-1].diagnosis


def only(conversation: Conversation) -> Diagnosis:
    """What is said of the only reset there is."""
    (found,) = judge(conversation)
    return found.diagnosis
