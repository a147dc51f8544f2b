"""The one error of the command line: something the person who typed it can mend."""

from __future__ import annotations

from collections.abc import Iterable


class UsageError(Exception):
    """One line for stderr, and exit status 2: what is wrong, where, and what to do."""


def suggest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'web'?`` for the nearest of ``known``, or nothing when none is near."""
    import difflib  # 4 ms that only a mistake costs

    folded = word.casefold()
    by_folded = {name.casefold(): name for name in known}

    def nearness(name: str) -> tuple[float, int]:
        """The matcher's ratio; where it ties (RST1O1), letters in the same place decide."""
        same = sum(a == b for a, b in zip(name, folded, strict=False))
        return difflib.SequenceMatcher(None, name, folded).ratio(), same

    near = difflib.get_close_matches(folded, by_folded, n=9, cutoff=0.6)
    return f"; did you mean {by_folded[max(near, key=nearness)]!r}?" if near else ""
