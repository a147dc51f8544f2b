"""Sockets given to their holders, chosen and counted, from tables made by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rstaudit.model.facts import Gap, HostState, MissingFact
from rstaudit.model.listing import Chosen, Waiting
from rstaudit.model.names import HELD, OWNERS, SOCKETS
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT2,
    TIME_WAIT,
    Owner,
)
from rstaudit.parse.socket_filter import parse_peer, parse_ports
from rstaudit.report.layout import plain
from rstaudit.report.sockets import duration, render
from rstaudit.report.sockets_json import render as render_json
from rstaudit.rules.listing import listing
from support.hosts import make_host
from support.rows import listen_row, row, table_of
from test_report_json import validate

WEB = Owner(12, "nginx", "www-data", unit="nginx.service", container="docker:0123456789ab")
JOB = Owner(90, "job", "root")
PORTS = {"net.ipv4.ip_local_port_range": "32768 60999"}


def made(*packed: bytes, **parts: Any) -> HostState:
    """A host where nginx holds inodes 1 and 2 (port 443), and job holds 3 and, with nginx, 4."""
    owners = {1: (WEB,), 2: (WEB,), 3: (JOB,), 4: (JOB, WEB)}
    held = {12: {5: 1, 6: 2, 9: 4}, 90: {3: 3, 4: 4, 7: 4}}
    facts = {SOCKETS: table_of(*packed), OWNERS: owners, HELD: held}
    return make_host(**{"facts": facts, "sysctls": PORTS, **parts})


def connection(inode: int = 0, state: int = ESTABLISHED, **more: Any) -> bytes:
    """A connection to nginx."""
    return row(state, "192.0.2.1", 443, "198.51.100.7", 40000 + inode, inode=inode, **more)


def shown(host: HostState, **chosen: Any) -> list[tuple[str, str, int]]:
    """Holder, process and number of sockets of each group."""
    groups = listing(host, Chosen(**chosen)).groups
    return [(g.holder, g.owner.comm if g.owner else "", len(g.entries)) for g in groups]


def test_each_socket_has_its_holder() -> None:
    """A process, the process that has to accept it, nobody, or somebody who is not seen."""
    host = made(
        listen_row(443, queue=1, inode=1), connection(2), connection(0),
        connection(0, FIN_WAIT2), connection(77),
    )  # fmt: skip
    assert shown(host) == [
        ("process", "nginx", 1), ("process", "nginx", 1), ("unaccepted", "nginx", 1),
        ("orphan", "", 1), ("unseen", "", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("packed", [[], [listen_row(443, queue=0, inode=1)]])
def test_no_inode_is_not_enough_to_be_in_an_accept_queue(packed: list[bytes]) -> None:
    """There must be a listener with something in its queue; a subflow of MPTCP has none."""
    assert ("unseen", "", 1) in shown(made(*packed, connection(0)))


@pytest.mark.parametrize(
    "word", ["nginx.service", "nginx", "ngin?", "docker:0123456789ab", "0123456789ab", "docker:*"]
)
def test_a_unit_or_a_container_by_its_name(word: str) -> None:
    """With wildcards, and without what can be left out."""
    host = made(connection(2), connection(3))
    assert shown(host, units=(word,)) == [("process", "nginx", 1)]
    assert shown(host, units=("ngin",)) == []


def test_a_shared_socket_stands_under_the_process_that_was_asked_for() -> None:
    """Else under the lowest pid; with all descriptors of that process, and the others named."""
    host = made(connection(4))
    (group,) = listing(host, Chosen()).groups
    assert (group.owner, group.entries[0].fds, group.entries[0].others) == (WEB, (9,), (90,))
    (group,) = listing(host, Chosen(pids=frozenset({90}))).groups
    assert (group.owner, group.entries[0].fds, group.entries[0].others) == (JOB, (4, 7), (12,))


def test_time_wait_is_told_apart_by_who_connected() -> None:
    """A listener's port, or one that connect() would not choose: accepted; else opened."""
    waiting = [
        row(TIME_WAIT, "192.0.2.1", 443, "198.51.100.7", 40000),
        row(TIME_WAIT, "192.0.2.1", 443, "198.51.100.8", 40000),
        row(TIME_WAIT, "192.0.2.1", 40001, "198.51.100.9", 5432),
        row(TIME_WAIT, "2001:db8::1", 50000, "2001:db8::9", 5432),
        row(TIME_WAIT, "192.0.2.1", 50001, "198.51.100.9", 5432),
    ]
    host = made(listen_row(40001), *waiting)
    assert listing(host, Chosen()).time_wait == (
        Waiting("192.0.2.1:443", None, 2),
        Waiting("192.0.2.1", "198.51.100.9:5432", 1),
        Waiting("192.0.2.1:40001", None, 1),
        Waiting("[2001:db8::1]", "[2001:db8::9]:5432", 1),
    )
    one = listing(host, Chosen(peers=(parse_peer("198.51.100.9"),), ports=(parse_ports("5432"),)))
    assert [entry.sockets for entry in one.time_wait] == [1, 1]
    assert (one.shown, one.total) == (2, 6)
    assert listing(host, Chosen(pids=frozenset({12}))).time_wait == ()


def test_little_is_known_and_little_is_said() -> None:
    """Without owners, descriptors, options and sysctls, from /proc/net/tcp: rows and reasons."""
    table = table_of(listen_row(443, inode=1), connection(2, CLOSE_WAIT), source="procfs")
    gaps = [Gap("owners", "permission", "run as root"), Gap("firewall", "absent", "none")]
    found = listing(make_host(facts={SOCKETS: table}, gaps=gaps), Chosen())
    assert [group.holder for group in found.groups] == ["unseen", "unseen"]
    assert [gap.fact for gap in found.gaps] == ["owners"]
    text = plain(render(found, 80, 10))
    assert "held by a process that cannot be seen from here" in text
    assert "run as root" in text
    validate("sockets", json.loads(render_json(found)))


def test_without_a_table_there_is_no_listing() -> None:
    """The reason comes along."""
    with pytest.raises(MissingFact, match="refused"):
        listing(make_host(gaps=[Gap("sockets", "unsupported", "refused")]), Chosen())


def test_listeners_come_first_and_the_rest_in_order() -> None:
    """Within a process: LISTEN, then the life of a connection."""
    host = made(connection(2, CLOSE_WAIT), connection(2), listen_row(443, inode=1))
    assert [group.state for group in listing(host, Chosen()).groups] == [
        "LISTEN", "ESTABLISHED", "CLOSE_WAIT"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(0, "0 ms"), (999, "999 ms"), (1000, "1 s"), (119_999, "119 s"), (120_000, "2 min"),
     (7_199_999, "119 min"), (7_200_000, "2 h"), (172_800_000, "2 d")],
)  # fmt: skip
def test_a_duration_is_short(milliseconds: int, words: str) -> None:
    """Rounded down."""
    assert duration(milliseconds) == words
