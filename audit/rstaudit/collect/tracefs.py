"""The kernel's trace events, read from a private instance of tracefs.

Nothing is mounted, no module loaded, no probe inserted; the instance goes with its owner. One
whose owner was killed is removed by whoever starts next.
"""

from __future__ import annotations

import errno
import os
import re
import select
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from rstaudit.collect.tree import Tree, read_file
from rstaudit.model.facts import Gap, MissingFact
from rstaudit.parse.errors import ParseError
from rstaudit.parse.process import parse_stat
from rstaudit.parse.trace_format import Layout, PageLayout, parse_format, parse_header_page

#: Events that are read where the kernel has them, with a filter in the kernel's own words.
EVENTS: Mapping[str, str] = {
    "tcp/tcp_send_reset": "",
    "tcp/tcp_receive_reset": "",
    "sock/inet_sock_set_state": "protocol == 6 || protocol == 262",
    "tcp/tcp_set_state": "",  # its name in 4.15
    "tcp/tcp_destroy_sock": "",
    "sock/inet_sk_error_report": "protocol == 6 || protocol == 262",  # from 5.14
    "tcp/tcp_retransmit_skb": "",
}
#: Reasons of kfree_skb that explain a reset, or the silence in its place; words of the kernel.
DROPS = frozenset({"NETFILTER_DROP", "TCP_LISTEN_OVERFLOW", "TCP_REQQ_FULL_DROP"})
_DROP = "skb/kfree_skb"
_IP = "protocol == 0x800 || protocol == 0x86dd"

_NEEDED = ("tcp/tcp_send_reset", "tcp/tcp_receive_reset")

_NAME = re.compile(r"rstaudit-(\d{1,10})-(\d{1,20})(?:-\d{1,6})?", re.ASCII)
_STATS = re.compile(r"^(?:overrun|commit overrun|dropped events): (\d{1,20})$", re.MULTILINE)

#: Pages of one processor that are read before the next one has its turn.
_ROUND = 64


class Chunk(NamedTuple):
    """One page of the buffer of processor ``cpu``."""

    cpu: int
    data: bytes


