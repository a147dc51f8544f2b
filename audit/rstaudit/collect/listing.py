"""What `rstaudit sockets` needs of a host, and nothing else of it."""

from __future__ import annotations

from rstaudit.collect.host import Collection, Options, Stopped
from rstaudit.collect.netns import Netns, is_initial
from rstaudit.collect.sysctls import read_keys
from rstaudit.model import names
from rstaudit.model.facts import HostState

#: Settings that decide what a socket will do.
_KEYS = ("net.ipv4.ip_local_port_range", "net.ipv4.tcp_retries2", "net.ipv4.tcp_migrate_req")


class SocketCollection(Collection):
    """Sockets, the processes that hold them, and their options."""

    def _run(self) -> None:
        initial = is_initial(self.tree)
        self.netns = Netns(initial, self.tree.link("/proc/self/ns/net"), None)
        self.sysctls, _ = read_keys(self.tree, _KEYS)
        self._read_processes()
        table = self.take(names.SOCKETS, self._sockets)
        if table is not None:
            self._about_sockets(table)


def collect_listing(options: Options) -> HostState:
    """The facts that a listing of sockets rests on.

    Raises `MissingFact` when not even the kernel's release can be read; KeyboardInterrupt.
    """
    try:
        return SocketCollection(options).finish()
    except Stopped:
        raise KeyboardInterrupt from None
