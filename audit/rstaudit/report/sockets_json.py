"""Sockets as JSON (contract: ``rstaudit/sockets/1``; schema in docs/schema/)."""

from __future__ import annotations

from rstaudit import __version__
from rstaudit.model.listing import Entry, Group, Listing
from rstaudit.model.sockets import LISTEN, Owner, Socket
from rstaudit.report.as_json import dumps
from rstaudit.report.sockets import TIMERS


def render(listing: Listing) -> str:
    """Every chosen socket; TIME_WAIT counted by destination."""
    return dumps(
        {
            "schema": "rstaudit/sockets/1",
            "tool": {"name": "rstaudit", "version": __version__},
            "host": listing.host,
            "netns": listing.netns,
            "source": listing.source,
            "kernel": listing.kernel,
            "total": listing.total,
            "shown": listing.shown,
            "groups": [_group(group) for group in listing.groups],
            "time_wait": [one._asdict() for one in listing.time_wait],
            "gaps": [gap._asdict() for gap in listing.gaps],
        }
    )


def _group(group: Group) -> dict[str, object]:
    return {
        "holder": group.holder,
        "process": None if group.owner is None else _process(group.owner),
        "state": group.state,
        "count": len(group.entries),
        "sockets": [_socket(entry) for entry in group.entries],
    }


def _process(owner: Owner) -> dict[str, object]:
    return owner._asdict()


def _socket(entry: Entry) -> dict[str, object]:
    sock = entry.sock
    return {
        "fds": list(entry.fds),
        "also_held_by": list(entry.others),
        "inode": sock.inode,
        "uid": sock.uid,
        "local": sock.local,
        "peer": None if sock.state == LISTEN else sock.peer,
        "recv_q": sock.rqueue,
        "send_q": sock.wqueue,
        "idle_ms": entry.idle_ms,
        "timer": _timer(sock),
        "retransmits": sock.retransmits,
        "info": _info(sock),
        "drops": None if sock.memory is None else sock.memory.drops,
        "options": None if entry.options is None else entry.options._asdict(),
        "will": list(entry.will),
    }


def _timer(sock: Socket) -> dict[str, object] | None:
    kind = TIMERS.get(sock.timer)
    return None if kind is None else {"kind": kind, "expires_ms": sock.expires_ms}


def _info(sock: Socket) -> dict[str, object] | None:
    """Of tcp_info what bears on resets and stalls; times are of no use before data could flow."""
    info = sock.info
    if info is None or sock.state == LISTEN:
        return None
    return {
        "last_data_sent_ms": info.last_data_sent,
        "last_data_recv_ms": info.last_data_recv,
        "last_ack_recv_ms": info.last_ack_recv,
        "unacked": info.unacked,
        "probes": info.probes,
        "total_retransmits": info.total_retrans,
        "rtt_us": info.rtt_us,
        "rto_us": info.rto_us,
    }
