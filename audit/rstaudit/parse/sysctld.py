"""Lines of sysctl.d files as systemd-sysctl and as procps `sysctl --system` read them.

The two differ in what ends a line, what counts as blank, how a doubled ``-`` or a redundant
slash is taken. Followed: systemd 252 src/sysctl/sysctl.c, read_line() and sysctl_normalize();
procps 4.0.2 src/sysctl.c parse_setting_line(). procps before 4.0 knows no globs and takes a
line without ``=`` for an error even when it begins with ``-``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

#: LONG_LINE_MAX of systemd: a line as long as this ends the reading of the file.
LINE_MAX = 1024 * 1024

_SYSTEMD_END = re.compile(rb"(?:\n\r?|\r\n?)\0?|\0")
_SYSTEMD_BLANK = " \t\n\r"
_C_BLANK = " \t\n\v\f\r"
_SWAP = str.maketrans("./", "/.")


class Entry(NamedTuple):
    """One line that a reader acts on.

    ``path`` is relative to /proc/sys and may hold glob characters; ``value`` None means "no
    glob may set this key"; ``optional`` that a failure is not reported.
    """

    line: int
    path: str
    value: str | None
    optional: bool


class Problem(NamedTuple):
    """A line that a reader passes over with a warning, or that can never take effect."""

    line: int
    why: str


class Parsed(NamedTuple):
    """What a reader makes of one file."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]


def swap(name: str) -> str:
    """A key as a path, or a path as a key: the first separator decides, as sysctl.d(5) has it.

    >>> swap("net.ipv4.conf.eth0/100.forwarding")
    'net/ipv4/conf/eth0.100/forwarding'
    """
    return name.translate(_SWAP)


def as_path(name: str) -> str:
    """``name`` with slashes between its parts, whichever separator it was written with."""
    first = re.search(r"[./]", name)
    return swap(name) if first and first[0] == "." else name


def as_key(path: str) -> str:
    """The dotted key of a path relative to /proc/sys."""
    return swap(path)


def simplify(path: str) -> str:
    """``path`` without empty and ``.`` components and without slashes at its ends."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def parse_systemd(data: bytes) -> Parsed:
    """What systemd-sysctl reads from the bytes of a file. Never raises.

    CR, LF, NUL and their pairs end a line.
    """
    return _gather(_systemd_lines(data), _systemd_line)


def parse_procps(data: bytes) -> Parsed:
    """What procps 4 reads from the bytes of a file. Never raises.

    Only LF ends a line; what follows a NUL in it is not seen.
    """
    lines = data.split(b"\n")
    texts = (_decode(line.split(b"\0")[0]) for line in lines)
    return _gather(enumerate(texts, 1), _procps_line)


def cmdline_sysctls(text: str) -> tuple[tuple[str, str], ...]:
    """Paths and values of the ``sysctl.`` words of a kernel command line. Never raises.

    Linux 5.8 and later write them before init starts (fs/proc/proc_sysctl.c
    process_sysctl_arg()): every dot becomes a slash, double quotes hold spaces together,
    ``--`` ends what is the kernel's.
    """
    found = []
    for word in re.findall(r'(?:"[^"]*"?|[^\s"])+', text):
        if word == "--":
            break
        name, equals, value = word.replace('"', "").partition("=")
        if equals and name[:7] in ("sysctl.", "sysctl/"):
            found.append((simplify(name[7:].replace(".", "/")), value))
    return tuple(found)


def _gather(
    lines: Iterator[tuple[int, str]], read: Callable[[int, str], Entry | Problem | None]
) -> Parsed:
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, text in lines:
        what = read(number, text)
        if isinstance(what, Entry):
            entries.append(what)
        elif what is not None:
            problems.append(what)
    return Parsed(tuple(entries), tuple(problems))


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _systemd_lines(data: bytes) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_SYSTEMD_END.split(data), 1):
        if len(line) >= LINE_MAX:
            yield number, "\0"
            return
        yield number, _decode(line)


def _systemd_line(number: int, text: str) -> Entry | Problem | None:
    if text == "\0":
        return Problem(number, f"systemd-sysctl stops here: the line exceeds {LINE_MAX} bytes")
    text = text.strip(_SYSTEMD_BLANK)
    if not text or text[0] in "#;":
        return None
    name, equals, value = text.partition("=")
    if not equals and name[0] != "-":
        return Problem(number, "not an assignment")
    dashed = name[:1] == "-"
    path = simplify(as_path(name[dashed:].strip(_SYSTEMD_BLANK)))
    if not path:
        return Problem(number, "no key before the =")
    if ".." in path.split("/"):
        return Problem(number, "systemd-sysctl refuses a key with .. in it")
    return Entry(number, path, value.strip(_SYSTEMD_BLANK) if equals else None, dashed)


def _procps_line(number: int, text: str) -> Entry | Problem | None:
    text = text.lstrip(_C_BLANK)
    if len(text) < 2 or text[0] in "#;":
        return None
    name, equals, value = text.partition("=")
    if not equals and name[0] != "-":
        return Problem(number, "not an assignment")
    dashed = name[:1] == "-"
    # procps takes a second dash off when it makes the path
    name = name[dashed:].rstrip(_C_BLANK).removeprefix("-")
    if not name:
        return Problem(number, "no key before the =")
    return Entry(number, as_path(name), value.strip(_C_BLANK) if equals else None, dashed)
