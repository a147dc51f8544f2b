"""One sample of the counters of this network namespace."""

from __future__ import annotations

import time

from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap, MissingFact, Sample
from rstaudit.parse.errors import ParseError
from rstaudit.parse.procfs import parse_counters, parse_sockstat

#: File and the groups of counters in it that rules ask for. A gap ``counter:GROUP`` says that
#: they could not be read: a counter of an unreadable file is unknown, not absent.
_FILES = (
    ("/proc/net/snmp", ("Tcp",)),
    ("/proc/net/netstat", ("TcpExt", "MPTcpExt")),
    ("/proc/net/sockstat", ("sockstat",)),
    ("/proc/net/sockstat6", ("sockstat6",)),
)


def sample(tree: Tree) -> tuple[Sample, dict[str, Gap]]:
    """All counters now, and a gap for each group of a file that could not be read."""
    values: dict[str, int] = {}
    gaps: dict[str, Gap] = {}
    at = time.monotonic()
    for path, groups in _FILES:
        try:
            values.update(_parse(path, tree.text(path)))
            continue
        except MissingFact as missing:
            reason, detail = missing.gap.reason, missing.gap.detail
        except ParseError as error:
            reason, detail = "malformed", f"{path}: {error}"
        if groups != ("sockstat6",) or reason != "absent":  # a host without IPv6 has none
            facts = [f"counter:{group}" for group in groups]
            gaps.update((fact, Gap(fact, reason, detail)) for fact in facts)
    return Sample(at, values), gaps


def _parse(path: str, text: str) -> dict[str, int]:
    name = path.rpartition("/")[2]
    return parse_sockstat(text, name) if name.startswith("sockstat") else parse_counters(text)
