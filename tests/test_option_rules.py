"""Rules on socket options: programs that set them badly are named, healthy ones are not."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from rstaudit.collect.host import Options, collect
from rstaudit.model.facts import Gap
from rstaudit.model.names import CLOUD, OPTIONS, OWNERS, SOCKETS
from rstaudit.model.options import OptionTable
from rstaudit.model.rule import Confidence, Outcome, Severity
from rstaudit.model.setting import PathDevice
from rstaudit.model.sockets import ESTABLISHED, LISTEN, SYN_SENT, Owner
from rstaudit.rules import linger, reuse, timeouts
from support.audit import fires, live_result, silent
from support.cli import rstaudit
from support.hosts import judge, make_context, make_host
from support.netns import connected, listener, write_sysctl
from support.processes import python_child
from support.rows import option_table, row, table_of
from support.staging import MPTCP, packet_filter

TCP_LINGER2, IP_BIND_ADDRESS_NO_PORT = 8, 24
LINGER_ZERO, LINGER_FIVE = struct.pack("ii", 1, 0), struct.pack("ii", 1, 5)

#: Two addresses of this host that do not count as "within the host".
HERE, THERE = "192.0.2.1", "192.0.2.2"

#: The rules that can say nothing without options.
FAMILY = {
    "RST113": reuse.RULES, "RST308": linger.RULES, "RST309": linger.RULES,
    "RST406": timeouts.RULES, "RST408": timeouts.RULES,
}  # fmt: skip


@pytest.fixture
def addresses() -> None:
    """`HERE` and `THERE` on loopback of the namespace that the test asked for before."""
    for address in (HERE, THERE):
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)


@contextmanager
def far_pair(server: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection from `THERE` to ``server``, with IP_BIND_ADDRESS_NO_PORT as it should be."""
    with far_client() as client:
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            yield client, accepted


def far_client() -> socket.socket:
    """A socket that will connect from `THERE`."""
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((THERE, 0))
    return client


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_a_listener_that_resets_every_connection_is_named() -> None:
    """RST308: accepted sockets inherit SO_LINGER {1,0}; without it nothing is said."""
    with listener(8, 8080) as server:
        silent("RST308")
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        finding = fires("RST308")
        assert finding.subject == "127.0.0.1:8080"
        assert (finding.evidence["listening"], finding.evidence["connections"]) == (1, 0)
        assert finding.evidence["pid"] == os.getpid()
        client, accepted = connected(server)
        assert fires("RST308").evidence["connections"] == 1, "the accepted end inherited it"
        accepted.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        client.close()


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_lingering_connections() -> None:
    """RST308: time 0 on a connection is a warning, a positive time information, off nothing."""
    with listener(8, 8080) as server:
        client, accepted = connected(server)
        silent("RST308")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_FIVE)
        finding = fires("RST308")
        assert finding.evidence["linger_seconds"] == 5
        assert live_result("RST308").severity is Severity.INFO
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        assert fires("RST308").evidence["connections"] == 1
        assert live_result("RST308").severity is Severity.WARNING
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        silent("RST308")
        client.close()
        accepted.close()


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_negative_linger2() -> None:
    """RST309 names sockets that skip FIN_WAIT2; a time of their own is no fault."""
    with listener(8, 8080) as server:
        server.setsockopt(socket.IPPROTO_TCP, TCP_LINGER2, 5)
        silent("RST309")
        server.setsockopt(socket.IPPROTO_TCP, TCP_LINGER2, -1)
        finding = fires("RST309")
        assert (finding.evidence["sockets"], finding.evidence["listeners"]) == (1, 1)


@pytest.mark.live
@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_listener_that_cannot_be_restarted(address: str) -> None:
    """RST113 counts TIME_WAIT on the port; its prediction comes true; SO_REUSEADDR silences it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    target = address.replace("0.0.0.0", "127.0.0.1")
    with socket.socket(family) as server:
        server.bind((address, 8080))
        server.listen()
        silent("RST113")
        for _ in range(3):
            client = socket.create_connection((target, 8080))
            server.accept()[0].close()  # the server closes first
            assert client.recv(1) == b""
            client.close()
        finding = fires("RST113")
        assert finding.evidence["time_wait"] == 3
        assert finding.evidence["pid"] == os.getpid()
    with socket.socket(family) as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="Address already in use"):
            again.bind((address, 8080))


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_a_listener_with_reuseaddr_can_be_restarted() -> None:
    """RST113 is silent with SO_REUSEADDR, and where only clients hold TIME_WAIT."""
    with listener(8, 8080) as server, socket.socket() as bare:
        bare.bind(("127.0.0.1", 8081))
        bare.listen()
        for where, first in ((server, 1), (bare, 0)):
            ends = connected(where)
            ends[first].close()
            ends[1 - first].recv(1)
            ends[1 - first].close()
        silent("RST113")


@pytest.mark.live
@pytest.mark.usefixtures("netns", "addresses")
def test_keepalive_later_than_the_path() -> None:
    """RST408 fires from the path's idle time on; not below, not without keepalive."""
    with listener(8, 8080, HERE) as server, far_pair(server) as (client, accepted):
        silent("RST408", path_idle=60)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert fires("RST408", path_idle=60).evidence["keepidle"] == 7200
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        finding = fires("RST408", path_idle=60)
        assert (finding.evidence["keepidle"], finding.evidence["connections"]) == (60, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 59)
        silent("RST408", path_idle=60)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        write_sysctl("net.ipv4.tcp_keepalive_time", 50)
        silent("RST408", path_idle=60)


