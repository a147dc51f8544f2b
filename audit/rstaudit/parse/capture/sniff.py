"""Which format a file is in, by its first bytes."""

from __future__ import annotations

from rstaudit.parse.capture.hop import HEADER_SIZE
from rstaudit.parse.capture.pcap import PcapWalker, is_pcap
from rstaudit.parse.capture.pcapng import SECTION, PcapngWalker
from rstaudit.parse.capture.records import Walker
from rstaudit.parse.errors import ParseError

#: How many bytes `identify` wants to see.
ENOUGH = HEADER_SIZE

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

_OTHERS = (
    (b"snoop\0\0\0", "a snoop file"),
    (b"\x04\x22\x4d\x18", "compressed with lz4"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"RTSS", "a Microsoft Network Monitor 1 file"),
    (b"GMBU", "a Microsoft Network Monitor 2 file"),
    (b"XCP\0", "a NetXray file"),
    (b"TRSNIFF data", "a Sniffer file"),
    (b"iptrace ", "an AIX iptrace file"),
    (b"\x54\x52\x00\x64", "a Network Instruments Observer file"),
    (b"ObserverPktBuffe", "a Network Instruments Observer file"),
    (b"\xac\x01\x00\x1c", "an IXIA lcap file"),
    (b"\xab\x01\x00\x1c", "an IXIA lcap file"),
    (b"\x1c\x00\x01\xac", "an IXIA lcap file"),
    (b"\x1c\x00\x01\xab", "an IXIA lcap file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"%PDF", "a PDF document"),
)
_HOW = "convert it to pcap or pcapng (editcap, or decompress it) and try again"


def identify(head: bytes) -> tuple[Walker, int]:
    """Who walks a file that begins with ``head``, and how many bytes its header takes.

    ``head`` is `ENOUGH` bytes, or the whole file where that is shorter. Raises `ParseError`.
    """
    if head[:4] == SECTION:
        return PcapngWalker(), 0
    if is_pcap(head):
        return PcapWalker(head), HEADER_SIZE
    if not head:
        raise ParseError("the file is empty: not even the header of a capture")
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise ParseError(f"this is {what}, not a pcap or pcapng file: {_HOW}")
    if _is_text(head):
        raise ParseError("this is text, not a pcap or pcapng file (write captures with tcpdump -w)")
    raise ParseError(
        f"this is not a pcap or pcapng file: it begins with the bytes {head[:4].hex(' ')}"
    )


def _is_text(head: bytes) -> bool:
    return all(byte >= 0x20 or byte in b"\t\n\r\x1b\x0c" for byte in head) and head.isascii()
