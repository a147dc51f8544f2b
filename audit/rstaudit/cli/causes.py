"""``rstaudit causes``: every cause that a diagnosis can name."""

from __future__ import annotations

from rstaudit.cli.output import width, write
from rstaudit.cli.parser import one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = (
    ("rstaudit causes", "every cause of a reset"),
    ("rstaudit causes --format json", "for scripts"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--format", metavar="text|json", type=one_of("format", "text", "json"), default="text"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the list; always 0."""
    from rstaudit.catalogue.causes import causes

    entries = causes().values()
    if arguments.format == "json":
        import json

        from rstaudit.report.explain_json import causes_object

        write(json.dumps(causes_object(entries), indent=2) + "\n")
    else:
        from rstaudit.report.explain import cause_table

        write(cause_table(entries, width()))
    return 0
