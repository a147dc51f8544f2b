"""Moments and gaps in time, as people and as scripts read them."""

from __future__ import annotations

from time import gmtime

_SECOND = 1_000_000_000

#: The last whole second that was spelled: packets come thousands to the second.
_last = (0, "1970-01-01T00:00:00")


def rfc3339(time_ns: int) -> str:
    """``2026-11-21T18:42:37.123456789Z`` for nanoseconds since the epoch.

    Raises no error: years that RFC 3339 cannot spell (beyond 9999, which only a corrupt capture
    holds) are spelled as they are.
    """
    global _last  # noqa: PLW0603 - one cached second; recomputing it is what costs
    second, fraction = divmod(time_ns, _SECOND)
    if second != _last[0]:
        t = gmtime(second)
        date = f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}"
        _last = second, f"{date}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
    return f"{_last[1]}.{fraction:09}Z"


def offset(nanoseconds: int) -> str:
    """Seconds since a beginning, microseconds where there is room: ``0.000031``, ``86400.00``."""
    seconds = nanoseconds / _SECOND
    size = abs(seconds)
    return f"{seconds:.{6 if size < 10_000 else 3 if size < 1_000_000 else 0}f}"


def gap(nanoseconds: int) -> str:
    """A length of time in the unit that suits it: ``31 us``, ``4.2 ms``, ``60.2 s``."""
    if nanoseconds < 1_000_000:
        return f"{nanoseconds // 1000} us"
    if nanoseconds < _SECOND:
        return f"{nanoseconds / 1_000_000:.1f} ms"
    return f"{nanoseconds / _SECOND:.1f} s"
