"""The live socket table against independent readers: ss, /proc/net/sockstat, /proc/net/tcp."""

from __future__ import annotations

import re
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rstaudit.collect.sockdiag import collect_sockets
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT2,
    LISTEN,
    TIMER_KEEPALIVE,
    SocketTable,
)
from rstaudit.parse.procnet import parse_tables
from support.netns import connected, listener, settle, write_sysctl

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("netns")]

_SS_STATES = {
    "ESTAB": "ESTABLISHED", "LISTEN": "LISTEN", "TIME-WAIT": "TIME_WAIT",
    "CLOSE-WAIT": "CLOSE_WAIT", "FIN-WAIT-2": "FIN_WAIT2",
}  # fmt: skip


def ss(*options: str) -> list[list[str]]:
    """Lines of `ss`, split into words."""
    command = ["ss", "-Htan", *options]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split() for line in output.splitlines()]


@pytest.fixture
def busy_namespace(netns: None) -> Iterator[None]:  # noqa: ARG001 - the namespace must come first
    """Sockets in five states, IPv4 and IPv6; held until the test ends."""
    with ExitStack() as stack:
        for address in ("127.0.0.1", "::1"):
            _make_sockets(stack, address)
        settle()
        yield


def _make_sockets(stack: ExitStack, address: str) -> None:
    server = stack.enter_context(listener(32, 8080, address))
    for number in range(9):
        client, accepted = (stack.enter_context(end) for end in connected(server))
        if number % 3 == 0:
            client.sendall(b"x" * (number + 1))
            client.close()  # the accepted end stays in CLOSE_WAIT, this one in FIN_WAIT2
        elif number % 3 == 1:
            client.close()
            accepted.recv(1)
            accepted.close()  # TIME_WAIT


@pytest.mark.usefixtures("busy_namespace")
def test_states_agree_with_ss() -> None:
    """Sockets by state are those that `ss -tan` lists."""
    expected = Counter(_SS_STATES[words[0]] for words in ss())
    assert len(expected) == 5
    assert collect_sockets().count_by_state() == expected


@pytest.mark.usefixtures("busy_namespace")
def test_addresses_and_queues_agree_with_ss() -> None:
    """State, queues and both addresses of every socket are those of ss, row by row."""
    states = {LISTEN: "LISTEN", ESTABLISHED: "ESTAB", CLOSE_WAIT: "CLOSE-WAIT",
              FIN_WAIT2: "FIN-WAIT-2"}  # fmt: skip
    ours = Counter(
        (states[s.state], s.rqueue, s.wqueue, s.local, s.peer.replace(":0", ":*"))
        for s in collect_sockets().select(*states)
        if s.state != LISTEN
    )
    theirs = Counter(
        (state, int(rq), int(wq), local, peer)
        for state, rq, wq, local, peer, *_ in ss()
        if state not in ("LISTEN", "TIME-WAIT")
    )
    assert ours == theirs


@pytest.mark.usefixtures("busy_namespace")
def test_counts_agree_with_sockstat() -> None:
    """What sockstat calls tw are the minisockets: TIME_WAIT, and orphans in FIN_WAIT2."""
    text = Path("/proc/thread-self/net/sockstat").read_text()
    found = re.search(r"^TCP:.* tw (\d+)", text, re.MULTILINE)
    assert found
    table = collect_sockets()
    orphans = sum(sock.inode == 0 for sock in table.select(FIN_WAIT2))
    assert table.time_wait_count + orphans == int(found[1])


@pytest.mark.usefixtures("busy_namespace")
def test_the_fallback_sees_the_same_sockets() -> None:
    """`/proc/net/tcp` and `tcp6` give the same states, addresses, inodes and unread bytes."""

    def essence(table: SocketTable) -> Counter[tuple[int, str, str, int, int]]:
        every = table.select(LISTEN, ESTABLISHED, CLOSE_WAIT, FIN_WAIT2)
        return Counter((s.state, s.local, s.peer, s.inode, s.rqueue) for s in every)

    net = Path("/proc/thread-self/net")
    fallback = parse_tables((net / "tcp").read_text(), (net / "tcp6").read_text())
    table = collect_sockets()
    assert fallback.count_by_state() == table.count_by_state()
    assert essence(fallback) == essence(table)


def test_details_of_a_connection() -> None:
    """Keepalive timer, unacknowledged bytes, times and memory are read from the attributes."""
    with listener(8, 8080) as server:
        client, accepted = connected(server)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        accepted.sendall(b"12345")
        socks = {s.sport: s for s in collect_sockets().select(ESTABLISHED, details=True)}
        mine = socks[client.getsockname()[1]]
        assert mine.timer == TIMER_KEEPALIVE
        assert 7_100_000 < mine.expires_ms <= 7_200_000
        assert mine.rqueue == 5
        assert mine.info is not None
        assert mine.info.timestamps
        assert mine.info.last_data_recv < 5000
        assert mine.memory is not None
        assert mine.memory.rmem_alloc > 0
        assert mine.cookie != 0
        client.close()
        accepted.close()


def test_many_time_wait_sockets_span_datagrams() -> None:
    """Three thousand TIME_WAIT sockets, more than one datagram holds, are all counted."""
    write_sysctl("net.ipv4.tcp_tw_reuse", 0)
    with listener(64, 8080) as server:
        for _ in range(3000):
            client, accepted = connected(server)
            client.close()
            accepted.recv(1)
            accepted.close()
        table = collect_sockets()
    assert len(table.time_wait) > 5
    assert all(chunk.stride == 96 for chunk in table.time_wait), "the fast path was not taken"
    assert table.time_wait_count == sum(words[0] == "TIME-WAIT" for words in ss())


def test_a_namespace_without_sockets_gives_an_empty_table() -> None:
    """No sockets is an answer, not an error."""
    assert len(collect_sockets()) == 0
