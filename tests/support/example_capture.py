"""The capture that docs/pcap.md shows: a web server's bad morning, packet by packet.

``python tests/support/example_capture.py FILE`` writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

# run by its path as well as imported by tests
sys.path.insert(0, str(Path(__file__).parent.parent))

from support.talk import End, Talk
from support.wire import Packet, linux_data, linux_syn, pcap

#: 2026-11-20T09:14:00Z
START_NS = 1_795_166_040_000_000_000

_SECOND = 10**9

#: A TLS record with an encrypted alert: what ends a TLS session.
_CLOSE_NOTIFY = bytes.fromhex("1503030013") + bytes(19)


def packets() -> list[Packet]:
    """All packets in order of time."""
    talks = [forgotten(), *(refused(n) for n in range(24)), *(downloaded(n) for n in range(6))]
    return sorted((packet for talk in talks for packet in talk.packets), key=lambda p: p.time_ns)


def capture() -> bytes:
    """The file."""
    return pcap(packets(), nano=True)


def _talk(client: End, port: int, seconds: float, *, gap: float = 0.00021) -> Talk:
    server = End("192.0.2.5", port, 0x5EED0000 + port, ttl=64, window=509)
    return Talk(client, server, gap, START_NS + round(seconds * _SECOND))


def _client(number: int, port: int) -> End:
    return End(f"198.51.100.{number}", port, 0x00C0FFEE + 7919 * port, ttl=57)


def refused(number: int) -> Talk:
    """A connection to the port of a service that is not running."""
    talk = _talk(_client(20 + number % 4, 41000 + number), 9090, 3 + 1.7 * number)
    talk.c("S", options=linux_syn(1000 + number), window=64240)
    ack = talk.client.next_seq
    return talk.s("RA", seq=0, ack=ack, window=0, ip_id=0)


def forgotten() -> Talk:
    """A request 35 minutes after the last one: the server knows nothing of the connection."""
    talk = _talk(_client(9, 51234), 8080, 0)
    talk.c("S", options=linux_syn(100), window=64240)
    talk.s("SA", options=linux_syn(7000, 100), window=65160)
    talk.c("A", options=linux_data(101, 7000))
    for turn in range(12):
        talk.c("PA", b"q" * 212, options=linux_data(102 + turn, 7001 + turn))
        talk.s("A", options=linux_data(7001 + turn, 102 + turn))
        talk.s("PA", b"a" * (900 + 40 * turn), options=linux_data(7002 + turn, 102 + turn))
        talk.c("A", options=linux_data(103 + turn, 7002 + turn))
        talk.wait(0.5)
    talk.wait(2105)
    ack = talk.server.next_seq
    talk.c("PA", b"q" * 212, options=linux_data(2_112_400, 7020))
    return talk.s("R", seq=ack, ack=0, window=0, ip_id=0)


def downloaded(number: int) -> Talk:
    """A TLS client that has closed its socket; the server's close_notify comes after that."""
    talk = _talk(_client(30, 42000 + number), 443, 20 + 3 * number)
    talk.c("S", options=linux_syn(500), window=64240)
    talk.s("SA", options=linux_syn(900, 500), window=65160)
    talk.c("A", options=linux_data(501, 900))
    talk.c("PA", b"\x17\x03\x03\x00\xc8" + bytes(200), options=linux_data(502, 900))
    talk.s("PA", b"\x17\x03\x03\x04\x00" + bytes(1024), options=linux_data(901, 502))
    talk.c("A", options=linux_data(503, 901))
    talk.c("FA", options=linux_data(504, 901))
    talk.s("PA", _CLOSE_NOTIFY, options=linux_data(902, 504))
    talk.s("FA", options=linux_data(902, 504))
    seq = talk.client.next_seq
    talk.c("R", seq=seq, ack=0, window=0, ip_id=0)
    return talk.c("R", seq=seq, ack=0, window=0, ip_id=0)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(capture())
