"""The socket table for rules that need what only sock_diag tells."""

from __future__ import annotations

from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.names import SOCKETS
from rstaudit.model.sockets import SocketTable
from rstaudit.rules.context import Context


def sock_diag_table(ctx: Context, what: str) -> SocketTable:
    """The table; raises `MissingFact` where it is the fallback, which does not show ``what``."""
    table = ctx.host.need(SOCKETS)
    if table.source == "sock_diag":
        return table
    why = ctx.host.gaps.get(SOCKETS.name)
    detail = f"/proc/net/tcp does not show {what}"
    if why is not None:
        raise MissingFact(Gap("sockets", why.reason, f"{detail}; {why.detail}"))
    raise MissingFact(Gap("sockets", "not-recorded", detail))
