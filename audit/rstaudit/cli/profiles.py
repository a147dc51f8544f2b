"""``rstaudit profiles``: what each profile expects."""

from __future__ import annotations

from rstaudit.cli.output import show, width, write
from rstaudit.cli.parser import one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = (
    ("rstaudit profiles", "every profile and what it expects"),
    ("rstaudit profiles --format json", "for scripts"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--format", metavar="text|json", type=one_of("format", "text", "json"), default="text"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the list; always 0."""
    from rstaudit.catalogue.load import profiles
    from rstaudit.report.catalogue import profiles_json, profiles_text

    if arguments.format == "json":
        write(profiles_json(profiles().values()))
    else:
        show(profiles_text(profiles().values(), width()))
    return 0
