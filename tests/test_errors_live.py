"""What explain says about errors and calls beside the table of causes, shown by real sockets."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from rstaudit.catalogue.causes import causes, errors
from support import netns, staging
from support.netns import write_sysctl
from support.processes import python_child
from support.staging import (
    calls,
    connect,
    listener,
    packet_filter,
    pair,
    port,
    read,
    sockets_in,
    tcp,
    wait_until,
)

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("netns")]

# linux/in.h; in Python's socket module from 3.12 on
IP_BIND_ADDRESS_NO_PORT = 24


@pytest.fixture(autouse=True)
def sockets() -> Iterator[None]:
    """Every socket of a test is closed at its end."""
    yield
    staging.close_all()


def test_a_receive_timeout_does_not_cut_connect_short() -> None:
    """SO_RCVTIMEO is often blamed; connect() waits for the SYN-ACK all the same."""
    server, client = listener(), tcp()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200_000))
    with packet_filter(f"tcp sport {port(server)} limit rate over 1/day burst 1 packets accept",
                       f"tcp sport {port(server)} drop"):  # fmt: skip
        started = time.monotonic()
        assert connect(client, server.getsockname()) == "ok"
    assert time.monotonic() - started > 0.9, "the first SYN-ACK was not dropped"


@pytest.mark.parametrize(
    ("unread", "cause", "result"),
    [(False, "data-to-closed", "0 (end of file)"), (True, "close-unread", "ECONNRESET")],
)
def test_a_killed_process_sends_fin_unless_data_is_unread(
    unread: bool, cause: str, result: str
) -> None:
    """Death of a process looks like data-to-closed, or like close-unread."""
    server = listener()
    code = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))"
    with python_child(code, str(port(server))) as child:
        end = staging.kept(server.accept()[0])
        if unread:
            end.send(b"request")
        child.kill()
        child.wait()
        staging.closing(end)
        assert read(end) == result
    assert ("reset", "read", result) in {
        (r.side, r.call, r.result) for r in causes()[cause].reports
    }


def named(error: str, word: str) -> bool:
    """Whether `explain ERROR` says ``word`` in what it means or hints at."""
    (entry,) = (entry for entry in errors() if entry.name == error)
    return word in " ".join([entry.meaning, *entry.hints])


def test_a_connect_without_a_free_port_says_address_not_available() -> None:
    """Two ports towards one destination, three connects; another destination still works."""
    write_sysctl("net.ipv4.ip_local_port_range", "40000 40001")
    full, other = netns_listener(5001), netns_listener(5002)
    assert [connect(tcp(), full.getsockname()) for _ in range(3)] == ["ok", "ok", "EADDRNOTAVAIL"]
    assert connect(tcp(), other.getsockname()) == "ok"
    assert named("EADDRNOTAVAIL", "other destinations still work")


def test_a_bind_before_connect_says_address_in_use_instead() -> None:
    """Unless the socket asks for no port at bind, and then for the error of connect."""
    write_sysctl("net.ipv4.ip_local_port_range", "40000 40001")
    full = netns_listener(5001)
    for _ in range(2):
        assert connect(tcp(), full.getsockname()) == "ok"
    with pytest.raises(OSError, match="Address already in use"):
        tcp().bind(("127.0.0.1", 0))
    late = tcp()
    late.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    late.bind(("127.0.0.1", 0))
    assert connect(late, full.getsockname()) == "EADDRNOTAVAIL"
    assert named("EADDRINUSE", "IP_BIND_ADDRESS_NO_PORT")


def netns_listener(number: int) -> socket.socket:
    """A listener on a port outside the range."""
    return staging.kept(netns.listener(port=number))


@pytest.mark.parametrize("old", [0, 1])
@pytest.mark.parametrize("new", [0, 1])
def test_a_restart_into_time_wait_needs_reuseaddr_on_both_listeners(old: int, new: int) -> None:
    """The server closed first: its TIME_WAIT holds the port against the next listener."""
    before = reusing(old)
    before.bind(("127.0.0.1", 5001))
    before.listen()
    client = tcp()
    client.connect(("127.0.0.1", 5001))
    end, _ = before.accept()
    end.close()
    client.close()
    before.close()
    wait_until(lambda: bool(sockets_in("06")))
    after = reusing(new)
    if old and new:
        after.bind(("127.0.0.1", 5001))
    else:
        with pytest.raises(OSError, match="Address already in use"):
            after.bind(("127.0.0.1", 5001))
    assert named("EADDRINUSE", "both the old and the new program set SO_REUSEADDR")


def reusing(flag: int) -> socket.socket:
    """A socket with SO_REUSEADDR as given."""
    end = tcp()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, flag)
    return end


def test_a_connection_reset_in_the_queue_is_accepted_all_the_same() -> None:
    """ECONNABORTED does not come from accept() on Linux; the first read says ECONNRESET."""
    server, client = listener(), tcp()
    client.connect(server.getsockname())
    staging.abort(client)
    end, _ = server.accept()
    assert calls(staging.kept(end), "read") == [("read", "ECONNRESET")]
    assert named("ECONNABORTED", "accept() does not")


def test_what_arrived_before_the_reset_is_lost_when_the_error_is_asked_for_first() -> None:
    """Reading SO_ERROR takes the error; the data is still there, then end of file."""
    client, end = pair()
    end.send(b"payload")
    staging.abort(end)
    staging.over(client)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    assert [read(client), read(client)] == ["data", "0 (end of file)"]
