import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from infra.catalog import Catalog
from infra.catalog_models import Artifact, Base, GenerationJob, JobAttempt

ROOT = Path(__file__).parents[3]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database without a table."""
    return f"sqlite:///{tmp_path / 'new' / 'catalog.db'}"


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    found = Catalog(url)
    found.migrate()
    yield found
    found.close()


def test_migrations_build_what_the_models_say(catalog: Catalog) -> None:
    with catalog.session() as session:
        context = MigrationContext.configure(session.connection())
        assert compare_metadata(context, Base.metadata) == []


def test_migrate_again_changes_nothing(catalog: Catalog) -> None:
    with catalog.session() as session:
        session.add(GenerationJob(id="v1", kind="video"))
    catalog.migrate()
    with catalog.session() as session:
        assert session.get(GenerationJob, "v1") is not None


def test_many_processes_migrate_at_once(url: str) -> None:
    code = f"from infra.catalog import Catalog; Catalog({url!r}).migrate()"
    running = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in running:
        assert process.communicate()[1] == b""
        assert process.returncode == 0


def test_times_keep_their_zone(catalog: Catalog) -> None:
    elsewhere = datetime(2026, 11, 22, 20, 0, tzinfo=timezone(timedelta(hours=2)))
    with catalog.session() as session:
        session.add(GenerationJob(id="v1", kind="video", expires_at=elsewhere))
    with catalog.session(read_only=True) as session:
        found = session.get_one(GenerationJob, "v1")
    assert found.expires_at == elsewhere
    assert found.created_at.tzinfo is UTC


def test_an_exception_rolls_back(catalog: Catalog) -> None:
    with pytest.raises(ZeroDivisionError), catalog.session() as session:
        session.add(GenerationJob(id="v1", kind="video"))
        session.flush()
        _ = 1 / 0
    with catalog.session() as session:
        assert session.get(GenerationJob, "v1") is None


def test_writers_that_read_first_wait_for_each_other(catalog: Catalog) -> None:
    # With a deferred BEGIN this ends in SQLite's "database is locked" or in a lost update; on
    # PostgreSQL, who reads in order to write locks the row.
    with catalog.session() as session:
        session.add(GenerationJob(id="v1", kind="video", progress=0))

    def add_ten() -> None:
        for _ in range(10):
            with catalog.session() as session:
                session.get_one(GenerationJob, "v1", with_for_update=True).progress += 1

    threads = [threading.Thread(target=add_ten) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with catalog.session(read_only=True) as session:
        assert session.get_one(GenerationJob, "v1").progress == 40


def test_a_reader_does_not_wait_for_a_writer(catalog: Catalog) -> None:
    with catalog.session() as writer:
        writer.add(GenerationJob(id="v1", kind="video"))
        writer.flush()
        with catalog.session(read_only=True) as reader:
            assert reader.scalar(select(func.count()).select_from(GenerationJob)) == 0


def test_deleting_a_job_takes_its_artifacts_and_frees_its_children(catalog: Catalog) -> None:
    file = {"media_type": "video/mp4", "path": "v1/video.mp4", "size_bytes": 1, "sha256": "0" * 64}
    with catalog.session() as session:
        session.add(GenerationJob(id="v1", kind="video"))
        session.flush()
        session.add(GenerationJob(id="v2", kind="extension", parent_id="v1"))
        session.add(Artifact(job_id="v1", name="video", **file))
    with catalog.session() as session:
        session.delete(session.get_one(GenerationJob, "v1"))
    with catalog.session() as session:
        assert session.get_one(GenerationJob, "v2").parent_id is None
        assert session.scalar(select(func.count()).select_from(Artifact)) == 0


def test_a_submission_id_is_used_once(catalog: Catalog) -> None:
    row = {"step": "ingest", "flow_run_id": "f", "submission_id": "s", "spec_json": "{}"}
    with catalog.session() as session:
        session.add(JobAttempt(attempt=1, **row))
    with pytest.raises(IntegrityError), catalog.session() as session:
        session.add(JobAttempt(attempt=2, **row))
