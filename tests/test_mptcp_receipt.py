"""A subflow of MPTCP that is reset resets back: both are real."""

from __future__ import annotations

import pytest

from rstaudit.parse.reset_event import RECEIVE
from rstaudit.resets.live.decide import is_false
from rstaudit.resets.live.history import History
from support.event_streams import Story


@pytest.mark.parametrize(
    ("reason", "false"), [("MPTCP_RST_EUNSPEC", False), ("TCP_ABORT_ON_DATA", True)]
)
def test_a_receipt_is_false_only_when_the_socket_resets_for_data(reason: str, false: bool) -> None:
    """What follows a receipt at once tells whether the kernel only pretended to receive."""
    story = Story().connect().receive().send(reason, "ESTABLISHED")
    history = History(limit=10)
    for event in story.events:
        history.note(event)
    receipt = next(event for event in story.events if event.kind == RECEIVE)
    assert is_false(receipt, history) is false
