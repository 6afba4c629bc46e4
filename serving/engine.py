"""The engine: pulls jobs from the store and computes them side by side, step by step.

    engine = Engine(store, load, version); engine.start(); …; engine.stop()

A job goes through four threads, of which one computes:

    intake     polls SQL (`notify` wakes it), claims jobs, reads what they are given
    engine     makes one step of some of them in one call of the model, again and again
    delivery   one for each job: encodes its frames as they are final, and records its end
    heartbeat  renews leases and writes progress

So a job that comes joins at the next step, and neither a database nor an encoder stops the others'
steps. A job that was cancelled, deleted or taken away is not in the next step. Jobs that a killed
engine worked on go on from what was saved (`serving/attempts.py`).
"""

import logging
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from serving.attempts import SAVE_EVERY, Attempt
from serving.delivery import Seal, unsealed
from serving.endings import Endings
from serving.heartbeat import Heartbeat
from serving.jobs import Claim, JobStore
from serving.outcomes import fail, finish
from serving.previewer import Previewer, PreviewRecipe
from serving.previews import publish
from serving.render import Generates
from serving.requests import plan
from serving.tracing import working
from serving.turns import Turns

log = logging.getLogger(__name__)

IDLE_S = 0.05
POLL_S = 0.2  # between looks for jobs of which nobody told;
BUSY_POLL_S = 1.0  # while there are steps to make, from which each look takes 2 ms
SWEEP_S = 2.0
PAUSE_AFTER_ERROR_S = 1.0
UNDER_WAY = 16
"""Jobs claimed at a time; a tenant that has none may have one more, up to twice as many in all."""


