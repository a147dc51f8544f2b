"""What a watch learns of a silent connection: how long it was, and when filters forget it."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from rstaudit.lab.network import Lab
from rstaudit.lab.parties import Party
from rstaudit.parse.reset_event import RECEIVE, STATE, Event
from rstaudit.watch.filters import forgets_s
from rstaudit.watch.glimpses import Glimpses
from rstaudit.watch.spaces import Space, Spaces
from rstaudit.watch.world import World
from support.netns import connected, listener, network_namespace

pytestmark = pytest.mark.live

_KEY = "net.netfilter.nf_conntrack_tcp_timeout_established"
_SO_COOKIE = 57


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Client, router and server."""
    made = Lab("middle")
    yield made
    made.close()


def space_of(spaces: Spaces, party: Party) -> Space:
    """The namespace of a party, as the watch sees it."""
    inode = os.stat(f"/proc/{party.space.pid}/ns/net").st_ino
    spaces.note(inode, party.space.pid)
    spaces.read_addresses(every=True)
    found = spaces.get(inode)
    assert found is not None
    return found


@pytest.mark.parametrize("family", [4, 6])
def test_the_router_between_two_ends_counts(lab: Lab, family: int) -> None:
    """The shortest timeout on the way; a namespace elsewhere does not count."""
    for party, seconds in ((lab.client, 70), (lab.server, 80), (lab.middle, 7)):
        party.space.set_sysctl(_KEY, seconds)
    ours, theirs = (
        socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, one.addresses[family])
        for one in (lab.client, lab.server)
    )
    spaces = Spaces()
    client, server = space_of(spaces, lab.client), space_of(spaces, lab.server)
    assert forgets_s(spaces, client, ours, server, theirs) == 70  # nobody has seen the router
    assert forgets_s(spaces, client, ours, None, theirs) == 70
    middle = space_of(spaces, lab.middle)
    assert forgets_s(spaces, client, ours, server, theirs) == 7
    assert forgets_s(spaces, server, theirs, None, ours) == 7
    lab.middle.space.set_sysctl(_KEY, 90)
    time.sleep(0.25)
    assert forgets_s(spaces, client, ours, server, theirs) == 70
    assert forgets_s(spaces, middle, bytes(4), None, bytes(4)) == 90


def test_a_thread_that_has_moved_on_does_not_speak_for_the_namespace(lab: Lab) -> None:
    """Settings are read from the namespace that was meant, or not at all."""
    lab.server.space.set_sysctl(_KEY, 80)
    spaces = Spaces()
    client = space_of(spaces, lab.client)
    client.holders[:] = [lab.server.space.pid]
    assert client.inside(threading.get_native_id) is None
    client.ask()
    assert client.forgets is None


def received(sock: socket.socket) -> Event:
    """As the kernel reports that this socket has been reset."""
    (cookie,) = struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8))
    (src, sport), (dst, dport) = sock.getsockname(), sock.getpeername()
    return Event(
        time.monotonic_ns(), 0, RECEIVE, True, 0, 1, socket.AF_INET, socket.inet_aton(src), sport,
        socket.inet_aton(dst), dport, None, None, None, cookie, 0,
    )  # fmt: skip


def test_both_ends_are_looked_at_at_once() -> None:
    """Who is reset together tells together, whatever a first look cost; silence is measured."""
    with network_namespace(), listener() as server:
        client, accepted = connected(server)
        with client, accepted:
            time.sleep(0.1)
            client.send(b"x")
            glimpses = Glimpses()
            for end in (client, accepted):
                event = received(end)
                glimpses.look(event, [os.getpid()], None, young=False)
                seen = glimpses.of(event)
                assert seen is not None
                assert seen.sent_ms < 60 or end is accepted
                reverse = (event.src, event.sport, event.dst, event.dport)
                assert glimpses.near(reverse, event.time_ns) == seen
                assert glimpses.near(reverse, event.time_ns + 2_000_000_000) is None


def test_what_young_connections_may_cost_is_less() -> None:
    """After some looks the young ones wait, and the others are still looked at."""
    with network_namespace(), listener() as server:
        client, accepted = connected(server)
        with client, accepted:
            glimpses = Glimpses()
            event, other = received(client), received(accepted)
            nobody = event._replace(cookie=1)
            for _ in range(2000):
                glimpses.look(nobody, [os.getpid()] * 4, None, young=True)
            glimpses.look(event, [os.getpid()], None, young=True)
            assert glimpses.of(event) is None
            glimpses.look(other, [os.getpid()], None, young=False)
            assert glimpses.of(other) is not None


def test_an_accepted_connection_is_looked_at_where_its_listener_is() -> None:
    """The kernel does not say who accepted it; who listens is known from the start."""
    with network_namespace():
        inode = os.stat("/proc/thread-self/ns/net").st_ino
        world = World()
        pid = threading.get_native_id()
        with listener() as server:
            (src, sport) = server.getsockname()
            begins = Event(
                time.monotonic_ns(), 0, STATE, False, pid, 7, socket.AF_INET,
                socket.inet_aton(src), sport, bytes(4), 0, "LISTEN", "CLOSE",
            )  # fmt: skip
            world.see([begins])
            world.note(begins)
            client, accepted = connected(server)
            with client, accepted:
                event = received(accepted)
                world.see([event])
                space = world.spaces.get(inode)
                context = world.context(event, space, 0, None, lost=False)
                assert context.quiet is not None
                assert context.quiet.heard_ms < 1000
                assert context.forgets_s is None
