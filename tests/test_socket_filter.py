"""What the user types to choose sockets: states, ports, peers, processes, units."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rstaudit.model.listing import Chosen, address_number
from rstaudit.model.sockets import CLOSE_WAIT, ESTABLISHED, LISTEN, STATE_NAMES, TIME_WAIT
from rstaudit.parse.errors import ParseError
from rstaudit.parse.socket_filter import (
    parse_peer,
    parse_pid,
    parse_ports,
    parse_state,
    parse_unit,
)
from support.rows import row

PARSERS = (parse_peer, parse_pid, parse_ports, parse_state, parse_unit)


@pytest.mark.parametrize(
    "text", ["close-wait", "CLOSE_WAIT", "Close-Wait", "TCP_CLOSE_WAIT", "closewait"]
)
def test_a_state_may_be_spelled_as_ss_or_as_the_kernel_does(text: str) -> None:
    """Case, hyphens, underscores and the kernel's prefix make no difference."""
    assert parse_state(text) == {CLOSE_WAIT}


def test_every_name_of_a_state_is_known() -> None:
    """The kernel's names, what ss prints, and what ss takes as a filter."""
    for number, name in STATE_NAMES.items():
        assert number in parse_state(name)
    printed = ("ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN",
               "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING")  # fmt: skip
    taken = ("established", "closed", "listening", "fin-wait-1")
    assert all(parse_state(word) for word in printed + taken)
    assert parse_state("SYN_RECV") == {3, 12}
    assert ESTABLISHED in parse_state("connected")
    assert LISTEN not in parse_state("connected")
    assert TIME_WAIT in parse_state("bucket")
    assert parse_state("all") == set(STATE_NAMES)


#: A filter, peers that it takes, peers that it leaves.
PEERS = [
    ("192.0.2.7", ["192.0.2.7:1", "::ffff:192.0.2.7:1"], ["192.0.2.8:1", "2001:db8::7:1"]),
    ("192.0.2.7:443", ["192.0.2.7:443", "::ffff:192.0.2.7:443"], ["192.0.2.7:444"]),
    ("192.0.2.0/24", ["192.0.2.255:1", "::ffff:192.0.2.1:1"], ["192.0.3.0:1"]),
    ("192.0.2.77/24", ["192.0.2.1:1"], ["192.0.3.0:1"]),
    ("192.0.2.0/24:80", ["192.0.2.1:80"], ["192.0.2.1:81", "192.0.3.0:80"]),
    ("0.0.0.0/0", ["203.0.113.1:1"], ["2001:db8::1:1"]),
    ("::ffff:192.0.2.7", ["192.0.2.7:1"], ["192.0.2.8:1"]),
    ("2001:db8::1", ["2001:db8::1:1"], ["2001:db8::2:1", "192.0.2.7:1"]),
    ("[2001:db8::1]", ["2001:db8::1:1"], ["2001:db8::2:1"]),
    ("[2001:db8::1]:443", ["2001:db8::1:443"], ["2001:db8::1:444"]),
    ("2001:db8::/32", ["2001:db8:1::1:5"], ["2001:db9::1:5"]),
    ("[2001:db8::/32]:443", ["2001:db8:1::1:443"], ["2001:db8:1::1:5"]),
]


@pytest.mark.parametrize(("text", "taken", "left"), PEERS)
def test_a_peer_is_an_address_a_block_or_either_with_a_port(
    text: str, taken: list[str], left: list[str]
) -> None:
    """IPv4 matches in an IPv6 socket too."""
    chosen = Chosen(peers=(parse_peer(text),))

    def accepts(peer: str) -> bool:
        address, _, port = peer.rpartition(":")
        source = "::1" if ":" in address else "127.0.0.1"
        return chosen.accepts_row(row(ESTABLISHED, source, 9, address, int(port)), 0)

    assert all(map(accepts, taken))
    assert not any(map(accepts, left))


def test_a_port_is_local_or_remote_and_may_be_a_range() -> None:
    """Either end counts."""
    assert parse_ports("443") == range(443, 444)
    assert parse_ports("8000-8100") == range(8000, 8101)
    chosen = Chosen(ports=(parse_ports("443"), parse_ports("8000-8001")))
    for ports, accepted in (((443, 1), True), ((1, 8001), True), ((442, 8002), False)):
        packed = row(ESTABLISHED, "192.0.2.1", ports[0], "192.0.2.2", ports[1])
        assert chosen.accepts_row(packed, 0) is accepted


BAD = [
    (parse_state, "closewiat", "CLOSE_WAIT"),
    (parse_state, "", "unknown state"),
    (parse_pid, "0", "no process id"),
    (parse_pid, "nginx", "no process id"),
    (parse_pid, "-1", "no process id"),
    (parse_pid, "99999999", "no process id"),
    (parse_unit, " ", "empty"),
    (parse_ports, "http", "no port"),
    (parse_ports, "65536", "no port"),
    (parse_ports, "20-10", "no port"),
    (parse_ports, "1-", "no port"),
    (parse_peer, "db1.example", "names are not resolved"),
    (parse_peer, "", "no peer"),
    (parse_peer, "192.0.2.1:http", "no port"),
    (parse_peer, "192.0.2.0/33", "0 to 32"),
    (parse_peer, "2001:db8::/129", "0 to 128"),
    (parse_peer, "[2001:db8::1", "no peer"),
    (parse_peer, "[2001:db8::1]443", "no peer"),
    (parse_peer, "192.0.2.1\0", "no peer"),
]  # fmt: skip


@pytest.mark.parametrize(("parse", "text", "words"), BAD)
def test_what_cannot_be_meant_is_refused(
    parse: Callable[[str], object], text: str, words: str
) -> None:
    """The message says what would be right."""
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert words in str(caught.value)


@given(st.sampled_from(PARSERS), st.text(st.characters(exclude_categories=())))
@example(parse_pid, "²")
@example(parse_peer, "١.0.0.1")
def test_any_text_gives_a_value_or_a_parse_error(parse: Callable[[str], object], text: str) -> None:
    """Nothing else is raised."""
    with suppress(ParseError):
        parse(text)


@given(st.ip_addresses(v=4), st.ip_addresses(v=6), st.integers(0, 65535))
def test_every_address_matches_itself(four: object, six: object, port: int) -> None:
    """With and without its port, in both families."""
    for family, text, whole in (
        (socket.AF_INET, str(four), f"{four}:{port}"),
        (socket.AF_INET6, str(six), f"[{six}]:{port}"),
    ):  # fmt: skip
        number = address_number(family, socket.inet_pton(family, text))
        assert parse_peer(text).accepts(number, port)
        assert parse_peer(whole).accepts(number, port)
        assert not parse_peer(whole).accepts(number, port ^ 1)
        assert not parse_peer(text).accepts(number ^ 1, port)
