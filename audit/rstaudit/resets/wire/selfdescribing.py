"""Resets that say themselves why they were sent."""

from __future__ import annotations

from rstaudit.resets.wire.case import Case
from rstaudit.resets.wire.facts import Mptcp, Payload
from rstaudit.resets.wire.shape import is_full, is_linux
from rstaudit.resets.wire.verdict import Verdict, certain, likely, possible


def decide_selfdescribing(case: Case) -> Verdict | None:
    """MPTCP options (RFC 8684 sections 3.5, 3.6), payloads, device codes; None without any."""
    if case.mptcp == Mptcp.FASTCLOSE:
        return certain("mptcp-fastclose", "fastclose")
    if case.mptcp == Mptcp.TCPRST:
        return certain("mptcp-reset", "mptcp_reason")
    if case.payload == Payload.DIAGNOSTIC:
        return certain("proxied-reset", "diagnostic")
    if case.payload == Payload.TEXT:
        return likely("proxied-reset", "text", "injected")
    if case.payload:
        return possible("proxied-reset", "payload", "injected")
    if case.device_code and not case.timestamp and not is_linux(case):
        others = ("app-abort",) if is_full(case) else ("injected",)
        return likely("proxied-reset", "device_code", *others)
    return None
