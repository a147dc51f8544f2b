"""Captures of a million packets for the benchmark of `rstaudit pcap`.

*hard*: 50,000 connections, each ended by a reset of one of eight causes. *usual*: as many, of
which one in a hundred is; the others close with two FINs. Both are the same every time, about
800 MB, with several hundred connections open at any moment.

    python benchmarks/captures.py hard /tmp/hard.pcap [FLOWS]
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FLOWS = 50_000
_SYN, _FIN, _RST, _PSH, _ACK = 2, 1, 4, 8, 16
#: Bytes of the Ethernet, IPv4 and fixed TCP headers.
_HEADERS = 14 + 20 + 20
_RECORD = 16
_CHUNK = 50_000
#: Seconds since the epoch at which every capture begins.
_BEGIN = 1_700_000_000
#: Connections that begin each second.
_RATE = 1500

Ints = NDArray[np.int64]


class Packet(NamedTuple):
    """A segment of a script: ``gap`` in microseconds, numbers relative to both ISNs."""

    gap: int
    client: bool
    flags: int
    seq: int
    ack: int
    length: int = 0
    window: int = 502
    ttl: int = 64


class Script:
    """Writes the packets of one kind of connection."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self._next = [0, 0]

    def send(
        self, client: bool, flags: int, length: int = 0, gap: int = 200, **fields: int
    ) -> None:
        """The next segment of one side, its sequence numbers as they must be."""
        me, peer = (0, 1) if client else (1, 0)
        ack = self._next[peer] if flags & _ACK else 0
        values = {"seq": self._next[me], "ack": ack, **fields}
        self.packets.append(Packet(gap, client, flags, length=length, **values))
        self._next[me] += length + bool(flags & _SYN) + bool(flags & _FIN)

    def handshake(self) -> None:
        """Three segments, with the options a Linux host sends."""
        self.send(True, _SYN, window=64240)
        self.send(False, _SYN | _ACK, window=65160)
        self.send(True, _ACK)

    def exchange(self, rounds: int) -> None:
        """A request, then ``rounds`` of three full segments and their ACK; every third goes up."""
        self.send(True, _ACK | _PSH, 350)
        self.send(False, _ACK)
        for turn in range(rounds):
            upwards = turn % 3 == 2
            self.send(upwards, _ACK, 1448, gap=16_000)
            self.send(upwards, _ACK, 1448)
            self.send(upwards, _ACK | _PSH, 1448)
            self.send(not upwards, _ACK)

    def reset(self, client: bool, **fields: int) -> None:
        """The kernel's answer to a segment that fits nothing: no ACK, window 0, no options."""
        self.send(client, _RST, window=0, **fields)


def closed_port(script: Script, _rounds: int) -> None:
    """Nobody listens."""
    script.send(True, _SYN, window=64240)
    script.send(False, _RST | _ACK, window=0, seq=0)


def refused_late(script: Script, _rounds: int) -> None:
    """The server aborts as soon as the handshake is over."""
    script.handshake()
    script.reset(False)


def lingering(script: Script, rounds: int) -> None:
    """The client closes with SO_LINGER {1,0}."""
    script.handshake()
    script.exchange(rounds)
    script.send(True, _RST | _ACK, gap=40_000)


def unread(script: Script, rounds: int) -> None:
    """The server closes with a request unread."""
    script.handshake()
    script.exchange(rounds)
    script.send(True, _ACK | _PSH, 1448)
    script.send(False, _ACK)
    script.send(False, _RST | _ACK, gap=3000)


def to_closed(script: Script, rounds: int) -> None:
    """The server closes; the client sends more."""
    script.handshake()
    script.exchange(rounds)
    script.send(False, _ACK | _FIN)
    script.send(True, _ACK)
    script.send(True, _ACK | _PSH, 1448, gap=5000)
    script.reset(False)


def half_open(script: Script, rounds: int) -> None:
    """The server forgets the connection; the client sends more."""
    script.handshake()
    script.exchange(rounds)
    script.send(True, _ACK | _PSH, 1448, gap=250_000)
    script.reset(False)


def keepalive(script: Script, rounds: int) -> None:
    """Three probes of the server stay unanswered."""
    script.handshake()
    script.exchange(rounds)
    here = max(p.seq + p.length for p in script.packets if not p.client)
    for _ in range(3):
        script.send(False, _ACK, gap=200_000, seq=here - 1)
    script.send(False, _RST | _ACK, gap=200_000)


