"""Jobs as the rest of the program sees them, their record in the catalog, and the inline backend.

A job is `module.main(JobContext)` under the contract of `infra.job_files`. Each attempt has a
folder of its own, HOME/jobs/{submission_id}/, which outlives it: the next attempt of the same step
and flow run finds the last one's checkpoints under spec["resume_from"].
"""

import importlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import select

from infra import errors
from infra.catalog import Catalog
from infra.catalog_models import JobAttempt, utc_now
from infra.errors import InfrastructureError, JobError, ReelError
from infra.job_files import JobContext, read_json, write_json
from infra.settings import Settings

MAX_ATTEMPTS = 3
CONTRACT_FILES = {"spec.json", "progress.json", "result.json", "error.json"}
OPEN = ("pending", "running")

OnProgress = Callable[[dict[str, Any]], None]
"""Gets the object of `progress.json`: done, total, message, metrics, time."""
OnLog = Callable[[list[str]], None]
"""Gets new log lines, whole and without line ends."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run: `python -m {module}` with `spec`. One flow run has one job a `step`."""

    step: str
    module: str
    spec: dict[str, Any]
    flow_run_id: str
    env: dict[str, str] = field(default_factory=dict)


def pause_s(begun: float) -> float:
    """Seconds until the next look at work that began then (`time.monotonic()`): what has run for
    minutes is looked at less often, because on few cores every look takes time from the work."""
    return min(3.0, max(1.0, (time.monotonic() - begun) / 20))


class JobBackend(Protocol):
    """Runs jobs; the caller may die and ask again."""

    def ensure(
        self, job: Job, *, on_progress: OnProgress | None = None, on_log: OnLog | None = None
    ) -> dict[str, Any]:
        """The job's result: of the run that is done or under way, else of a new one.

        Raises:
            InputError: the job rejected its input; the message is the job's.
            InfrastructureError: the job was lost and started again too often, or the backend
                cannot be reached; call again later to attach or resume.
            JobCancelledError: it was cancelled.
            JobError: it ended without a result for any other reason.
        """

    def cancel(self, flow_run_id: str) -> list[str]:
        """Stop all jobs of a flow run, wait until they ended, and return their submission ids."""


class Attempts:
    """The attempts of jobs: rows in the catalog, folders under HOME/jobs."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._jobs = settings.home / "jobs"
        self._catalog = catalog

    def folder(self, attempt: JobAttempt) -> Path:
        """Where the attempt reads its spec and writes everything."""
        return self._jobs / attempt.submission_id

    def start(self, job: Job) -> JobAttempt:
        """The attempt to attach to or to read the result of; a new one when the last has failed."""
        with self._catalog.session() as session:
            self._catalog.lock(session, f"attempts of {job.flow_run_id}")
            last = session.scalars(
                select(JobAttempt)
                .where(JobAttempt.step == job.step, JobAttempt.flow_run_id == job.flow_run_id)
                .order_by(JobAttempt.attempt.desc())
                .limit(1)
            ).first()
            same = last is not None and _same_spec(last, job)
            if last is not None and (last.status in OPEN or (same and last.status == "succeeded")):
                return last
            number = last.attempt + 1 if last is not None else 1
            spec = dict(job.spec)
            if last is not None and same:
                spec |= self._resume_from(last)
            attempt = JobAttempt(
                step=job.step,
                flow_run_id=job.flow_run_id,
                attempt=number,
                submission_id=f"reel-{job.step}-{job.flow_run_id}-{number}",
                status="pending",
                log_offset=0,
                spec_json=json.dumps(spec, sort_keys=True),
            )
            session.add(attempt)
            return attempt

    def any_open(self) -> bool:
        """Whether any attempt of any run has not ended, as far as is recorded."""
        with self._catalog.session(read_only=True) as session:
            query = select(JobAttempt.id).where(JobAttempt.status.in_(OPEN)).limit(1)
            return session.scalar(query) is not None

    def open_of(self, flow_run_id: str) -> list[JobAttempt]:
        """Attempts of a flow run that have not ended."""
        with self._catalog.session(read_only=True) as session:
            query = select(JobAttempt).where(
                JobAttempt.flow_run_id == flow_run_id, JobAttempt.status.in_(OPEN)
            )
            return list(session.scalars(query))

    def status(self, attempt: JobAttempt) -> str:
        """The status as recorded now; another process may have cancelled it."""
        with self._catalog.session(read_only=True) as session:
            return session.get_one(JobAttempt, attempt.id).status

    def set_status(self, attempt: JobAttempt, status: str, *, only_from: tuple[str, ...]) -> bool:
        """Record a status unless someone else moved the attempt on; True when recorded."""
        with self._catalog.session() as session:
            row = session.get_one(JobAttempt, attempt.id, with_for_update=True)
            if row.status not in only_from:
                return False
            row.status = status
            if status not in OPEN:
                row.ended_at = utc_now()
            return True

    def set_log_offset(self, attempt: JobAttempt, offset: int) -> None:
        """Record how many bytes of the log were forwarded."""
        with self._catalog.session() as session:
            session.get_one(JobAttempt, attempt.id).log_offset = offset

    def write_spec(self, attempt: JobAttempt) -> Path:
        """Write the attempt's spec.json, atomically, and return its path."""
        path = self.folder(attempt) / "spec.json"
        write_json(path, json.loads(attempt.spec_json))
        return path

    def result(self, attempt: JobAttempt) -> dict[str, Any] | None:
        """The result, when the attempt wrote one."""
        return read_json(self.folder(attempt) / "result.json")

    def error(self, attempt: JobAttempt) -> ReelError | None:
        """The error that the attempt recorded, as an exception of its class."""
        found = read_json(self.folder(attempt) / "error.json")
        if found is None:
            return None
        if found["retryable"]:
            return InfrastructureError(found["message"])
        kind = getattr(errors, found["type"], JobError)
        error: ReelError = kind(found["message"])
        return error

    def _resume_from(self, last: JobAttempt) -> dict[str, str]:
        """The spec entry that names the newest earlier folder with something to resume from."""
        folder = self.folder(last)
        if folder.is_dir() and {path.name for path in folder.iterdir()} - CONTRACT_FILES:
            return {"resume_from": str(folder)}
        earlier = json.loads(last.spec_json).get("resume_from", str(folder))
        return {"resume_from": earlier}