def test_keepalive_needs_a_known_path() -> None:
    """Without --path-idle and outside a known cloud there is nothing to compare with."""
    table = option_table({1: {"keepalive": True, "keepidle": 300}})
    far = row(ESTABLISHED, "192.0.2.1", 40000, "198.51.100.1", 6379, inode=1)
    facts = {OPTIONS: table, SOCKETS: table_of(far), OWNERS: {1: (Owner(7, "redis", "redis"),)}}
    unknown = make_host(facts={**facts, CLOUD: ""})
    assert judge(timeouts.RULES, "RST408", unknown).outcome is Outcome.NOT_APPLICABLE
    device = PathDevice("Azure load balancer", 240, "drop", "test")
    azure = make_context(make_host(facts={**facts, CLOUD: "azure"}), devices=(device,))
    assert judge(timeouts.RULES, "RST408", azure).findings[0].evidence["path_idle"] == 240


@pytest.mark.live
@pytest.mark.usefixtures("netns", "addresses")
def test_a_send_timeout_below_the_retry_of_a_syn() -> None:
    """RST406: while connecting a warning, later information; SO_RCVTIMEO and 3 s are no fault."""
    with listener(8, 8080, HERE) as server, far_pair(server) as (client, _):
        timeout = struct.pack("ll", 0, 300_000)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        silent("RST406")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 3, 0))
        silent("RST406")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        finding = fires("RST406")
        assert finding.evidence["send_timeout_ms"] == 300
        assert live_result("RST406").severity is Severity.INFO
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 0))
        with packet_filter("tcp dport 8081 drop"), far_client() as hasty:
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            begin = time.monotonic()
            with pytest.raises(BlockingIOError):  # EINPROGRESS
                hasty.connect((HERE, 8081))
            assert 0.25 < time.monotonic() - begin < 0.9
            finding = fires("RST406")
            assert finding.evidence["connecting"] == 1
            assert finding.evidence["pid"] == os.getpid()
            assert live_result("RST406").severity is Severity.WARNING


def test_a_send_timeout_below_the_round_trip() -> None:
    """RST406 uses the round trip of other connections to the same peer."""
    near = row(ESTABLISHED, "192.0.2.1", 40000, "198.51.100.1", 80, inode=1, rtt_ms=1500)
    away = row(SYN_SENT, "192.0.2.1", 40001, "198.51.100.1", 443, inode=2)
    facts = {
        SOCKETS: table_of(near, away),
        OWNERS: {i: (Owner(7, "app", "app"),) for i in (1, 2)},
    }

    def judged(timeout: int) -> tuple[Outcome, object]:
        found = option_table({1: {}, 2: {"send_timeout_ms": timeout}})
        host = make_host(facts={**facts, OPTIONS: found})
        result = judge(timeouts.RULES, "RST406", host)
        trip = result.findings[0].evidence["round_trip_ms"] if result.findings else None
        return result.outcome, trip

    assert judged(1400) == (Outcome.FAIL, 1500)
    assert judged(1600) == (Outcome.PASS, None)


@pytest.mark.live
@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize("kernel_tells", [True, False])
def test_binding_before_connecting(kernel_tells: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """RST114 recognises eight ports that bind() chose; connect() and NO_PORT are no fault."""
    if not kernel_tells:  # as before 5.10: only the process's socket knows of the option
        monkeypatch.setattr("rstaudit.model.sockets.ATTR_SOCKOPT", 0x3FFE)

    def client(*, bind: bool, no_port: bool = False) -> socket.socket:
        end = socket.socket()
        end.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, no_port)
        if bind:
            end.bind(("127.0.0.1", 0))
        end.connect(("127.0.0.1", 8080))
        return end

    with listener(64, 8080):
        ends = [client(bind=True) for _ in range(7)]
        silent("RST114")
        ends.append(client(bind=True))
        finding = fires("RST114")
        assert (finding.subject, finding.evidence["ports"]) == ("127.0.0.1", 8)
        assert finding.evidence["pid"] == os.getpid()
        assert finding.confidence is Confidence.LIKELY
        for end in ends:
            end.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        silent("RST114")
        for how in ({"bind": False}, {"bind": True, "no_port": True}):
            for end in ends:
                end.close()
            ends = [client(**how) for _ in range(20)]
            silent("RST114")
        for end in ends:
            end.close()