def injected(script: Script, rounds: int) -> None:
    """Somebody on the way forges resets; the server goes on."""
    script.handshake()
    script.exchange(rounds)
    script.send(True, _ACK | _PSH, 600)
    script.reset(False, ttl=113)
    script.send(False, _ACK | _PSH, 1448)


def orderly(script: Script, rounds: int) -> None:
    """Both ends close."""
    script.handshake()
    script.exchange(rounds)
    script.send(True, _ACK | _FIN)
    script.send(False, _ACK | _FIN)
    script.send(True, _ACK)


_ENDINGS = (
    closed_port, refused_late, lingering, unread, to_closed, half_open, keepalive, injected,
)  # fmt: skip
#: Rounds of data of the connections that have any; chosen so that a connection has 20 packets.
_ROUNDS = {"hard": (3, 6), "usual": (2, 4)}


def main() -> None:
    """Write the capture named by the first argument to the file named by the second."""
    kind, path = sys.argv[1], Path(sys.argv[2])
    flows = int(sys.argv[3]) if len(sys.argv) > 3 else FLOWS
    print(f"{write(kind, path, flows):,} packets, {path.stat().st_size / 1e6:,.0f} MB")


def write(kind: str, path: Path, flows: int = FLOWS) -> int:
    """Write the *hard* or *usual* capture with about 20 packets a flow; gives their number."""
    columns = packets(kind, flows)
    order = np.argsort(columns["time"], kind="stable")
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for start in range(0, len(order), _CHUNK):
            chosen = order[start : start + _CHUNK]
            file.write(records({name: column[chosen] for name, column in columns.items()}))
    return len(order)


