"""Resets in captures as JSON (contract: ``rstaudit/pcap/1``; schema in docs/schema/).

One document, written in pieces as the captures are read, so that its size costs no memory. Each
reset is a line of its own, ended at once and not by the next one: whoever reads along sees it.
"""

from __future__ import annotations

from collections.abc import Iterable
from json import JSONEncoder

from rstaudit import __version__
from rstaudit.model.capture import CaptureSummary, Unreadable
from rstaudit.report.as_json import clean
from rstaudit.report.moment import rfc3339
from rstaudit.report.pcap_groups import Reset

_encode = JSONEncoder(allow_nan=False).encode


def beginning() -> str:
    """What comes before the first capture."""
    tool = _encode({"name": "rstaudit", "version": __version__})
    return f'{{\n  "schema": "rstaudit/pcap/1",\n  "tool": {tool},\n  "files": ['


def file_beginning(name: str, *, first: bool) -> str:
    """What comes before the first reset of the capture ``name``."""
    comma = "" if first else ","
    return f'{comma}\n    {{\n      "file": {text(name)},\n      "resets": [\n'


def reset_line(reset: Reset, *, first: bool) -> str:
    """One reset."""
    found = reset.diagnosis
    alternatives = ", ".join([f'"{cause}"' for cause in found.alternatives])
    comma = "        " if first else "      , "
    return (
        f'{comma}{{"frame": {reset.frame}, "time": "{rfc3339(reset.time_ns)}",'
        f' "src": "{reset.src}", "dst": "{reset.dst}", "cause": "{found.cause}",'
        f' "confidence": "{found.confidence.value}", "alternatives": [{alternatives}],'
        f' "benign": {"true" if found.benign else "false"}, "why": {text(found.why)},'
        f' "evidence": {text(dict(found.evidence))}}}\n'
    )


def file_end(summary: CaptureSummary) -> str:
    """What comes after the last reset of a capture."""
    times = [
        None if time_ns is None else rfc3339(time_ns)
        for time_ns in (summary.first_ns, summary.last_ns)
    ]
    rest = {
        "packets": summary.packets,
        "tcp_packets": summary.tcp_packets,
        "flows": summary.flows,
        "forgotten_flows": summary.forgotten,
        "truncated": summary.truncated is not None,
        "problem": summary.truncated,
        "skipped": dict(summary.skipped),
        "first_time": times[0],
        "last_time": times[1],
        "all_resets": summary.resets,
    }
    fields = ",\n".join(f'      "{name}": {text(value)}' for name, value in rest.items())
    return f"      ],\n{fields}\n    }}"


def ending(unreadable: Iterable[Unreadable], *, interrupted: bool) -> str:
    """What comes after the last capture."""
    rest = [one._asdict() for one in unreadable]
    cut = "true" if interrupted else "false"
    return f'\n  ],\n  "unreadable": {text(rest)},\n  "interrupted": {cut}\n}}\n'


def text(value: object) -> str:
    """``value`` as JSON in one line, ASCII, whatever it holds."""
    try:
        encoded = _encode(value)
    except ValueError:  # NaN or infinity
        return _encode(clean(value))
    return _encode(clean(value)) if "\\ud" in encoded else encoded
