"""When a watch ends: after its time, or at a signal, which is then no error."""

from __future__ import annotations

import signal
import time
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether to stop; signals say so while the block lasts, and do nothing else."""

    def __init__(self, duration: float | None) -> None:
        self._until = None if duration is None else time.monotonic() + duration
        self._told = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stop:
        for number in _SIGNALS:
            # what is ignored (nohup) stays ignored
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._tell)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us

    def __call__(self) -> bool:
        """Whether it is time to stop."""
        return self._told or (self._until is not None and time.monotonic() >= self._until)

    def _tell(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True
