"""Whether this is a container, of which kind, and which sysctls it may write."""

from __future__ import annotations

import os
from collections.abc import Iterable

from rstaudit.collect.sysctls import path_of
from rstaudit.collect.tree import Tree
from rstaudit.model.facts import MissingFact
from rstaudit.model.names import Container

#: Part of a path in /proc/1/cgroup, and who makes such cgroups.
_CGROUPS = (
    ("kubepods", "kubernetes"), ("/docker", "docker"), ("libpod", "podman"),
    ("/lxc", "lxc"), ("machine.slice/", "systemd-nspawn"),
)  # fmt: skip

#: What `container=` in the environment of process 1 says, where it is not the kind itself.
_ALIASES = {"oci": "docker", "lxc-libvirt": "lxc"}


def collect_container(tree: Tree, keys: Iterable[str]) -> Container:
    """Container or not, and which of ``keys`` are writable to this user.

    Nothing is written to find out: access(2) knows modes, a read-only /proc/sys, and what the
    kernel allows in this user namespace. In a recorded tree no key counts as writable.
    """
    kind = _kind(tree)
    writable = frozenset(key for key in keys if tree.live and _writable(key))
    return Container(kind is not None, kind, writable)


def _writable(key: str) -> bool:
    path = path_of(key)
    return path is not None and os.access(path, os.W_OK)


def _kind(tree: Tree) -> str | None:
    """The kind, from what container managers leave behind; None outside containers.

    Kubernetes first: its containers carry the marks of the runtime below it too. Sources:
    systemd's "Container Interface", `podman run`, and the files themselves.
    """
    cgroups = _text(tree, "/proc/1/cgroup")
    environment = _environment(tree)
    if "kubepods" in cgroups or "KUBERNETES_SERVICE_HOST" in environment:
        return "kubernetes"
    named = _text(tree, "/run/systemd/container").strip() or environment.get("container", "")
    if named:
        return _ALIASES.get(named, named)
    if tree.exists("/run/.containerenv"):
        return "podman"
    if tree.exists("/.dockerenv"):
        return "docker"
    return next((kind for mark, kind in _CGROUPS if mark in cgroups), None)


def _environment(tree: Tree) -> dict[str, str]:
    """The two names that matter, from the environment of process 1."""
    pairs = (word.partition("=") for word in _text(tree, "/proc/1/environ").split("\0"))
    return {
        name: value for name, _, value in pairs if name in ("container", "KUBERNETES_SERVICE_HOST")
    }


def _text(tree: Tree, path: str) -> str:
    try:
        return tree.text(path)
    except MissingFact:
        return ""
