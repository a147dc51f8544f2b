"""Programs beside the sysctl.d readers that set keys: the kernel's own command line, ufw, tuned.

Only what is on disk and runs at boot counts: a ufw that is not enabled and a tuned whose unit
is not wanted set nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from rstaudit.collect.confdirs import Files
from rstaudit.collect.readers import load
from rstaudit.model.facts import Kernel
from rstaudit.model.persisted import Assignment, Origin
from rstaudit.parse.sysctld import as_key, cmdline_sysctls

CMDLINE = "/proc/cmdline"
TUNED_MAIN = "/etc/tuned/tuned-main.conf"

#: Later ones win: a profile of the administrator replaces one of the package.
_PROFILE_DIRS = ("/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned")

#: Keys that bpftune moves while it runs (src/tcp_buffer_tuner.c).
_BPFTUNE_KEYS = (
    "net.ipv4.tcp_wmem", "net.ipv4.tcp_rmem", "net.ipv4.tcp_mem", "net.ipv4.tcp_moderate_rcvbuf",
    "net.ipv4.tcp_no_metrics_save", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog",
)  # fmt: skip

_UNITS = ("/etc/systemd/system/multi-user.target.wants", "/etc/systemd/system/basic.target.wants")

#: Includes and profiles beyond this number are a loop or a joke.
_MOST_PROFILES = 64


def from_cmdline(files: Files, kernel: Kernel | None) -> tuple[Assignment, ...]:
    """What the ``sysctl.`` words of the kernel command line set: nothing before Linux 5.8."""
    if kernel is not None and kernel.version[:2] < (5, 8):
        return ()
    pairs = cmdline_sysctls(files.text(CMDLINE))
    return tuple(
        Assignment(key, value, Origin(CMDLINE, 1), key, False, "kernel command line")
        for key, value in ((as_key(path), value) for path, value in pairs)
        if key.startswith("net.")
    )


def from_ufw(files: Files) -> tuple[Assignment, ...]:
    """What ufw sets when it starts: its own sysctl file, where it is enabled and names one."""
    if _shell_value(files.text("/etc/ufw/ufw.conf"), "ENABLED").lower() != "yes":
        return ()
    path = _shell_value(files.text("/etc/default/ufw"), "IPT_SYSCTL")
    named = path.startswith("/") and "\0" not in path
    return load(files, path, "ufw") if named else ()


def from_tuned(files: Files, running: Callable[[str], str | None]) -> tuple[Assignment, ...]:
    """What tuned's active profiles set, ``=>`` and ``=<`` resolved against ``running`` values.

    ``running`` gives the value a key has when tuned starts. Values with variables and sections
    with a condition are left out: only tuned itself can tell what they come to.
    """
    if not tuned_active(files):
        return ()
    names = files.text("/etc/tuned/active_profile").split()
    names += files.text("/etc/tuned/post_loaded_profile").split()
    options: dict[str, Assignment] = {}
    for path in _profiles(files, names):
        _merge(options, path, files.text(path))
    found = (_moved(line, running(line.key)) for line in options.values())
    return tuple(line for line in found if line is not None and "${" not in line.value)


def tuned_active(files: Files) -> bool:
    """Whether tuned starts at boot here."""
    return _enabled(files, "tuned")


def tuned_reapplies(files: Files) -> bool:
    """Whether tuned writes /run and /etc/sysctl.d and /etc/sysctl.conf again after its profile."""
    text = files.text(TUNED_MAIN)
    found = re.findall(r"^\s*reapply_sysctl\s*=\s*(\w+)", text, re.MULTILINE)
    return not found or found[-1].lower() in ("1", "true", "yes", "on")


def tuners(files: Files) -> Mapping[str, str]:
    """Keys that a running or enabled program keeps changing, with its name (bpftune)."""
    running = files.tree.exists("/sys/fs/cgroup/system.slice/bpftune.service")
    present = running or _enabled(files, "bpftune")
    return dict.fromkeys(_BPFTUNE_KEYS, "bpftune") if present else {}


def _enabled(files: Files, name: str) -> bool:
    """Whether boot starts a unit; in a recorded /etc the link may lead nowhere."""
    paths = [f"{unit}/{name}.service" for unit in _UNITS]
    return any(files.tree.link(path) or files.tree.exists(path) for path in paths)


def _shell_value(text: str, name: str) -> str:
    """The last value of ``NAME=value`` in a file that a shell sources; empty when not set."""
    found = re.findall(rf"^[ \t]*{name}=([^\n#]*)", text, re.MULTILINE)
    return found[-1].strip().strip("\"'") if found else ""


def _profiles(files: Files, names: list[str]) -> list[str]:
    """Paths of profiles with those they include before them, as tuned loads them."""
    loaded: list[str] = []
    tried: set[str] = set()

    def add(name: str) -> None:
        path = _profile(files, name, tried)
        if path is None or len(tried) > _MOST_PROFILES:
            return
        tried.add(path)
        for wanted in re.split(r"[\s,;]+", _include(files.text(path))):
            if wanted:
                add(wanted)
        loaded.append(path)

    for name in names:
        add(name)
    return loaded


def _profile(files: Files, name: str, tried: set[str]) -> str | None:
    if not re.fullmatch(r"[a-zA-Z0-9_.-]+", name):
        return None
    places = (f"{folder}/{name}/tuned.conf" for folder in _PROFILE_DIRS)
    return next((path for path in places if path not in tried and files.regular(path)), None)


def _include(text: str) -> str:
    return next((value for _, part, key, value in _ini(text) if (part, key) == ("main", "include")),
                "")  # fmt: skip


def _merge(options: dict[str, Assignment], path: str, text: str) -> None:
    """Add the sysctl section of one profile to ``options``; ``replace`` drops what was there."""
    lines = [(number, key, value) for number, part, key, value in _ini(text) if part == "sysctl"]
    switches = {key: value for _, key, value in lines if "." not in key and "/" not in key}
    if "uname_regex" in switches or "cpuinfo_regex" in switches:
        return
    if switches.get("replace", "").lower() in ("1", "true", "yes"):
        options.clear()
    if switches.get("enabled", "1").lower() in ("0", "false", "no"):
        return
    for number, key, value in lines:
        # tuned makes every dot a slash, whichever comes first
        dotted = as_key(key.replace(".", "/"))
        if dotted.startswith("net."):
            plain = value.strip("\"'")
            options[dotted] = Assignment(
                dotted, plain, Origin(path, number), dotted, False, "tuned"
            )


def _ini(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Line number, section, key and value of the assignments of an INI file."""
    part = ""
    for number, whole in enumerate(text.split("\n"), 1):
        line = whole.split("#")[0].strip()
        if line.startswith("[") and "]" in line:
            part = line[1 : line.index("]")].strip()
        elif "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            yield number, part, key.strip(), value.strip()


def _moved(line: Assignment, now: str | None) -> Assignment | None:
    """``line`` with ``>`` (only raise) or ``<`` (only lower) applied; None where nothing moves.

    tuned compares whole numbers, or every number of a list (base.py
    _process_assignment_modifiers()). A value that is there already is taken for tuned's doing:
    a look at the running host comes after tuned.
    """
    mark = line.value[:1]
    if mark not in (">", "<"):
        return line
    wanted = line.value[1:].strip()
    if now is None:
        return None
    try:
        pairs = list(zip(map(int, wanted.split()), map(int, now.split()), strict=True))
    except ValueError:
        return None
    moves = any(a > b if mark == ">" else a < b for a, b in pairs)
    there = all(a == b for a, b in pairs)
    return line._replace(value=wanted) if moves or there else None
