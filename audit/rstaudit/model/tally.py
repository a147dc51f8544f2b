"""What a watch saw in all."""

from __future__ import annotations

from typing import NamedTuple


class Tally(NamedTuple):
    """The end of a watch.

    ``source`` is ``events`` or ``counters``. ``sent`` and ``received`` are all resets of the
    host; ``reported`` those the filters let through, ``harmful`` those of them that are not
    benign, ``causes`` their number by cause. ``undiagnosed`` resets were only counted, ``lost``
    events found the buffer full. ``gap`` says why there were no events, or None.
    ``command_status`` is the exit status of the command that was run, None where there was none.
    """

    source: str
    seconds: float
    sent: int
    received: int
    reported: int
    harmful: int
    causes: dict[str, int]
    undiagnosed: int
    events: int
    lost: int
    gap: str | None
    command_status: int | None
