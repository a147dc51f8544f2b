"""Every scenario there is."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from rstaudit.lab import scenarios as package
from rstaudit.lab.scenario import Scenario


@cache
def scenarios() -> tuple[Scenario, ...]:
    """All of them, module by module of `rstaudit.lab.scenarios` in order of their names."""
    found: list[Scenario] = []
    for module in pkgutil.iter_modules(package.__path__):
        loaded = import_module(f"{package.__name__}.{module.name}")
        found += getattr(loaded, "SCENARIOS", ())
    return tuple(found)
