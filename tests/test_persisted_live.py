"""Our reading of sysctl.d against the real systemd-sysctl and procps, over made trees."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from rstaudit.collect.atboot import refused
from rstaudit.collect.persisted import collect_persisted
from rstaudit.collect.tree import Tree
from rstaudit.model.persisted import Reader
from rstaudit.parse.sysctld import as_key, as_path
from support.sysctl_jail import INTERFACE, NOTHING, PROCPS, SYSTEMD, make_root, values_after

pytestmark = pytest.mark.live

TREES = 90

PLAIN = [
    f"net/ipv4/{name}"
    for name in ("tcp_keepalive_time", "tcp_keepalive_intvl", "tcp_fin_timeout",
                 "tcp_max_syn_backlog", "tcp_rmem")
]  # fmt: skip
# ipv4/conf/default also changes the interfaces; these do not
PER_INTERFACE = [
    f"net/ipv6/conf/{interface}/{name}"
    for interface in ("all", "default", "lo", INTERFACE)
    for name in ("dad_transmits", "router_solicitation_max_interval")
]
PATHS = PLAIN + PER_INTERFACE

PATTERNS = [
    "net/ipv4/tcp_keepalive_*", "net.ipv4.tcp_keepalive_?ime", "net.ipv4.tcp_[fk]*t",
    "net.ipv4.tcp_[!fr]*_time", "net.ipv4.tcp_{fin_timeout,keepalive_[it]*}",
    "net.ipv6.conf.*.dad_transmits", "net/ipv6/conf/eth*.100/dad_transmits",
    "net.ipv6.conf.[al]*.dad_transmits", "net.ipv6.conf.*.router_solicitation_max_interval",
    "net.ipv6.*.lo.dad_transmits", "*/ipv4/tcp_fin_timeout", "net.ipv?.tcp_fin_*",
]  # fmt: skip
SPELLINGS = [
    "{key}", "{path}", "/{path}", "{key}.", "net..{rest}", "net/./{slashed}", "- {key}",
    "--{key}", "  {key}\t", "\v{key}", "net/../{path}", ".{key}", "{key} x", "net.ipv4 .tcp_rmem",
]  # fmt: skip
ENDS = ["\n", "\r\n", "\n\n", "\r", "\0", "\n\r", "\r\n\0", "\f\n", " \n", "\0\n"]
FOLDERS = ["etc", "run", "usr/local/lib", "usr/lib"]
NAMES = ["10-a.conf", "50-b.conf", "99-sysctl.conf", "99-z.conf", "A.conf", "z\xff.conf",
         "README", "60-c.conf.bak", ".conf", ".x.conf", "\u00e9.conf"]  # fmt: skip


def test_the_real_readers_are_here() -> None:
    """Without systemd-sysctl and procps 4 the comparison would prove nothing."""
    assert Path(SYSTEMD).is_file(), "Debian package systemd"
    version = subprocess.run(["sysctl", "--version"], capture_output=True, text=True, check=True)
    assert " 4." in version.stdout, version.stdout


@pytest.mark.parametrize("seed", range(TREES))
def test_we_read_as_the_real_readers_do(seed: int, tmp_path: Path) -> None:
    """For every key of a made tree both readers leave the value that we say they leave."""
    root = make_root(tmp_path / "root")
    fill(root, random.Random(seed))
    before = values_after(make_root(tmp_path / "empty"), NOTHING, PATHS)
    running = {as_key(path): value for path, value in before.items()}
    persisted = collect_persisted(Tree(str(root)), running)
    assert persisted.boot.name == "systemd-sysctl"
    for reader, command in ((persisted.boot, SYSTEMD), (persisted.system, PROCPS)):
        real = values_after(root, command, PATHS)
        assert expected(reader, running) == {path: numbers(real[path]) for path in PATHS}, command


def expected(reader: Reader, running: dict[str, str]) -> dict[str, list[int]]:
    """What each path holds after the writes of ``reader``, as the kernel takes them."""
    held = {path: numbers(running[as_key(path)]) for path in PATHS}
    for line in reader.order:
        path = as_path(line.key)
        if path not in held or refused(line.key, line.value, running[line.key]):
            continue
        new = numbers(line.value)[: len(held[path])]
        held[path] = new + held[path][len(new) :]
    return held


def numbers(text: str) -> list[int]:
    """Leading numbers of a value, in the bases that the kernel takes."""
    found: list[int] = []
    for word in text.lstrip().replace("\t", " ").replace("\n", " ").split(" "):
        if not word:
            continue
        try:
            found.append(int(word, 8) if len(word) > 1 and word.isdecimal() and word[0] == "0"
                         else int(word, 0))  # fmt: skip
        except ValueError:
            break
    return found


def fill(root: Path, chance: random.Random) -> None:
    """Files in all directories, with masks, links, oddly named and oddly written ones."""
    for folder in FOLDERS:
        for name in chance.sample(NAMES, chance.randint(1, 4)):
            place(root, root / folder / "sysctl.d" / name, chance)
    if chance.random() < 0.7:
        (root / "etc/sysctl.conf").write_bytes(content(chance))
    link = root / "etc/sysctl.d/99-sysctl.conf"
    if chance.random() < 0.5 and not link.exists() and not link.is_symlink():
        link.symlink_to("../sysctl.conf")


def place(root: Path, path: Path, chance: random.Random) -> None:
    """One file, or what stands in for one."""
    kind = chance.random()
    if kind < 0.1:
        path.symlink_to("/dev/null")
    elif kind < 0.15:
        path.symlink_to("nowhere")
    elif kind < 0.2:
        path.mkdir()
    elif kind < 0.25:
        path.write_bytes(b"")
    elif kind < 0.3:
        name = f"real-{path.parent.parent.name}-{path.name}"
        (root / "etc" / name).write_bytes(content(chance))
        path.symlink_to(f"/etc/{name}")
    else:
        path.write_bytes(content(chance))


def content(chance: random.Random) -> bytes:
    """Lines of a file, most of them sound."""
    lines = [line(chance) + chance.choice(ENDS if chance.random() < 0.3 else ["\n"])
             for _ in range(chance.randint(0, 7))]  # fmt: skip
    text = "".join(lines)
    if lines and chance.random() < 0.2:
        text = text.rstrip("\n")
    return text.encode("utf-8", "surrogateescape")


def line(chance: random.Random) -> str:
    """One line: an assignment, a pattern, an exclusion, a comment or rubbish."""
    path = chance.choice(PATHS)
    words = {"key": as_key(path), "path": path, "rest": as_key(path)[4:], "slashed": path[4:]}
    value = str(chance.randint(1, 9999))
    kind = chance.random()
    if kind < 0.45:
        return chance.choice(["{key} = {value}", "{path}={value}", "-{key}={value}",
                              "{key}\t=\t{value} "]).format(value=value, **words)  # fmt: skip
    if kind < 0.65:
        return f"{chance.choice(['', '', '-'])}{chance.choice(PATTERNS)} = {value}"
    if kind < 0.75:
        return f"-{chance.choice([*PATTERNS, as_key(path), path, as_key(path)])}"
    if kind < 0.85:
        return chance.choice(SPELLINGS).format(**words) + f"={value}"
    if kind < 0.95:
        odd = ["abc", f"{value} # note", f"0x{value}", "0777", "", f'"{value}"', f"{value},1",
               f"{value}=2", f"{value} {value} {value}"]  # fmt: skip
        return f"{as_key(path)} = {chance.choice(odd)}"
    return chance.choice(["# net.ipv4.tcp_fin_timeout=9", "; x = 1", "rubbish", "=5", "-", "-=3",
                          "\x00", "net.ipv4.tcp_fin_timeout", "\u00e9.\xff = 1", "x"])  # fmt: skip
