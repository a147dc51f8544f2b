"""The real audit of one end, as a user would run it: `rstaudit audit --netns PID`."""

from __future__ import annotations

import json
import sys

from rstaudit.lab.namespaces import spawn
from rstaudit.lab.observer import environment
from rstaudit.lab.parties import Broken, Party


def failed_rules(party: Party) -> tuple[str, ...]:
    """Ids of the rules that fail on this host at this moment; raises `Broken`."""
    command = [
        *(sys.executable, "-P", "-m", "rstaudit", "audit", "--netns", str(party.space.pid)),
        *("--format", "json", "--interval", "0", "--fail-on", "never"),
    ]
    process = spawn(*command, env=environment())
    output, complaint = process.communicate(timeout=60)
    try:
        report = json.loads(output)
        results = [result for host in report["hosts"] for result in host["results"]]
    except (ValueError, KeyError):
        words = complaint.decode(errors="replace").strip().splitlines() or ["no report"]
        raise Broken(f"the audit of the {party.name} failed: {words[-1]}") from None
    return tuple(result["rule"] for result in results if result["outcome"] in ("fail", "error"))
