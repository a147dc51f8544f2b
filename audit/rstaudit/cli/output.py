"""Where a report goes: standard output (a terminal, a pipe, a closed pipe) or a file."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Mapping

from rstaudit.cli.errors import UsageError
from rstaudit.cli.interrupt import catch_it

TYPE_CHECKING = False  # typing itself would cost every command 3 ms
if TYPE_CHECKING:
    from rstaudit.report.layout import Line

_NARROWEST, _WIDEST, _DEFAULT_WIDTH = 60, 200, 80


def show(lines: Iterable[Line], path: str | None = None) -> None:
    """Write styled lines: in colour on a terminal that wants it, else plain."""
    write(styled(lines, path), path)


def styled(lines: Iterable[Line], path: str | None = None) -> str:
    """The lines as text for ``path`` (None, ``-``: standard output), coloured where that is."""
    from rstaudit.report.layout import coloured, plain

    if path in (None, "-") and wants_colour(os.environ):
        lines = list(lines)
        try:
            return coloured(lines)
        except ImportError:  # rich is not installed: run straight from the source tree
            pass
    return plain(lines)


def wants_colour(environ: Mapping[str, str]) -> bool:
    """A terminal, not a dumb one, and nobody asked for no colour (no-color.org)."""
    if environ.get("NO_COLOR") or environ.get("TERM", "dumb") == "dumb":
        return False
    return sys.stdout is not None and sys.stdout.isatty()


def width(path: str | None = None) -> int:
    """Columns to fill: the terminal's (or COLUMNS), within 60..200; 80 where there is none."""
    try:
        columns = int(os.environ.get("COLUMNS", "0"))
        if columns <= 0 and path in (None, "-"):
            columns = os.get_terminal_size(1).columns
    except (OSError, ValueError):
        columns = 0
    return min(max(columns or _DEFAULT_WIDTH, _NARROWEST), _WIDEST)


def write(text: str, path: str | None = None) -> None:
    """Write a report to standard output, or to ``path`` all at once; raises `UsageError`.

    A closed pipe is not an error: whoever reads has read enough.
    """
    try:
        if path in (None, "-"):
            _write_stdout(text)
        else:
            _write_file(text.encode("utf-8", "backslashreplace"), path)
    except OSError as error:
        where = path if path not in (None, "-") else "standard output"
        raise UsageError(f"{where}: {_why(error)}; the report was not written") from None


def _write_stdout(text: str) -> None:
    if sys.stdout is None:  # started with it closed
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
    except OSError:
        silence_stdout()
        raise


def silence_stdout() -> None:
    """Let what is still buffered go nowhere, so that the interpreter's own flush succeeds."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def check_writable(path: str | None) -> None:
    """Raise `UsageError` before the work is done when ``path`` cannot be written."""
    if path in (None, "-"):
        return
    if not path:
        raise UsageError("-o: the file name is empty; give a file, or - for standard output")
    if os.path.isdir(path):
        raise UsageError(f"{path}: is a directory; give -o a file name")
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise UsageError(f"{path}: no such directory: {folder}; make it first")
    if not (os.access(path, os.W_OK) if _special(path) else os.access(folder, os.W_OK)):
        raise UsageError(f"{path}: permission denied; give -o a file you may write")


def _special(path: str) -> bool:
    """A device, pipe or socket: written to, never replaced."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _write_file(data: bytes, path: str) -> None:
    """Replace ``path`` whole or not at all: the old report stays until the new one is on disk."""
    if _special(path):
        with open(path, "wb") as file:
            file.write(data)
        return
    catch_it()  # the temporary file must not outlive us
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:200]}.{os.getpid()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync(folder)


def _sync(folder: str) -> None:
    """Make the rename itself last, where the file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
