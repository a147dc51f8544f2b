"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.netns import network_namespace


@pytest.fixture
def netns() -> Iterator[None]:
    """The test runs in a network namespace of its own, with loopback up."""
    with network_namespace():
        yield
