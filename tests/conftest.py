"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.netns import network_namespace


@pytest.fixture
def netns() -> Iterator[None]:
    """The test runs in a network namespace of its own, with loopback up."""
    with network_namespace():
        yield


@pytest.fixture
def lan(netns: None) -> None:  # noqa: ARG001 - the namespace comes first
    """As `netns`, with an address for servers and one for clients; see `support.programs`."""
    from support.programs import two_addresses

    two_addresses()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Programs and connections of a test, ended in turn at its end."""
    with ExitStack() as stack:
        yield stack
