"""Resets in the middle: aborts, lost state, silence, forgers, and what says so itself."""

from __future__ import annotations

import struct

import pytest

from rstaudit.model.rule import Confidence
from support.conversation import LINUX, MACOS, WINDOWS, Conversation, Stack, judge, only
from support.wire import linux_data, option

#: Children of app-abort look alike on the wire.
CHILDREN = {"close-unread", "linger-abort", "listener-closed", "admin-destroy", "disconnect"}

NETSCALER = Stack(255, False, lambda *_: b"", 8190)


@pytest.mark.parametrize("family", [4, 6])
def test_an_abort_of_an_open_connection_names_the_parent(family: int) -> None:
    """RST+ACK with window and timestamp: the program did it, how cannot be seen."""
    found = only(Conversation(family=family).talk().abort("s"))
    assert found.cause == "app-abort"
    assert set(found.alternatives) == CHILDREN
    assert found.confidence is Confidence.LIKELY


def test_an_abort_right_after_data_is_unread_data_first() -> None:
    """The peer's data got no answer."""
    found = only(Conversation().open().say("c", 5000).abort("s"))
    assert found.alternatives[0] == "close-unread"


def test_aborts_of_unserved_connections_at_once_are_a_listener_first() -> None:
    """Three clients that never got a byte are reset in one instant."""
    talks = [Conversation(port=port).open().abort("s") for port in (41000, 41001, 41002)]
    for found in judge(*talks):
        assert found.diagnosis.cause == "app-abort"
        assert found.diagnosis.alternatives[0] == "listener-closed"


@pytest.mark.parametrize("stack", [WINDOWS, MACOS])
def test_an_abort_without_window_or_options_is_an_abort_all_the_same(stack: Stack) -> None:
    """Trap: window 0 does not make it an answer to a closed port; Windows aborts so."""
    talk = Conversation(client=stack).talk().wait(3).segment("c", "RA", window=0)
    assert only(talk).cause == "app-abort"


def test_data_answered_as_by_a_stranger_is_half_open() -> None:
    """No FIN, no reset before: the other host has forgotten."""
    found = only(Conversation().talk().wait(3).say("c", 100, taken=False).answer("s"))
    assert found.cause == "half-open"
    assert {"idle-timeout", "nat-invalid", "firewall-reject"} <= set(found.alternatives)
    assert found.confidence is Confidence.POSSIBLE


def test_an_answer_after_retries_and_to_a_probe_is_half_open_more_surely() -> None:
    """The host was away for a while and came back without the connection."""
    talk = Conversation().talk().say("c", 100, taken=False)
    for gap in (0.3, 0.6, 1.2):
        talk.wait(gap).segment("c", "PA", b"x" * 100, seq=talk.c.nxt - 100)
    assert only(talk.answer("s")).confidence is Confidence.LIKELY
    probe = Conversation().talk().wait(8)
    probe.segment("c", "A", seq=probe.c.nxt - 1).answer("s")
    found = only(probe)
    assert (found.cause, found.confidence) == ("half-open", Confidence.LIKELY)


def test_a_known_silence_before_it_is_an_idle_timeout() -> None:
    """350 s, then data: a load balancer's default."""
    found = only(Conversation().talk().wait(350).say("c", 100, taken=False).answer("s"))
    assert found.cause == "idle-timeout"
    assert "half-open" in found.alternatives
    assert found.evidence["idle_seconds"] == 350


def test_a_reset_to_both_ends_after_silence_is_an_idle_timeout() -> None:
    """One end's alone would be a program's; both at once are a device's."""
    talk = Conversation().talk().wait(20).segment("s", "RA").segment("c", "RA")
    assert {one.diagnosis.cause for one in judge(talk)} == {"idle-timeout"}


def test_a_reset_with_a_foreign_ttl_after_silence_is_an_idle_timeout() -> None:
    """It came by itself, and not from the host whose address it has."""
    talk = Conversation().talk().wait(7)
    found = only(talk.segment("s", "RA", ttl=255, window=0, options=b""))
    assert found.cause == "idle-timeout"
    assert "injected" in found.alternatives


def test_an_answer_from_one_hop_nearer_is_not_the_host_s() -> None:
    """A filter on the path answers with the TTL of its own."""
    talk = Conversation().talk().say("c", 100, taken=False).answer("s", ttl=62)
    found = only(talk)
    assert found.cause == "firewall-reject"
    assert found.confidence is Confidence.POSSIBLE
    assert found.evidence["ttl_before"] == 61


