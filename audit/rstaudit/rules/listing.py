"""The sockets of a namespace, chosen, given to their holders, grouped and sorted."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeVar

from rstaudit.model.facts import Fact, HostState, MissingFact
from rstaudit.model.listing import (
    ORPHAN,
    PROCESS,
    UNACCEPTED,
    UNSEEN,
    Chosen,
    Entry,
    Group,
    Listing,
    Waiting,
    address_number,
)
from rstaudit.model.names import HELD, OPTIONS, OWNERS, SOCKETS
from rstaudit.model.options import OptionTable, SocketOptions
from rstaudit.model.ports import port_flags
from rstaudit.model.sockets import (
    CLOSE_WAIT,
    ESTABLISHED,
    LISTEN,
    NEW_SYN_RECV,
    ROW_SIZE,
    STATE_NAMES,
    SYN_RECV,
    SYN_SENT,
    TIME_WAIT,
    Owner,
    Socket,
    SocketTable,
    address_text,
    bracket,
    decode,
    endpoint,
)
from rstaudit.rules.fate import Around, will

#: The order of groups within a process, and of the kinds of holders.
_STATES = {name: place for place, name in enumerate(["LISTEN", *STATE_NAMES.values()])}
_STATES["LISTEN"] = -1
_HOLDERS = (PROCESS, UNACCEPTED, ORPHAN, UNSEEN)

#: States without a time since the last data.
_NO_DATA_YET = (LISTEN, SYN_SENT, SYN_RECV, NEW_SYN_RECV)

_PORT_RANGE = "net.ipv4.ip_local_port_range"

#: Facts whose gaps bear on the listing.
_BEARING = (SOCKETS.name, OWNERS.name, OPTIONS.name)


T = TypeVar("T")


class _Found(NamedTuple):
    """A socket that was chosen: who has it, and who else."""

    sock: Socket
    holder: str
    owner: Owner | None
    others: tuple[int, ...]


def listing(host: HostState, chosen: Chosen, sort: str | None = None) -> Listing:
    """The sockets of ``host`` that were chosen; raises `MissingFact` without a socket table.

    ``sort`` is a key of `SORTS`; without it the sockets with most to say of themselves come
    first in their group.
    """
    table = host.need(SOCKETS)
    maker = _Maker(host, table, chosen)
    groups: dict[tuple[str, Owner | None, str], list[Entry]] = {}
    for found in maker.found():
        key = found.holder, found.owner, STATE_NAMES.get(found.sock.state, "?")
        groups.setdefault(key, []).append(maker.entry(found))
    gaps = tuple(gap for name, gap in host.gaps.items() if name in _BEARING)
    return Listing(
        host.host, host.netns, host.source, host.kernel.release, len(table),
        _sorted(groups, sort), maker.time_wait(), gaps,
    )  # fmt: skip


class _Maker:
    """What is looked up for every socket, looked up once."""

    def __init__(self, host: HostState, table: SocketTable, chosen: Chosen) -> None:
        self.table, self.chosen = table, chosen
        self.owners = _fact(host, OWNERS, {})
        self.options = _fact(host, OPTIONS, OptionTable({}, 0, 0, 0, 0.0)).by_inode
        self.descriptors = _by_inode(_fact(host, HELD, {}))
        self.listeners: dict[int, list[Socket]] = {}
        for sock in table.select(LISTEN):
            self.listeners.setdefault(sock.sport, []).append(sock)
        self.usable = port_flags(*_port_range(host), frozenset(self.listeners))
        waiting = _count_time_wait(table, self.usable, Chosen())
        accepted = {_local(key): count for key, count in waiting.items() if len(key) == 3}
        self.around = Around(
            accepted, _integer(host, "net.ipv4.tcp_retries2"),
            _integer(host, "net.ipv4.tcp_migrate_req") == 1,
        )  # fmt: skip
        self._waiting = waiting

    def found(self) -> Iterator[_Found]:
        """The chosen sockets, TIME_WAIT apart."""
        chosen, blob = self.chosen, self.table.blob
        states = [state for state in STATE_NAMES if state != TIME_WAIT]
        for start, end in self.table.places(*states):
            if chosen.states and blob[start + 1] not in chosen.states:
                continue
            if chosen.accepts_row(blob, start):
                sock = decode(blob, start, end, details=True)
                if (found := self._held(sock)) is not None:
                    yield found

    def _held(self, sock: Socket) -> _Found | None:
        """The socket with its holder; None where that is not a chosen process."""
        holders = sorted(self.owners.get(sock.inode, ())) if sock.inode else []
        holder = PROCESS
        if not holders:
            holder, owner = self._nobody(sock)
            holders = [owner] if owner else []
        if self.chosen.by_process:
            wanted = [owner for owner in holders if self._chosen(owner)]
            if not wanted:
                return None
            holders = wanted + [owner for owner in holders if owner not in wanted]
        owner = holders[0] if holders else None
        return _Found(sock, holder, owner, tuple(other.pid for other in holders[1:]))

    def _nobody(self, sock: Socket) -> tuple[str, Owner | None]:
        """What a socket is that no process holds, and which process has to accept it."""
        if sock.inode:
            return UNSEEN, None
        if sock.state not in (ESTABLISHED, CLOSE_WAIT, SYN_RECV, NEW_SYN_RECV):
            return ORPHAN, None
        listener = self._listener(sock)
        if listener is None:  # such as a subflow of MPTCP
            return UNSEEN, None
        return UNACCEPTED, min(self.owners.get(listener.inode, ()), default=None)

    def _listener(self, sock: Socket) -> Socket | None:
        """The listener in whose queue ``sock`` is; an accept queue that is empty holds none."""
        syn = sock.state in (SYN_RECV, NEW_SYN_RECV)
        found = [one for one in self.listeners.get(sock.sport, ()) if syn or one.rqueue]
        exact = [one for one in found if one.src == sock.src]
        return next(iter(exact or found), None)

    def _chosen(self, owner: Owner) -> bool:
        if self.chosen.pids and owner.pid not in self.chosen.pids:
            return False
        return not self.chosen.units or any(_is_in(owner, word) for word in self.chosen.units)

    def entry(self, found: _Found) -> Entry:
        """A chosen socket with everything that is shown of it."""
        sock, holder, owner, others = found
        options: SocketOptions | None = self.options.get(sock.inode) if sock.inode else None
        fds = self.descriptors.get(sock.inode, {}) if owner and holder == PROCESS else {}
        words = will(sock, options, self.around, holder, len(others))
        mine = tuple(fds.get(owner.pid, ())) if owner else ()
        return Entry(sock, mine, others, options, _idle(sock), words)

    def time_wait(self) -> tuple[Waiting, ...]:
        """The chosen TIME_WAIT, most first; none where processes were chosen: it has no owner."""
        chosen = self.chosen
        if chosen.by_process or (chosen.states and TIME_WAIT not in chosen.states):
            return ()
        counts = self._waiting
        if chosen.ports or chosen.peers:
            counts = _count_time_wait(self.table, self.usable, chosen)
        found = [_waiting(key, count) for key, count in counts.items()]
        return tuple(sorted(found, key=lambda one: (-one.sockets, one.local, one.peer or "")))


def _fact(host: HostState, fact: Fact[T], default: T) -> T:
    try:
        return host.need(fact)
    except MissingFact:
        return default


def _by_inode(held: Mapping[int, Mapping[int, int]]) -> dict[int, dict[int, list[int]]]:
    """Descriptors by pid, by inode."""
    found: dict[int, dict[int, list[int]]] = {}
    for pid, sockets in held.items():
        for descriptor, inode in sorted(sockets.items()):
            found.setdefault(inode, {}).setdefault(pid, []).append(descriptor)
    return found


def _port_range(host: HostState) -> tuple[int, int]:
    """The ephemeral ports; the kernel's default where they were not read."""
    try:
        low, high = host.integers(_PORT_RANGE)
    except (MissingFact, ValueError):
        return 32768, 60999
    return (low, high) if 0 < low <= high < 65536 else (32768, 60999)