def packets(kind: str, flows: int) -> dict[str, Ints]:
    """Columns of all packets, flow by flow."""
    random = np.random.default_rng(9293)
    low, high = _ROUNDS[kind]
    if kind == "hard":
        ending = np.arange(flows) % len(_ENDINGS)
    else:
        ending = np.where(np.arange(flows) % 100 == 0, np.arange(flows) // 100, -1)
        ending = np.where(ending >= 0, ending % len(_ENDINGS), len(_ENDINGS))
    shape = ending * 100 + random.integers(low, high, flows, endpoint=True)
    parts = [one_shape(int(s), np.flatnonzero(shape == s)) for s in np.unique(shape)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def one_shape(shape: int, flows: Ints) -> dict[str, Ints]:
    """The packets of all flows with the same ending and number of rounds."""
    script = Script()
    (*_ENDINGS, orderly)[shape // 100](script, shape % 100)
    values = np.array(script.packets, dtype=np.int64)
    columns = dict(zip(Packet._fields, values.T, strict=True))
    number = len(script.packets)
    random = np.random.default_rng(shape)
    slower = random.integers(50, 150, (len(flows), 1))
    begin = flows[:, None] * 1_000_000 // _RATE
    tiled = {
        name: np.broadcast_to(column, (len(flows), number)).ravel()
        for name, column in columns.items()
        if name != "gap"
    }
    tiled["time"] = (begin + np.cumsum(columns["gap"]) * slower // 100).ravel()
    tiled["flow"] = np.repeat(flows, number)
    tiled["number"] = np.tile(np.arange(number), len(flows))
    return tiled


def records(columns: dict[str, Ints]) -> bytes:
    """Packets as records of a classic capture file."""
    flags, length = columns["flags"], columns["length"]
    syn = flags & _SYN != 0
    bare = (flags & _RST != 0) & (columns["window"] == 0)
    options = np.where(syn, 20, np.where(bare, 0, 12))
    size = _HEADERS + options + length
    offset = np.concatenate(([0], np.cumsum(size + _RECORD)))
    buffer = np.resize(np.arange(32, 127, dtype=np.uint8), int(offset[-1]))
    matrix = headers(columns, size, options)
    for each in (0, 12, 20):
        chosen = np.flatnonzero(options == each)
        width = _RECORD + _HEADERS + each
        buffer[offset[chosen][:, None] + np.arange(width)] = matrix[chosen, :width]
    return buffer.tobytes()


class Headers:
    """A matrix of header bytes, one row a packet, filled field by field in network order."""

    def __init__(self, rows: int, width: int) -> None:
        self.bytes = np.zeros((rows, width), dtype=np.uint8)

    def put(self, at: int, code: str, values: Ints | int) -> None:
        """Write numbers at an offset, as the dtype ``code`` says."""
        column = np.broadcast_to(np.asarray(values), len(self.bytes)).astype(code)
        self.bytes[:, at : at + column.itemsize] = column.view(np.uint8).reshape(len(column), -1)


def headers(columns: dict[str, Ints], size: Ints, options: Ints) -> NDArray[np.uint8]:
    """Record, Ethernet, IPv4 and TCP headers of each packet, one row each."""
    rows = Headers(len(size), _RECORD + _HEADERS + 20)
    seconds, micros = np.divmod(columns["time"], 1_000_000)
    rows.put(0, "<u4", _BEGIN + seconds)
    rows.put(4, "<u4", micros)
    rows.put(8, "<u4", size)
    rows.put(12, "<u4", size)
    rows.put(_RECORD, ">u4", 0x02000000)
    rows.put(_RECORD + 4, ">u4", 0x00010200)
    rows.put(_RECORD + 8, ">u4", 0x00000002)
    rows.put(_RECORD + 12, ">u2", 0x0800)
    internet(rows, columns, size, options)
    transport(rows, columns, options)
    return rows.bytes


def internet(rows: Headers, columns: dict[str, Ints], size: Ints, options: Ints) -> None:
    """The IPv4 header with its checksum; bare resets have no identification, as Linux sends."""
    flow, client = columns["flow"], columns["client"] != 0
    ip = _RECORD + 14
    rows.put(ip, ">u2", 0x4500)
    rows.put(ip + 2, ">u2", size - 14)
    count = flow * 131 + columns["number"]
    rows.put(ip + 4, ">u2", np.where(options == 0, 0, count) & 0xFFFF)
    rows.put(ip + 6, ">u2", 0x4000)
    rows.put(ip + 8, ">u1", columns["ttl"] - np.where(client, 0, 7))
    rows.put(ip + 9, ">u1", 6)
    ours, theirs = 0x0A000001 + flow % 997, 0xC6336401 + flow % 13
    rows.put(ip + 12, ">u4", np.where(client, ours, theirs))
    rows.put(ip + 16, ">u4", np.where(client, theirs, ours))
    words = rows.bytes[:, ip : ip + 20].reshape(len(size), 10, 2).astype(np.int64)
    total = (words[:, :, 0] * 256 + words[:, :, 1]).sum(axis=1)
    total = (total & 0xFFFF) + (total >> 16)
    rows.put(ip + 10, ">u2", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)


def transport(rows: Headers, columns: dict[str, Ints], options: Ints) -> None:
    """The TCP header with its options; checksums stay 0, as where the card fills them in."""
    flow, client, flags = columns["flow"], columns["client"] != 0, columns["flags"]
    tcp = _RECORD + 34
    high = 10_000 + flow // 997
    rows.put(tcp, ">u2", np.where(client, high, 443))
    rows.put(tcp + 2, ">u2", np.where(client, 443, high))
    isns = flow * 2_654_435_761, flow * 2_246_822_519 + 7
    own, other = np.where(client, isns[0], isns[1]), np.where(client, isns[1], isns[0])
    # A reset that answers a SYN has sequence number 0, whatever the ISN.
    refusal = (flags == _RST | _ACK) & (options == 0)
    rows.put(tcp + 4, ">u4", np.where(refusal, 0, own + columns["seq"]) & 0xFFFFFFFF)
    rows.put(tcp + 8, ">u4", np.where(flags & _ACK, other + columns["ack"], 0) & 0xFFFFFFFF)
    rows.put(tcp + 12, ">u1", (20 + options) // 4 << 4)
    rows.put(tcp + 13, ">u1", flags)
    rows.put(tcp + 14, ">u2", columns["window"])
    stamps = [columns["time"] // 1000 + flow * 977, columns["time"] // 1000 + flow * 1009]
    mine, theirs = np.where(client, *stamps), np.where(client, *stamps[::-1])
    theirs = np.where(flags == _SYN, 0, theirs)
    for width, at in ((12, 4), (20, 8)):
        chosen = np.flatnonzero(options == width)
        some = Headers(len(chosen), width)
        if width == 12:
            some.put(0, ">u4", 0x0101080A)
        else:
            some.put(0, ">u4", 0x020405B4)  # MSS 1460
            some.put(4, ">u4", 0x0402080A)  # selective acknowledgements, timestamp
            some.put(16, ">u4", 0x01030307)  # window scale 7
        some.put(at, ">u4", mine[chosen] & 0xFFFFFFFF)
        some.put(at + 4, ">u4", theirs[chosen] & 0xFFFFFFFF)
        rows.bytes[chosen, tcp + 20 : tcp + 20 + width] = some.bytes


if __name__ == "__main__":
    main()