def test_the_nat_host_answers_the_server_in_the_client_s_name() -> None:
    """A segment that could not be translated reached the NAT host's own TCP."""
    talk = Conversation().talk().say("s", 100, taken=False).answer("c", ttl=63)
    found = only(talk)
    assert found.cause == "nat-invalid"


def test_unanswered_probes_are_a_keepalive_timeout() -> None:
    """Probes at an even pace, then the prober's own reset."""
    talk = Conversation().talk()
    for gap in (10, 1, 1):
        talk.wait(gap).segment("c", "A", seq=talk.c.nxt - 1)
    found = only(talk.wait(1).abort("c"))
    assert found.cause == "keepalive-timeout"
    assert found.confidence is Confidence.CERTAIN
    assert found.evidence["sender_probes"] == 3


def test_probes_answered_here_but_not_there_are_a_keepalive_timeout() -> None:
    """The answers are lost beyond the capture: the reset comes when a probe was due."""
    talk = Conversation().talk()
    for gap in (10, 1, 1):
        talk.wait(gap).segment("c", "A", seq=talk.c.nxt - 1).segment("s", "A")
    found = only(talk.wait(1).abort("c"))
    assert found.cause == "keepalive-timeout"
    assert "app-abort" in found.alternatives


def test_answered_probes_alone_prove_nothing() -> None:
    """Trap: a healthy idle connection whose program aborts at some moment."""
    talk = Conversation().talk()
    for gap in (45, 45):
        talk.wait(gap).segment("c", "A", seq=talk.c.nxt - 1).segment("s", "A")
    assert only(talk.wait(17).abort("c")).cause == "app-abort"


def retried(stack: Stack) -> Conversation:
    """Data sent five times without an answer."""
    talk = Conversation(client=stack).talk().say("c", 100, taken=False)
    for gap in (0.3, 0.6, 1.2, 2.4):
        talk.wait(gap).segment("c", "PA", b"x" * 100, seq=talk.c.nxt - 100)
    return talk


def test_retries_then_a_reset_are_a_timeout_where_the_system_resets() -> None:
    """Windows and BSD do."""
    assert only(retried(WINDOWS).wait(4.8).abort("c")).cause == "retransmit-timeout"


def test_linux_sends_no_reset_when_retransmissions_run_out() -> None:
    """Trap: so the program closed."""
    found = only(retried(LINUX).wait(4.8).abort("c"))
    assert found.cause == "app-abort"
    assert "retransmit-timeout" in found.alternatives


def test_a_peer_that_speaks_too_late_meets_a_retransmit_timeout() -> None:
    """The sender had given up; the reset's number is below what it had sent."""
    talk = retried(LINUX).wait(60)
    taken = talk.c.nxt - 100
    talk.segment("s", "PA", b"y" * 50, ack=taken).answer("c", seq=taken)
    found = only(talk)
    assert found.cause == "retransmit-timeout"
    assert "half-open" in found.alternatives
    assert found.evidence["sender_retries"] == 4


def test_a_sender_that_goes_on_after_its_reset_did_not_send_it() -> None:
    """With a TTL and an IP ID that are not its own nothing else is left."""
    talk = Conversation().talk().segment("s", "RA", ttl=117, ip_id=4711, df=False)
    found = only(talk.say("s", 500, taken=False))
    assert found.cause == "injected"
    assert found.confidence is Confidence.CERTAIN


def test_a_ladder_of_resets_is_forged() -> None:
    """tcpkill: the right number and guesses beyond it, without DF and with random IDs."""
    talk = Conversation().talk()
    talk.say("c", 60)
    for offset, number in ((0, 4711), (63, 55), (189, 31000)):
        talk.answer("s", seq=talk.s.nxt + offset, ip_id=number, df=False)
    assert {one.diagnosis.cause for one in judge(talk)} == {"injected"}


def test_another_ttl_alone_is_no_proof_of_a_forger() -> None:
    """Trap: a single weak sign makes no culprit."""
    found = only(Conversation().talk().segment("s", "RA", ttl=62))
    assert found.cause != "injected"


