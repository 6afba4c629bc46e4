"""Flows through a real server, worker and Ray, whose processes die or are told to stop."""

import contextvars
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType

from flows.client import run_and_follow
from infra.catalog import Catalog
from infra.catalog_models import JobAttempt
from infra.errors import JobCancelledError, JobError
from infra.job_files import read_json
from infra.settings import Settings

pytestmark = pytest.mark.usefixtures("worker", "ray_head")

WAIT_S = 240.0


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as found:
        yield found


class _Run(threading.Thread):
    """Follows a probe run beside the test."""

    def __init__(self, **spec: Any) -> None:
        super().__init__(daemon=True)
        self.spec = spec
        self.said: list[str] = []
        self.result: dict[str, Any] = {}
        self.error: Exception | None = None
        # A thread starts without Prefect's settings of this context.
        self.context = contextvars.copy_context()
        self.start()

    def run(self) -> None:
        follow = partial(self.context.run, run_and_follow, "probe")
        try:
            self.result = follow({"spec": self.spec}, self.said.append)
        except Exception as error:
            self.error = error


def _until(what: str, found: Any) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.2)
    return value


def _newest_attempt(catalog: Catalog) -> JobAttempt | None:
    with catalog.session(read_only=True) as session:
        return session.query(JobAttempt).order_by(JobAttempt.id.desc()).first()


def _count(settings: Settings, attempt: JobAttempt) -> int:
    saved = read_json(settings.home / "jobs" / attempt.submission_id / "count.json")
    return saved["count"] if saved else 0


def _counting_attempt(settings: Settings, catalog: Catalog, after: int) -> JobAttempt:
    """The attempt that began after id `after`, once it has counted a little."""

    def counting() -> JobAttempt | None:
        attempt = _newest_attempt(catalog)
        if attempt is None or attempt.id <= after or _count(settings, attempt) < 3:
            return None
        return attempt

    found: JobAttempt = _until("a counting job", counting)
    return found


def _newest_id(catalog: Catalog) -> int:
    attempt = _newest_attempt(catalog)
    return attempt.id if attempt else 0


def _flow_process(run: FlowRun) -> psutil.Process:
    """The process that executes `run`: the one with its id in the environment."""
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
        if environment.get("PREFECT__FLOW_RUN_ID") == str(run.id):
            return process
    raise AssertionError(f"no process executes {run.id}")


def test_killed_flow_attaches_to_the_job_that_still_runs(
    worker: Settings, catalog: Catalog, client: SyncPrefectClient
) -> None:
    before = _newest_id(catalog)
    follower = _Run(act="count", until=250)
    attempt = _counting_attempt(worker, catalog, before)
    run = client.read_flow_run(attempt.flow_run_id)
    counted = _count(worker, attempt)

    os.kill(_flow_process(run).pid, signal.SIGKILL)

    follower.join(WAIT_S)
    assert follower.error is None
    assert follower.result == {"count": 250, "began_at": 0}  # the same process counted on
    latest = _newest_attempt(catalog)
    assert latest is not None
    assert latest.submission_id == attempt.submission_id
    assert counted < 250
    assert any("died" in line for line in follower.said)
    assert "counted to 250" in follower.said


def test_cancelled_run_stops_its_job_after_a_checkpoint(
    worker: Settings, catalog: Catalog, client: SyncPrefectClient
) -> None:
    from prefect.states import Cancelling

    before = _newest_id(catalog)
    follower = _Run(act="count", until=100_000)
    attempt = _counting_attempt(worker, catalog, before)

    client.set_flow_run_state(attempt.flow_run_id, Cancelling())

    follower.join(WAIT_S)
    assert isinstance(follower.error, JobCancelledError)
    folder: Path = worker.home / "jobs" / attempt.submission_id
    assert read_json(folder / "saved.json") is not None
    pid = (read_json(folder / "count.json") or {})["pid"]
    _until("the end of the job's process", lambda: not psutil.pid_exists(pid))
    latest = _newest_attempt(catalog)
    assert latest is not None
    assert (latest.submission_id, latest.status) == (attempt.submission_id, "stopped")


def test_rejected_input_is_one_sentence_and_is_not_retried(
    worker: Settings, catalog: Catalog, client: SyncPrefectClient
) -> None:
    follower = _Run(act="reject")
    follower.join(WAIT_S)
    assert isinstance(follower.error, JobError)
    assert str(follower.error) == "no folder at /nowhere; give one that exists"
    attempt = _newest_attempt(catalog)
    assert attempt is not None
    assert attempt.attempt == 1
    run = client.read_flow_run(attempt.flow_run_id)
    assert run.state is not None
    assert run.state.type == StateType.FAILED
