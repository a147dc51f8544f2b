"""Two pieces of work at once: numpy lets go of the interpreter while it works on large arrays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


def in_threads(work: Callable[[_Piece], _Result], pieces: Sequence[_Piece]) -> list[_Result]:
    """``work`` done on each of ``pieces``, in their order; raises the first error it raised."""
    results: list[list[_Result]] = [[], []]
    errors: list[BaseException] = []

    def half(number: int) -> None:
        try:
            for piece in pieces[number::2]:
                results[number].append(work(piece))
        except BaseException as error:  # noqa: BLE001 - raised again where it can be handled
            errors.append(error)

    other = threading.Thread(target=half, args=(1,), daemon=True)
    if len(pieces) > 1:
        other.start()
    half(0)
    if len(pieces) > 1:
        other.join()
    if errors:
        raise errors[0]
    return [results[place % 2][place // 2] for place in range(len(pieces))]
