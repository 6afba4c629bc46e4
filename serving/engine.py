"""The engine: one thread that pulls jobs from the store and turns each into files.

    engine = Engine(store, load, version); engine.start(); …; engine.stop()

It polls SQL, and `notify` wakes it at once. While a job runs, a second thread renews its lease
and writes its progress, so the sampler never waits for the database, and a job that was deleted
or taken away stops at its next step.
"""

import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra.catalog_models import Artifact, GenerationJob, utc_now
from infra.errors import InputError
from modeling.generate import GenerationCancelled
from serving.endings import Endings
from serving.jobs import Claim, JobStore
from serving.redaction import trace
from serving.render import Generates, Rendered, render
from serving.tracing import working

log = logging.getLogger(__name__)

POLL_S = 0.05
BEAT_S = 0.2
SWEEP_S = 2.0
PAUSE_AFTER_ERROR_S = 1.0

Seal = Callable[[GenerationJob, list[Artifact]], None]


class Watch:
    """Keeps the lease of one claim alive; `report` says how far the job is."""

    def __init__(self, store: JobStore, claim: Claim, lease_s: float, stop: threading.Event):
        self._store, self._claim, self._lease_s, self._stop = store, claim, lease_s, stop
        self._progress, self._stage = 0, "starting"
        self._done = threading.Event()
        self.lost = False
        self.job_id = claim.job.id
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def report(self, progress: float, stage: str) -> bool:
        """Note the percentage and stage; False when the work should stop."""
        self._progress, self._stage = int(progress), stage
        return not (self.lost or self._stop.is_set())

    def _beat(self) -> None:
        renewed = time.monotonic()
        while not self._done.wait(BEAT_S):
            try:
                if not self._store.renew(self._claim, progress=self._progress, stage=self._stage):
                    self.lost = True
                    return
                renewed = time.monotonic()
            except Exception:
                log.exception("could not renew the lease of %s", self._claim.job.id)
                # Another worker may own the job by now; two must never finish it.
                if time.monotonic() - renewed > self._lease_s:
                    self.lost = True
                    return


