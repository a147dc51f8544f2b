from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st

from rstaudit.parse.local_addresses import parse_fib_trie, parse_if_inet6
from rstaudit.parse.reset_event import SEND, Event
from rstaudit.watch.order import Backlog, Order
from rstaudit.watch.places import acts
from rstaudit.watch.samples import Sampled, Samples, moves, read_counters

_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/30 2 0 2
        |-- 192.0.2.0
           /30 link UNICAST
        |-- 192.0.2.2
           /32 link UNICAST
           /32 host LOCAL
        |-- 192.0.2.3
           /32 link BROADCAST
"""


def at(time: int, cpu: int = 0) -> Event:
    """An event at a time."""
    return Event(time, cpu, SEND, False, 1, 1, 2, b"", 0, b"", 0)


def sample(time: int, resets: int, more: int = 0) -> Sampled:
    """Counters at a time."""
    return Sampled(time, ("Tcp.OutRsts", "TcpExt.TCPAbortOnData"), (resets, more))


@given(st.lists(st.lists(st.integers(0, 1000), max_size=20).map(sorted), max_size=4))
def test_events_of_all_processors_come_in_order(times: list[list[int]]) -> None:
    """Whatever each processor hands over, the whole is sorted; what is too young stays."""
    order = Order()
    for cpu, several in enumerate(times):
        order.add(at(time, cpu) for time in several)
    taken = order.take(500)
    assert [event.time_ns for event in taken] == sorted(t for s in times for t in s if t < 500)
    assert len(order) == sum(len(several) for several in times) - len(taken)


def test_the_backlog_serves_who_is_furthest_behind() -> None:
    """Pages are taken in the order of time; nothing is final before every processor is there."""
    backlog = Backlog()
    for cpu, page in ((0, b"a"), (0, b"b"), (1, b"c")):
        backlog.add(cpu, page)
    assert backlog.next() == (0, b"a")
    backlog.reached(0, 700)
    assert backlog.next() == (1, b"c")
    assert backlog.horizon(1000) == 700
    assert backlog.next() == (0, b"b")
    assert backlog.horizon(1000) == 1000
    assert backlog.count == 0


def test_counters_around_a_reset() -> None:
    """What moved between the samples on both sides of it, and how many resets went meanwhile."""
    samples = Samples()
    for taken in (sample(0, 5), sample(10**6, 5, 7), sample(3 * 10**6, 8, 9)):
        samples.add(taken)
    for time in (15 * 10**5, 16 * 10**5, 20 * 10**5):
        samples.sent(time)
    around = samples.around(16 * 10**5, seen_ns=10**9)
    assert around is not None
    assert around.start_ns == 10**6
    assert around.counters == {"Tcp.OutRsts": 3, "TcpExt.TCPAbortOnData": 2}
    assert around.resets == 3


def test_counters_since_the_connection_ended() -> None:
    """What the end of the connection moved is part of it, as far back as there are samples."""
    samples = Samples()
    for taken in (sample(10**6, 0), sample(2 * 10**6, 0, 1), sample(9 * 10**6, 1, 1)):
        samples.add(taken)
    reset, ended = 8 * 10**6, 15 * 10**5
    near, far = samples.around(reset, 10**9), samples.around(reset, 10**9, ended)
    assert near is not None
    assert far is not None
    assert (near.start_ns, near.counters) == (2 * 10**6, {"Tcp.OutRsts": 1})
    assert (far.start_ns, far.counters) == (10**6, {"Tcp.OutRsts": 1, "TcpExt.TCPAbortOnData": 1})
    oldest = samples.around(reset, 10**9, 5)
    assert oldest is not None
    assert oldest.start_ns == 10**6
    assert samples.around(5, 10**9, 4) is None


def test_counters_prove_nothing_without_a_sample_on_each_side() -> None:
    """Before the first sample, after the last, or ahead of what was seen: nothing is said."""
    samples = Samples()
    assert samples.around(5, seen_ns=9) is None
    samples.add(sample(10**6, 1))
    samples.add(sample(2 * 10**6, 2))
    assert samples.around(10**5, seen_ns=10**9) is None
    assert samples.around(3 * 10**6, seen_ns=10**9) is None
    assert samples.around(15 * 10**5, seen_ns=18 * 10**5) is None
    assert samples.around(15 * 10**5, seen_ns=2 * 10**6) is not None


def test_samples_are_bounded() -> None:
    """However long it goes on, little is kept."""
    samples = Samples()
    for time in range(50_000):
        samples.add(sample(time * 10**6, time))
        samples.sent(time * 10**6 + 1)
    assert len(samples._samples) == len(samples._times) <= 256
    assert len(samples._sent) <= 20_000
    around = samples.around(49_990 * 10**6 + 1, seen_ns=10**12)
    assert around is not None
    assert around.counters == {"Tcp.OutRsts": 1}


def test_counters_of_the_files() -> None:
    """The groups that tell of resets, in names as nstat has them with a dot."""
    snmp = "Ip: Forwarding DefaultTTL\nIp: 1 64\nUdp: InDatagrams\nUdp: 9\nTcp: OutRsts\nTcp: 3\n"
    read = read_counters(5, snmp, "TcpExt: A B\nTcpExt: 1 2\nIpExt: C\nIpExt: 4\n")
    assert dict(zip(read.names, read.values, strict=True)) == {
        "Ip.Forwarding": 1, "Ip.DefaultTTL": 64, "Tcp.OutRsts": 3, "TcpExt.A": 1, "TcpExt.B": 2,
    }  # fmt: skip


def test_lines_of_another_form_are_left_out() -> None:
    """Names and values that do not match are not paired."""
    assert read_counters(5, "Tcp: A B\nTcp: 1\n", "garbage").names == ()


def test_counters_of_another_kernel_do_not_move() -> None:
    """Two samples with other names have no difference."""
    assert moves(sample(0, 1), Sampled(1, ("Tcp.OutRsts",), (5,))) == {}


def test_local_addresses_are_those_marked_local() -> None:
    """Of the routes only host LOCAL ones; of IPv6 the addresses of interfaces."""
    assert parse_fib_trie(_TRIE) == {socket.inet_aton("192.0.2.2")}
    text = "20010db8000000000000000000000001 02 40 00 80     eth0\nshort 1\n" + "z" * 32 + " 1\n"
    assert parse_if_inet6(text) == {socket.inet_pton(socket.AF_INET6, "2001:db8::1")}


@given(st.text(max_size=200))
def test_any_text_has_some_addresses(text: str) -> None:
    """No text makes the parsers fail."""
    assert parse_fib_trie(_TRIE + text) >= {socket.inet_aton("192.0.2.2")}
    parse_if_inet6(text)


def test_an_answer_is_nobodys_act() -> None:
    """Whoever writes to a tun device brings segments in, and answers go out in its thread."""
    own = at(1)._replace(state="CLOSE", reason="TCP_ABORT_ON_CLOSE")
    assert acts(own)
    assert not acts(own._replace(irq=True))
    assert not acts(own._replace(state="LISTEN", reason="INVALID_SYN"))
    assert not acts(own._replace(state="UNKNOWN", reason="NO_SOCKET"))
    assert not acts(own._replace(state="LISTEN", reason=None))
