"""Running sysctls, and for each one that the catalogue knows the reason why it is missing."""

from __future__ import annotations

import errno
import os
from collections.abc import Container, Iterable

from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap

#: Directories whose files are read. Their subdirectories hold hundreds of files an interface.
_DIRECTORIES = (
    "net/core", "net/ipv4", "net/ipv4/vs", "net/ipv6", "net/mptcp", "net/netfilter", "net/unix",
)  # fmt: skip
_SINGLE = ("net.nf_conntrack_max", "fs.file-max", "fs.file-nr", "fs.nr_open")

#: Keys of cryptographic secrets: read by nobody, so that no report can leak them.
_SECRET = ("tcp_fastopen_key", "stable_secret")

_CONNTRACK = ("net.netfilter.nf_conntrack_", "net.nf_conntrack_")

#: A value longer than the first is read again into the second: the kernel does not continue
#: net.ipv4.ip_local_reserved_ports in another read (kernel/sysctl.c, proc_do_large_bitmap).
_SHORT, _LONG = 4096, 1 << 18

_SWAP = str.maketrans("./", "/.")

Sysctls = tuple[dict[str, str], dict[str, Gap]]


def collect_sysctls(
    tree: Tree,
    *,
    known: Iterable[str] = (),
    global_keys: Container[str] = frozenset(),
    initial: bool | None = None,
) -> Sysctls:
    """Running values by dotted key, and gaps by ``sysctl:KEY``.

    On a live host each key of ``known`` that is not there gets a gap saying why; ``global_keys``
    are those that exist only in the initial network namespace, ``initial`` whether this is it.
    In a recorded tree a missing key gets no gap: nobody knows whether it was there. Where
    ``known`` is given, an unreadable key that nobody can ask for gets no gap either.
    """
    known = frozenset(known)
    values: dict[str, str] = {}
    gaps: dict[str, Gap] = {}
    for directory in _DIRECTORIES:
        _read_directory(tree, directory, values, gaps)
    single, refused = read_keys(tree, _SINGLE)
    values.update(single)
    gaps.update(refused)
    if known:
        gaps = {name: gap for name, gap in gaps.items() if name.partition(":")[2] in known}
    if tree.live:
        why = _Absence(tree, global_keys, initial)
        for key in sorted(known):
            if key not in values and f"sysctl:{key}" not in gaps:
                gaps[f"sysctl:{key}"] = why.gap(key)
    return values, gaps


def read_keys(tree: Tree, keys: Iterable[str]) -> Sysctls:
    """Running values of single keys (``net.*`` and ``fs.*``), and gaps of those unreadable."""
    values: dict[str, str] = {}
    gaps: dict[str, Gap] = {}
    for key in keys:
        if (path := path_of(key)) is not None:
            _read_one(tree.where(path), key, values, gaps)
    return values, gaps


def path_of(key: str) -> str | None:
    """``/proc/sys/...`` of a dotted key; None for what is no ``net.*`` or ``fs.*`` key, or secret.

    A slash in a dotted key stands for a dot in the file's name, as sysctl(8) has it.
    """
    parts = key.translate(_SWAP).split("/")
    if parts[0] not in ("net", "fs") or parts[-1] in _SECRET:
        return None
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        return None
    return "/proc/sys/" + "/".join(parts)


def _read_directory(
    tree: Tree, directory: str, values: dict[str, str], gaps: dict[str, Gap]
) -> None:
    path = f"/proc/sys/{directory}"
    prefix = directory.replace("/", ".")
    try:
        names = os.listdir(tree.where(path))
    except OSError:
        return  # the keys that matter are named by `known`
    for name in names:
        if name not in _SECRET:
            key = f"{prefix}.{name.translate(_SWAP)}"
            _read_one(tree.where(f"{path}/{name}"), key, values, gaps)


def _read_one(path: str, key: str, values: dict[str, str], gaps: dict[str, Gap]) -> None:
    """Read one key into ``values``, or the reason into ``gaps``; nothing if it is not there."""
    try:
        text = _read(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            return
        denied = error.errno in (errno.EACCES, errno.EPERM)
        detail = f"{key}: {(error.strerror or str(error)).lower()}"
        if denied and os.geteuid() != 0:
            detail += "; run as root"
        name = f"sysctl:{key}"
        gaps[name] = Gap(name, "permission" if denied else "unreadable", detail)
    else:
        values[key] = text


def _read(path: str) -> str:
    raw = _read_up_to(path, _SHORT)
    if len(raw) == _SHORT:
        raw = _read_up_to(path, _LONG)
    return raw.decode("utf-8", "surrogateescape").rstrip("\n")


def _read_up_to(path: str, size: int) -> bytes:
    # Non-blocking: a recorded tree may hold a FIFO where a file should be.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


class _Absence:
    """Says why a key is not there on a live host."""

    def __init__(self, tree: Tree, global_keys: Container[str], initial: bool | None) -> None:
        self._global_keys = global_keys
        self._initial = initial
        self._mounted = tree.exists("/proc/sys/net/ipv4")
        self._conntrack = tree.exists("/proc/sys/net/netfilter/nf_conntrack_max")

    def gap(self, key: str) -> Gap:
        name = f"sysctl:{key}"
        if not self._mounted:
            return Gap(name, "unreadable", "/proc/sys/net/ipv4 is not there: is /proc mounted?")
        if key.startswith(_CONNTRACK) and not self._conntrack:
            return Gap(name, "absent", "connection tracking is not loaded")
        if self._initial is False and key in self._global_keys:
            detail = f"{key} exists only in the initial network namespace: judge it on the host"
            return Gap(name, "global", detail)
        owner = "this network namespace" if self._initial is False else "this kernel"
        return Gap(name, "absent", f"{owner} has no {key}")