class Trace:
    """A private instance, from `__init__` to `close`; its events are recorded from `start` on.

    ``events`` are paths below ``events/`` with their filters. ``buffer_kib`` is per processor.
    Raises `MissingFact` with what to do where there is no tracefs, no permission, or a kernel
    older than 4.15.
    """

    def __init__(self, buffer_kib: int, events: Mapping[str, str] = EVENTS) -> None:
        self._root = find()
        remove_stale(self._root)
        self._fds: dict[int, int] = {}
        self.path = _make(self._root)
        try:
            self.layouts, self.page = self._set_up(buffer_kib, events)
            self._open()
        except OSError as error:
            self.close()
            raise refused(error) from None
        except BaseException:
            self.close()
            raise

    def _set_up(
        self, buffer_kib: int, events: Mapping[str, str]
    ) -> tuple[Sequence[Layout], PageLayout]:
        self._write("tracing_on", "0")
        self._write("trace_clock", "mono")
        self._write("buffer_size_kb", str(buffer_kib))
        with suppress(OSError):  # from 5.0; 0 wakes us at the first event, not at half a buffer
            self._write("buffer_percent", "0")
        try:
            page = parse_header_page(self._text("events/header_page"))
            layouts = [self._enable(event, rule) for event, rule in events.items()]
            layouts.append(self._enable_drops())
        except ParseError as error:
            raise MissingFact(Gap("trace", "malformed", str(error))) from None
        return [layout for layout in layouts if layout is not None], page

    def _enable(self, event: str, rule: str) -> Layout | None:
        """Switch an event on; None where the kernel does not have it."""
        folder = f"events/{event}"
        try:
            layout = parse_format(self._text(f"{folder}/format"))
        except FileNotFoundError:
            if event not in _NEEDED:
                return None
            detail = f"the kernel has no event {event.replace('/', ':')} (from 4.15)"
            raise MissingFact(Gap("trace", "absent", detail)) from None
        if rule:
            with suppress(OSError):  # the decoder leaves out what the filter would have
                self._write(f"{folder}/filter", rule)
        self._write(f"{folder}/enable", "1")
        return layout

    def _enable_drops(self) -> Layout | None:
        """Switch kfree_skb on for the reasons that help; None where it knows none of them.

        It happens for every packet, so that it goes without only where the filter was taken.
        """
        try:
            layout = parse_format(self._text(f"events/{_DROP}/format"))
            words = layout.symbols.get("reason", {})
            rules = [f"reason == {number}" for number, word in words.items() if word in DROPS]
            if not rules:
                return None
            self._write(f"events/{_DROP}/filter", f"({' || '.join(rules)}) && ({_IP})")
            self._write(f"events/{_DROP}/enable", "1")
        except (OSError, ParseError):
            return None
        return layout

    def no_drops(self) -> None:
        """Switch kfree_skb off again: a flood of dropped packets would bury everything else."""
        with suppress(OSError):
            self._write(f"events/{_DROP}/enable", "0")

    def _open(self) -> None:
        """Open the pipe of every processor that has one; raises OSError where none has."""
        self._poll = select.poll()
        problem: OSError | None = None
        for name in sorted(os.listdir(f"{self.path}/per_cpu")):
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                fd = os.open(f"{self.path}/per_cpu/{name}/trace_pipe_raw", flags)
            except OSError as error:  # a processor that was never switched on
                problem = error
                continue
            self._fds[int(name.removeprefix("cpu"))] = fd
            self._poll.register(fd, select.POLLIN)
        if problem is not None and not self._fds:
            raise problem

    def start(self) -> None:
        """Record events from now on."""
        self._write("tracing_on", "1")

    def wait(self, seconds: float) -> bool:
        """Wait for an event; whether there is one."""
        return bool(self._poll.poll(max(0, int(seconds * 1000))))

    def read(self, most: int) -> list[Chunk]:
        """At most about ``most`` pages of what is there, each processor in its turn."""
        size = self.page.size
        found: list[Chunk] = []
        waiting = dict(self._fds)
        while waiting and len(found) < most:
            for cpu, fd in list(waiting.items()):
                for _ in range(_ROUND):
                    data = _page(fd, size)
                    if not data:
                        del waiting[cpu]
                        break
                    found.append(Chunk(cpu, data))
        return found

    def names(self) -> dict[int, str]:
        """Names of the threads that were traced lately, also of those that have ended."""
        with suppress(OSError):
            text = read_file(f"{self._root}/saved_cmdlines").decode("utf-8", "surrogateescape")
            pairs = (line.partition(" ") for line in text.split("\n"))
            return {int(tid): name for tid, _, name in pairs if tid.isdecimal()}
        return {}

    def lost(self) -> int:
        """Events that the buffer had no room for since the start."""
        total = 0
        for cpu in self._fds:
            with suppress(OSError):
                total += sum(map(int, _STATS.findall(self._text(f"per_cpu/cpu{cpu}/stats"))))
        return total

    def close(self) -> None:
        """Switch the events off and remove the instance; harmless when done twice."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}
        _remove(self.path)

    def _write(self, name: str, text: str) -> None:
        fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def _text(self, name: str) -> str:
        return read_file(f"{self.path}/{name}").decode("ascii", "replace")


def _page(fd: int, size: int) -> bytes:
    try:
        return os.read(fd, size)
    except BlockingIOError:
        return b""


def find() -> str:
    """Where tracefs is mounted; raises `MissingFact` saying how to mount it where it is not."""
    with suppress(OSError):
        text = read_file("/proc/thread-self/mountinfo").decode("utf-8", "surrogateescape")
        places = [line.split(" ") for line in text.split("\n") if " - tracefs " in line]
        # the last of a place is the one on top; the usual place before others
        found = sorted((words[4] for words in places), key=lambda at: at != "/sys/kernel/tracing")
        if found:
            return found[0]
    if not os.path.isdir("/sys/kernel/tracing"):
        detail = "this kernel has no tracefs (CONFIG_TRACING), or this is a container without it"
        raise MissingFact(Gap("trace", "absent", detail))
    detail = "tracefs is not mounted; mount -t tracefs nodev /sys/kernel/tracing"
    raise MissingFact(Gap("trace", "not-loaded", detail))


def refused(error: OSError) -> MissingFact:
    """Why tracefs let us do nothing, in words, and what would help."""
    if error.errno not in (errno.EPERM, errno.EACCES):
        words = (error.strerror or str(error)).lower()
        return MissingFact(Gap("trace", "unreadable", f"tracefs: {words}"))
    if os.geteuid() != 0:
        return MissingFact(Gap("trace", "permission", "tracefs is not ours to use; run as root"))
    if _locked_down():
        detail = "kernel lockdown (confidentiality) forbids tracing; see kernel_lockdown(7)"
        return MissingFact(Gap("trace", "permission", detail))
    detail = "tracefs is not ours to use, though this is root; a container without CAP_SYS_ADMIN?"
    return MissingFact(Gap("trace", "permission", detail))


def _locked_down() -> bool:
    with suppress(OSError):
        return b"[confidentiality]" in read_file("/sys/kernel/security/lockdown")
    return False


def remove_stale(root: str) -> None:
    """Remove the instances whose owners are dead: the pid is gone, or another process has it."""
    with suppress(OSError):
        for name in os.listdir(f"{root}/instances"):
            owner = _NAME.fullmatch(name)
            if owner is not None and _start_time(owner[1]) != int(owner[2]):
                # the kernel refuses while somebody holds a file of it open
                with suppress(OSError):
                    os.rmdir(f"{root}/instances/{name}")


def _start_time(pid: str | int) -> int | None:
    """When a process began, in ticks since boot; None when there is none."""
    with suppress(MissingFact, ParseError):
        return parse_stat(Tree().text(f"/proc/{pid}/stat")).start_ticks
    return None


def _make(root: str) -> str:
    """An instance of our own; a second one in this process has a number behind its name."""
    pid = os.getpid()
    name = f"{root}/instances/rstaudit-{pid}-{_start_time(pid)}"
    for path in (name, *(f"{name}-{number}" for number in range(2, 100))):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise refused(error) from None
        return path
    raise MissingFact(Gap("trace", "unreadable", f"tracefs: {name} and 98 more are in use"))


def _remove(path: str) -> None:
    """Remove an instance; the kernel may take a moment to let go of files closed just now."""
    for _ in range(50):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                return
            time.sleep(0.02)
        else:
            return
