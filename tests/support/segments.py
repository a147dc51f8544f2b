"""Segments made at random, as connections and their mishaps make them, for tests of flows."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstaudit.parse.capture.segments import (
    ACK,
    FIN,
    IP_DF,
    NO_REASON,
    NO_WSCALE,
    OPT_MSS,
    OPT_SACK_PERMITTED,
    OPT_TS,
    PSH,
    RST,
    SEGMENT,
    SYN,
)

MS = 1_000_000
START = 1_700_000_000_000_000_000
_GAPS = (0, 20_000, MS, 3 * MS, 25 * MS, 250 * MS, 900 * MS, 1900 * MS, 2300 * MS, 15_000 * MS)
_HEADS = (
    b"GET / HT", b"\x15\x03\x03\0\x02\1\0\0", b"\x17\x03\x03\0\x13abc", b"\x16\x03\1\2\0\1\0\1",
)  # fmt: skip


class _End:
    def __init__(self, chance: random.Random, address: bytes, port: int) -> None:
        self.address, self.port = address, port
        self.isn = chance.choice([1000, 0xFFFFFFF0, chance.getrandbits(32)])
        self.next = self.isn
        self.ttl = chance.choice([57, 64, 117, 230])
        self.ip_id = chance.choice([0, chance.getrandbits(16)])
        self.stamps = chance.random() < 0.7
        self.window = 502


class Conversation:
    """One four-tuple on which anything may happen, mostly what does happen."""

    def __init__(self, chance: random.Random, key: int, hosts: int = 3) -> None:
        self._chance = chance
        self.key = key
        self.client = _End(chance, bytes(15) + bytes([chance.randrange(1, hosts + 1)]), 40000 + key)
        self.server = _End(chance, bytes(15) + b"\x64", chance.choice([80, 443]))
        self.family = chance.choice([4, 4, 6])
        self._sent: list[dict[str, Any]] = []

    def step(self) -> dict[str, Any]:
        """The next segment's fields, but for frame and time."""
        chance = self._chance
        if self._sent and chance.random() < 0.06:
            return self._twin()
        kinds = {
            self._data: 6, self._ack: 5, self._again: 2, self._probe: 2, self._fin: 1,
            self._reset: 3, self._syn: 1, self._synack: 1,
        }  # fmt: skip
        if len(self._sent) < 3 and chance.random() < 0.7:
            kind = (self._syn, self._synack, self._ack)[len(self._sent)]
            client = len(self._sent) != 1
        else:
            kind = chance.choices(list(kinds), list(kinds.values()))[0]
            client = chance.random() < 0.5
        me, peer = (self.client, self.server) if client else (self.server, self.client)
        fields = kind(me, peer)
        self._sent.append(fields)
        return dict(fields)

    def _segment(self, me: _End, peer: _End, flags: int, **fields: Any) -> dict[str, Any]:
        chance = self._chance
        me.ip_id = (me.ip_id + chance.choice([1, 1, 7, 3000])) & 0xFFFF if me.ip_id else 0
        if chance.random() < 0.05:
            me.window = chance.choice([0, 0, 29200, 502])
        side = 0 if (me.address, me.port) < (peer.address, peer.port) else 1
        options = OPT_TS if me.stamps and chance.random() < 0.97 else 0
        return {
            "key": self.key, "src": me.address, "dst": peer.address, "sport": me.port,
            "dport": peer.port, "side": side, "family": self.family, "flags": flags,
            "seq": me.next & 0xFFFFFFFF, "ack": peer.next & 0xFFFFFFFF if flags & ACK else 0,
            "window": me.window, "ttl": me.ttl + (chance.random() < 0.02), "options": options,
            "ip_id": 0 if self.family == 6 else me.ip_id,
            "ip_flags": 0 if self.family == 6 or chance.random() < 0.03 else IP_DF,
            "tsval": chance.getrandbits(16), "tsecr": chance.getrandbits(16),
            "head": chance.choice(_HEADS),
            **fields,
        }  # fmt: skip

    def _data(self, me: _End, peer: _End) -> dict[str, Any]:
        size = self._chance.choice([1, 24, 100, 1448])
        skip = self._chance.choice([0, 0, 0, 0, 1448])  # one before it was lost
        me.next += skip
        found = self._segment(me, peer, ACK | PSH, length=size)
        me.next += size
        return found

    def _ack(self, me: _End, peer: _End) -> dict[str, Any]:
        behind = self._chance.choice([0, 0, 0, 1, 100])
        return self._segment(me, peer, ACK, ack=(peer.next - behind) & 0xFFFFFFFF)

    def _again(self, me: _End, peer: _End) -> dict[str, Any]:
        back = self._chance.choice([1, 24, 100, 1448])
        size = self._chance.choice([back, back, 1])
        return self._segment(me, peer, ACK, seq=(me.next - back) & 0xFFFFFFFF, length=size)

    def _probe(self, me: _End, peer: _End) -> dict[str, Any]:
        size = self._chance.choice([0, 0, 1])
        return self._segment(me, peer, ACK, seq=(me.next - 1) & 0xFFFFFFFF, length=size)

    def _fin(self, me: _End, peer: _End) -> dict[str, Any]:
        size = self._chance.choice([0, 0, 100])
        found = self._segment(me, peer, ACK | FIN, length=size)
        me.next += size + 1
        return found

    def _reset(self, me: _End, peer: _End) -> dict[str, Any]:
        chance = self._chance
        off = chance.choice([0, 0, 0, -1, 1, -1448, 1448, 70000, 1 << 22])
        form = chance.choice(["active", "bare", "zero", "field"])
        if form == "active":
            return self._segment(me, peer, RST | ACK, seq=(me.next + off) & 0xFFFFFFFF)
        if form == "zero":
            return self._segment(me, peer, RST | ACK, seq=0, window=0, options=0)
        number = chance.getrandbits(32) if form == "field" else 0
        window = chance.choice([0, 0, 8201, 512])
        return self._segment(
            me, peer, RST, seq=(me.next + off) & 0xFFFFFFFF, ack=number, window=window, options=0,
            ip_id=0, ttl=me.ttl + chance.choice([0, 0, 1, -1, 20]),
        )  # fmt: skip

    def _syn(self, me: _End, peer: _End) -> dict[str, Any]:
        if self._sent and self._chance.random() < 0.5:  # the port is used again
            me.isn = self._chance.getrandbits(32)
        bare = self._chance.random() < 0.2
        options = OPT_MSS | (0 if bare else OPT_TS | OPT_SACK_PERMITTED)
        me.next = me.isn + 1
        return self._segment(
            me, peer, SYN, seq=me.isn, options=options, window=1024 if bare else 64240,
            order=self._chance.choice([0, 7]),
        )  # fmt: skip

    def _synack(self, me: _End, peer: _End) -> dict[str, Any]:
        me.next = me.isn + 1
        return self._segment(me, peer, SYN | ACK, seq=me.isn, options=OPT_MSS | OPT_TS)

    def _twin(self) -> dict[str, Any]:
        """A segment of a moment ago, seen once more on its way."""
        fields = dict(self._chance.choice(self._sent[-3:]))
        if self._chance.random() < 0.5:
            fields["ttl"] -= 1
        else:
            fields["interface"] = 1
        return fields


def segments(seed: int, count: int, flows: int, gaps: tuple[int, ...] = _GAPS) -> NDArray[np.void]:
    """``count`` segments of ``flows`` four-tuples as rows of dtype SEGMENT; frames from 1."""
    chance = random.Random(seed)
    talks = [Conversation(chance, number + 1) for number in range(flows)]
    rows = np.zeros(count, dtype=SEGMENT)
    rows["wscale"], rows["mptcp_reason"] = NO_WSCALE, NO_REASON
    time = START
    for number, row in enumerate(rows):
        time += chance.choice(gaps)
        row["frame"], row["time"] = number + 1, time
        for name, value in chance.choice(talks).step().items():
            row[name] = np.void(value) if isinstance(value, bytes) else value
    return rows