class Engine:
    """Works on one job at a time, with one model version.

    Args:
        load: makes the model, a `modeling.generate.Generator` or anything of its interface. The
            engine's own thread calls it and is the only one that computes: OpenMP keeps a team for
            each thread that does, and a second team nearly doubles the time of a small model.
        version: the registered version that `health` reports.
        seal: signs the files of a job before it is recorded as done (`serving.provenance`).
    """

    def __init__(
        self,
        store: JobStore,
        load: Callable[[], Generates],
        version: str,
        seal: Seal = lambda _job, _artifacts: None,
    ) -> None:
        self._store = store
        self._load = load
        self._version = version
        self._seal = seal
        self.owner = f"{platform.node()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._endings = Endings()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._loaded: Future[None] = Future()
        self._busy: str | None = None
        self._watch: Watch | None = None
        self._ended = 0
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)

    def start(self) -> None:
        """Load the model and begin to work.

        Raises:
            Exception: whatever `load` raised; nothing runs then.
        """
        self._thread.start()
        self._loaded.result()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Stop at the next step; a job under way goes back to the queue."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def notify(self) -> None:
        """A job was queued: look now instead of at the next poll."""
        self._wake.set()

    def dropped(self, job_id: str) -> None:
        """A job was cancelled or deleted: its next step is its last.

        Without this word the watch finds out at its next beat, some steps later.
        """
        watch = self._watch
        if watch is not None and watch.job_id == job_id:
            watch.lost = True

    async def ended(self, job_id: str, within_s: float) -> None:
        """Return when work on the job ends here, or after `within_s`; see `Endings.wait`."""
        await self._endings.wait(job_id, within_s)

    def health(self) -> dict[str, Any]:
        return {
            "healthy": self._thread.is_alive() and not self._stop.is_set(),
            "version": self._version,
            "busy": self._busy,
            "jobs_ended": self._ended,
        }

    def _loop(self) -> None:
        try:
            self._generator = self._load()
        except Exception as error:
            self._loaded.set_exception(error)
            return
        self._loaded.set_result(None)
        next_sweep = 0.0
        while not self._stop.is_set():
            try:
                if time.monotonic() >= next_sweep:
                    self._sweep(first=next_sweep == 0.0)
                    next_sweep = time.monotonic() + SWEEP_S
                # Cleared before looking, so a notice that comes while we look is not lost.
                self._wake.clear()
                claim = self._store.claim(self.owner, self._version)
                if claim is None:
                    self._wake.wait(POLL_S)
                else:
                    self._work(claim)
            except Exception:
                log.exception("the engine's loop failed; it goes on")
                self._stop.wait(PAUSE_AFTER_ERROR_S)

    def _sweep(self, *, first: bool) -> None:
        self._store.requeue_lost(owner_is_dead)
        self._store.expire()
        if first:
            self._store.remove_orphans()

    def _work(self, claim: Claim) -> None:
        with working(claim.job):
            self._run(claim)

    def _run(self, claim: Claim) -> None:
        self._busy = claim.job.id
        before = time.monotonic()
        try:
            with Watch(self._store, claim, self._store.lease_s, self._stop) as watch:
                self._watch = watch
                failure = self._attempt(claim, watch)
            if failure is not None:
                self._store.fail(claim, *failure)
            self._ended += 1
            log.info("%s: %.2f s, %s", claim.job.id, time.monotonic() - before, failure or "done")
        finally:
            self._busy = self._watch = None
            self._endings.announce(claim.job.id)

    def _attempt(self, claim: Claim, watch: Watch) -> tuple[str, str] | None:
        """Run the job to its recorded end; or (error code, sentence) when it cannot be done."""
        job = claim.job
        folder = self._store.folder(job.id)
        try:
            rendered = render(self._generator, job, folder, claim.attempt, watch.report)
            self._seal(job, rendered.artifacts)
            if self._store.complete(claim, rendered.artifacts, _timings(claim, rendered)):
                for earlier in range(1, claim.attempt):
                    discard(folder, earlier)
            else:
                discard(folder, claim.attempt)
        except GenerationCancelled:
            discard(folder, claim.attempt)
            if not watch.lost:
                self._store.release(claim)
        except InputError as error:
            discard(folder, claim.attempt)
            return "invalid_request", str(error)
        except Exception as error:
            discard(folder, claim.attempt)
            if not self._store.renew(claim):
                return None  # deleted under our hands: that is why it failed
            words = (job.prompt, str(job.params.get("negative_prompt", "")))
            log.error("%s failed\n%s", job.id, trace(error, *words))
            if isinstance(error, MemoryError) or "out of memory" in str(error):
                return "out_of_memory", (
                    f"There is not enough memory for {job.size} and {job.seconds:g} s; "
                    "ask for a smaller size or fewer seconds."
                )
            return "generation_failed", (
                "The generation failed inside the server; its log has the reason "
                f"under {job.id}. The same request may be sent again."
            )
        return None


def _timings(claim: Claim, rendered: Rendered) -> dict[str, float]:
    """Seconds of a job's life; `overhead_s` is all that is neither sampling nor encoding."""
    job = claim.job
    assert job.started_at is not None
    total_s = (utc_now() - job.created_at).total_seconds()
    return {
        "queued_s": round((job.started_at - job.created_at).total_seconds(), 4),
        "sample_s": round(rendered.sample_s, 4),
        "encode_s": round(rendered.encode_s, 4),
        "overhead_s": round(total_s - rendered.sample_s - rendered.encode_s, 4),
        "total_s": round(total_s, 4),
    }


def discard(folder: Path, attempt: int) -> None:
    """Remove what an attempt wrote."""
    for path in (*folder.glob(f"*-{attempt}.*"), *folder.glob(f".*-{attempt}.*")):
        path.unlink(missing_ok=True)


def owner_is_dead(owner: str) -> bool:
    """True when `owner` was a process of this machine that runs no more."""
    node, _, rest = owner.partition("/")
    pid = rest.partition("/")[0]
    if node != platform.node() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
