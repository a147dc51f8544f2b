"""Whether asking would load a module, decided over made-up module lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstaudit.collect.modules import NFTABLES, SOCK_DIAG, ModuleState, module_state
from rstaudit.collect.tree import Tree

LOADED = "tcp_diag 16384 0 - Live 0x0\ninet_diag 28672 1 tcp_diag, Live 0x0\n"
BUILTIN = "kernel/net/netfilter/nf-tables.ko\n"


def host(
    root: Path, modules: str | None, builtin: str | None = None, disabled: str | None = None
) -> ModuleState:
    """The module state of a tree with these files, None for a missing one."""
    for path, text in (
        ("proc/modules", modules),
        ("lib/modules/6.1.0/modules.builtin", builtin),
        ("proc/sys/kernel/modules_disabled", disabled),
    ):
        if text is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    return module_state(Tree(str(root)), "6.1.0")


def test_loaded_and_built_in_modules_may_be_asked(tmp_path: Path) -> None:
    """Loaded, or built in under a name with a dash: asking loads nothing."""
    state = host(tmp_path, LOADED, BUILTIN, "0\n")
    assert state.may_ask(*SOCK_DIAG)
    assert state.may_ask(*NFTABLES)
    assert state.may_ask("nf-tables")
    assert state.present("ip_tables") is False
    assert not state.may_ask("ip_tables")
    assert not state.may_ask("tcp_diag", "ip_tables")


def test_a_refusal_names_the_module_and_the_option(tmp_path: Path) -> None:
    """The user reads what is missing and how to allow it."""
    state = host(tmp_path, "inet_diag 28672 0 - Live 0x0\n", "")
    assert not state.may_ask(*SOCK_DIAG)
    gap = state.refusal("sockets", *SOCK_DIAG)
    assert (gap.fact, gap.reason) == ("sockets", "not-loaded")
    assert "tcp_diag is not loaded" in gap.detail
    assert "inet_diag" not in gap.detail
    assert "--load-modules" in gap.detail


def test_the_option_allows_everything(tmp_path: Path) -> None:
    """`--load-modules` is the user's word."""
    state = host(tmp_path, "", "")._replace(allowed=True)
    assert state.may_ask("ip_tables")


def test_without_the_list_of_built_in_modules_nobody_knows(tmp_path: Path) -> None:
    """As in a container without /lib/modules: not loaded, perhaps built in, so not asked."""
    state = host(tmp_path, LOADED)
    assert state.may_ask(*SOCK_DIAG)
    assert state.present("nf_tables") is None
    assert not state.may_ask("nf_tables")
    assert "built in" in state.refusal("firewall", "nf_tables").detail


def test_sysfs_shows_some_built_in_modules(tmp_path: Path) -> None:
    """A directory in /sys/module is proof enough."""
    (tmp_path / "sys/module/nf_conntrack").mkdir(parents=True)
    assert host(tmp_path, "").present("nf_conntrack") is True


def test_where_no_module_can_be_loaded_everything_may_be_asked(tmp_path: Path) -> None:
    """kernel.modules_disabled, and a kernel without module support such as this one."""
    assert host(tmp_path, "", "", "1\n").may_ask("ip_tables")
    if not Path("/proc/modules").exists():
        assert module_state(Tree(), "6.1.0").may_ask("ip_tables")


@pytest.mark.parametrize("text", ["nonsense\n", "a b\n"])
def test_a_damaged_list_allows_nothing(tmp_path: Path, text: str) -> None:
    """What cannot be read is unknown, and the unknown is not asked."""
    assert not host(tmp_path, text, "").may_ask("tcp_diag")
