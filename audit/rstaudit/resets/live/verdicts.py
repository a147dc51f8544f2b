"""What was said of sent resets, for the other end on this host to say the same."""

from __future__ import annotations

from rstaudit.model.diagnosis import Diagnosis

_MOST = 4096


class Verdicts:
    """The last diagnoses of sent resets, by when and by which socket each was sent."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, int], Diagnosis] = {}

    def keep(self, time: int, sk: int, diagnosis: Diagnosis) -> None:
        """A reset has been judged where it was sent."""
        if len(self._of) >= _MOST:
            self._of.clear()
        self._of[time, sk] = diagnosis

    def get(self, time: int, sk: int) -> Diagnosis | None:
        """What was said of it, if that was lately."""
        return self._of.get((time, sk))
