"""What polling costs in SQL, and what it tells of many jobs at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from serving_fakes import FPS, FakeGenerator, LocalEngine
from sqlalchemy import Engine as Database
from sqlalchemy import event

from infra.catalog_models import GenerationJob
from infra.settings import Settings
from serving.api import create_app
from serving.engine import Engine
from serving.jobs import JobStore, new_job_id
from serving.service import ModelInfo


@contextmanager
def statements() -> Iterator[list[str]]:
    """Those that are sent inside, on any connection."""
    sent: list[str] = []

    def note(_connection, _cursor, statement, *_rest):
        if not statement.startswith(("BEGIN", "PRAGMA")):
            sent.append(statement)

    event.listen(Database, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Database, "before_cursor_execute", note)


@pytest.fixture
def client(catalog, store, tmp_path: Path) -> TestClient:
    """Of an app whose engine does not run; its own threads do not either."""
    engine = LocalEngine(Engine(store, FakeGenerator, "3"))
    model = ModelInfo(version="3", size=(48, 32), fps=FPS)
    return TestClient(create_app(Settings(home=tmp_path), catalog, model, engine))


def queue(store: JobStore, count: int) -> list[str]:
    ids = []
    for _ in range(count):
        job = GenerationJob(id=new_job_id("video"), kind="video", params={"seed": 1}, seconds=1.0)
        ids.append(store.submit(job)[0].id)
    return ids


def test_a_list_of_many_takes_as_many_statements_as_a_list_of_one(client, store):
    queue(store, 1)
    client.get("/v1/videos")  # what is prepared once
    with statements() as of_one:
        assert len(client.get("/v1/videos").json()["data"]) == 1
    queue(store, 99)
    with statements() as of_many:
        assert len(client.get("/v1/videos?limit=100").json()["data"]) == 100
    assert len(of_many) == len(of_one) <= 4


def test_a_job_that_runs_or_has_ended_is_told_of_by_its_row_alone(client, store):
    (job_id,) = queue(store, 1)
    claim = store.claim("w")
    store.renew(claim, progress=40, stage="sampling", step=4, steps=10)
    with statements() as sent:
        shown = client.get(f"/v1/videos/{job_id}").json()
    assert shown["x_progress"]["eta_s"] is not None and len(sent) == 1
    store.complete(claim, [], {})
    with statements() as sent:
        assert client.get(f"/v1/videos/{job_id}").json()["x_progress"] is None
        assert client.get("/v1/videos").json()["data"][0]["id"] == job_id
    assert len(sent) == 2


def test_a_list_tells_each_job_its_place(client, store):
    ids = queue(store, 4)
    store.claim("w")
    shown = client.get("/v1/videos?order=asc").json()["data"]
    assert [each["id"] for each in shown] == ids
    assert [each["x_progress"]["queue_position"] for each in shown] == [0, 1, 2, 3]
    for job_id, each in zip(ids, shown, strict=True):
        alone = client.get(f"/v1/videos/{job_id}").json()
        assert alone["x_progress"] == each["x_progress"]


def test_a_job_is_not_counted_as_before_itself(store):
    """It may have been claimed since its row was read."""
    queue(store, 1)
    job = store.page(("video",), after=None, limit=1, newest_first=True)[0][0]
    store.claim("w")
    assert job.status == "queued" and store.outlooks([job])[job.id].position == 0
