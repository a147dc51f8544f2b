"""``rstaudit tune``: the settings recommended for this kernel; nothing is applied."""

from __future__ import annotations

from rstaudit.cli import choose
from rstaudit.cli.output import check_writable, write
from rstaudit.cli.parser import one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = (
    ("rstaudit tune --profile web --format diff", "what would change on this host"),
    ("rstaudit tune --profile web --format sysctl", "lines for a file in /etc/sysctl.d"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("--profile", metavar="NAME|FILE", default="default",
        help="what to tune for: see 'rstaudit profiles' (default: default)")  # fmt: skip
    add("--format", metavar="sysctl|json|diff", default="sysctl",
        type=one_of("format", "sysctl", "json", "diff"),
        help="sysctl: for 'sysctl -p -' or sysctl.d; diff: what would change")  # fmt: skip
    add("-o", "--output", metavar="FILE", help="write here, all at once, mode 0600")
    add("--root", metavar="DIR", default="/", help="tune for a recorded tree instead of /")


def run(arguments: argparse.Namespace) -> int:
    """Print the recommendations; 0 also where there is nothing to change."""
    from rstaudit.catalogue import tune
    from rstaudit.catalogue.load import settings

    profile = choose.profile(arguments.profile)
    check_writable(arguments.output)
    host = choose.host(arguments.root)
    found = tune.recommend(host.kernel, host.sysctls, profile, settings(), initial=host.initial)
    render = {"sysctl": tune.as_sysctl, "json": tune.as_json, "diff": tune.as_diff}
    write(render[arguments.format](found, profile, host.kernel), arguments.output)
    return 0
