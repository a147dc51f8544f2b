"""The socket table: netlink answers, the procfs fallback, and the packed rows themselves."""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.collect.owners import collect_owners
from rstaudit.collect.tree import Tree
from rstaudit.model.ports import Use, older_than, port_flags, use_by_peer
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    ESTABLISHED,
    LISTEN,
    ROW_SIZE,
    TIME_WAIT,
    Run,
    SocketTable,
    attributes,
)
from rstaudit.parse.errors import ParseError
from rstaudit.parse.inet_diag import KernelRefusal, gather, split, uniform
from rstaudit.parse.portlist import format_ports, parse_ports
from rstaudit.parse.procnet import parse_tables
from support.rows import listen_row, row, table_of

ROW_TYPE, DONE, ERROR, MULTI, INTERRUPTED = 20, 3, 2, 2, 0x10


def message(kind: int, body: bytes, flags: int = MULTI) -> bytes:
    """A netlink message."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def waiting(port: int, left: int = 30_000, dst: str = "198.51.100.7") -> bytes:
    """A TIME_WAIT row from a local port to port 443."""
    return row(TIME_WAIT, "192.0.2.1", port, dst, 443, timer=(3, left, 0))


def test_rows_of_a_datagram_are_found_up_to_done() -> None:
    """Rows before NLMSG_DONE count, and the end of the dump is seen."""
    rows = [listen_row(80), listen_row(443) + b"\x08\0\x08\0\x01\0\0\0"]
    data = b"".join(message(ROW_TYPE, row) for row in rows) + message(DONE, bytes(4))
    datagram = split(data)
    assert datagram.done
    assert not datagram.interrupted
    assert [data[start:end] for start, end in datagram.spans] == rows


@pytest.mark.parametrize("kind", [DONE, ERROR])
def test_an_error_of_the_kernel_is_not_an_empty_table(kind: int) -> None:
    """A negative errno in NLMSG_DONE or NLMSG_ERROR is a refusal, never "no sockets"."""
    body = struct.pack("=i", -errno.ENOENT)
    with pytest.raises(KernelRefusal) as refused:
        split(message(ROW_TYPE, listen_row(80)) + message(kind, body))
    assert refused.value.errno == errno.ENOENT


def test_an_interrupted_dump_is_noticed() -> None:
    """NLM_F_DUMP_INTR on any message marks the datagram, and keeps it off the fast path."""
    data = message(ROW_TYPE, waiting(1)) + message(ROW_TYPE, waiting(2), MULTI | INTERRUPTED)
    assert split(data).interrupted
    assert uniform(data) is None
    assert uniform(message(ROW_TYPE, waiting(1), MULTI | INTERRUPTED)) is None


def test_uniform_datagrams_are_kept_whole() -> None:
    """Rows of one length become one chunk; another length or kind among them does not."""
    same = b"".join(message(ROW_TYPE, waiting(port) + bytes(8)) for port in range(5))
    chunk = uniform(same)
    assert chunk is not None
    assert (chunk.stride, chunk.offset, len(chunk.data)) == (96, 16, 480)
    assert uniform(same + message(ROW_TYPE, waiting(9))) is None
    assert uniform(same + message(DONE, bytes(4) + bytes(76))) is None


def test_whole_and_gathered_chunks_count_the_same() -> None:
    """The fast path and the walk over messages give the same counts per peer."""
    data = b"".join(message(ROW_TYPE, waiting(port) + bytes(8)) for port in (40000, 40001, 80))
    whole = uniform(data)
    assert whole is not None
    slow = gather(data[at : at + ROW_SIZE] for at, _ in split(data).spans)
    flags = port_flags(40000, 40009)
    by_both = [use_by_peer(SocketTable(chunks), flags) for chunks in ([whole], slow)]
    assert by_both[0] == by_both[1]
    assert list(by_both[0].values()) == [Use(2, 0)]


@given(st.binary(max_size=400))
def test_any_bytes_from_netlink_give_rows_or_a_parse_error(data: bytes) -> None:
    """No datagram, however broken, raises anything else."""
    try:
        datagram = split(data)
    except (ParseError, KernelRefusal):
        return
    assert all(end - start >= ROW_SIZE for start, end in datagram.spans)
    uniform(data)


@given(st.binary(max_size=200))
def test_any_bytes_as_attributes_give_a_dict(data: bytes) -> None:
    """Attributes with absurd lengths end the walk; nothing is raised."""
    assert isinstance(attributes(data, 0, len(data)), dict)


@given(st.binary(min_size=ROW_SIZE, max_size=ROW_SIZE + 300))
def test_any_row_decodes(data: bytes) -> None:
    """Every field of a row may hold anything."""
    packed = bytes([2, LISTEN]) + data[2:]
    (sock,) = SocketTable((), packed, {LISTEN: [Run(range(1), len(packed))]}).select(
        LISTEN, details=True
    )
    assert sock.state == LISTEN


def test_use_by_peer_counts_states_ages_and_ranges() -> None:
    """Only usable ports count; old TIME_WAIT apart; listeners never; peers stay apart."""
    table = table_of(
        waiting(40000, left=59_500), waiting(40001, left=10_000), waiting(39999),
        waiting(40002, dst="203.0.113.5"),
        row(ESTABLISHED, "192.0.2.1", 40003, "198.51.100.7", 443),
        row(LISTEN, "192.0.2.1", 40004, "198.51.100.7", 443),
    )  # fmt: skip
    flags = port_flags(40000, 40009, frozenset({40009}))
    uses = {peer.label: (use, older_than(table, flags, 1000, peer))
            for peer, use in use_by_peer(table, flags).items()}  # fmt: skip
    assert uses == {
        "192.0.2.1 -> 198.51.100.7:443": (Use(2, 1), 1),
        "192.0.2.1 -> 203.0.113.5:443": (Use(1, 0), 1),
    }
    assert len(use_by_peer(table, flags, at_least=3)) == 1


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.integers(0, 3), st.integers(1, 6))),
    st.integers(1, 12),
)
def test_the_short_cut_finds_what_counting_everything_finds(
    sockets: list[tuple[bool, int, int, int]], at_least: int
) -> None:
    """Passing over hosts by the last byte of the address loses no peer, in either family."""
    rows = []
    for wide, port, host, last in sockets:
        dst = f"2001:db8::{host}:{last}" if wide else f"198.51.{host}.{last}"
        src = "2001:db8::1" if wide else "192.0.2.1"
        rows.append(row(TIME_WAIT, src, 40000 + port, dst, 443, timer=(3, 1, 0)))
    table, flags = table_of(*rows), port_flags(40000, 40009)
    every = use_by_peer(table, flags)
    assert use_by_peer(table, flags, at_least) == {
        peer: use for peer, use in every.items() if use.time_wait >= at_least
    }


TCP4 = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 4321 1
   1: 0100007F:1F90 0200007F:C350 08 00000001:00000006 02:00000BB8 00000002    33        0 4322 1
   2: 0100007F:C351 0200007F:0050 06 00000000:00000000 03:000011A4 00000000     0        0 0 3
"""


