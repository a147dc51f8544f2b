"""Forking, and messages between a process and those it forked."""

from __future__ import annotations

import marshal
import os
import signal
from collections.abc import Callable
from typing import Any, BinaryIO


def possible() -> bool:
    """Whether a second process would help, and can be forked without harm."""
    try:
        return len(os.sched_getaffinity(0)) > 1 and len(os.listdir("/proc/self/task")) == 1
    except (AttributeError, OSError):  # captures are also read on systems other than Linux
        return False


def fork(serve: Callable[[], None], *parents: int) -> int:
    """The pid of a child that does ``serve`` and nothing else, without the descriptors ``parents``.

    Ctrl-C does not reach it: its parent ends it.
    """
    child = os.fork()
    if child:
        return child
    try:
        for descriptor in parents:
            os.close(descriptor)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serve()
    finally:
        os._exit(1)  # whatever happens, nothing of the parent's runs twice


def send(tell: BinaryIO, message: tuple[Any, ...]) -> None:
    """Write a message of what `marshal` knows, so that `receive` gets it whole."""
    data = marshal.dumps(message)
    tell.write(len(data).to_bytes(8, "little") + data)
    tell.flush()


def receive(news: BinaryIO) -> tuple[Any, ...] | None:
    """The next message; None where the other side has gone."""
    size = int.from_bytes(news.read(8), "little")
    data = news.read(size)
    if not size or len(data) < size:
        return None
    message: tuple[Any, ...] = marshal.loads(data)
    return message
