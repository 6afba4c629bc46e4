"""A store, and an app with a fake model, each in a folder of its own."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_fakes import FPS, FakeGenerator, LocalEngine

from infra.catalog import Catalog
from infra.settings import Settings
from serving.api import create_app
from serving.engine import Engine
from serving.jobs import JobStore
from serving.provenance import Provenance
from serving.service import ModelInfo
from serving.tracing import Tracing


@dataclass
class World:
    settings: Settings
    catalog: Catalog
    store: JobStore
    generator: FakeGenerator
    engine: Engine
    client: TestClient

    def files(self) -> list[str]:
        """Every file and folder under the media folder, but the one for arrivals."""
        media = self.settings.media_dir
        names = (str(path.relative_to(media)) for path in media.rglob("*"))
        return sorted(name for name in names if name != ".incoming")

    def finish(self, video_id: str) -> dict[str, Any]:
        """Wait for the end of a job and return its video object."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            video: dict[str, Any] = self.client.get(f"/v1/videos/{video_id}").json()
            if video["status"] in ("completed", "failed"):
                return video
            time.sleep(0.02)
        raise AssertionError(f"{video_id} did not end: {video}")


@pytest.fixture(scope="session")
def empty_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database to copy: migrations would be most of the suite's time."""
    path = tmp_path_factory.mktemp("catalog") / "catalog.db"
    catalog = Catalog(f"sqlite:///{path}")
    catalog.migrate()
    catalog.close()
    return path


@pytest.fixture
def catalog(tmp_path: Path, empty_catalog: Path) -> Iterator[Catalog]:
    shutil.copy(empty_catalog, tmp_path / "catalog.db")
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    yield catalog
    catalog.close()


@pytest.fixture
def store(catalog: Catalog, tmp_path: Path) -> JobStore:
    return JobStore(catalog, tmp_path / "media", ttl_s=3600, lease_s=60)


@pytest.fixture
def world(catalog: Catalog, tmp_path: Path) -> Iterator[World]:
    """An app, its engine and a fake model."""
    with running(catalog, tmp_path) as world:
        yield world


@pytest.fixture(scope="module")
def still_world(tmp_path_factory: pytest.TempPathFactory, empty_catalog: Path) -> Iterator[World]:
    """The same, shared by tests whose requests must leave no trace."""
    home = tmp_path_factory.mktemp("still")
    shutil.copy(empty_catalog, home / "catalog.db")
    catalog = Catalog(f"sqlite:///{home / 'catalog.db'}")
    with running(catalog, home) as world:
        yield world
    catalog.close()


@contextmanager
def running(catalog: Catalog, home: Path, **options: Any) -> Iterator[World]:
    """An app over `catalog`; `options` are settings."""
    settings = Settings(home=home, **options)
    traces = Tracing(settings)
    store = JobStore(catalog, settings.media_dir, ttl_s=3600, lease_s=60, tracing=traces)
    generator = FakeGenerator()
    engine = Engine(store, lambda: generator, "3", seal=Provenance(settings).seal)
    model = ModelInfo(version="3", size=(48, 32), fps=FPS)
    app = create_app(settings, catalog, model, LocalEngine(engine))
    engine.start()
    with TestClient(app) as client:
        yield World(settings, catalog, store, generator, engine, client)
    engine.stop()
    traces.close()
