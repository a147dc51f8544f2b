"""``python -m rstaudit``."""

import sys

if __name__ == "__main__":
    sys.dont_write_bytecode = True  # before the import, so that it covers what is imported

    from rstaudit.cli.main import entry

    entry()
