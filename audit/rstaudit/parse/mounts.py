"""Parser of /proc/PID/mountinfo: which network namespaces are kept alive by a mount."""

from __future__ import annotations

import re

_NAMESPACE = re.compile(r"net:\[\d{1,20}\]", re.ASCII)
_ESCAPE = re.compile(r"\\([0-3][0-7]{2})", re.ASCII)
_ROOT, _PLACE = 3, 4


def parse_netns_mounts(text: str) -> tuple[tuple[str, str], ...]:
    """Network namespaces and where they are mounted: ``("net:[4026532177]", "/run/netns/blue")``.

    Lines of other mounts, and lines that are no mounts, are left out (proc_pid_mountinfo(5):
    root and mount point are fields 4 and 5; blanks, tabs, newlines and backslashes in them are
    octal escapes).
    """
    found = []
    for line in text.split("\n"):
        words = line.split(" ")
        if len(words) > _PLACE and _NAMESPACE.fullmatch(words[_ROOT]):
            found.append((words[_ROOT], _plain(words[_PLACE])))
    return tuple(dict.fromkeys(found))


def _plain(word: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), word)
