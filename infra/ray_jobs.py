"""Run jobs on Ray through its Job Submission API, and survive the death of either side.

    jobs = RayJobs(settings, catalog)
    result = jobs.ensure(Job(step="ingest", module="ingest.job", spec={…}, flow_run_id="…"))

The submission id comes from the catalog, so a caller that was killed attaches to the running job
when it asks again. Ray itself is imported only when it is needed.
"""

import os
import shlex
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import infra
from infra.catalog import Catalog
from infra.catalog_models import JobAttempt
from infra.errors import InfrastructureError, JobCancelledError, JobError
from infra.job_files import read_json
from infra.jobs import (
    MAX_ATTEMPTS,
    OPEN,
    Attempts,
    InlineJobs,
    Job,
    JobBackend,
    OnLog,
    OnProgress,
    pause_s,
)
from infra.settings import Settings

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

__all__ = ["InlineJobs", "Job", "JobBackend", "OnLog", "OnProgress", "RayJobs", "connect"]

POLL_S = 1.0
STOP_WAIT_S = 60  # Ray's own 3 s would kill a job in the middle of its checkpoint
PATIENCE_S = 60.0  # how long Ray may be out of reach before a follower gives up
LAST_LINES = 20


def connect(settings: Settings, *, keep_sigterm: bool = False) -> Any:
    """The ray module, connected to the cluster. It is imported here: that takes a second.

    With `keep_sigterm` the process goes on doing on SIGTERM what it did before; Ray would have it
    end at once. For jobs that look at `JobContext.should_stop`; call it in the main thread.

    Raises:
        InfrastructureError: no cluster answers.
    """
    try:
        # Ray itself would wait for minutes, and then say only that it timed out.
        socket.create_connection((settings.host, settings.ray_port), timeout=5).close()
    except OSError as error:
        raise InfrastructureError(
            f"no Ray cluster answers at {settings.ray_address}; start it: reel up"
        ) from error
    # Or Ray would look for a loopback head at the machine's public address; read at import.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Nor may a thread that is still at work when the process ends start a cluster of its own.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    import ray

    if not ray.is_initialized():
        on_sigterm = signal.getsignal(signal.SIGTERM)
        ray.init(address=settings.ray_address, log_to_driver=False, configure_logging=False)
        if keep_sigterm:
            signal.signal(signal.SIGTERM, on_sigterm)
    return ray


class _LostError(InfrastructureError):
    """This attempt is gone; another one may resume."""