def test_passive_ports_of_a_server_are_not_bound_by_a_client() -> None:
    """RST114: accepted connections on ports that bind() chose go to as many ports at the peers."""
    owner = Owner(7, "app", "app")

    def judged(peer_ports: list[int], high: int = 60999) -> tuple[Outcome, Severity]:
        rows = [
            row(ESTABLISHED, "192.0.2.1", 32769 + 2 * i, "198.51.100.1", port, inode=i + 1)
            for i, port in enumerate(peer_ports)
        ]
        facts = {
            SOCKETS: table_of(*rows),
            OWNERS: {i + 1: (owner,) for i in range(len(rows))},
            OPTIONS: option_table({1: {}}),
        }
        values = {
            "net.ipv4.ip_local_port_range": f"32768 {high}", "net.ipv4.ip_local_reserved_ports": "",
            "net.ipv4.tcp_tw_reuse": 2, "net.ipv4.tcp_timestamps": 1,
        }  # fmt: skip
        result = judge(reuse.RULES, "RST114", make_host(facts=facts, sysctls=values))
        return result.outcome, result.severity

    assert judged([80] * 8) == (Outcome.FAIL, Severity.INFO)
    assert judged([80, 443] * 4) == (Outcome.FAIL, Severity.INFO)
    assert judged([80] * 8, high=32768 + 79) == (Outcome.FAIL, Severity.WARNING)
    assert judged([40000 + i for i in range(8)])[0] is Outcome.PASS
    assert judged([80] * 7)[0] is Outcome.PASS


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_connections_that_are_not_reused() -> None:
    """RST115 names the destination, and the process when it alone has a connection to it."""
    with listener(64, 8080) as server:
        kept = connected(server)
        silent("RST115")
        for _ in range(500):
            client, accepted = connected(server)
            client.close()
            accepted.recv(1)
            accepted.close()
        finding = fires("RST115")
        assert finding.subject == "127.0.0.1 -> 127.0.0.1:8080"
        assert finding.evidence["time_wait"] == 500
        assert finding.evidence["pid"] == os.getpid()
        code = "import socket; end = socket.create_connection(('127.0.0.1', 8080))"
        with python_child(code):
            assert "pid" not in fires("RST115").evidence
        for end in kept:
            end.close()


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_a_server_that_closes_first_is_not_a_client_without_reuse() -> None:
    """RST115 leaves TIME_WAIT on a listening port alone."""
    with listener(64, 8080) as server:
        for _ in range(510):
            client, accepted = connected(server)
            accepted.close()
            client.recv(1)
            client.close()
        silent("RST115")


@pytest.mark.live
@pytest.mark.usefixtures("netns", "addresses")
def test_keepalive_or_a_user_timeout_protects_an_idle_connection() -> None:
    """RST403 asks the sockets: TCP_USER_TIMEOUT shows in no timer, and counts."""
    with listener(8, 8080, HERE) as server, far_pair(server) as (client, accepted):
        time.sleep(1.1)
        assert fires("RST403", path_idle=1).evidence["sockets"] == 2
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
        assert fires("RST403", path_idle=1).evidence["sockets"] == 1
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        silent("RST403", path_idle=1)


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_a_reuseport_group_is_confirmed_by_its_sockets() -> None:
    """RST209: one listener for each interface is no group, SO_REUSEPORT makes one."""
    subprocess.run(["ip", "link", "add", "veth0", "type", "veth", "peer", "veth1"], check=True)
    ends = [socket.socket() for _ in range(2)]
    for end, device in zip(ends, (b"lo", b"veth0"), strict=True):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        end.bind(("0.0.0.0", 8080))
        end.listen()
    silent("RST209")
    for end in ends:
        end.close()
    ends = [socket.socket() for _ in range(2)]
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        end.bind(("0.0.0.0", 8080))
        end.listen()
    assert fires("RST209").evidence["listeners"] == 2
    for end in ends:
        end.close()


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_options_switched_off_are_a_gap() -> None:
    """--no-socket-options: not read, and the rules that need them say so instead of passing."""
    with listener(8, 8080) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        host = collect(Options(interval=0, socket_options=False))
    assert host.gaps[OPTIONS.name].reason == "excluded"
    for rule in ("RST113", "RST308", "RST309"):
        result = judge(FAMILY[rule], rule, host)
        assert result.outcome is Outcome.UNKNOWN
        assert "--no-socket-options" in (result.reason or "")


