"""The suites of the catalog, job attempts and the job store once more, on a real PostgreSQL."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.catalog import Catalog
from serving.jobs import JobStore
from tests.postgres import postgres
from tests.unit.infra.test_catalog import *  # noqa: F403 - the suite
from tests.unit.infra.test_jobs import *  # noqa: F403
from tests.unit.serving.test_job_store import *  # noqa: F403
from tests.unit.serving.test_job_store import job
from tests.unit.serving.test_workflow_store import *  # noqa: F403


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    """A database without a table."""
    catalog = Catalog(server)
    with catalog.session() as session:
        session.execute(text("DROP SCHEMA public CASCADE"))
        session.execute(text("CREATE SCHEMA public"))
    catalog.close()
    yield server


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    found = Catalog(url)
    found.migrate()
    yield found
    found.close()


@pytest.fixture
def store(catalog: Catalog, tmp_path: Path) -> JobStore:
    return JobStore(catalog, tmp_path / "media", ttl_s=3600, lease_s=60)


def test_two_workers_never_claim_the_same_job(store: JobStore) -> None:
    for _ in range(20):
        store.submit(job())
    claimed: list[str] = []

    def work(name: str) -> None:
        while (claim := store.claim(name)) is not None:
            claimed.append(claim.job.id)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 20


def test_a_request_and_its_retry_that_come_together_are_one_job(store: JobStore) -> None:
    def submit() -> None:
        store.submit(job(request_hash="h"), is_retry=True)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs, _ = store.page(("video",), after=None, limit=10, newest_first=True)
    assert len(jobs) == 1
