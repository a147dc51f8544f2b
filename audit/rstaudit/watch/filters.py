"""How long the packet filters of this host, that a connection passes, remember a silent one."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rstaudit.watch.spaces import Space, Spaces

#: Seconds that a setting is taken for unchanged when many connections are reset at once.
_FRESH = 0.2


def forgets_s(
    spaces: Spaces, ours: Space, src: bytes, theirs: Space | None, dst: bytes
) -> int | None:
    """The shortest nf_conntrack_tcp_timeout_established on the way, in seconds.

    Of the namespaces of both ends, and of those that forward and are the next router of either.
    None where no conntrack is there, as far as is known.
    """
    known = []
    for space in _passed(spaces, ours, src, theirs, dst):
        if time.monotonic() - space.asked_at > _FRESH:
            space.ask()
        if space.forgets is not None:
            known.append(space.forgets)
    return min(known, default=None)


def _passed(
    spaces: Spaces, ours: Space, src: bytes, theirs: Space | None, dst: bytes
) -> Iterator[Space]:
    yield ours
    yield from _routers(spaces, ours, dst)
    if theirs is not None and theirs is not ours:
        yield theirs
        yield from _routers(spaces, theirs, src)


def _routers(spaces: Spaces, space: Space, to: bytes) -> Iterator[Space]:
    """The namespace of the next router; an address that several have tells nothing."""
    router = space.router(to)
    found = spaces.of(router) if router is not None else ()
    there = spaces.get(found[0]) if len(found) == 1 else None
    if there is not None and there is not space:
        yield there
