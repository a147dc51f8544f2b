"""The bounded history of sockets, and what is read from it."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from rstaudit.model.rule import Confidence
from rstaudit.parse.reset_event import (
    DESTROY,
    DROP,
    ERROR,
    RECEIVE,
    RETRANSMIT,
    SEND,
    STATE,
    Event,
)
from rstaudit.resets.live.context import Context
from rstaudit.resets.live.crossings import reverse
from rstaudit.resets.live.decide import decide, ends, is_false
from rstaudit.resets.live.history import History
from rstaudit.resets.live.past import read
from support.event_streams import MS, SECOND, Story
from test_live_decide import sound

REASONS = (
    "NO_SOCKET", "TCP_INVALID_ACK_SEQUENCE", "TCP_RFC7323_PAWS", "TCP_TOO_OLD_ACK", "TCP_FLAGS",
    "TCP_ACK_UNSENT_DATA", "TCP_OLD_ACK", "TCP_ABORT_ON_DATA", "TCP_TIMEWAIT_SOCKET",
    "INVALID_SYN", "TCP_ABORT_ON_CLOSE", "TCP_ABORT_ON_LINGER", "TCP_ABORT_ON_MEMORY", "TCP_STATE",
    "TCP_KEEPALIVE_TIMEOUT", "TCP_DISCONNECT_WITH_DATA", "MPTCP_RST_EPROHIBIT", "NOT_SPECIFIED",
    "ERROR", "A_WORD_OF_TOMORROW", "NETFILTER_DROP", "TCP_LISTEN_OVERFLOW", None,
)  # fmt: skip
STATES = (
    "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
    "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV", "UNKNOWN", None,
)  # fmt: skip
ADDRESSES = (b"\x7f\0\0\1", b"\xc0\0\2\1", bytes(4), bytes(16), b"\xfd" + bytes(15), b"")
PORTS = (0, 80, 443, 40000, 50000)

EVENTS = st.builds(
    Event,
    time_ns=st.integers(0, 3 * SECOND), cpu=st.integers(0, 1),
    kind=st.sampled_from((SEND, RECEIVE, STATE, DESTROY, ERROR, RETRANSMIT, DROP)),
    irq=st.booleans(), pid=st.integers(0, 3), sk=st.integers(0, 4), family=st.just(2),
    src=st.sampled_from(ADDRESSES), sport=st.sampled_from(PORTS),
    dst=st.sampled_from(ADDRESSES), dport=st.sampled_from(PORTS),
    state=st.sampled_from(STATES), old=st.sampled_from(STATES),
    reason=st.sampled_from(REASONS), cookie=st.just(0),
    error=st.sampled_from((0, 104, 110, 111)), mptcp=st.booleans(),
)  # fmt: skip
COUNTERS = st.none() | st.dictionaries(
    st.sampled_from((
        "TcpExt.TCPAbortOnData", "TcpExt.TCPAbortOnClose", "TcpExt.ListenOverflows",
        "TcpExt.TCPTimeWaitOverflow", "TcpExt.DelayedACKs", "TcpExt.EmbryonicRsts",
        "TcpExt.SyncookiesFailed", "TcpExt.TCPChallengeACK", "TcpExt.TCPAbortOnTimeout",
    )),
    st.integers(0, 3),
)  # fmt: skip
CONTEXTS = st.builds(
    Context, counters=COUNTERS, peer_counters=COUNTERS, resets=st.integers(1, 3),
    peer_local=st.sampled_from((None, True, False)), forwards=st.sampled_from((None, True, False)),
    every_reset_traced=st.booleans(), drops_traced=st.booleans(), lost=st.booleans(),
    idle_ms=st.sampled_from((None, 5, 400_000)), fin_timeout_s=st.sampled_from((None, 1, 60)),
    rejects=st.sampled_from((None, (), ("tcp dport 80 reject with tcp reset",))),
    unread=st.sampled_from((None, 0, 17)),
)  # fmt: skip


@given(st.lists(EVENTS, max_size=25), CONTEXTS)
@settings(max_examples=150, deadline=None)
def test_any_stream_of_events_gives_sound_diagnoses(events: list[Event], context: Context) -> None:
    """Whatever came, in whatever order of states: a diagnosis, and a sound one."""
    events.sort(key=lambda event: event.time_ns)
    history = History(limit=10)
    for event in events:
        history.note(event)
    for event in events:
        if event.kind in (SEND, RECEIVE):
            is_false(event, history)
            ends(event, history)
            sound(decide(event, history, context))


def _many(count: int) -> list[Event]:
    """A connection each that is made, closed and reset."""
    found = []
    for number in range(count):
        ours = (b"\x0a" + number.to_bytes(3, "big"), 40000, b"\xc6\x33\x64\x01", 443)
        story = Story(ours)
        story.now, story.sk = number * MS, number + 1
        story.connect().state("ESTABLISHED", "CLOSE").send("TCP_ABORT_ON_CLOSE", "CLOSE").receive()
        found += story.events
    return found


def test_the_history_is_bounded() -> None:
    """Once it is full, four times as many connections take hardly more."""
    history = History(limit=200)
    first, rest = _many(2_500), _many(7_500)
    tracemalloc.start()
    try:
        for event in first:
            history.note(event)
        before = tracemalloc.get_traced_memory()[0]
        for event in rest:
            history.note(event)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after < 2 * before


def test_what_happened_lately_is_kept() -> None:
    """The last connections are known, the first are forgotten."""
    history, events = History(limit=100), _many(1_000)
    for event in events:
        history.note(event)
    last, first = events[-1], events[0]
    assert history.steps((last.src, last.sport, last.dst, last.dport))
    assert not history.steps((first.src, 40000, first.dst, first.dport))


def test_a_connection_with_endless_events_keeps_its_beginning() -> None:
    """Who opened it, and what happened last."""
    story = Story().connect()
    for _ in range(200):
        story.error(113)
    story.state("ESTABLISHED", "FIN_WAIT1")
    history = History()
    for event in story.events:
        history.note(event)
    steps = history.steps(story.ends)
    past = read(steps, story.now)
    assert len(steps) <= 40
    assert past is not None
    assert (past.opened, past.state, past.closer) == ("connect", "FIN_WAIT1", "we")


def test_an_address_of_the_kernel_that_is_used_again() -> None:
    """Another socket at the same address and with the same ends is not taken for the first."""
    story = Story().connect().state("ESTABLISHED", "FIN_WAIT1")
    story.state("FIN_WAIT1", "CLOSE", irq=True).destroy().wait(SECOND).connect()
    history = History()
    for event in story.events:
        history.note(event)
    past = read(history.steps(story.ends), story.now, story.sk)
    assert past is not None
    assert (past.state, past.closer, past.ended_ns) == ("ESTABLISHED", None, None)


def test_a_connecting_socket_is_found_before_its_port_is_known() -> None:
    """The first event of a connect prints port 0; the next one puts it right."""
    story, history = Story(), History()
    bound = story.ends
    story.ends = (bound[0], 0, *bound[2:])
    story.state("CLOSE", "SYN_SENT")
    history.note(story.events[-1])
    assert history.connecting(bound)
    story.ends = bound
    story.state("SYN_SENT", "ESTABLISHED", irq=True)
    history.note(story.events[-1])
    assert not history.connecting(bound)
    past = read(history.steps(bound), story.now)
    assert past is not None
    assert past.opened == "connect"


def test_a_listener_and_who_heard_of_it() -> None:
    """Resets of a listener name no peer: they are paired with receipts in order."""
    server, port = b"\xc6\x33\x64\x01", 443
    story = Story((bytes(4), port, bytes(4), 0)).state("CLOSE", "LISTEN")
    clients = [(b"\x0a\0\0" + bytes([n]), 40000 + n, server, port) for n in range(1, 4)]
    queue, history = story.ends, History()
    sends = []
    for client in clients:
        story.ends = queue
        sends.append(story.send("INVALID_SYN", "LISTEN", irq=True).events[-1])
        story.ends = client
        story.receive()
    for event in story.events:
        history.note(event)
    assert [ends(event, history) for event in sends] == [reverse(client) for client in clients]


def test_a_destroyed_socket_without_its_peer_is_still_known() -> None:
    """tcp_disconnect() takes the peer's port away before the socket goes."""
    story = Story().connect().state("ESTABLISHED", "CLOSE").destroy(disconnected=True)
    history = History()
    for event in story.events:
        history.note(event)
    past = read(history.steps(story.ends), story.now)
    assert past is not None
    assert past.disconnected
    assert past.destroyed_ns is not None


def test_two_namespaces_with_the_same_ends() -> None:
    """The kernel's address tells the two sockets apart."""
    story = Story().accept().state("ESTABLISHED", "FIN_WAIT1")
    story.sk = 77
    story.accept().state("ESTABLISHED", "CLOSE").send("TCP_ABORT_ON_CLOSE", "CLOSE")
    told = story.told()
    assert (told.cause, told.confidence) == ("close-unread", Confidence.CERTAIN)
    history = History()
    for event in story.events:
        history.note(event)
    first, second = (read(history.steps(story.ends), story.now, sk) for sk in (1, 77))
    assert first is not None
    assert second is not None
    assert (first.closer, second.closer) == ("we", None)