def test_a_segment_captured_out_of_order_is_no_forgery() -> None:
    """Trap: the data was sent before the reset, whose number lies beyond it."""
    talk = Conversation().talk()
    talk.segment("s", "RA", seq=talk.s.nxt + 100).segment("s", "PA", b"x" * 100)
    assert only(talk).confidence is not Confidence.CERTAIN
    assert only(talk).cause != "injected"


def test_text_in_the_reset_is_quoted() -> None:
    """RFC 9293 allows it."""
    talk = Conversation().talk().segment("s", "R", b"blocked by policy", seq=7, options=b"")
    found = only(talk)
    assert found.cause == "proxied-reset"
    assert "blocked by policy" in found.why
    assert found.evidence["payload"] == "blocked by policy"


def test_a_diagnostic_payload_is_a_proxied_reset() -> None:
    """Magic, code, vendor."""
    payload = struct.pack(">HHI", 0x33AA, 9, 32473)
    found = only(Conversation().talk().segment("s", "R", payload, options=b""))
    assert (found.cause, found.confidence) == ("proxied-reset", Confidence.CERTAIN)


def test_a_code_in_the_window_is_a_proxied_reset() -> None:
    """NetScaler clears idle connections with 9300."""
    talk = Conversation(server=NETSCALER).talk().segment("s", "RA", window=9300)
    found = only(talk)
    assert found.cause == "proxied-reset"
    assert found.evidence["window"] == 9300
    assert "idle" in found.why


def test_a_linux_window_that_happens_to_be_a_code_is_none() -> None:
    """Trap: a window may be any number."""
    assert only(Conversation().talk().segment("s", "RA", window=9300)).cause == "app-abort"


@pytest.mark.parametrize(("subtype", "cause"), [(7, "mptcp-fastclose"), (8, "mptcp-reset")])
def test_mptcp_says_so(subtype: int, cause: str) -> None:
    """Option 30 in the reset."""
    body = option(30, bytes([subtype << 4, 3]) + bytes(8 if subtype == 7 else 0))
    talk = Conversation().talk().segment("s", "RA", options=linux_data(1, 2) + body)
    found = only(talk)
    assert (found.cause, found.confidence) == (cause, Confidence.CERTAIN)


def test_a_reset_alone_is_undetermined() -> None:
    """The sentence says what it would take."""
    found = only(Conversation().segment("s", "R", seq=5, options=b"", window=0))
    assert found.cause == "undetermined"
    assert "it would take" in found.why
    assert found.alternatives


def test_a_flow_that_begins_with_data_is_undetermined() -> None:
    """Half-open, closed before, and NAT all look so."""
    found = only(Conversation().say("c", 100, taken=False).answer("s"))
    assert found.cause == "undetermined"
    assert {"half-open", "data-to-closed"} <= set(found.alternatives)


def test_lost_packets_make_it_undetermined() -> None:
    """Trap: the FIN before the reset is not in the capture, only its number is."""
    talk = Conversation().talk().segment("s", "FA", lost=True)
    found = only(talk.segment("c", "A").wait(1).say("c", 10, taken=False).answer("s"))
    assert found.cause == "undetermined"
    assert "data-to-closed" in found.alternatives


def test_one_direction_is_enough_for_an_abort_that_only_a_socket_can_build() -> None:
    """A capture on one side of asymmetric routes."""
    talk = Conversation().talk().abort("s")
    talk.packets = [packet for packet in talk.packets if packet.data[26:30] == b"\xc0\x00\x02\x50"]
    assert only(talk).cause == "app-abort"


def test_probes_of_which_no_answer_could_be_seen_are_a_keepalive_timeout_perhaps() -> None:
    """Only the prober's packets were captured."""
    talk = Conversation().talk()
    for gap in (10, 1, 1):
        talk.wait(gap).segment("c", "A", seq=talk.c.nxt - 1).segment("s", "A")
    talk.wait(1).abort("c")
    talk.packets = [packet for packet in talk.packets if packet.data[26:30] == b"\xc0\x00\x02\x01"]
    found = only(talk)
    assert (found.cause, found.confidence) == ("keepalive-timeout", Confidence.POSSIBLE)


