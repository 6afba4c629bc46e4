"""One step of a flow is one Ray job: run it, mirror its log and progress, stop it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from prefect import Flow, runtime, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State, TaskRun

from infra.catalog import Catalog
from infra.errors import InfrastructureError, ReelError
from infra.ray_jobs import Job, JobBackend, RayJobs
from infra.settings import Settings

# Prefect sends this logger's lines to the run's page; see PREFECT_LOGGING_EXTRA_LOGGERS.
log = logging.getLogger("reel")
log.setLevel(logging.INFO)  # Prefect adds its handler and leaves the level to us
job_log = logging.getLogger("reel.job")

ARTIFACT_EVERY_S = 5.0
LOG_EVERY_S = 15.0


def job_backend() -> JobBackend:
    """Where jobs run: the stack's Ray head."""
    settings = Settings()
    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    return RayJobs(settings, catalog)


def is_retryable(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """True when the step failed because of the world, not of its input."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, ReelError) and error.retryable


@task(
    task_run_name="{step}",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=10,
    retry_condition_fn=is_retryable,
)
def run_step(step: str, module: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The result of `python -m module` on `spec`, run as a Ray job of this flow run.

    A flow run that starts again after a crash attaches to the job that still runs, and gets
    the stored result of one that has ended.

    Raises:
        InputError: the job rejected its input.
        JobError, InfrastructureError: it ended without a result.
    """
    report = StepReport(step)
    job = Job(step=step, module=module, spec=spec, flow_run_id=str(runtime.flow_run.id))
    result = job_backend().ensure(job, on_progress=report.progress, on_log=report.lines)
    report.done()
    return result


class StepReport:
    """Mirrors a job's progress to a Prefect progress artifact, and its log to the run's page."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.artifact = cast(
            UUID, create_progress_artifact(0.0, key=f"{step}-progress", description=step)
        )
        self._artifact_at = 0.0
        self._log_at = time.monotonic()

    def lines(self, lines: list[str]) -> None:
        """What the job itself printed."""
        for line in lines:
            job_log.info("%s | %s", self.step, line)

    def progress(self, report: dict[str, Any]) -> None:
        """`report` as JobContext.progress wrote it."""
        now = time.monotonic()
        percent = 100.0 * report["done"] / max(report["total"], 1e-9)
        text = describe(self.step, report)
        if now - self._artifact_at > ARTIFACT_EVERY_S:
            self._artifact_at = now
            update_progress_artifact(self.artifact, min(percent, 100.0), description=text)
        if now - self._log_at > LOG_EVERY_S:
            self._log_at = now
            log.info("%s", text)

    def done(self) -> None:
        """The job has delivered its result."""
        update_progress_artifact(self.artifact, 100.0, description=f"{self.step}: done")


def describe(step: str, report: dict[str, Any]) -> str:
    """`"vae 40 % · step 600 of 1500 · loss 0.031"`."""
    percent = 100 * report["done"] / max(report["total"], 1e-9)
    metrics = [f"{name} {value:.4g}" for name, value in report.get("metrics", {}).items()]
    parts = [f"{step} {percent:.0f} %", report.get("message", ""), *metrics]
    return " · ".join(part for part in parts if part)


def stop_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancellation hook. It runs in another process than the flow, and has only the run's id."""
    for submission in job_backend().cancel(str(flow_run.id)):
        log.info("stopped %s", submission)


@contextmanager
def stopping_jobs() -> Iterator[None]:
    """Stops this run's jobs when the flow itself is told to stop (SIGTERM, Ctrl-C)."""
    try:
        yield
    except Exception:
        raise  # a step failed: its job is over
    except BaseException:
        try:
            job_backend().cancel(str(runtime.flow_run.id))
        except InfrastructureError as error:
            log.warning("could not stop this run's jobs: %s", error)
        raise
