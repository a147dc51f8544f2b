"""Live resets as JSON lines (contract: ``rstaudit/watch/1``; schema in docs/schema/)."""

from __future__ import annotations

from json import JSONEncoder

from rstaudit.model.diagnosis import LiveReset
from rstaudit.model.tally import Tally
from rstaudit.report.as_json import clean
from rstaudit.report.moment import rfc3339

_SCHEMA = "rstaudit/watch/1"
_encode = JSONEncoder(allow_nan=False).encode


def line(reset: LiveReset) -> str:
    """One reset, ended by a newline."""
    found = reset.diagnosis
    return _text(
        {
            "schema": _SCHEMA,
            "time": rfc3339(reset.time_ns),
            "direction": reset.direction,
            "src": reset.src,
            "dst": reset.dst,
            "cause": found.cause,
            "confidence": found.confidence.value,
            "alternatives": list(found.alternatives),
            "benign": found.benign,
            "why": found.why,
            "kernel_reason": reset.kernel_reason,
            "process": None if reset.owner is None else _process(reset),
            "netns": reset.netns,
            "evidence": dict(found.evidence),
        }
    )


def ending(tally: Tally) -> str:
    """The last line: what was seen in all, and what was lost."""
    return _text(
        {
            "schema": _SCHEMA,
            "summary": {
                "source": tally.source,
                "seconds": round(tally.seconds, 3),
                "sent": tally.sent,
                "received": tally.received,
                "reported": tally.reported,
                "harmful": tally.harmful,
                "benign": tally.reported - tally.harmful,
                "causes": tally.causes,
                "undiagnosed": tally.undiagnosed,
                "events": tally.events,
                "lost": tally.lost,
                "gap": tally.gap,
                "command_status": tally.command_status,
            },
        }
    )


def _process(reset: LiveReset) -> dict[str, object]:
    assert reset.owner is not None
    owner = reset.owner._asdict()
    del owner["exe"], owner["cmdline"]
    return owner


def _text(value: object) -> str:
    return _encode(clean(value)) + "\n"
