"""Resets of captures made by hand, as the engine would find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rstaudit.model.capture import CaptureSummary
from rstaudit.model.diagnosis import Diagnosis
from rstaudit.model.ladder import Ladder, States, Step
from rstaudit.model.rule import Confidence, Evidence
from rstaudit.report.pcap_groups import Groups

CERTAIN, LIKELY, POSSIBLE = Confidence

#: 2026-11-21T18:42:37.123456789Z
TIME = 1_795_286_557_123_456_789

CLIENT, SERVER = "198.51.100.9:51234", "192.0.2.5:8080"

EVIDENCE: Mapping[str, Evidence] = {"half-open": {"idle_seconds": 60.2, "gap_ms": 0.05}}


class MadeReset(NamedTuple):
    """What a renderer asks of a reset."""

    frame: int
    time_ns: int
    src: str
    dst: str
    from_client: bool
    diagnosis: Diagnosis
    flow: tuple[Step, ...] = ()

    @property
    def story(self) -> str:
        """Each sentence is its own."""
        return self.diagnosis.why

    @property
    def whole(self) -> bool:
        """With the segments given."""
        return bool(self.flow)

    @property
    def verdict(self) -> Diagnosis:
        """The same: nothing here is costly."""
        return self.diagnosis

    def steps(self) -> Sequence[Step]:
        """The segments given."""
        return self.flow


def made(
    cause: str = "half-open",
    *,
    frame: int = 7,
    time_ns: int = TIME,
    client: str = CLIENT,
    server: str = SERVER,
    from_client: bool = False,
    confidence: Confidence = CERTAIN,
    why: str = "The server answered data with a bare reset.",
    alternatives: tuple[str, ...] = (),
    benign: bool = False,
    evidence: Evidence | None = None,
    flow: tuple[Step, ...] = (),
) -> MadeReset:
    """A reset of the server's by default."""
    diagnosis = Diagnosis(cause, confidence, why, alternatives, benign, evidence or {})
    src, dst = (client, server) if from_client else (server, client)
    return MadeReset(frame, time_ns, src, dst, from_client, diagnosis, flow)


def grouped(*resets: MadeReset, file: str = "web.pcap") -> Groups:
    """The groups these fall into."""
    groups = Groups()
    groups.add(file, resets)
    return groups


def summed(
    resets: int, file: str = "web.pcap", *, truncated: str | None = None, packets: int = 1000
) -> CaptureSummary:
    """A capture with that many resets."""
    return CaptureSummary(
        file, packets, packets - 10, 20, resets, truncated, {"not TCP": 10}, TIME, TIME + 10**10
    )


def half_open() -> Ladder:
    """A flow whose server forgot it during a minute of silence."""
    rows = [
        (Step(TIME, 1, True, "SYN", 0, None, 0, 64240), "SYN_SENT", "LISTEN"),
        (Step(TIME + 31_000, 2, False, "SYN,ACK", 0, 1, 0, 65160), "SYN_SENT", "SYN_RECV"),
        (Step(TIME + 52_000, 3, True, "ACK", 1, 1, 0, 502), "ESTABLISHED", "ESTABLISHED"),
        (Step(TIME + 90_000, 4, True, "PSH,ACK", 1, 1, 512, 502), "ESTABLISHED", "ESTABLISHED"),
        (
            Step(TIME + 1_100_000_000, 1239, False, "PSH,ACK", 1_234_567, 513, 1460, 509, "", 1234),
            "ESTABLISHED", "ESTABLISHED",
        ),
        (
            Step(TIME + 61_300_000_000, 1240, True, "ACK", 512, 1_236_027, 1, 502,
                 "keepalive probe"),
            "ESTABLISHED", "ESTABLISHED",
        ),
        (Step(TIME + 61_300_050_000, 1241, False, "RST", 1_236_027, None, 0, 0), "CLOSE", "CLOSE"),
    ]  # fmt: skip
    steps = tuple((step, States(client, server)) for step, client, server in rows)
    return Ladder(CLIENT, SERVER, States("CLOSE", "LISTEN"), steps)
