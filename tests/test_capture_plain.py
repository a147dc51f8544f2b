"""Plain packets are decoded by a shorter way, which gives what the general way gives."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rstaudit.parse.capture import decode as module
from rstaudit.parse.capture.decode import Decoded, decode
from rstaudit.parse.capture.fragments import Fragments
from rstaudit.parse.capture.hop import SLACK
from rstaudit.parse.capture.keys import parse_seed
from rstaudit.parse.capture.plain import Headers
from rstaudit.parse.capture.records import Records
from rstaudit.parse.capture.segments import SEGMENT, Rows
from support.stacks import FOUR, ethernet_stacks, not_tcp
from support.wire import ethernet, ip, linux_data, linux_syn, mss, sack, tcp

SEED = parse_seed(bytes(range(16)))
OPTIONS = (b"", linux_data(7, 9), linux_syn(5, 4), mss(1460), linux_data(1, 2) + sack((3, 4)))


def plain_frame(chance: random.Random) -> bytes:
    """Ethernet, IPv4, TCP, with anything in its fields."""
    flags: list[str | int] = ["S", "SA", "A", "PA", "FA", "R", "RA", chance.randrange(512)]
    ends = FOUR if chance.random() < 0.5 else FOUR[::-1]
    segment = tcp(
        chance.randrange(65536), chance.randrange(65536), chance.choice(flags),
        chance.randrange(2**32), chance.randrange(2**32),
        bytes(chance.choices(range(256), k=chance.choice([0, 0, 3, 40]))),
        options=chance.choice(OPTIONS),
    )  # fmt: skip
    packet = ip(segment, *ends, ttl=chance.randrange(256), ip_id=chance.randrange(65536))
    return ethernet(packet) + bytes(chance.choice([0, 0, 6]))


def damaged(frame: bytes, chance: random.Random) -> bytes:
    """A frame with some bytes of its headers changed."""
    data = bytearray(frame)
    for _ in range(chance.randrange(1, 4) if len(data) > 12 else 0):
        at = chance.randrange(12, min(len(data), 80))
        data[at] = chance.choice([chance.randrange(256), data[at] ^ 1 << chance.randrange(8)])
    return bytes(data)


def frames(seed: int, bad: float, others: float) -> list[bytes]:
    """Plain frames, of which a share is damaged, among ``others`` of every other kind."""
    chance = random.Random(seed)
    strange = [*ethernet_stacks().values(), *not_tcp()]
    found = []
    for _ in range(400):
        frame = chance.choice(strange) if chance.random() < others else plain_frame(chance)
        found.append(damaged(frame, chance) if chance.random() < bad else frame)
    return found


def laid_out(packets: list[bytes], seed: int, cut: float) -> tuple[bytearray, Records]:
    """Frames in a buffer, a share of them captured in part, and their records."""
    chance = random.Random(seed)
    buffer, data, captured, wire = bytearray(16), [], [], []
    for packet in packets:
        kept = chance.randrange(len(packet) + 1) if chance.random() < cut else len(packet)
        data.append(len(buffer))
        captured.append(kept)
        wire.append(len(packet))
        buffer += packet[:kept] + bytes(16)
    size = len(data)
    return buffer + bytes(SLACK), Records(
        np.array(data), np.array(captured), np.array(wire), np.arange(size) * 1000,
        np.zeros(size, np.uint16), np.ones(size, np.uint16),
    )  # fmt: skip


def decoded(buffer: bytearray, records: Records) -> tuple[Decoded, Rows]:
    """What `decode` gives, over rows full of what was there before."""
    rows = np.full(len(records.data) * SEGMENT.itemsize, 0xA5, np.uint8).view(SEGMENT)
    done = decode(buffer, records, 7, rows, SEED, Fragments())
    return done, rows[: done.segments]


@pytest.mark.parametrize("bad", [0.0, 0.3])
@pytest.mark.parametrize("others", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("cut", [0.0, 0.2])
def test_both_ways_give_the_same(
    bad: float, others: float, cut: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, payloads and what is skipped: damaged, cut short and mixed with others or not."""
    shorter = 0
    for seed in range(12):
        buffer, records = laid_out(frames(seed, bad, others), seed, cut)
        shorter += int(Headers(buffer, records).plain.sum())
        quick, rows = decoded(buffer, records)
        with monkeypatch.context() as patch:
            patch.setattr(module, "Headers", NothingPlain)
            general, same = decoded(buffer, records)
        assert quick == general
        assert rows.tobytes() == same.tobytes()
    assert shorter > 500


class NothingPlain(Headers):
    """Headers none of which are taken for plain."""

    def __init__(self, buffer: bytearray | memoryview, records: Records) -> None:
        super().__init__(buffer, records)
        self.plain[:] = False
