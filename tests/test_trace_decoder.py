from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.parse.errors import ParseError
from rstaudit.parse.reset_event import DESTROY, ERROR, RECEIVE, RETRANSMIT, SEND, STATE, Event
from rstaudit.parse.trace_decoder import Counts, Decoder
from rstaudit.parse.trace_format import Field, parse_format
from rstaudit.parse.trace_page import parse_page
from support.trace_pages import FOLDER, KERNELS, as_seen_on, encode, layouts, page_layout

HERE, THERE = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
SIX, OTHER = (bytes.fromhex("20010db8") + bytes(11) + last for last in (b"\1", b"\2"))
SK = 0xFFFF888012345678


def event(kind: str, **more: object) -> Event:
    """An event of one connection, for which each kernel has words."""
    base = Event(10**9, 0, kind, False, 4711, SK, 2, HERE, 80, THERE, 40000)
    return base._replace(**more)  # type: ignore[arg-type]  # named by the tests


ABORT = event(SEND, state="CLOSE", reason="TCP_ABORT_ON_CLOSE")
NOBODY = event(SEND, time_ns=2 * 10**9, irq=True, sk=0, state="UNKNOWN", reason="NO_SOCKET")


@pytest.mark.parametrize("kernel", KERNELS[-2:])
def test_a_kernel_from_612_tells_everything(kernel: str) -> None:
    """From 6.12 on what is sent has state and reason, with and without a socket."""
    assert as_seen_on(kernel, [ABORT, NOBODY]) == [ABORT, NOBODY]


def test_611_gives_reasons_of_passive_resets_only() -> None:
    """6.10 and 6.11 do not know the reasons of a socket's own resets."""
    assert as_seen_on("6.11", [ABORT, NOBODY]) == [ABORT._replace(reason="NOT_SPECIFIED"), NOBODY]


@pytest.mark.parametrize("kernel", ["5.4", "5.15", "6.1", "6.8"])
def test_kernels_before_610_tell_the_state_alone(kernel: str) -> None:
    """No reason, and no event for a reset without a full socket."""
    assert as_seen_on(kernel, [ABORT, NOBODY]) == [ABORT._replace(reason=None)]


@pytest.mark.parametrize("kernel", ["4.15", "4.18"])
def test_the_first_kernels_tell_not_even_the_state(kernel: str) -> None:
    """Neither state nor reason before 4.20."""
    assert as_seen_on(kernel, [ABORT]) == [ABORT._replace(reason=None, state=None)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("family", "src", "dst"), [(2, HERE, THERE), (10, SIX, OTHER)])
def test_state_changes_are_told_alike(kernel: str, family: int, src: bytes, dst: bytes) -> None:
    """Old and new state, the thread and the ends, on every kernel."""
    change = event(STATE, family=family, src=src, dst=dst, state="CLOSE", old="FIN_WAIT2")
    assert as_seen_on(kernel, [change]) == [change]


@pytest.mark.parametrize("kernel", KERNELS)
def test_received_resets_carry_a_cookie_from_418(kernel: str) -> None:
    """Received and destroyed: the cookie where the kernel has it."""
    events = [event(RECEIVE, irq=True, cookie=99), event(DESTROY, cookie=100)]
    if kernel == "4.15":
        events = [each._replace(cookie=0) for each in events]
    assert as_seen_on(kernel, events) == events


@pytest.mark.parametrize("kernel", KERNELS[3:])
def test_errors_have_no_socket(kernel: str) -> None:
    """inet_sk_error_report, from 5.14, tells errno and ends."""
    error = event(ERROR, sk=0, error=104)
    assert as_seen_on(kernel, [error]) == [error]


@pytest.mark.parametrize("kernel", KERNELS[2:])
def test_retransmissions_tell_the_state(kernel: str) -> None:
    """tcp_retransmit_skb, with the state from 4.20."""
    again = event(RETRANSMIT, irq=True, state="ESTABLISHED")
    assert as_seen_on(kernel, [again]) == [again]


@pytest.mark.parametrize("kernel", KERNELS[4:])
def test_ipv4_on_an_ipv6_socket_is_ipv4(kernel: str) -> None:
    """A mapped address is shown as the IPv4 address that is on the wire."""
    (seen,) = as_seen_on(kernel, [ABORT._replace(family=10)])
    assert (seen.src, seen.dst) == (HERE, THERE)


