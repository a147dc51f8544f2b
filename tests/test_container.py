"""Containers, by what their managers leave behind, and which keys may be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstaudit.collect.container import collect_container
from rstaudit.collect.tree import Tree
from support.netns import network_namespace


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
        ("proc/1/environ", "A=1\0container=lxc\0", "lxc"),
        ("proc/1/environ", "container=oci\0", "docker"),
        ("proc/1/environ", "KUBERNETES_SERVICE_HOST=10.0.0.1\0", "kubernetes"),
        ("proc/1/cgroup", "0::/kubepods.slice/x\n", "kubernetes"),
        ("proc/1/cgroup", "4:cpu:/docker/0123\n", "docker"),
        ("proc/1/cgroup", "4:cpu:/lxc.payload.x\n", "lxc"),
        ("proc/1/cgroup", "0::/init.scope\n", None),
    ],
)
def test_kinds(tmp_path: Path, path: str, text: str, kind: str | None) -> None:
    """Each mark by itself; a host has none of them."""
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    container = collect_container(Tree(str(tmp_path)), ["net.core.somaxconn"])
    assert container == (kind is not None, kind, frozenset())


def test_kubernetes_wins_over_its_runtime(tmp_path: Path) -> None:
    """A pod's container has the runtime's marks too."""
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/environ").write_text("KUBERNETES_SERVICE_HOST=10.0.0.1\0")
    (tmp_path / ".dockerenv").touch()
    assert collect_container(Tree(str(tmp_path)), []).kind == "kubernetes"


@pytest.mark.live
def test_writable_keys_are_those_the_kernel_would_let_us_write() -> None:
    """In a namespace of its own root may set somaxconn but not wmem_max; nothing is written."""
    keys = ["net.core.somaxconn", "net.core.wmem_max", "net.ipv4.tcp_mem", "kernel.hostname"]
    with network_namespace():
        before = Path("/proc/sys/net/core/somaxconn").read_text()
        assert collect_container(Tree(), keys).writable == {"net.core.somaxconn"}
        assert Path("/proc/sys/net/core/somaxconn").read_text() == before
