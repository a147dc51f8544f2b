"""Counters and the namespace they belong to, over the real kernel."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from rstaudit.collect.counters import sample
from rstaudit.collect.netns import find_netns, is_initial
from rstaudit.collect.tree import Tree
from rstaudit.parse.procfs import parse_uptime
from support.netns import connected, listener, network_namespace


def nstat() -> dict[str, int]:
    """What nstat says: names run together, ``TcpExtTCPAbortOnData``."""
    shown = subprocess.run(["nstat", "-asz", "--json"], capture_output=True, check=True)
    counters: dict[str, int] = json.loads(shown.stdout)["kernel"]
    return counters


@pytest.mark.live
def test_counters_are_those_of_nstat() -> None:
    """In a namespace where nothing moves, every counter that both read is equal."""
    with network_namespace():
        server = listener()
        client, accepted = connected(server)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        client.close()
        server.close()
        ours, gaps = sample(Tree())
        theirs = nstat()
    assert not gaps
    assert ours.values["TcpExt.TCPAbortOnData"] == 1
    assert ours.values["Tcp.OutRsts"] == 1
    flat = {name.replace(".", "", 1): value for name, value in ours.values.items()}
    common = flat.keys() & theirs.keys()
    assert len(common) > 150
    assert {name: flat[name] for name in common} == {name: theirs[name] for name in common}


@pytest.mark.live
def test_sockstat_counts_what_is_there() -> None:
    """One listener and both ends of a connection; TIME_WAIT after an orderly close."""
    with network_namespace():
        server = listener()
        ends = connected(server)
        first = sample(Tree())[0].values
        for end in ends:
            end.close()
        server.close()
        second = sample(Tree())[0].values
    assert first["sockstat.TCP.inuse"] == 3
    assert first["sockstat6.TCP6.inuse"] == 0
    assert (second["sockstat.TCP.inuse"], second["sockstat.TCP.tw"]) == (0, 1)


def test_an_unreadable_file_takes_only_its_own_counters(tmp_path: Path) -> None:
    """Damage in one file and absence of another are gaps by group; the rest is kept."""
    net = tmp_path / "proc/net"
    net.mkdir(parents=True)
    (net / "snmp").write_text("Tcp: OutRsts\nTcp: 5\n")
    (net / "netstat").write_text("TcpExt: A B\n")
    counters, gaps = sample(Tree(str(tmp_path)))
    assert counters.values == {"Tcp.OutRsts": 5}
    reasons = {name: gap.reason for name, gap in gaps.items()}
    assert reasons == {
        "counter:TcpExt": "malformed",
        "counter:MPTcpExt": "malformed",
        "counter:sockstat": "not-recorded",
        "counter:sockstat6": "not-recorded",
    }


def test_the_initial_namespace_counts_since_boot() -> None:
    """Here the counters are as old as the machine."""
    netns = find_netns(Tree(), 1234.5)
    assert netns.initial is True
    assert (netns.label, netns.age) == ("initial", 1234.5)


@pytest.mark.live
def test_a_namespace_is_as_old_as_its_oldest_process() -> None:
    """Its own id and the age of a child in it; without one, nobody knows."""
    tree = Tree()
    with network_namespace():
        alone = find_netns(tree, parse_uptime(tree.text("/proc/uptime")))
        child = subprocess.Popen(["sleep", "60"])
        try:
            time.sleep(1.1)
            netns = find_netns(tree, parse_uptime(tree.text("/proc/uptime")))
        finally:
            child.kill()
            child.wait()
        here = os.readlink("/proc/self/ns/net")
    assert alone.age is None
    assert netns.initial is False
    assert netns.label == netns.id == here
    assert netns.age is not None
    assert 1.0 <= netns.age < 30


def test_recorded_trees_are_taken_for_hosts(tmp_path: Path) -> None:
    """Unless they hold net.core without the keys of the initial namespace."""
    assert is_initial(Tree(str(tmp_path))) is True
    core = tmp_path / "proc/sys/net/core"
    core.mkdir(parents=True)
    assert is_initial(Tree(str(tmp_path))) is None
    (core / "netdev_max_backlog").write_text("1000\n")
    assert is_initial(Tree(str(tmp_path))) is True
