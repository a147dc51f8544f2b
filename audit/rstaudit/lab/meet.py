"""How a scenario begins: somebody listens, somebody connects."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rstaudit.lab.parties import Address, End

if TYPE_CHECKING:
    from rstaudit.lab.network import Lab
    from rstaudit.lab.scenario import Draw


class Pair(NamedTuple):
    """A listener and the two ends of a connection to it."""

    listener: End
    client: End
    server: End


def target(lab: Lab, draw: Draw) -> Address:
    """Where the client connects to."""
    return lab.server.addresses[draw.family], draw.port


def pair(lab: Lab, draw: Draw, backlog: int = 16, protocol: int = 0) -> Pair:
    """An established connection, accepted."""
    listener = lab.server.listen(draw.family, draw.port, backlog, protocol)
    client = lab.client.connect(target(lab, draw), protocol)
    return Pair(listener, client, listener.accept())


def talked(lab: Lab, draw: Draw) -> Pair:
    """An established connection on which a request and its answer have been read."""
    made = pair(lab, draw)
    exchange(made.client, made.server, draw.size)
    exchange(made.server, made.client, draw.size)
    return made


def exchange(sender: End, reader: End, size: int) -> None:
    """``size`` bytes are sent and read."""
    sender.send(bytes(size))
    reader.read_exactly(size)


def part(first: End, second: End) -> None:
    """A clean end: each closes, ``first`` first, and both have read everything."""
    first.shutdown()
    second.read_to_end()
    second.close()
    first.read_to_end()
    first.close()
