"""Runs the real sysctl.d readers over a made tree, away from the host's files and network."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

SYSTEMD = "/usr/lib/systemd/systemd-sysctl"
PROCPS = "/usr/sbin/sysctl --system"
NOTHING = "true"

#: An interface whose name holds a dot, as VLANs have it.
INTERFACE = "eth0.100"


def make_root(root: Path) -> Path:
    """The directories that both readers look into, empty, below ``root``."""
    for folder in ("etc", "run", "usr/local/lib", "usr/lib"):
        (root / folder / "sysctl.d").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    return root


def values_after(root: Path, reader: str, paths: list[str]) -> dict[str, str]:
    """What ``paths`` (below /proc/sys) hold after ``reader`` ran over ``root``.

    The reader runs in mount and network namespaces of its own, with the tree's files in place
    of the host's; both vanish with it.
    """
    jail = root.parent / f"{root.name}-jail"
    for folder in ("etc", "run", "usr", "proc", "dev"):
        (jail / folder).mkdir(parents=True, exist_ok=True)
    for link in ("lib", "lib64", "bin", "sbin"):
        if not (jail / link).is_symlink():
            (jail / link).symlink_to(f"usr/{link}")
    script = _script(root, jail, reader, paths)
    done = subprocess.run(
        ["unshare", "-mn", "--propagation", "private", "sh", "-ec", script],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    lines = done.stdout.decode("utf-8", "surrogateescape").split("\n")
    return dict(line.split("=", 1) for line in lines if line)


def _script(root: Path, jail: Path, reader: str, paths: list[str]) -> str:
    here, there = shlex.quote(str(root)), shlex.quote(str(jail))
    keys = " ".join(map(shlex.quote, paths))
    return f"""
        ip link add {INTERFACE} type veth peer name peer0
        mount --bind {here}/etc {there}/etc
        mount --bind {here}/run {there}/run
        mount --bind /usr {there}/usr
        mount --bind {here}/usr/local/lib {there}/usr/local/lib
        mount --bind {here}/usr/lib/sysctl.d {there}/usr/lib/sysctl.d
        mount --bind /dev {there}/dev
        mount --rbind /proc {there}/proc
        timeout 20 chroot {there} {reader} >/dev/null 2>&1 || true
        cd /proc/sys
        for path in {keys}; do printf '%s=' "$path"; cat "$path"; done
    """
