"""Tests here start processes or servers of their own, or run whole jobs; those in `tests/unit` not.

One process reads the films of many of them: starting one takes longer than they do.
"""

from collections.abc import Iterator

import pytest

from ingest.sandbox import Sandbox


@pytest.fixture(scope="session")
def shared_reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("reader")) as sandbox:
        yield sandbox


@pytest.fixture
def one_reader(shared_reader: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sandbox of this test asks the shared process."""
    ask = Sandbox._ask
    monkeypatch.setattr(Sandbox, "_ask", lambda _, request: ask(shared_reader, request))
    monkeypatch.setattr(Sandbox, "close", lambda _: None)