class RayJobs:
    """The `JobBackend` that runs on a Ray cluster at `settings.ray_url`."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._attempts = Attempts(settings, catalog)

    def ensure(
        self, job: Job, *, on_progress: OnProgress | None = None, on_log: OnLog | None = None
    ) -> dict[str, Any]:
        """See `JobBackend.ensure`. A lost job resumes, up to three attempts in one call."""
        client = self._client()
        number = 1
        while True:
            attempt = self._attempts.start(job)
            result = self._attempts.result(attempt)
            if result is not None:
                self._attempts.set_status(attempt, "succeeded", only_from=OPEN)
                return result
            try:
                self._submit(client, attempt, job)
                return self._follow(client, attempt, on_progress, on_log)
            except _LostError as error:
                self._attempts.set_status(attempt, "lost", only_from=OPEN)
                if number == MAX_ATTEMPTS:
                    raise InfrastructureError(
                        f"{job.step} was lost {number} times; it is given up. Last: {error}"
                    ) from error
                if on_log:
                    on_log([f"{error}; starting it again from its last checkpoint"])
            number += 1

    def cancel(self, flow_run_id: str) -> list[str]:
        """See `JobBackend.cancel`. A job has 60 s to save its checkpoint before it is killed."""
        attempts = self._attempts.open_of(flow_run_id)
        if not attempts:
            return []
        client = self._client()
        for attempt in attempts:
            # First the record, so that nobody starts it again, then the process.
            self._attempts.set_status(attempt, "stopped", only_from=OPEN)
        for attempt in attempts:
            _stop(client, attempt.submission_id)
        return [attempt.submission_id for attempt in attempts]

    def _client(self) -> "JobSubmissionClient":
        from ray.job_submission import JobSubmissionClient

        try:
            return JobSubmissionClient(self._settings.ray_url)
        except (ConnectionError, OSError, RuntimeError) as error:
            raise InfrastructureError(
                f"Ray does not answer at {self._settings.ray_url}; start it with: reel up"
            ) from error

    def _submit(self, client: "JobSubmissionClient", attempt: JobAttempt, job: Job) -> None:
        """Submit the attempt unless an earlier caller has done so."""
        if attempt.status != "pending":
            return
        if _patient_details(client, attempt.submission_id) is None:
            self._send(client, attempt, job)
        if not self._attempts.set_status(attempt, "running", only_from=OPEN):
            _stop(client, attempt.submission_id)
            raise JobCancelledError(f"{job.step} was cancelled before it began")

    def _send(self, client: "JobSubmissionClient", attempt: JobAttempt, job: Job) -> None:
        spec = self._attempts.write_spec(attempt)
        # exec: the signal that stops the job must reach Python, not a shell.
        command = ["exec", sys.executable, "-m", job.module, "--spec", str(spec)]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                client.submit_job(
                    entrypoint=shlex.join(command),
                    submission_id=attempt.submission_id,
                    runtime_env={"env_vars": self._env(job)},
                    metadata={"step": job.step, "flow_run_id": job.flow_run_id},
                )
                return
            except (OSError, RuntimeError) as error:
                if "already exists" in str(error):
                    return  # another caller was faster, or our last try did arrive
                # A head that has just started answers before it has a node to run jobs on.
                if "status code 4" in str(error) or time.monotonic() > deadline:
                    raise InfrastructureError(f"Ray did not take {job.step}: {error}") from error
            time.sleep(POLL_S)

    def _env(self, job: Job) -> dict[str, str]:
        return {
            **self._settings.process_env(),
            # Ray would set one thread for a process that reserved no CPU.
            "OMP_NUM_THREADS": str(self._settings.cpu_count),
            "PYTHONPATH": str(Path(infra.__file__).parents[1]),
            "PYTHONUNBUFFERED": "1",
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
            **job.env,
        }

    def _follow(
        self,
        client: "JobSubmissionClient",
        attempt: JobAttempt,
        on_progress: OnProgress | None,
        on_log: OnLog | None,
    ) -> dict[str, Any]:
        """Mirror logs and progress until the attempt ends, then return its result or raise."""
        watch, begun = _Watch(self._attempts, attempt, on_progress, on_log), time.monotonic()
        while True:
            details = _patient_details(client, attempt.submission_id)
            if details is None:
                return self._outcome(attempt, None, watch)
            ended = details.status.is_terminal()
            watch.look(_logs(client, attempt.submission_id), ended=ended)
            if ended:
                return self._outcome(attempt, details, watch)
            if watch.silent_s > self._settings.job_silence_s:
                self._attempts.set_status(attempt, "failed", only_from=OPEN)
                _stop(client, attempt.submission_id)
                raise JobError(
                    f"{attempt.step} neither logged nor reported progress for "
                    f"{watch.silent_s:.0f} s and was stopped; if it is only slow, raise "
                    f"REEL_JOB_SILENCE_S.\n{watch.last_lines}"
                )
            time.sleep(pause_s(begun))

    def _outcome(
        self, attempt: JobAttempt, details: "JobDetails | None", watch: "_Watch"
    ) -> dict[str, Any]:
        result = self._attempts.result(attempt)
        if result is not None:
            # Written as the last act, so it counts whatever happened to the process after.
            self._attempts.set_status(attempt, "succeeded", only_from=OPEN)
            return result
        stopped = details is not None and details.status.value == "STOPPED"
        if stopped or self._attempts.status(attempt) == "stopped":
            self._attempts.set_status(attempt, "stopped", only_from=OPEN)
            raise JobCancelledError(f"{attempt.step} was cancelled; run it again to resume")
        error = self._attempts.error(attempt)
        if isinstance(error, JobCancelledError | InfrastructureError):
            # It obeyed a stop signal that was not ours: the machine is being taken away.
            raise _LostError(f"{attempt.submission_id} was lost: {error}") from error
        if error is None and (reason := _loss(details)):
            raise _LostError(f"{attempt.submission_id} was lost: {reason}")
        self._attempts.set_status(attempt, "failed", only_from=OPEN)
        raise error or JobError(
            f"{attempt.step} ended without a result; its last lines:\n{watch.last_lines}"
        )


class _Watch:
    """Follows one attempt's log and progress file, and knows how long both have been silent."""

    def __init__(
        self,
        attempts: Attempts,
        attempt: JobAttempt,
        on_progress: OnProgress | None,
        on_log: OnLog | None,
    ) -> None:
        self._attempts = attempts
        self._attempt = attempt
        self._on_progress = on_progress
        self._on_log = on_log
        self._progress = attempts.folder(attempt) / "progress.json"
        self._progress_time = 0
        self._log = b""
        self._offset = attempt.log_offset
        self._last_sign = time.monotonic()

    @property
    def silent_s(self) -> float:
        return time.monotonic() - self._last_sign

    @property
    def last_lines(self) -> str:
        return "\n".join(self._log.decode(errors="replace").splitlines()[-LAST_LINES:])

    def look(self, log: bytes, *, ended: bool) -> None:
        """Forward what is new in `log` (all of it so far) and in progress.json."""
        if len(log) > len(self._log):
            self._log = log
            self._last_sign = time.monotonic()
        # A line still being written waits for its end.
        whole = len(self._log) if ended else self._log.rfind(b"\n") + 1
        if whole > self._offset:
            lines = self._log[self._offset : whole].decode(errors="replace").splitlines()
            if self._on_log:
                self._on_log(lines)
            self._offset = whole
            self._attempts.set_log_offset(self._attempt, whole)
        changed = self._progress.stat().st_mtime_ns if self._progress.exists() else 0
        if changed != self._progress_time:
            self._progress_time = changed
            self._last_sign = time.monotonic()
            report = read_json(self._progress)
            if self._on_progress and report is not None:
                self._on_progress(report)


