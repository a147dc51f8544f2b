"""``rstaudit rules``: every rule, one a line, or as JSON with its words."""

from __future__ import annotations

from rstaudit.cli.output import show, width, write
from rstaudit.cli.parser import one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = (
    ("rstaudit rules", "every rule with its severity"),
    ("rstaudit rules --format json", "for scripts"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--format", metavar="text|json", type=one_of("format", "text", "json"), default="text"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the list; always 0."""
    from rstaudit.report.catalogue import rules_json, rules_text
    from rstaudit.rules.registry import rules

    rows = [((rule.id, rule.severity, rule.slug, rule.title), rule.text) for rule in rules()]
    if arguments.format == "json":
        write(rules_json((row, text()) for row, text in rows))
    else:
        show(rules_text((row for row, _ in rows), width()))
    return 0
