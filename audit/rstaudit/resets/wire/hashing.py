"""Many values to 64 bits each, so that equal ones can be found by sorting numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

#: Odd numbers without a pattern (the constants of splitmix64, and others like them).
_ODD = np.array(
    [
        0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93,
        0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5,
        0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3,
    ],
    dtype=np.uint64,
)  # fmt: skip
_SHIFT = np.uint64(29)


def mixed(columns: list[NDArray[Any]]) -> Hashes:
    """One number for each row of some columns of integers, all of the same length."""
    total = np.zeros(len(columns[0]), dtype=np.uint64)
    for number, column in enumerate(columns):
        total ^= column.astype(np.uint64, copy=False)
        total *= _ODD[number % len(_ODD)]
        total ^= total >> _SHIFT
    return total


def addresses(column: NDArray[np.void]) -> Hashes:
    """One number for each 16-byte address."""
    halves = np.frombuffer(column.tobytes(), dtype="<u8").reshape(-1, 2)
    return mixed([halves[:, 0], halves[:, 1]])


def bytewise(matrix: NDArray[np.uint8]) -> Hashes:
    """One number for each row of a matrix of bytes."""
    width = -(-matrix.shape[1] // 8) * 8
    padded = np.zeros((len(matrix), width), dtype=np.uint8)
    padded[:, : matrix.shape[1]] = matrix
    return mixed(list(padded.view("<u8").T))