def _integer(host: HostState, key: str) -> int | None:
    try:
        return host.integer(key)
    except MissingFact:
        return None


#: Of a row: family, ports as they lie there, source, destination.
_FIELDS = "B3xHH16s16s32x"

#: Accepted: family, local port, source. Opened: family, remote port, source, destination.
_Key = tuple[int, int, bytes] | tuple[int, int, bytes, bytes]


def _count_time_wait(table: SocketTable, usable: bytes, chosen: Chosen) -> Counter[_Key]:
    """TIME_WAIT by destination, or by local port where connect() cannot have chosen that port."""
    counts: Counter[_Key] = Counter()
    for data, stride, offset in table.time_wait:
        rows = struct.iter_unpack(f"={offset}x{_FIELDS}{stride - offset - ROW_SIZE}x", data)
        if chosen.ports or chosen.peers:
            places = range(offset, len(data), stride)
            rows = iter([row for row, at in zip(rows, places, strict=True)
                         if chosen.accepts_row(data, at)])  # fmt: skip
        counts.update([
            (family, dport, src, dst) if usable[sport] else (family, sport, src)
            for family, sport, dport, src, dst in rows
        ])  # fmt: skip
    return counts


def _local(key: _Key) -> tuple[str, int]:
    return address_text(key[0], key[2]), socket.ntohs(key[1])


