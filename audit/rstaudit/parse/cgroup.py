"""/proc/PID/cgroup (cgroups(7)): which systemd unit and which container a process belongs to."""

from __future__ import annotations

import re
from typing import NamedTuple

from rstaudit.parse.errors import ParseError

#: Digits of a container id that are shown, as `docker ps` and `crictl ps` cut it.
_SHORT = 12

_UNIT = re.compile(r".+\.(?:service|scope|socket|mount|swap)")

#: What the engines call a container's cgroup: kind, then what the whole component looks like.
#: A unit of systemd ends in .scope, a plain directory does not; conmon is podman's and cri-o's
#: helper outside the container.
_NAMES = (
    ("docker", re.compile(r"docker-([0-9a-f]{64})\.scope")),
    ("podman", re.compile(r"libpod(?:-payload)?-([0-9a-f]{64})(?:\.scope)?")),
    ("cri-o", re.compile(r"crio-([0-9a-f]{64})(?:\.scope)?")),
    ("containerd", re.compile(r"cri-containerd-([0-9a-f]{64})\.scope")),
    ("containerd", re.compile(r".+:cri-containerd:([0-9a-f]{64})")),
    ("containerd", re.compile(r"nerdctl-([0-9a-f]{64})\.scope")),
    ("lxc", re.compile(r"lxc\.payload\.(.+)")),
    ("nspawn", re.compile(r"systemd-nspawn@(.+)\.service")),
    ("machine", re.compile(r"machine-(.+)\.scope")),
)

#: Directories whose child is named by the container's id or name alone.
_PARENTS = {"docker": "docker", "libpod_parent": "podman", "lxc": "lxc", "lxc.payload": "lxc",
            "ecs": "docker"}  # fmt: skip

_FULL_ID = re.compile(r"[0-9a-f]{64}")
_POD = re.compile(r"pod[0-9a-f_-]{32,36}")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


class Place(NamedTuple):
    """Where a process belongs: ``unit`` as systemd names it, ``container`` as ``kind:id``.

    Kinds are docker, podman, cri-o, containerd, kubernetes (a pod whose engine cannot be told),
    lxc, nspawn, and machine (registered with systemd-machined by something else). Ids of 64
    digits are cut to 12. Both are None for a process that belongs to neither.
    """

    unit: str | None
    container: str | None


def parse_cgroup(text: str) -> Place:
    """The unit and the container of a process; raises ParseError.

    Version 2 (``0::/path``) and systemd's own hierarchy of version 1 know both; the controllers of
    version 1 are asked where those say nothing, as with an engine that knows no systemd.
    """
    unit = container = None
    for path in _paths(text):
        found = _place(path)
        unit = unit or found.unit
        container = container or found.container
    return Place(unit, container)


def _paths(text: str) -> list[str]:
    """The paths, those that tell most first."""
    paths: list[tuple[int, str]] = []
    for line in text.split("\n"):
        if not line:
            continue
        number, first, rest = line.partition(":")
        controllers, second, path = rest.partition(":")
        if not (first and second and number.isdecimal() and path.startswith("/")):
            raise ParseError(f"{line[:60]!r} is no line of /proc/PID/cgroup")
        rank = 0 if not controllers else 1 if controllers == "name=systemd" else 2
        paths.append((rank, path.removesuffix(" (deleted)")))
    if not paths:
        raise ParseError("no hierarchy in the process's cgroups")
    return [path for _, path in sorted(paths)]


def _place(path: str) -> Place:
    """What one path says. The innermost unit counts, so that a service in a container is named."""
    unit = container = None
    parent = ""
    in_pod = False
    for part in path.split("/"):
        in_pod = in_pod or parent.startswith("kubepods") or bool(_POD.fullmatch(parent))
        inside = _container(part, parent, in_pod)
        if inside is not None:
            container, unit = inside, None if part.endswith(".scope") else unit
        elif _UNIT.fullmatch(part):
            unit = _unescaped(part)
        parent = part
    return Place(unit, container)


def _container(part: str, parent: str, in_pod: bool) -> str | None:
    for kind, form in _NAMES:
        if match := form.fullmatch(part):
            return _named(kind, match[1])
    if parent in _PARENTS and (_FULL_ID.fullmatch(part) or parent.startswith("lxc")):
        return _named(_PARENTS[parent], part)
    if in_pod and _FULL_ID.fullmatch(part):
        return _named("kubernetes", part)
    return None


def _named(kind: str, name: str) -> str:
    return f"{kind}:{name[:_SHORT] if _FULL_ID.fullmatch(name) else _unescaped(name)}"


def _unescaped(name: str) -> str:
    r"""A unit's name without systemd's escapes: ``\x2d`` is a hyphen (systemd-escape(1))."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)
