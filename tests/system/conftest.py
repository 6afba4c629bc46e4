"""Tests here start processes or servers, run whole jobs, or train until something is learned; those
in `tests/unit` do not.

One process reads the films of many of them: starting one takes longer than they do.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from infra.lake import Lake
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


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """The lake of a home of this test's own."""
    monkeypatch.setenv("REEL_HOME", str(tmp_path / "home"))
    return Lake(str(tmp_path / "home/lake"))


@pytest.fixture
def bucket() -> Iterator[Any]:
    """An object store in memory."""
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
