import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import infra
from infra.catalog import Catalog
from infra.errors import InfrastructureError, InputError, JobCancelledError, JobError
from infra.job_files import read_json
from infra.ray_jobs import Job, RayJobs
from infra.settings import Settings
from tests.conftest import CAPTION_KEY

TESTS = Path(__file__).parents[1]
PYTHONPATH = f"{Path(infra.__file__).parents[1]}:{TESTS}"


@pytest.fixture
def jobs(ray_head: Settings, catalog: Catalog) -> RayJobs:
    return RayJobs(ray_head, catalog)


def _job(**spec: Any) -> Job:
    return Job(
        step="probe",
        module="probe_job",
        spec=spec,
        flow_run_id=str(uuid4()),
        env={"PYTHONPATH": PYTHONPATH},
    )


def _wait_for(path: Path, timeout_s: float = 180) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while (found := read_json(path)) is None:
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.05)
    return found


class _Background(threading.Thread):
    """Calls `ensure` beside the test and keeps what it returned or raised."""

    def __init__(self, call: Callable[[], dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.result: dict[str, Any] | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.result = self._call()
        except Exception as error:
            self.error = error


def test_result_progress_and_logs_arrive_once(jobs: RayJobs) -> None:
    job = _job(act="add", numbers=[1, 2])
    progress: list[dict[str, Any]] = []
    lines: list[str] = []

    result = jobs.ensure(job, on_progress=progress.append, on_log=lines.extend)
    again = jobs.ensure(job, on_log=lines.extend)

    assert result == again == {"sum": 3, "threads": "2"}
    assert progress[-1]["message"] == "all"
    assert progress[-1]["metrics"] == {"loss": 0.5}
    ours = [line for line in lines if line in {"adding", "added", "no end of line"}]
    assert ours == ["adding", "added", "no end of line"]


def test_the_captioning_key_reaches_jobs_and_ray_does_not_tell_it(
    jobs: RayJobs, ray_head: Settings
) -> None:
    from ray.job_submission import JobSubmissionClient

    assert jobs.ensure(_job(act="key")) == {"key": CAPTION_KEY}
    known = JobSubmissionClient(ray_head.ray_url).list_jobs()
    assert known
    assert CAPTION_KEY not in str(known)


def test_user_error_keeps_its_class_and_words_and_is_not_retried(
    jobs: RayJobs, ray_head: Settings
) -> None:
    job = _job(act="reject")
    with pytest.raises(InputError, match="no folder at /nowhere; give one that exists"):
        jobs.ensure(job)
    assert len(list((ray_head.home / "jobs").glob(f"reel-probe-{job.flow_run_id}-*"))) == 1


def test_crash_shows_the_last_lines(jobs: RayJobs) -> None:
    with pytest.raises(JobError, match=r"about to crash(.|\n)*ValueError: a bug"):
        jobs.ensure(_job(act="crash"))


def test_cancel_lets_the_job_save_and_the_next_run_resumes(
    jobs: RayJobs, ray_head: Settings, catalog: Catalog
) -> None:
    job = _job(act="count", until=60)
    first = ray_head.home / "jobs" / f"reel-probe-{job.flow_run_id}-1"
    follower = _Background(lambda: jobs.ensure(job))
    follower.start()
    pid = _wait_for(first / "count.json")["pid"]

    stopped = RayJobs(ray_head, catalog).cancel(job.flow_run_id)

    assert stopped == [first.name]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    saved = read_json(first / "saved.json")
    assert saved is not None
    follower.join(120)
    assert isinstance(follower.error, JobCancelledError)
    assert jobs.ensure(job) == {"count": 60, "began_at": saved["count"]}
    assert jobs.cancel(job.flow_run_id) == []


def test_another_caller_attaches_to_the_running_job(
    jobs: RayJobs, ray_head: Settings, catalog: Catalog
) -> None:
    job = _job(act="count", until=50)
    folders = ray_head.home / "jobs"
    follower = _Background(lambda: jobs.ensure(job))
    follower.start()
    pid = _wait_for(folders / f"reel-probe-{job.flow_run_id}-1" / "count.json")["pid"]

    result = RayJobs(ray_head, catalog).ensure(job)

    follower.join(120)
    assert result == follower.result == {"count": 50, "began_at": 0}
    assert [path.name for path in folders.glob(f"*{job.flow_run_id}*")] == [
        f"reel-probe-{job.flow_run_id}-1"
    ]
    final = read_json(folders / f"reel-probe-{job.flow_run_id}-1" / "count.json")
    assert final == {"count": 50, "pid": pid}


def test_killed_job_resumes_from_its_checkpoint(jobs: RayJobs, ray_head: Settings) -> None:
    job = _job(act="count", until=40)
    lines: list[str] = []
    first = ray_head.home / "jobs" / f"reel-probe-{job.flow_run_id}-1"
    follower = _Background(lambda: jobs.ensure(job, on_log=lines.extend))
    follower.start()
    pid = _wait_for(first / "count.json")["pid"]
    time.sleep(1)

    os.kill(pid, signal.SIGKILL)
    follower.join(180)

    reached = _wait_for(first / "count.json")["count"]
    assert reached > 0
    assert follower.result == {"count": 40, "began_at": reached}
    assert any("SIGKILL" in line and "checkpoint" in line for line in lines)


def test_silent_job_is_stopped(ray_head: Settings, catalog: Catalog) -> None:
    impatient = ray_head.model_copy(update={"job_silence_s": 6.0})
    with pytest.raises(JobError, match=r"neither logged nor reported progress.*JOB_SILENCE"):
        RayJobs(impatient, catalog).ensure(_job(act="mute"))


def test_ray_that_is_not_there_is_one_sentence(ray_head: Settings, catalog: Catalog) -> None:
    nowhere = ray_head.model_copy(update={"ray_dashboard_port": 9})
    with pytest.raises(InfrastructureError, match=r"Ray does not answer at .*; start it with"):
        RayJobs(nowhere, catalog).ensure(_job(act="add", numbers=[]))
