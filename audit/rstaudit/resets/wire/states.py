"""The TCP state of both ends after each segment (RFC 9293 section 3.3.2), as the packets tell."""

from __future__ import annotations

from collections.abc import Sequence

from rstaudit.model.ladder import UNKNOWN_STATE, States, Step

#: A state, whether its end sends or receives a segment next, and that segment's flags.
_OPENING = {
    ("CLOSE", "send", "SYN"): "SYN_SENT",
    ("LISTEN", "send", "SYN"): "SYN_SENT",
    ("LISTEN", "send", "SYN,ACK"): "SYN_RECV",
    ("SYN_SENT", "receive", "SYN"): "SYN_RECV",
    ("SYN_SENT", "receive", "SYN,ACK"): "ESTABLISHED",
    ("SYN_RECV", "receive", "SYN,ACK"): "ESTABLISHED",
    (UNKNOWN_STATE, "send", "SYN"): "SYN_SENT",
    (UNKNOWN_STATE, "send", "SYN,ACK"): "SYN_RECV",
    (UNKNOWN_STATE, "receive", "SYN"): "LISTEN",
}
_CLOSING_SEND = {
    "ESTABLISHED": "FIN_WAIT1", "SYN_RECV": "FIN_WAIT1", "CLOSE_WAIT": "LAST_ACK",
    UNKNOWN_STATE: "FIN_WAIT1",
}  # fmt: skip
_CLOSING_RECEIVE = {
    "ESTABLISHED": "CLOSE_WAIT", "SYN_RECV": "CLOSE_WAIT", "FIN_WAIT1": "CLOSING",
    "FIN_WAIT2": "TIME_WAIT", UNKNOWN_STATE: "CLOSE_WAIT",
}  # fmt: skip
_FIN_ACKED = {"FIN_WAIT1": "FIN_WAIT2", "CLOSING": "TIME_WAIT", "LAST_ACK": "CLOSE"}
#: States in which a segment without SYN and RST shows nothing new.
_SYNCHRONIZED = "ESTABLISHED"


class _End:
    """One end: its state, and where its FIN ends in its own sequence numbers."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.fin: int | None = None


def states(steps: Sequence[Step]) -> list[States]:
    """The states of both ends after each step, ``?`` where the packets do not tell.

    An end's state changes where it sends a segment, or is seen to have received one: what gets
    lost on the way cannot be seen, so a segment counts as received at once, but for a SYN to a
    listener: its answer shows whether it came.
    """
    begins = bool(steps) and steps[0].from_client and steps[0].flags == "SYN"
    client = _End("CLOSE" if begins else UNKNOWN_STATE)
    server = _End("LISTEN" if begins else UNKNOWN_STATE)
    found = []
    for step in steps:
        if step.note != "captured twice":
            ends = (client, server) if step.from_client else (server, client)
            _advance(step, *ends)
        found.append(States(client.state, server.state))
    return found


def _advance(step: Step, sender: _End, receiver: _End) -> None:
    flags = step.flags.split(",")
    if "RST" in flags:
        _reset(sender, receiver)
    elif "SYN" in flags:
        key = "SYN,ACK" if "ACK" in flags else "SYN"
        _open(key, sender, receiver)
    else:
        _data(step, "FIN" in flags, "ACK" in flags, sender, receiver)


def _reset(sender: _End, receiver: _End) -> None:
    sender.state = "CLOSE"  # also where it was thought to listen: nobody does
    if receiver.state != "LISTEN":
        receiver.state = "CLOSE"


def _open(key: str, sender: _End, receiver: _End) -> None:
    if key == "SYN" and sender.state == "SYN_RECV":  # a SYN again, in a simultaneous open
        return
    sender.state = _OPENING.get((sender.state, "send", key), sender.state)
    receiver.state = _OPENING.get((receiver.state, "receive", key), receiver.state)


def _data(step: Step, fin: bool, ack: bool, sender: _End, receiver: _End) -> None:
    if sender.state == UNKNOWN_STATE:
        sender.state = _SYNCHRONIZED
    if ack and receiver.state == "SYN_RECV":
        receiver.state = _SYNCHRONIZED
    if ack and receiver.fin is not None and step.ack is not None and step.ack >= receiver.fin:
        receiver.state = _FIN_ACKED.get(receiver.state, receiver.state)
    if fin and sender.fin is None and sender.state in _CLOSING_SEND:
        crossed = receiver.fin is not None and (step.ack is None or step.ack < receiver.fin)
        both = crossed and sender.state == "CLOSE_WAIT"  # it had not seen the other's FIN yet
        sender.state = "CLOSING" if both else _CLOSING_SEND[sender.state]
        sender.fin = None if step.seq is None else step.seq + step.length + 1
        receiver.state = _CLOSING_RECEIVE.get(receiver.state, receiver.state)
