"""Sockets as text: by process and state, each with what it will do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from rstaudit.model.listing import ORPHAN, PROCESS, UNACCEPTED, Entry, Group, Listing, Waiting
from rstaudit.model.options import SocketOptions
from rstaudit.model.sockets import (
    LISTEN,
    TIMER_KEEPALIVE,
    TIMER_PROBE0,
    TIMER_RETRANSMIT,
    TIMER_TIME_WAIT,
    Owner,
)
from rstaudit.report.layout import Line, Span, cells, wrap
from rstaudit.report.safe import printable

TIMERS = {
    TIMER_RETRANSMIT: "retransmit", TIMER_KEEPALIVE: "keepalive", TIMER_TIME_WAIT: "time-wait",
    TIMER_PROBE0: "probe0",
}  # fmt: skip

_HEAD = ("fd", "local", "peer", "recv-q", "send-q", "idle", "again", "timer")
_LISTEN_HEAD = ("fd", "local", "queue", "limit")

#: Columns that are shown also where they say nothing; and what says nothing.
_KEPT = frozenset(_HEAD[:5] + _LISTEN_HEAD)
_NOTHING = frozenset({"-", "0"})

#: What starts the words for a socket that will harm somebody.
_BAD = ("close() will reset", "close() of what", "restart will fail", "drops new", "no answer")


def render(listing: Listing, width: int, limit: int | None) -> list[Line]:
    """The listing; at most ``limit`` rows of each group (None: all), lines cut at ``width``."""
    lines = wrap([Span(printable(_total(listing)), "strong")], width)
    previous: tuple[str, Owner | None] | None = None
    for group in listing.groups:
        if (group.holder, group.owner) != previous:
            lines += [(), *wrap([Span(printable(_holder(group, listing)), "strong")], width)]
        previous = group.holder, group.owner
        lines += _group(group, width, limit)
    lines += _time_wait(listing.time_wait, width, limit)
    if listing.gaps:
        lines += [(), (Span("Could not be read", "strong"),)]
        for detail in dict.fromkeys(gap.detail for gap in listing.gaps):
            lines += wrap([Span(printable(detail))], width, 4, (Span("  -"),))
    return lines


def _total(listing: Listing) -> str:
    counts: Counter[str] = Counter()
    for group in listing.groups:
        counts[group.state] += len(group.entries)
    waiting = sum(one.sockets for one in listing.time_wait)
    if waiting:
        counts["TIME_WAIT"] += waiting
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    where = f" on {listing.host}"
    where += "" if listing.netns == "initial" else f", namespace {listing.netns}"
    chosen = "" if listing.shown == listing.total else f" of {listing.total}"
    number = "1 socket" if listing.total == 1 else f"{listing.total} sockets"
    shown = number if not chosen else f"{listing.shown}{chosen} sockets"
    return f"{shown}{where}{': ' if states else ''}{states}"


def _holder(group: Group, listing: Listing) -> str:
    owner = group.owner
    if group.holder == PROCESS and owner is not None:
        return _process(owner)
    if group.holder == UNACCEPTED:
        return f"not yet accepted by {_process(owner)}" if owner else "not yet accepted"
    if group.holder == ORPHAN:
        return "orphans: closed by their program, still at work"
    if any(gap.fact == "owners" for gap in listing.gaps):
        return "held by a process that cannot be seen from here"
    return "held by no process that /proc shows: by the kernel, or on its way between processes"


def _process(owner: Owner) -> str:
    words = [f"pid {owner.pid}", f"user {owner.user}"]
    words += [f"unit {owner.unit}"] if owner.unit else []
    words += [f"container {owner.container}"] if owner.container else []
    line = f"{owner.comm} ({', '.join(words)})"
    return f"{line}: {owner.cmdline}" if owner.cmdline else line


def _group(group: Group, width: int, limit: int | None) -> list[Line]:
    shown = group.entries[:limit]
    common = _common(group.entries)
    lines = wrap([Span(f"{group.state} ({len(group.entries)})")], width, 2, (Span("  "),))
    for words in common:
        lines += wrap([_styled(words)], width, 6, (Span("    -"),))
    lines += _table([_row(entry) for entry in shown], shown, common, width)
    hidden = group.entries[len(shown) :]
    if hidden:
        lines += wrap([Span(_more(hidden))], width, 4)
    return lines


def _common(entries: tuple[Entry, ...]) -> list[str]:
    """What can be said of all sockets of a group, said once; nothing for a single one."""
    if len(entries) < 2:
        return []
    shared = set(_notes(entries[0]))
    for entry in entries[1:]:
        shared &= set(_notes(entry))
    return [words for words in _notes(entries[0]) if words in shared]


def _notes(entry: Entry) -> list[str]:
    notes = list(entry.will)
    if entry.options is not None and (words := options_in_words(entry.options)):
        notes.append(f"set: {words}")
    return notes


def _styled(words: str) -> Span:
    style = "warning" if words.startswith(_BAD) else "dim" if words.startswith("set: ") else ""
    return Span(words, style)


def _more(hidden: tuple[Entry, ...]) -> str:
    resets = sum(any("close() will reset" in word for word in entry.will) for entry in hidden)
    return f"and {len(hidden)} more" + (f", {resets} of them reset on close()" if resets else "")


def _row(entry: Entry) -> tuple[str, ...]:
    sock = entry.sock
    fds = ",".join(map(str, entry.fds[:3])) + ("..." if len(entry.fds) > 3 else "")
    if sock.state == LISTEN:
        return fds or "-", sock.local, str(sock.rqueue), str(sock.wqueue)
    again = max(sock.retransmits, sock.info.total_retrans if sock.info else 0)
    timer = TIMERS.get(sock.timer)
    return (
        fds or "-", sock.local, sock.peer, str(sock.rqueue), str(sock.wqueue),
        "-" if entry.idle_ms is None else duration(entry.idle_ms), str(again),
        f"{timer} {duration(sock.expires_ms)}" if timer else "-",
    )  # fmt: skip


def _table(
    rows: list[tuple[str, ...]], entries: tuple[Entry, ...], common: list[str], width: int
) -> Iterator[Line]:
    """The rows in columns, or with labels where those do not fit; below each what it will do."""
    if not rows:
        return
    head = _LISTEN_HEAD if entries[0].sock.state == LISTEN else _HEAD
    columns = list(zip(head, *rows, strict=True))
    columns = [column for column in columns if column[0] in _KEPT or set(column[1:]) - _NOTHING]
    sizes = [max(map(cells, column)) for column in columns]
    wide = sum(sizes) + 2 * len(sizes) + 2 <= width
    head, *kept = zip(*columns, strict=True)
    if wide:
        yield _aligned(head, sizes, "dim")
    for row, entry in zip(kept, entries, strict=True):
        if wide:
            yield _aligned(row, sizes)
        else:
            words = " ".join(f"{name} {word}" for name, word in zip(head, row, strict=True))
            yield from wrap([Span(words)], width, 4)
        for note in _below(entry, common):
            yield from wrap([_styled(note)], width, 8, (Span("      -"),))


def _aligned(row: Iterable[str], sizes: list[int], style: str = "") -> Line:
    text = "  ".join(word.ljust(size) for word, size in zip(row, sizes, strict=True))
    return (Span(f"    {text.rstrip()}", style),)


def _below(entry: Entry, common: list[str]) -> list[str]:
    notes = [words for words in _notes(entry) if words not in common]
    if entry.others:
        pids = ", ".join(map(str, entry.others[:8])) + (", ..." if entry.others[8:] else "")
        notes.insert(0, f"held by pid {pids} too")
    return notes


def _time_wait(waiting: tuple[Waiting, ...], width: int, limit: int | None) -> list[Line]:
    if not waiting:
        return []
    total = sum(one.sockets for one in waiting)
    lines: list[Line] = [(), (Span(f"TIME_WAIT ({total}): held by no process", "strong"),)]
    for one in waiting[:limit]:
        where = f"{one.local} -> {one.peer}" if one.peer else f"accepted on {one.local}"
        lines += wrap([Span(where)], width, 13, (Span(f"    {one.sockets:>7}"),))
    if hidden := waiting[len(waiting[:limit]) :]:
        rest = sum(one.sockets for one in hidden)
        lines += wrap([Span(f"and {len(hidden)} more destinations with {rest}")], width, 4)
    return lines


def options_in_words(options: SocketOptions) -> str:
    """What a program has set, by the names of the options; empty where nothing is on."""
    words = []
    if options.linger is not None:
        words.append(f"SO_LINGER {options.linger}")
    if options.keepalive:
        times = f"{options.keepidle}/{options.keepintvl}/{options.keepcnt}"
        words.append(f"SO_KEEPALIVE {times}")
    numbers = (
        ("TCP_USER_TIMEOUT", options.user_timeout_ms, " ms"),
        ("TCP_LINGER2", min(options.linger2, 0), ""),
        ("SO_SNDTIMEO", options.send_timeout_ms, " ms"),
        ("SO_RCVTIMEO", options.receive_timeout_ms, " ms"),
        ("TCP_DEFER_ACCEPT", options.defer_accept, ""),
        ("TCP_FASTOPEN", options.fastopen, ""),
    )
    words += [f"{name} {number}{unit}" for name, number, unit in numbers if number]
    flags = (
        ("SO_REUSEADDR", options.reuse_address),
        ("SO_REUSEPORT", options.reuse_port),
        ("IP_BIND_ADDRESS_NO_PORT", options.bind_address_no_port),
    )
    return ", ".join(words + [name for name, on in flags if on])


def duration(milliseconds: int) -> str:
    """``250 ms``, ``42 s``, ``12 min``, ``5 h``, ``3 d``: two digits are enough for a glance."""
    seconds = milliseconds / 1000
    for unit, size, largest in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < largest:
            return f"{milliseconds} ms" if seconds < 1 else f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86400)} d"
