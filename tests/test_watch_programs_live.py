"""`rstaudit watch` beside real programs: it names what they did, and which of them did it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs import SERVER
from support.resetters import ACTS, Act
from support.tracing import private_mounts
from support.watching import watching

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("lan")]


@pytest.fixture(autouse=True)
def _mounts() -> Iterator[None]:
    """Mounts of the test's own, with tracefs."""
    with private_mounts():
        yield


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.stage.__name__)
def test_the_program_and_the_cause_are_named(act: Act, tmp_path: Path) -> None:
    """The one that resets, why, at which of its connections, and whether that matters."""
    here = os.stat("/proc/thread-self/ns/net").st_ino
    with watching() as watch:
        act.stage(tmp_path)
    sent = [
        one for one in watch.resets
        if one["direction"] == "sent" and one["netns"] in (here, None)
        and SERVER in one["src"] + one["dst"] and one["process"] is not None
    ]  # fmt: skip
    named = [(one["process"]["comm"], one["cause"], one["benign"]) for one in sent]
    assert (act.comm, act.cause, act.benign) in named, watch.resets