class Engine:
    """Works on many jobs at a time, with one model version.

    Args:
        load: makes the model, a `modeling.generate.Generator` or anything of its interface. The
            engine's own thread calls it and is the only one that computes: OpenMP keeps a team for
            each thread that does, and a second team nearly doubles the time of a small model.
        version: the registered version that `health` reports.
        save_every: steps after which what a job has come to is saved; a killed job repeats fewer.
        seal: signs the files of a job before it is recorded as done (`serving.provenance`).
        previews: how many are made of jobs under way, and what they may cost.
        share_s: estimated device seconds from which on it leaves jobs of tenants that it works for
            to other engines.
    """

    def __init__(
        self,
        store: JobStore,
        load: Callable[[], Generates],
        version: str,
        *,
        save_every: int = SAVE_EVERY,
        seal: Seal = unsealed,
        share_s: float = math.inf,
        previews: PreviewRecipe = PreviewRecipe(),  # noqa: B008 - frozen
    ) -> None:
        self._store, self._load, self._version = store, load, version
        self._save_every, self._seal, self._share_s = save_every, seal, share_s
        self._previews = previews
        self.owner = f"{platform.node()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._endings = Endings()
        self._notice, self._wake = threading.Event(), threading.Event()
        self._stop = threading.Event()
        self._loaded: Future[None] = Future()
        self._lock = threading.Lock()
        self._under_way: list[Attempt] = []
        self._preparing: str | None = None
        self._ended = 0
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._intake = threading.Thread(target=self._take_in, name="intake", daemon=True)
        self._heartbeat = Heartbeat(store, self.attempts, self._wake.set)

    def start(self) -> None:
        """Load the model and begin to work.

        Raises:
            Exception: whatever `load` raised; nothing runs then.
        """
        self._thread.start()
        self._loaded.result()
        self._heartbeat.start()
        self._intake.start()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Stop at the next step; jobs under way are saved and go back to the queue."""
        self._stop.set()
        self._notice.set()
        self._wake.set()
        deadline = time.monotonic() + timeout_s
        self._thread.join(timeout_s)
        if self._intake.is_alive():
            self._intake.join(max(0.0, deadline - time.monotonic()))
        for each in self.attempts():  # those of which the engine's thread never heard, too
            each.released = True
            each.delivery.stop()
            each.delivery.join(max(0.0, deadline - time.monotonic()))
        if self._heartbeat.is_alive():
            self._heartbeat.stop()

    def notify(self) -> None:
        """A job was queued: look now instead of at the next poll."""
        self._notice.set()

    def dropped(self, job_id: str) -> None:
        """A job was cancelled or deleted: the step under way is its last.

        Without this word the heartbeat finds out at its next beat, some steps later.
        """
        for each in self.attempts():
            if each.job.id == job_id:
                each.lost = True
        self._wake.set()

    async def ended(self, job_id: str, within_s: float, *, follows: bool = False) -> bool:
        """Return when work on the job ends here, or after `within_s`; see `Endings.wait`."""
        return await self._endings.wait(job_id, within_s, follows=follows)

    def attempts(self) -> list[Attempt]:
        """Those under way, as they were claimed."""
        with self._lock:
            return list(self._under_way)

    def health(self) -> dict[str, Any]:
        """`busy` is the job that was claimed first of the `under_way`; None when there is none."""
        attempts = self.attempts()
        return {
            "healthy": self._thread.is_alive() and not self._stop.is_set(),
            "version": self._version,
            "busy": attempts[0].job.id if attempts else self._preparing,
            "under_way": len(attempts),
            "jobs_ended": self._ended,
        }

    # The intake's thread.

    def _take_in(self) -> None:
        next_sweep, turn, served = 0.0, 0, dict[str, int]()
        while not self._stop.is_set():
            try:
                if time.monotonic() >= next_sweep:
                    self._sweep(first=next_sweep == 0.0)
                    next_sweep = time.monotonic() + SWEEP_S
                # Cleared before looking, so a notice that comes while we look is not lost.
                self._notice.clear()
                claim = self._claim(served)
                if claim is None:
                    self._notice.wait(BUSY_POLL_S if self.attempts() else POLL_S)
                    continue
                turn += 1
                served[claim.job.owner] = turn
                self._preparing = claim.job.id
                self._prepare(claim)
                self._preparing = None
            except Exception:
                log.exception("the intake failed; it goes on")
                self._stop.wait(PAUSE_AFTER_ERROR_S)

    def _sweep(self, *, first: bool) -> None:
        self._store.requeue_lost(owner_is_dead)
        self._store.expire()
        if first:
            self._store.remove_orphans()

    def _claim(self, served: dict[str, int]) -> Claim | None:
        attempts = self.attempts()
        if len(attempts) >= 2 * UNDER_WAY:
            return None
        is_full = len(attempts) >= UNDER_WAY or left_s(attempts) >= self._share_s
        besides = {each.tenant for each in attempts} if is_full else set()
        return self._store.claim(self.owner, self._version, served=served, besides=besides)

    def _prepare(self, claim: Claim) -> None:
        """Read what a job is given, and hand it to the engine's thread."""
        folder = self._store.folder(claim.job.id)
        try:
            parts = plan(self._generator, claim.job, folder)
        except Exception as error:
            with working(claim.job):
                fail(self._store, claim, error)
            self._endings.announce(claim.job.id)
            return
        show = partial(publish, self._store, claim, folder, self._seal)
        attempt = Attempt(claim, parts, folder, self._finish, show, self._save_every)
        attempt.delivery.start()
        with self._lock:
            self._under_way.append(attempt)
        self._wake.set()

    # The engine's thread.

    def _loop(self) -> None:
        try:
            self._generator = self._load()
        except Exception as error:
            self._loaded.set_exception(error)
            return
        self._previewer = Previewer(self._generator, self._previews, self._endings.is_followed)
        self._loaded.set_result(None)
        turns = Turns(self._generator.rows_per_call)
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self._look(turns)
            except Exception:
                log.exception("the engine's loop failed; it goes on")
                self._stop.wait(PAUSE_AFTER_ERROR_S)
        for each in self.attempts():
            if not each.lost:
                self._guarded(each, each.save)

    def _look(self, turns: Turns) -> None:
        """Begin what came, end what is lost, and make a step of those whose turn it is."""
        attempts = self.attempts()
        for each in attempts:
            if each.lost or each.error:
                each.delivery.stop()
            elif not each.has_begun:
                self._guarded(each, partial(each.begin, self._generator))
        chosen = turns.choose([each for each in attempts if each.is_waiting])
        if chosen:
            self._step(chosen)
        else:
            self._wake.wait(IDLE_S)

    def _step(self, chosen: list[Attempt]) -> None:
        """One step of each; when it fails, of each alone, so that one job cannot break others."""
        begun = time.perf_counter()
        try:
            self._generator.advance([each.generation for each in chosen])
        except Exception as error:
            if len(chosen) == 1:
                chosen[0].error = error
                return
            for each in chosen:
                self._step([each])
            return
        shared_s, rows = time.perf_counter() - begun, [each.rows for each in chosen]
        for each, own in zip(chosen, rows, strict=True):
            begun = time.perf_counter()
            self._guarded(each, each.stepped)
            each.sample_s += shared_s * own / sum(rows) + time.perf_counter() - begun
            self._previewer.look(each)

    def _guarded(self, attempt: Attempt, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            attempt.error = error
            attempt.delivery.stop()

    # Each delivery's thread.

    def _finish(self, attempt: Attempt) -> None:
        """Record what came of an attempt, whose delivery has ended."""
        try:
            with working(attempt.job):
                outcome = finish(self._store, attempt, self._seal)
                log.info("%s: %.2f s of the device, %s", attempt.job.id, attempt.sample_s, outcome)
        except Exception:
            log.exception("%s: its end is not recorded; another attempt will", attempt.job.id)
        finally:
            with self._lock:
                self._under_way.remove(attempt)
            self._ended += 1
            self._endings.announce(attempt.job.id)
            self._notice.set()
            self._wake.set()


def left_s(attempts: Sequence[Attempt]) -> float:
    """Estimated device seconds that are left of them; those of unknown cost count as nothing."""
    return sum(
        (each.job.estimate_s or 0.0) * (1 - each.step / max(each.steps, 1)) for each in attempts
    )


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
