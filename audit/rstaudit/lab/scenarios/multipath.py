"""Multipath TCP: whole connections that are aborted, and single subflows that are refused."""

from __future__ import annotations

import time

from rstaudit.lab.meet import Pair, pair, target
from rstaudit.lab.network import INTERFACE, Lab
from rstaudit.lab.scenario import Draw, Named, Scenario, both, from_to
from rstaudit.lab.steps import MPTCP, spare_address, speak

_NEEDS = frozenset({"mptcp"})


def _lingering(lab: Lab, draw: Draw) -> None:
    ends = pair(lab, draw, protocol=MPTCP)
    speak(ends, draw.size)
    ends.server.abort()
    ends.client.wait_over()
    ends.client.recv()
    ends.client.send(b"c")


def _unread(lab: Lab, draw: Draw) -> None:
    ends = pair(lab, draw, protocol=MPTCP)
    speak(ends, draw.size)
    ends.client.send(b"c" * draw.size)
    ends.server.wait_unread(draw.size)
    ends.server.close()
    ends.client.wait_over()
    ends.client.recv()
    ends.client.send(b"c")


def _client_aborts(lab: Lab, draw: Draw) -> None:
    ends = pair(lab, draw, protocol=MPTCP)
    speak(ends, draw.size)
    ends.client.abort()
    ends.server.wait_over()
    ends.server.recv()


def _in_order(lab: Lab, draw: Draw) -> None:
    ends = pair(lab, draw, protocol=MPTCP)
    speak(ends, draw.size)
    ends.client.shutdown()
    ends.server.read_to_end()
    ends.server.close()
    ends.client.read_to_end()
    time.sleep(0.1)


def _subflow(lab: Lab, draw: Draw, allowed: int) -> None:
    """The client offers a second subflow; the server allows ``allowed`` of them."""
    second = spare_address(lab.client, draw.family)
    gateway = lab.client.addresses[draw.family]
    lab.server.run("ip", "route", "add", second, "via", gateway)
    lab.client.run("ip", "mptcp", "limits", "set", "subflows", "1")
    lab.server.run("ip", "mptcp", "limits", "set", "subflows", str(allowed))
    lab.client.run("ip", "mptcp", "endpoint", "add", second, "dev", INTERFACE, "subflow")
    listener = lab.server.listen(draw.family, draw.port, protocol=MPTCP)
    client = lab.client.tcp(draw.family, MPTCP)
    client.bind((lab.client.addresses[draw.family], 0))
    client.connect(target(lab, draw))
    ends = Pair(listener, client, listener.accept())
    speak(ends, draw.size)
    time.sleep(0.3)
    speak(ends, draw.size)


def _refused(lab: Lab, draw: Draw) -> None:
    _subflow(lab, draw, 0)


def _accepted(lab: Lab, draw: Draw) -> None:
    _subflow(lab, draw, 1)


_FAST = "mptcp-fastclose"
_REFUSED = Named("mptcp-reset")

SCENARIOS = (
    Scenario(
        "mptcp-linger", ("S08",),
        "An MPTCP connection is closed with SO_LINGER {1, 0}",
        "The kernel ends every subflow with a fast close. The client's program sees what plain TCP"
        " would have shown it.",
        _lingering, _in_order, from_to("server", _FAST), both(_FAST), needs=_NEEDS,
    ),
    Scenario(
        "mptcp-unread", ("S05",),
        "An MPTCP connection is closed over unread data",
        "The server has not read all that came. The kernel ends every subflow with a fast close.",
        _unread, _in_order, from_to("server", _FAST), both(_FAST), needs=_NEEDS,
    ),
    Scenario(
        "mptcp-client-linger", ("S08",),
        "The client aborts an MPTCP connection",
        "As mptcp-linger, from the other side.",
        _client_aborts, _in_order, from_to("client", _FAST), both(_FAST), needs=_NEEDS,
    ),
    Scenario(
        "mptcp-subflow-refused", (),
        "A server refuses a further subflow of an MPTCP connection",
        "The client opens a second subflow from another address. The server allows none and resets"
        " it with the reason 'administratively prohibited'; the connection goes on over the first."
        " The client's kernel answers with a reset of its own.",
        _refused, _accepted,
        {**from_to("server", "mptcp-reset"), "client sent": _REFUSED},
        both("mptcp-reset"), needs=_NEEDS,
    ),
)  # fmt: skip
