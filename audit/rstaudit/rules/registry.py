"""Every rule there is, in the order of their ids."""

from __future__ import annotations

from rstaudit.rules import (
    closing,
    conntrack,
    idle,
    limits,
    linger,
    listen,
    namespaces,
    persistence,
    ports,
    reuse,
    stale,
    stalls,
    timeouts,
)
from rstaudit.rules.context import Rule
from rstaudit.rules.values import value_rules

_FAMILIES = (
    ports, listen, closing, idle, conntrack, persistence, stale, limits, namespaces, reuse,
    linger, timeouts, stalls,
)  # fmt: skip


def rules() -> tuple[Rule, ...]:
    """All rules by id; raises ValueError when two share an id or a slug."""
    found = [rule for family in _FAMILIES for rule in family.RULES.rules]
    found += value_rules()
    for names in ({rule.id for rule in found}, {rule.slug for rule in found}):
        if len(names) != len(found):
            raise ValueError("two rules share an id or a slug")
    return tuple(sorted(found, key=lambda rule: rule.id))