def test_the_connection_above_mptcp_is_marked() -> None:
    """Protocol 262 is the MPTCP connection; other protocols are left out."""
    change = event(STATE, state="CLOSE", old="ESTABLISHED", mptcp=True)
    assert as_seen_on("6.12", [change]) == [change]
    data = bytearray(encode("6.12", [change]))
    (layout,) = (entry for entry in layouts("6.12") if entry.name == "inet_sock_set_state")
    at = 20 + layout.fields["protocol"].offset
    data[at : at + 2] = (132).to_bytes(2, "little")  # SCTP
    parsed = parse_page(bytes(data), page_layout())
    assert Decoder(layouts("6.12")).decode(bytes(data), parsed.records, 0) == []


def test_what_the_kernel_really_wrote_is_read() -> None:
    """Pages recorded on 6.18: three resets and their receipts, with all that led to them."""
    record = json.loads((FOLDER / "6.18" / "pages.json").read_text())
    events = []
    for entry in record["pages"]:
        data = base64.b64decode(entry["data"]).ljust(page_layout().size, b"\0")
        parsed = parse_page(data, page_layout())
        assert parsed.missed == 0
        events += Decoder(layouts("6.18")).decode(data, parsed.records, entry["cpu"])
    mine = [each for each in events if each.pid == record["pid"] and not each.irq]
    sent = [each.reason for each in mine if each.kind == SEND]
    assert sent == ["TCP_ABORT_ON_CLOSE", "TCP_STATE"]
    refused = [each for each in events if each.reason == "NO_SOCKET" and each.sport == 9]
    assert [(each.sk, each.state, each.irq) for each in refused] == [(0, "UNKNOWN", True)]
    states = [(each.old, each.state) for each in mine if each.kind == STATE]
    assert states[:2] == [("CLOSE", "LISTEN"), ("CLOSE", "SYN_SENT")]
    reported = [each for each in events if each.pid == record["pid"] and each.error]
    assert [each.error for each in sorted(reported)] == [104, 111, 104, 104]


def test_counting_agrees_with_decoding() -> None:
    """The short way counts the same resets by the same reasons."""
    data = encode("6.12", [event(RECEIVE), event(DESTROY), ABORT, NOBODY, NOBODY])
    counts: Counts = {}
    Decoder(layouts("6.12")).count(data, parse_page(data, page_layout()).records, counts)
    assert counts == {
        (SEND, "TCP_ABORT_ON_CLOSE"): 1,
        (SEND, "NO_SOCKET"): 2,
        (RECEIVE, None): 1,
    }


def test_a_short_record_is_an_error() -> None:
    """A record shorter than its layout is a ParseError; counting leaves it out."""
    data = encode("6.12", [ABORT])
    decoder = Decoder(layouts("6.12"))
    with pytest.raises(ParseError):
        decoder.decode(data, [(0, 20, 60)], 0)
    counts: Counts = {}
    decoder.count(data, [(0, 20, 60), (0, 20, 22)], counts)
    assert counts == {}


def test_layouts_that_make_no_sense_are_refused() -> None:
    """Missing fields, fields over one another, odd sizes: ParseError when the decoder is made."""
    good = parse_format((FOLDER / "6.12" / "tcp_send_reset.format").read_text())
    for change in (
        {"saddr": Field(32, 27, False)},
        {"state": Field(25, 4, True)},
        {"common_flags": Field(2, 3, False)},
        {"reason": Field(28, 4, False), "skaddr": Field(16, 99, False)},
    ):
        with pytest.raises(ParseError):
            Decoder([good._replace(fields={**good.fields, **change})])
    with pytest.raises(ParseError):
        Decoder([good._replace(fields={k: v for k, v in good.fields.items() if k != "skaddr"})])
    with pytest.raises(ParseError):
        Decoder([good._replace(name="sched_switch")])


@given(st.binary(min_size=4080, max_size=4080), st.sampled_from(KERNELS))
def test_any_records_are_decoded_or_refused(data: bytes, kernel: str) -> None:
    """Whatever stands in records of known numbers, the decoder raises nothing else."""
    known = layouts(kernel)
    body = bytearray(data)
    records = []
    for index in range(len(body) // 100):
        at = index * 100
        body[at : at + 2] = known[index % len(known)].id.to_bytes(2, "little")
        records.append((index, at, at + 100))
    for found in Decoder(known).decode(bytes(body), records, 0):
        assert len(found.src) in (0, 4, 16)
        assert found.state is None or found.state.isidentifier()
