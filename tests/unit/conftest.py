"""Unit tests have homes of their own: the session's services are for the others."""

import pytest


@pytest.fixture(scope="session")
def settings() -> None:
    """The session's settings would tell every later test of this process where its home is."""
    pytest.fail("make Settings of a folder of this test's own")
