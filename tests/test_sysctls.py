"""Running sysctls: what is read, what is never read, and why a key is missing."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from rstaudit.collect.sysctls import collect_sysctls, path_of, read_keys
from rstaudit.collect.tree import Tree
from support.netns import network_namespace, write_sysctl


def recorded(root: Path, files: dict[str, str]) -> Tree:
    """A recorded tree with these keys below /proc/sys."""
    for name, text in files.items():
        path = root / "proc/sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(str(root))


def test_values_are_what_sysctl_prints() -> None:
    """Every key that we and sysctl(8) both read has the same value."""
    values, _ = collect_sysctls(Tree())
    keys = [key for key in values if key not in ("fs.file-nr", "net.netfilter.nf_conntrack_count")]
    shown = subprocess.run(["sysctl", "-e", *keys], capture_output=True, text=True, check=True)
    theirs = dict(line.split(" = ", 1) for line in shown.stdout.splitlines() if " = " in line)
    assert len(theirs) > 100
    assert {key: values[key].split() for key in theirs} == {
        key: value.split() for key, value in theirs.items()
    }


def test_the_keys_that_rules_need_are_read() -> None:
    """One of each directory, and none of the files per interface."""
    values, _ = collect_sysctls(Tree())
    for key in ("net.core.somaxconn", "net.ipv4.tcp_fin_timeout", "net.unix.max_dgram_qlen",
                "net.netfilter.nf_conntrack_max", "fs.file-max"):  # fmt: skip
        assert key in values
    assert not [key for key in values if ".conf." in key or ".neigh." in key]


def test_secrets_are_not_read() -> None:
    """The key of TCP Fast Open stays where it is, even when asked for."""
    values, _ = collect_sysctls(Tree())
    values |= read_keys(Tree(), ["net.ipv4.tcp_fastopen_key"])[0]
    assert not [key for key in values if "fastopen_key" in key or "stable_secret" in key]


def test_single_keys_are_read_and_cannot_lead_elsewhere(tmp_path: Path) -> None:
    """A key names a file below /proc/sys/net or /proc/sys/fs, whatever it is made of."""
    tree = recorded(tmp_path, {"net/ipv4/conf/eth0.7/rp_filter": "2\n"})
    values, gaps = read_keys(tree, ["net.ipv4.conf.eth0/7.rp_filter", "net.none"])
    assert values == {"net.ipv4.conf.eth0/7.rp_filter": "2"}
    assert not gaps
    for key in ("net.//.//.etc.shadow", "kernel.hostname", "net..x", "", "net.a\0b", "fs.."):
        assert path_of(key) is None


@pytest.mark.live
def test_a_long_value_is_read_whole() -> None:
    """Thousands of reserved ports do not fit the first read."""
    ports = ",".join(str(port) for port in range(20001, 40000, 2))
    with network_namespace():
        write_sysctl("net.ipv4.ip_local_reserved_ports", ports)
        values, _ = collect_sysctls(Tree())
    assert values["net.ipv4.ip_local_reserved_ports"] == ports


def test_a_missing_key_has_its_reason() -> None:
    """A live kernel without a key leaves nothing to judge, and says so."""
    _, gaps = collect_sysctls(Tree(), known=["net.ipv4.tcp_tw_recycle", "net.core.somaxconn"])
    (gap,) = gaps.values()
    assert (gap.fact, gap.reason) == ("sysctl:net.ipv4.tcp_tw_recycle", "absent")
    assert gap.detail == "this kernel has no net.ipv4.tcp_tw_recycle"


@pytest.mark.live
def test_a_global_key_in_a_namespace_is_not_the_kernels_fault() -> None:
    """tcp_mem exists, but not here; a key nobody calls global is just not here."""
    with network_namespace():
        _, gaps = collect_sysctls(
            Tree(),
            known=["net.ipv4.tcp_mem", "net.ipv4.tcp_max_orphans"],
            global_keys={"net.ipv4.tcp_mem"},
            initial=False,
        )
    assert gaps["sysctl:net.ipv4.tcp_mem"].reason == "global"
    assert gaps["sysctl:net.ipv4.tcp_max_orphans"].reason == "absent"
    assert "namespace" in gaps["sysctl:net.ipv4.tcp_max_orphans"].detail


def test_a_recorded_tree_leaves_missing_keys_to_the_rules(tmp_path: Path) -> None:
    """Nobody knows whether the recording or the kernel lacks a key."""
    tree = recorded(tmp_path, {"net/core/somaxconn": "128\n"})
    assert collect_sysctls(tree, known=["net.ipv4.tcp_mem"]) == ({"net.core.somaxconn": "128"}, {})


def test_a_tree_with_a_pipe_does_not_hang(tmp_path: Path) -> None:
    """A FIFO where a file should be gives nothing, at once."""
    tree = recorded(tmp_path, {"net/core/somaxconn": "128\n"})
    os.mkfifo(tmp_path / "proc/sys/net/core/rmem_max")
    values, _ = collect_sysctls(tree)
    assert values == {"net.core.somaxconn": "128", "net.core.rmem_max": ""}


@pytest.mark.live
def test_an_unreadable_key_is_a_gap_of_an_ordinary_user() -> None:
    """Without root some keys are refused; the rest is read, and the gap says what helps."""
    parent, child = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setresuid(65534, 65534, 65534)
        values, gaps = collect_sysctls(Tree(), known=["net.core.bpf_jit_limit"])
        gap = gaps.get("sysctl:net.core.bpf_jit_limit")
        os.write(child, f"{len(values)} {gap and gap.reason} {gap and gap.detail}".encode())
        os._exit(0)
    os.close(child)
    with os.fdopen(parent) as result:
        count, reason, detail = result.read().split(maxsplit=2)
    os.waitpid(pid, 0)
    assert int(count) > 100
    assert reason == "permission"
    assert detail.endswith("run as root")


def test_reading_is_fast() -> None:
    """Well under the cost of starting Python: the best of five stays below 20 ms."""

    def once() -> float:
        begin = time.perf_counter()
        collect_sysctls(Tree())
        return time.perf_counter() - begin

    assert min(once() for _ in range(5)) < 0.020