def _waiting(key: _Key, count: int) -> Waiting:
    if len(key) == 3:
        return Waiting(endpoint(*_local(key)), None, count)
    family, port, src, dst = key
    peer = endpoint(address_text(family, dst), socket.ntohs(port))
    return Waiting(bracket(address_text(family, src)), peer, count)


def _is_in(owner: Owner, word: str) -> bool:
    """Whether ``word`` names the unit (its suffix may be left out) or container of ``owner``."""
    names = []
    if owner.unit:
        names += [owner.unit, owner.unit.rpartition(".")[0]]
    if owner.container:
        names += [owner.container, owner.container.partition(":")[2]]
    return any(fnmatchcase(name, word) for name in names)


def _idle(sock: Socket) -> int | None:
    if sock.info is None or sock.state in _NO_DATA_YET:
        return None
    return min(sock.info.last_data_sent, sock.info.last_data_recv)


def _peer_key(sock: Socket) -> tuple[int, int]:
    packed = socket.inet_pton(sock.family, sock.dst)
    return address_number(sock.family, packed), sock.dport


def _again(entry: Entry) -> tuple[int, int]:
    info = entry.sock.info
    return entry.sock.retransmits, info.total_retrans if info else 0


#: What ``--sort`` takes: a key of an entry, the smallest first.
SORTS: Mapping[str, Callable[[Entry], Any]] = {
    "recv-q": lambda entry: -entry.sock.rqueue,
    "send-q": lambda entry: -entry.sock.wqueue,
    "idle": lambda entry: -1 if entry.idle_ms is None else -2 - entry.idle_ms,
    "retransmits": lambda entry: tuple(-number for number in _again(entry)),
    "state": lambda entry: _STATES.get(STATE_NAMES.get(entry.sock.state, ""), 0),
    "peer": lambda entry: _peer_key(entry.sock),
}


def _sorted(
    groups: Mapping[tuple[str, Owner | None, str], list[Entry]], sort: str | None
) -> tuple[Group, ...]:
    key = SORTS[sort] if sort else _telling
    made = []
    for (holder, owner, state), entries in groups.items():
        entries.sort(key=lambda entry: (key(entry), entry.fds, _peer_key(entry.sock)))
        made.append(Group(holder, owner, state, tuple(entries)))
    made.sort(key=_group_key)
    if sort:
        made.sort(key=lambda group: key(group.entries[0]))
    return tuple(made)


def _telling(entry: Entry) -> int:
    return -len(entry.will)


def _group_key(group: Group) -> tuple[int, str, int, int]:
    owner = group.owner
    name, pid = (owner.comm, owner.pid) if owner else ("", 0)
    return _HOLDERS.index(group.holder), name, pid, _STATES.get(group.state, 99)