def _details(client: "JobSubmissionClient", submission_id: str) -> "JobDetails | None":
    """What Ray knows of a submission; None when it does not know it."""
    try:
        return client.get_job_info(submission_id)
    except RuntimeError as error:
        if "does not exist" in str(error) or "404" in str(error):
            return None
        raise


def _patient_details(client: "JobSubmissionClient", submission_id: str) -> "JobDetails | None":
    """`_details`, trying again while Ray is out of reach for a short time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return _details(client, submission_id)
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"Ray has not answered for {PATIENCE_S:.0f} s; {submission_id} may still run. "
                    "Look at `reel status`, then run again to attach or resume"
                ) from error
            time.sleep(POLL_S)


def _logs(client: "JobSubmissionClient", submission_id: str) -> bytes:
    try:
        return client.get_job_logs(submission_id).encode()
    except (OSError, RuntimeError):
        return b""  # not there yet; the next look gets all of it


def _stop(client: "JobSubmissionClient", submission_id: str) -> None:
    """Ask a job to stop and wait until it has; a job that Ray does not know is stopped."""
    details = _patient_details(client, submission_id)
    if details is None or details.status.is_terminal():
        return
    client.stop_job(submission_id)
    deadline = time.monotonic() + STOP_WAIT_S + 15
    while time.monotonic() < deadline:
        details = _patient_details(client, submission_id)
        if details is None or details.status.is_terminal():
            return
        time.sleep(POLL_S / 2)
    raise InfrastructureError(
        f"{submission_id} did not stop within {STOP_WAIT_S} s; look at it in Ray's dashboard"
    )


def _loss(details: "JobDetails | None") -> str:
    """Why the attempt counts as lost and not as failed; empty when it failed by itself."""
    if details is None:
        return "Ray no longer knows it (was Ray restarted?)"
    code = details.driver_exit_code
    if code is None:
        return str(details.message)
    # A shell's 128 + n and Popen's -n both mean: ended by signal n.
    number = -code if code < 0 else code - 128
    if number > 0:
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return f"its process was ended by {name}" + (
            " (out of memory?)" if name == "SIGKILL" else ""
        )
    return ""
