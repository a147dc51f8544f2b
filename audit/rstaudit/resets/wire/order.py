"""Rows sorted by a number, those with the same number left in their order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstaudit.resets.wire.marks import Ints

#: Bits that hold a row's place; more rows than that are never sorted at once.
_PLACE_BITS = 24


def by_number(numbers: Ints) -> Ints:
    """The places of rows, sorted by small numbers (0 to 2**39)."""
    if len(numbers) >> _PLACE_BITS:
        return np.argsort(numbers, kind="stable")
    composite = numbers << _PLACE_BITS
    composite |= np.arange(len(numbers))
    composite.sort()  # plain sorting is several times as fast as a stable argsort
    composite &= (1 << _PLACE_BITS) - 1
    return composite


def by_key(keys: NDArray[np.uint64]) -> Ints:
    """The places of rows, grouped by a hash of 64 bits."""
    if len(keys) >> _PLACE_BITS:
        return np.argsort(keys, kind="stable")
    low = np.uint64((1 << _PLACE_BITS) - 1)
    composite = keys & ~low
    composite |= np.arange(len(keys), dtype=np.uint64)
    composite.sort()
    places = (composite & low).astype(np.int64)
    composite &= ~low
    found = keys[places]
    mixed = (composite[1:] == composite[:-1]) & (found[1:] != found[:-1])
    if mixed.any():  # two hashes that begin alike: their rows may be interleaved
        return np.argsort(keys, kind="stable")
    return places


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """The different values, sorted.

    As `numpy.unique`, which imports masked arrays for it (9 ms).
    """
    ordered = np.sort(values)
    return ordered[changes(ordered)]


def changes(values: NDArray[Any]) -> Ints:
    """Where a new value begins in a sorted column, the first row included."""
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    return np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))
