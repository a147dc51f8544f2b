"""What the documentation of a scenario is made of: packets, calls, counters, verdicts, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rstaudit.lab import packets
from rstaudit.lab.perform import Capture, Run
from rstaudit.lab.results import Result, matrix, verdict
from rstaudit.lab.seen import Seen
from rstaudit.lab.wirecheck import found_in
from rstaudit.model.verdict import SKIPPED

SCHEMA = "rstaudit/lab-record/1"

#: Counters that count all traffic, and so say nothing of a reset.
_TRAFFIC = frozenset({
    "Tcp.InSegs", "Tcp.OutSegs", "Tcp.RtoAlgorithm", "Tcp.RtoMin", "Tcp.RtoMax", "Tcp.MaxConn",
    "Tcp.CurrEstab", "TcpExt.TCPPureAcks", "TcpExt.TCPHPAcks", "TcpExt.TCPHPHits",
    "TcpExt.TCPOrigDataSent", "TcpExt.TCPDelivered", "TcpExt.TCPRcvCoalesce",
    "TcpExt.TCPAutoCorking", "TcpExt.DelayedACKs",
})  # fmt: skip


def record(kernel: str, results: Iterable[Result]) -> dict[str, object]:
    """One entry for each scenario that ran, from its first draw.

    ``{schema, kernel, matrix: {live, pcap}, scenarios: [...]}``; a matrix is a list of
    ``[what happened, what was named, how often]``. An entry has ``id title story rows outcome
    expected_live expected_pcap expected_audit family calls counters live pcap audit ladder``.
    ``calls`` are ``[end, call, result]``, ``counters`` those that moved by end and name,
    ``ladder`` the flow of the first reset (or the first flow) as the client's end saw it:
    ``[seconds, sender, flags, seq, ack, length, window, note]`` with relative numbers, sender and
    receiver being ends and not addresses.
    """
    results = tuple(results)
    return {
        "schema": SCHEMA,
        "kernel": kernel,
        "matrix": {
            engine: sorted([*pair, count] for pair, count in matrix(results, engine).items())
            for engine in ("live", "pcap")
        },
        "scenarios": [_entry(one) for one in results if one.outcome != SKIPPED],
    }


def _entry(result: Result) -> dict[str, object]:
    said = verdict(result)
    run = result.runs[0]
    return {
        "id": said.id,
        "title": said.title,
        "story": said.story,
        "rows": list(said.rows),
        "outcome": said.outcome,
        "expected_live": dict(said.expected_live),
        "expected_pcap": dict(said.expected_pcap),
        "expected_audit": {end: list(rules) for end, rules in said.expected_audit.items()},
        "family": run.draw.family,
        "calls": [list(call) for call in said.calls],
        "counters": {end: _telling(moved) for end, moved in run.counters.items()},
        "live": [_named(seen, run.names) for seen in run.live or ()],
        "pcap": [_named(seen, run.names) for seen in run.pcap],
        "audit": {end: list(rules) for end, rules in run.audit.items()},
        "ladder": _ladder(run),
    }


def _telling(moved: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in sorted(moved.items()) if name not in _TRAFFIC}


def _named(seen: Seen, names: Mapping[str, str]) -> dict[str, object]:
    return {
        "place": seen.place,
        "cause": seen.cause,
        "confidence": seen.confidence,
        "alternatives": list(seen.alternatives),
        "benign": seen.benign,
        "why": without_addresses(seen.why, names),
        "kernel_reason": seen.kernel_reason,
    }


def without_addresses(text: str, names: Mapping[str, str]) -> str:
    """The text with the addresses of a run, drawn at random, as the names of the ends."""
    for address in sorted(names, key=len, reverse=True):
        text = text.replace(f"[{address}]", names[address]).replace(address, names[address])
    return text


def _ladder(run: Run) -> list[list[object]]:
    """The flow of the first reset that either end's packets show, else the first flow."""
    for capture in sorted(run.captures, key=lambda capture: capture.end != "client"):
        found = found_in(capture.pcap())
        if found:
            steps = found[0].steps()
            began = steps[0].time_ns if steps else 0
            return [
                [
                    round((step.time_ns - began) / 1e9, 6),
                    "client" if step.from_client else "server",
                    step.flags, step.seq, step.ack, step.length, step.window, step.note,
                ]
                for step in steps
            ]  # fmt: skip
    return _first_flow(run.captures[0], run.names) if run.captures else []


_FLAGS = ((packets.SYN, "SYN"), (packets.FIN, "FIN"), (packets.RST, "RST"), (packets.PSH, "PSH"),
          (packets.ACK, "ACK"))  # fmt: skip
_MOST = 40


def _first_flow(capture: Capture, names: Mapping[str, str]) -> list[list[object]]:
    """The segments of the first connection of a capture without resets."""
    steps: list[list[object]] = []
    bases: dict[tuple[str, int], int] = {}
    chosen: frozenset[tuple[str, int]] = frozenset()
    for stamp, data in capture.packets:
        segment = packets.read(data[capture.header :])
        if segment is None:
            continue
        sender, receiver = (segment.src, segment.sport), (segment.dst, segment.dport)
        chosen = chosen or frozenset((sender, receiver))
        if {sender, receiver} != chosen or len(steps) >= _MOST:
            continue
        bases.setdefault(sender, segment.seq)
        seq = (segment.seq - bases[sender]) & 0xFFFFFFFF
        acked = bool(segment.flags & packets.ACK) and receiver in bases
        ack = (segment.ack - bases[receiver]) & 0xFFFFFFFF if acked else None
        flags = ",".join(name for bit, name in _FLAGS if segment.flags & bit)
        seconds = round((stamp - capture.packets[0].time_ns) / 1e9, 6)
        end = names.get(segment.src, "elsewhere")
        steps.append([seconds, end, flags, seq, ack, len(segment.payload), segment.window, ""])
    return steps