@pytest.mark.live
@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize("arguments", [(), ("--no-socket-options",)])
def test_the_command_reads_options_unless_told_not_to(arguments: tuple[str, ...]) -> None:
    """The report of the command shows the finding, or why there is none."""
    with listener(8, 8080) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        only = ("--only", "RST308", "--interval", "0", "--format", "json")
        done = rstaudit(*only, *arguments)
    (host,) = json.loads(done.stdout)["hosts"]
    (result,) = host["results"]
    assert result["outcome"] == ("unknown" if arguments else "fail")
    excluded = [gap for gap in host["gaps"] if gap["reason"] == "excluded"]
    assert [gap["fact"] for gap in excluded] == (["options"] if arguments else [])


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_only_tcp_sockets_of_this_namespace_are_asked() -> None:
    """Sockets of other kinds and of other namespaces are never duplicated; shared ones once."""
    with listener(8, 8080) as server, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 8080))
        server.set_inheritable(True)
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
        try:
            table = collect(Options(interval=0)).need(OPTIONS)
        finally:
            child.kill()
            child.wait()
    assert (table.wanted, table.read, table.denied) == (1, 1, 0)


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_a_thread_with_descriptors_of_its_own_is_found() -> None:
    """Its process is named; its options cannot be read, and the rules admit that."""
    code = """if True:
        import ctypes, socket, threading
        ready = threading.Event()
        def work():
            ctypes.CDLL(None).unshare(0x400)  # CLONE_FILES
            server = socket.create_server(("127.0.0.1", 8080))
            ready.set()
            threading.Event().wait()
        threading.Thread(target=work, daemon=True).start()
        ready.wait()
    """
    with python_child(code) as child:
        host = collect(Options(interval=0))
        (server,) = host.need(SOCKETS).select(LISTEN)
        assert [owner.pid for owner in host.need(OWNERS)[server.inode]] == [child.pid]
        result = judge(linger.RULES, "RST308", host)
    assert result.outcome is Outcome.UNKNOWN
    assert "1 more are in the descriptor tables of single threads" in (result.reason or "")


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_a_socket_passed_to_another_process_belongs_to_that() -> None:
    """After SCM_RIGHTS and close() the receiver is named, with its own pid."""
    code = """if True:
        import socket, sys
        way = socket.socket(fileno=int(sys.argv[1]))
        data, received, _, _ = socket.recv_fds(way, 1, 1)
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        theirs.set_inheritable(True)
        server = listener(8, 8080)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        socket.send_fds(ours, [b"x"], [server.fileno()])
        server.close()
        with python_child(code, str(theirs.fileno()), pass_fds=(theirs.fileno(),)) as child:
            assert fires("RST308").evidence["pid"] == child.pid


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_an_mptcp_socket_is_read_as_any_other() -> None:
    """Its options come from the MPTCP socket, under the inode that the subflow shows."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP) as server:
        server.bind(("127.0.0.1", 8080))
        server.listen()
        silent("RST308")
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        assert fires("RST308").evidence["pid"] == os.getpid()


@pytest.mark.parametrize("reason", ["sampled", "permission"])
@pytest.mark.parametrize("rule", FAMILY)
def test_silence_of_a_sample_is_not_a_pass(rule: str, reason: str) -> None:
    """Where sockets were left out, a rule that found nothing is unknown, with that reason."""
    gap = Gap(OPTIONS.name, reason, "1 of 2 sockets were read")
    facts = {OPTIONS: option_table({1: {}}), SOCKETS: table_of(), OWNERS: {}}
    context = make_context(make_host(facts=facts, gaps=[gap]), path_idle=60)
    result = judge(FAMILY[rule], rule, context)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "1 of 2 sockets were read")


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_a_budget_that_runs_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gap says how many of how many sockets were read, and what was read is kept."""
    from rstaudit.collect import options as collected
    from rstaudit.collect.sockopts import Budget

    monkeypatch.setattr(collected, "Budget", lambda: Budget(sockets=5))
    with listener(64, 8080) as server:
        pairs = [connected(server) for _ in range(10)]
        host = collect(Options(interval=0))
        for pair in pairs:
            for end in pair:
                end.close()
    table: OptionTable = host.need(OPTIONS)
    assert (table.read, table.wanted) == (5, 21)
    assert host.gaps[OPTIONS.name] == Gap(
        "options", "sampled", "5 of 21 sockets were read: the budget of time or number ran out"
    )


@pytest.mark.live
@pytest.mark.usefixtures("netns")
def test_processes_that_die_meanwhile_are_left_out() -> None:
    """Children that come and go during the audit make neither an error nor a gap."""
    code = "import socket; ends = [socket.create_server(('127.0.0.1', 0)) for _ in range(20)]"
    for _ in range(5):
        with python_child(code) as child:
            with suppress(ProcessLookupError):
                os.kill(child.pid, 9)
            host = collect(Options(interval=0))
            assert OPTIONS.name not in host.gaps
