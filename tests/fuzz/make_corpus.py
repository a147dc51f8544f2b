"""Write the files that fuzzing starts from.

Run as ``PYTHONPATH=tests python tests/fuzz/make_corpus.py``.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from support.captures import spaced
from support.stacks import ethernet_stacks, not_tcp, other_links
from support.talk import Talk
from support.wire import Packet, Pcapng, linux_data, pcap, pcapng

CORPUS = Path(__file__).parent / "corpus" / "capture"


def endings() -> dict[str, list[Packet]]:
    """A few connections that end in a reset."""
    refused = Talk().c("S").s("RA", seq=0, ack=1001, window=0, ip_id=0)
    scanned = Talk().c("S").s("SA").c("R", seq=1001, window=0)
    closed = Talk().handshake().c("PA", b"GET / HTTP/1.1\r\n\r\n").s("A").s("FA").c("A")
    closed = closed.c("PA", b"more").s("R", seq=5002, window=0)
    aborted = Talk().handshake().c("PA", b"x" * 30, options=linux_data(3, 4)).s("A").s("RA")
    forged = Talk().handshake().c("PA", b"q").s("R", ttl=31, ip_id=9, df=False).s("PA", b"a").c("R")
    dead = Talk().handshake().c("PA", b"data")
    for tries in range(5):
        dead = dead.wait(2**tries).c("PA", b"data", seq=1001)
    probed = Talk().handshake().wait(7200)
    for _ in range(4):
        probed = probed.wait(75).c("A", seq=1000)
    return {
        "refused": refused.packets,
        "scanned": scanned.packets,
        "closed": closed.packets,
        "aborted": aborted.packets,
        "forged": forged.packets,
        "dead": dead.c("RA").packets,
        "probed": probed.c("RA").packets,
    }


def corpus() -> dict[str, bytes]:
    """File name -> its bytes."""
    stacks = list(ethernet_stacks().values())
    files = {
        "stacks.pcap": pcap(spaced(stacks)),
        "cut.pcap": pcap([packet.cut(70) for packet in spaced(stacks)], big=True),
        "nothing.pcapng": pcapng(spaced(not_tcp())),
        "blocks.pcapng": _blocks(stacks),
        "packed.pcap.gz": gzip.compress(pcap(spaced(stacks[:2])), mtime=0),
    }
    for link, frames in other_links().items():
        files[f"link-{link}.pcap"] = pcap(spaced(frames), link=link, nano=True)
    for name, packets in endings().items():
        files[f"{name}.pcap"] = pcap(packets)
    return files


def _blocks(frames: list[bytes]) -> bytes:
    first, second, third, fourth, *_ = spaced(frames)
    file = Pcapng().interface(resolution=9, offset=5).enhanced(first).simple(second)
    file.section(big=True).interface(resolution=0x8A).obsolete(third).block(5, bytes(12))
    return file.enhanced(fourth, options=bytes(4)).data


if __name__ == "__main__":
    for name, data in corpus().items():
        (CORPUS / name).write_bytes(data)
