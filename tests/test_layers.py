"""The layers of the package import in one direction only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "audit" / "rstaudit"

#: Layer -> the layers it may import. A layer may always import itself.
ALLOWED = {
    "model": set(),
    "parse": {"model"},
    "catalogue": {"model"},
    "collect": {"parse", "catalogue", "model"},
    "rules": {"parse", "catalogue", "model"},
    "resets": {"parse", "catalogue", "model"},
    "report": {"parse", "catalogue", "model"},
    "watch": {"resets", "collect", "parse", "catalogue", "model"},
    "lab": {"watch", "resets", "collect", "rules", "parse", "catalogue", "model"},
    "export": {"report", "collect", "rules", "resets", "parse", "catalogue", "model"},
    "cli": {
        "lab",
        "watch",
        "resets",
        "export",
        "report",
        "collect",
        "rules",
        "parse",
        "catalogue",
        "model",
    },
}


def imports_of(path: Path) -> set[str]:
    """The layers that a module imports from, wherever in the file the import stands."""
    layers = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports out in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        layers |= {name.split(".")[1] for name in names if name.startswith("rstaudit.")}
    return layers & ALLOWED.keys()


@pytest.mark.parametrize("layer", sorted(ALLOWED))
def test_a_layer_imports_only_what_lies_below_it(layer: str) -> None:
    """Each module of a layer imports only from the layers the design allows it."""
    modules = sorted((PACKAGE / layer).rglob("*.py"))
    assert modules
    for module in modules:
        assert imports_of(module) <= ALLOWED[layer] | {layer}, module


def test_every_folder_of_the_package_is_a_known_layer() -> None:
    """A new folder has to be given its place in the order."""
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(ALLOWED)
