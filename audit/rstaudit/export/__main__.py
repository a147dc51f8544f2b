"""``python -m rstaudit.export``: --write the generated files, or --check that they are fresh."""

from __future__ import annotations

import argparse
import sys

from rstaudit.export.rendered import MEND, stale, write
from rstaudit.export.sources import SourceError


def main(argv: list[str] | None = None) -> int:
    """0 when done or fresh, 1 when --check finds a stale file, 2 when a source is wrong."""
    parser = argparse.ArgumentParser("python -m rstaudit.export", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="bring the generated files up to date")
    what.add_argument("--check", action="store_true", help="exit 1 when one of them is stale")
    arguments = parser.parse_args(argv)
    try:
        paths = write() if arguments.write else stale()
    except SourceError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for path in paths:
        sys.stdout.write(f"{'written' if arguments.write else 'stale'}: {path}\n")
    if arguments.check and paths:
        sys.stdout.write(f"run: {MEND}\n")
    return int(arguments.check and bool(paths))


if __name__ == "__main__":
    sys.exit(main())
