"""Work done inside other network namespaces, each in a child process of its own.

A thread could enter a namespace too, but /proc/net and /proc/sys/net show that of the whole
process. A child that is refused, dies or hangs costs its own answer and no other.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, NoReturn, TypeVar

from rstaudit.collect.namespaces import Namespace
from rstaudit.model.facts import Gap, MissingFact

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_PIECE = 1 << 20
_AFTER_STOP = 3.0


class Answer(NamedTuple, Generic[T]):
    """What the work in one namespace gave, or why there is nothing.

    The gap has reason ``absent`` when the namespace has ended meanwhile.
    """

    space: Namespace
    value: T | Gap


class _Child(NamedTuple):
    """A child at work, the pipe that it answers through, and when to give it up."""

    pid: int
    space: Namespace
    deadline: float
    parts: list[bytes]


class Crew(Generic[T]):
    """``work`` in each of ``spaces``, in ``at_once`` children at most.

    The first children start at once, while the caller does something else; no other thread may
    run then, nor during `answers`. ``patience`` is the seconds that each may take. What ``work``
    returns must be picklable; a `MissingFact` that it raises becomes the answer's gap.
    """

    def __init__(
        self,
        spaces: Iterable[Namespace],
        work: Callable[[Namespace], T],
        patience: float,
        at_once: int,
    ) -> None:
        self._waiting = list(spaces)[::-1]
        self._work = work
        self._patience = patience
        self._at_once = at_once
        self._running: dict[int, _Child] = {}
        self._ready: list[Answer[T]] = []
        self._fill()

    def answers(self) -> Iterator[Answer[T]]:
        """One answer for each namespace, in the order in which they come."""
        while self._running or self._ready or self._waiting:
            while self._ready:
                yield self._ready.pop()
            self._listen()
            self._fill()

    def stop(self) -> None:
        """After Ctrl-C: start nothing more, and ask the children for what they know by now."""
        self._ready += [
            Answer(space, _gap("interrupted", "interrupted")) for space in self._waiting
        ]
        self._waiting.clear()
        soon = time.monotonic() + _AFTER_STOP
        for pipe, child in self._running.items():
            self._running[pipe] = child._replace(deadline=min(child.deadline, soon))
            _signal(child.pid, signal.SIGINT)

    def close(self) -> None:
        """End every child that is still there."""
        for pipe in list(self._running):
            self._dismiss(pipe)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._at_once:
            space = self._waiting.pop()
            try:
                self._start(space)
            except OSError as error:
                detail = f"no process could be started: {_words(error)}"
                self._ready.append(Answer(space, _gap("unreadable", detail)))

    def _start(self, space: Namespace) -> None:
        ours, theirs = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(ours)
            os.close(theirs)
            raise
        if pid == 0:
            _serve(theirs, space, self._work)
        os.close(theirs)
        self._running[ours] = _Child(pid, space, time.monotonic() + self._patience, [])

    def _listen(self) -> None:
        """Wait until a child says something or is out of time."""
        if not self._running:
            return
        poll = select.poll()
        for pipe in self._running:
            poll.register(pipe, select.POLLIN)
        first = min(child.deadline for child in self._running.values())
        for pipe, _ in poll.poll(max(0.0, first - time.monotonic()) * 1000 + 1):
            piece = os.read(pipe, _PIECE)
            if piece:
                self._running[pipe].parts.append(piece)
            else:
                self._finish(pipe)
        now = time.monotonic()
        for pipe in [pipe for pipe, child in self._running.items() if child.deadline <= now]:
            child = self._dismiss(pipe)
            detail = f"no answer from it within {self._patience:g} s"
            self._ready.append(Answer(child.space, _gap("unreadable", detail)))

    def _finish(self, pipe: int) -> None:
        child = self._running.pop(pipe)
        os.close(pipe)
        status = _wait(child.pid, block=True)
        try:
            value = pickle.loads(b"".join(child.parts))
        except Exception:  # noqa: BLE001 - half an answer may raise anything
            value = _gap("unreadable", f"the process that read it ended with status {status}")
        self._ready.append(Answer(child.space, value))

    def _dismiss(self, pipe: int) -> _Child:
        child = self._running.pop(pipe)
        os.close(pipe)
        _signal(child.pid, signal.SIGKILL)
        _wait(child.pid, block=False)
        return child


def _signal(pid: int, number: int) -> None:
    """Signal a child of ours; it is gone already where who started us ignores SIGCHLD."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait(pid: int, *, block: bool) -> int | None:
    """The exit status of a child; None where it is not known, or not dead within a second."""
    try:
        if block:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for _ in range(100):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
    except ChildProcessError:  # who started us ignores SIGCHLD
        pass
    return None


def _serve(pipe: int, space: Namespace, work: Callable[[Namespace], T]) -> NoReturn:
    """The child: enter, work, answer, and leave without running anything of the parent's."""
    status = 1
    signal.signal(signal.SIGINT, _interrupt_once)
    try:
        data = pickle.dumps(_attempt(space, work), pickle.HIGHEST_PROTOCOL)
        with os.fdopen(pipe, "wb") as answer:
            answer.write(data)
        status = 0
    finally:
        os._exit(status)


def _interrupt_once(*_: object) -> NoReturn:
    """Ctrl-C comes from the terminal and from our parent: the second must not cut the answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _attempt(space: Namespace, work: Callable[[Namespace], T]) -> T | Gap:
    try:
        _enter(space)
        return work(space)
    except MissingFact as missing:
        return missing.gap
    except KeyboardInterrupt:
        return _gap("interrupted", "interrupted")
    except Exception as error:  # noqa: BLE001 - the others shall not be lost
        return _gap("unreadable", f"{type(error).__name__}: {error}")


def _enter(space: Namespace) -> None:
    """Move this process into ``space``; raises `MissingFact`."""
    if os.readlink("/proc/self/ns/net") == space.id:
        return
    for path in space.paths:
        with contextlib.suppress(OSError):
            door = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if f"net:[{os.fstat(door).st_ino}]" == space.id:
                    _set_namespace(door)
                    return
            finally:
                os.close(door)
    raise MissingFact(_gap("absent", f"{space.id} has ended"))


def _set_namespace(door: int) -> None:
    """setns(2); raises `MissingFact` when it is refused."""
    try:
        if hasattr(os, "setns"):  # Python 3.12
            os.setns(door, _CLONE_NEWNET)
            return
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(door, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    except OSError as error:
        raise MissingFact(_gap("permission", f"entering it is refused: {_words(error)}")) from None


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _gap(reason: str, detail: str) -> Gap:
    return Gap("netns", reason, detail)