def test_an_answer_with_the_right_numbers_may_be_either_for_windows() -> None:
    """Trap: Windows answers for a lost connection much as it aborts."""
    talk = Conversation(server=WINDOWS).talk().wait(80).say("c", 100, taken=False)
    found = only(talk.segment("s", "RA", window=0))
    assert found.confidence is Confidence.POSSIBLE
    assert {found.cause, *found.alternatives} >= {"half-open", "app-abort"}


def test_a_forged_reset_that_climbs_is_told_by_the_next_one() -> None:
    """The first looks like an answer; what follows it does not."""
    talk = Conversation().talk().say("c", 60)
    talk.answer("s").answer("s", seq=talk.s.nxt + 1460).answer("s", seq=talk.s.nxt + 4380)
    assert judge(talk)[1].diagnosis.cause == "injected"


def test_captures_cut_by_the_snap_length_are_decided_alike() -> None:
    """Headers are enough."""
    talk = Conversation().talk().close("s").say("c", 100, taken=False).answer("s")
    whole = only(talk)
    talk.packets = [packet.cut(66) for packet in talk.packets]
    assert only(talk).cause == whole.cause


def test_an_abort_that_acknowledges_what_the_capture_lost_is_an_abort() -> None:
    """The capture dropped the server's data; only a host with the connection can acknowledge it."""
    talk = Conversation().talk().segment("s", "PA", b"x" * 500, lost=True).abort("c")
    found = only(talk)
    assert (found.cause, found.confidence) == ("app-abort", Confidence.LIKELY)


def test_an_abort_after_a_close_and_lost_data_is_an_abort() -> None:
    """The same for a client that had shut its sending side down."""
    talk = Conversation().talk().close("c").say("s", 500)
    talk.segment("s", "PA", b"x" * 500, lost=True)
    assert only(talk.abort("c")).cause == "app-abort"


def test_both_ends_that_abort_at_once_did_it_themselves_when_they_know_their_timestamps() -> None:
    """A box in the middle resets both, too, but has no timestamps and its own TTL."""
    for one in judge(Conversation().talk().abort("c").abort("s")):
        assert one.diagnosis.cause == "app-abort"
        assert one.diagnosis.confidence is Confidence.LIKELY
        assert "injected" in one.diagnosis.alternatives


@pytest.mark.parametrize("flags", ["F", "FPU", ""])
def test_a_segment_without_ack_and_syn_is_a_scan(flags: str) -> None:
    """FIN, Xmas and null scans: a closed port answers them as it answers a SYN."""
    talk = Conversation().segment("c", flags, options=b"")
    talk.segment("s", "RA", seq=0, window=0, options=b"", ip_id=0)
    found = only(talk)
    assert found.cause == "unsolicited-segment"
    assert found.benign


def test_a_lone_fin_with_ack_may_be_late_or_a_scan() -> None:
    """A Maimon scan looks like the last segment of a connection from before the capture."""
    found = only(Conversation().segment("c", "FA", ack=12345).answer("s", seq=12345))
    assert found.cause == "undetermined"
    assert {"late-segment", "unsolicited-segment"} <= set(found.alternatives)


def test_a_bare_reset_with_a_number_that_nobody_acknowledged_answers_nothing() -> None:
    """A forger who saw the request resets the server in the client's name, numbers all right."""
    talk = Conversation(rtt=0.02).talk().segment("c", "PA", b"x" * 80).answer("c")
    found = only(talk)
    assert (found.cause, found.confidence) == ("injected", Confidence.LIKELY)
    other = only(Conversation(client=MACOS).talk().segment("c", "PA", b"x" * 80).answer("c"))
    assert "injected" in other.alternatives


def test_bare_resets_to_both_ends_after_silence_are_an_idle_timeout() -> None:
    """The second answers nothing: the last segment was 20 s ago, and nobody answers a reset."""
    talk = Conversation().talk().wait(20).answer("s", ttl=255).answer("c", ttl=255)
    assert {one.diagnosis.cause for one in judge(talk)} == {"idle-timeout"}


@pytest.mark.parametrize("silence", [3, 20, 200])
def test_a_bare_reset_long_after_the_last_segment_answers_nothing(silence: int) -> None:
    """Trap: lost state shows in an answer, and answers come at once."""
    found = only(Conversation().talk().wait(silence).answer("s"))
    assert found.cause in {"idle-timeout", "injected"}
    assert found.confidence is Confidence.POSSIBLE
    assert "half-open" in found.alternatives