def _same_spec(attempt: JobAttempt, job: Job) -> bool:
    spec: dict[str, Any] = json.loads(attempt.spec_json)
    spec.pop("resume_from", None)
    return bool(spec == json.loads(json.dumps(job.spec)))


class InlineJobs:
    """The backend without Ray: runs `module.main` in this process, for tests and small machines."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._attempts = Attempts(settings, catalog)
        self._running: dict[str, JobContext] = {}

    def ensure(
        self, job: Job, *, on_progress: OnProgress | None = None, on_log: OnLog | None = None
    ) -> dict[str, Any]:
        """See `JobBackend.ensure`. Nothing is logged: prints go where this process prints."""
        for number in range(1, MAX_ATTEMPTS + 1):
            attempt = self._attempts.start(job)
            result = self._attempts.result(attempt)
            if result is not None:
                return result
            try:
                return self._run(job, attempt, on_progress)
            except ReelError as error:
                if not error.retryable or number == MAX_ATTEMPTS:
                    raise
                if on_log:
                    on_log([f"attempt {attempt.attempt} of {job.step} was lost: {error}"])
        raise AssertionError("the last attempt returns or raises")

    def cancel(self, flow_run_id: str) -> list[str]:
        """See `JobBackend.cancel`; call it from another thread than `ensure`."""
        stopped = self._attempts.open_of(flow_run_id)
        for attempt in stopped:
            self._attempts.set_status(attempt, "stopped", only_from=OPEN)
            if attempt.submission_id in self._running:
                self._running[attempt.submission_id].should_stop = True
        return [attempt.submission_id for attempt in stopped]

    def _run(self, job: Job, attempt: JobAttempt, on_progress: OnProgress | None) -> dict[str, Any]:
        spec = json.loads(self._attempts.write_spec(attempt).read_text())
        context = _InlineContext(spec, self._attempts.folder(attempt), on_progress)
        self._running[attempt.submission_id] = context
        self._attempts.set_status(attempt, "running", only_from=OPEN)
        try:
            result: dict[str, Any] = importlib.import_module(job.module).main(context)
        except Exception as error:
            status = "lost" if getattr(error, "retryable", False) else "failed"
            self._attempts.set_status(attempt, status, only_from=OPEN)
            if isinstance(error, ReelError):
                raise
            raise JobError(f"{job.step} failed: {type(error).__name__}: {error}") from error
        finally:
            del self._running[attempt.submission_id]
        write_json(context.folder / "result.json", result)
        self._attempts.set_status(attempt, "succeeded", only_from=OPEN)
        return result


class _InlineContext(JobContext):
    """Reports progress to the caller as well as to progress.json."""

    def __init__(self, spec: dict[str, Any], folder: Path, on_progress: OnProgress | None) -> None:
        super().__init__(spec, folder)
        self._on_progress = on_progress

    def progress(self, done: float, total: float, message: str = "", **metrics: float) -> None:
        super().progress(done, total, message, **metrics)
        report = read_json(self.folder / "progress.json")
        if self._on_progress and report is not None:
            self._on_progress(report)