def test_proc_net_tcp_as_a_table() -> None:
    """Addresses, queues, timers and inodes of the fallback; a listener's limit stays unknown."""
    table = parse_tables(TCP4, "header only\n")
    assert table.source == "procfs"
    assert table.count_by_state() == {"TIME_WAIT": 1, "LISTEN": 1, "CLOSE_WAIT": 1}
    (server,) = table.select(LISTEN)
    assert (server.local, server.rqueue, server.wqueue) == ("127.0.0.1:8080", 3, 0)
    (sock,) = table.select(CLOSE_WAIT, details=True)
    assert (sock.peer, sock.rqueue, sock.inode, sock.uid) == ("127.0.0.2:50000", 6, 4322, 33)
    assert (sock.timer, sock.expires_ms, sock.retransmits, sock.info) == (2, 30_000, 2, None)


@given(st.text(max_size=300))
def test_any_text_as_proc_net_tcp_gives_a_table_or_a_parse_error(text: str) -> None:
    """No text, however broken, raises anything but ParseError."""
    for tables in ((text, ""), ("", "header\n" + text)):
        with suppress(ParseError):
            assert parse_tables(*tables).source == "procfs"


@pytest.mark.parametrize("cut", [1, 3, 5, 9])
def test_a_cut_line_of_proc_net_tcp_is_a_parse_error(cut: int) -> None:
    """A line that ends early is refused with its number."""
    header, line, *_ = TCP4.splitlines()
    with pytest.raises(ParseError, match="line 2"):
        parse_tables(f"{header}\n{' '.join(line.split()[:cut])}\n", "")


@given(st.frozensets(st.integers(0, 65535)))
def test_port_lists_survive_a_round_trip(ports: frozenset[int]) -> None:
    """What format_ports writes, parse_ports reads back."""
    assert parse_ports(format_ports(ports)) == ports


@given(st.text(max_size=40))
def test_any_text_as_a_port_list_gives_ports_or_a_parse_error(text: str) -> None:
    """Ports are within 0..65535, whatever the text."""
    try:
        ports = parse_ports(text)
    except ParseError:
        return
    assert all(0 <= port <= 65535 for port in ports)


def test_owners_of_a_recorded_tree(tmp_path: Path) -> None:
    """Descriptors of a recorded tree name their process, even with a hostile name."""
    process = tmp_path / "proc" / "42"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text("evil\x1b[2Jname\n")
    (process / "status").write_text("Name:\tx\nUid:\t0\t33\t33\t33\n")
    for number, target in enumerate(["socket:[77]", "socket:[nonsense]", "/dev/null", "pipe:[5]"]):
        (process / "fd" / str(number)).symlink_to(target)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("www-data:x:33:33::/:\nbroken line\n")
    owners = collect_owners(Tree(str(tmp_path)))
    assert set(owners.by_inode) == {77}
    (owner,) = owners.by_inode[77]
    assert (owner.pid, owner.comm, owner.user) == (42, "evil\x1b[2Jname", "www-data")
    assert owner.cmdline is None
    assert owners.descriptors == {42: 4}
    assert owners.gap is None


def test_owners_of_this_process_with_its_command_line_only_when_asked() -> None:
    """The socket of this process is found; its command line is read only on request."""
    import os

    with socket.socket() as sock:
        inode = os.fstat(sock.fileno()).st_ino
        plain = collect_owners(Tree()).by_inode[inode]
        asked = collect_owners(Tree(), cmdline=True).by_inode[inode]
    assert [owner.pid for owner in plain] == [os.getpid()]
    assert plain[0].cmdline is None
    assert "python" in (asked[0].cmdline or "")
