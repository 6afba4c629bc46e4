"""Moves workflows on: submits takes that can be made, keeps those that are finished, assembles.

    runner = Runner(service, store, settings); runner.start(); …; runner.stop()

One thread beside the outbox. All it knows is in SQL and on disk, so it may die at any moment: the
next one goes on, and a take that was submitted already is found by its key. Takes are ordinary
jobs; the engine knows nothing of workflows.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from infra.catalog_models import GenerationJob, Workflow
from infra.errors import InputError, NotFoundError
from infra.settings import Settings
from serving.leases import device_s
from serving.redaction import trace
from serving.service import Service
from serving.wire import ApiError
from serving.workflows.assembler import Assembler
from serving.workflows.assembly import make_order
from serving.workflows.deliverable import find_kind
from serving.workflows.plan import Plan, Shot, read_plan
from serving.workflows.shot_jobs import Beginning, beginning, job_of, keep, submit
from serving.workflows.state import File, ShotState, State, TakeState, ready, rekeyed, take_key
from serving.workflows.store import WorkflowStore

log = logging.getLogger(__name__)

POLL_S = 0.25
IDLE_S = 1.0
SWEEP_EVERY = 600  # polls
FULL_S = 3.0  # between attempts to queue a take when there was no room
IN_FLIGHT = 4  # takes of one workflow in the queue: others come in between


class Runner:
    """Works on all live workflows of a catalog."""

    def __init__(self, service: Service, store: WorkflowStore, settings: Settings) -> None:
        self._service, self._store = service, store
        self._assembler = Assembler(store, settings)
        self._held: dict[str, float] = {}  # workflows without room, and until when
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="workflows", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def notify(self) -> None:
        """Something changed: look now."""
        self._wake.set()

    def stop(self) -> None:
        """Stop; work under way is taken up by the next runner."""
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self._assembler.stop()

    def _loop(self) -> None:
        polls = 0
        while not self._stop.is_set():
            busy = False
            try:
                self._wake.clear()
                busy = self.look()
                if polls % SWEEP_EVERY == 0:
                    self._store.expire()
            except Exception as error:
                log.error("the workflows' loop failed; it goes on\n%s", trace(error))
            polls += 1
            self._wake.wait(POLL_S if busy else IDLE_S)

    def look(self) -> bool:
        """Move every live workflow as far as it goes now; False when there is none."""
        self._assembler.sweep()
        rows = self._store.live()
        for row in rows:
            if self._stop.is_set():
                break
            try:
                self._advance(row)
            except NotFoundError:
                self._assembler.forget(row.id)  # deleted meanwhile
            except Exception as error:
                log.error("%s cannot go on\n%s", row.id, trace(error, row.title))
                self._fail(row.id, "workflow_failed", _reason(error))
        return bool(rows)

    def _advance(self, row: Workflow) -> None:
        deliverable = find_kind(row.kind)
        assert deliverable is not None, f"{row.id} is of unknown kind {row.kind!r}"
        plan = read_plan(deliverable.plan_model, row.plan)
        shots = deliverable.shots(plan)
        row, state = self._follow(row, shots)
        self._submit(row, plan, shots, state)
        if all(shot.ended for shot in state.shots):
            self._finish(row, state)

    def _follow(self, row: Workflow, shots: Sequence[Shot]) -> tuple[Workflow, State]:
        """Take over what the jobs say; the state as it is then."""
        state = State.model_validate(row.state)
        open_takes = [t.job_id for _, t in state.all_takes() if t.status in _UNDER_WAY]
        jobs = self._service.store.some(open_takes) if open_takes else {}
        by_id = {shot.id: shot for shot in shots}
        news: dict[str, dict[str, Any]] = {}
        for shot, take in state.all_takes():
            if take.status in _UNDER_WAY:
                news[take.job_id] = self._news(row, by_id[shot.id], take, jobs.get(take.job_id))

        def apply(row: Workflow, state: State) -> None:
            for shot, take in state.all_takes():
                if take.status in _UNDER_WAY:
                    for name, value in news.get(take.job_id, {}).items():
                        setattr(take, name, value)
                if shot.settle():
                    state.revision += 1
            if row.status == "queued":
                row.status = "in_progress"

        after, status = state.model_copy(deep=True), row.status
        apply(row, after)
        if after != state or row.status != status:  # most looks find nothing new to write
            row = self._store.change(row.id, apply)
        return row, State.model_validate(row.state)

    def _news(
        self, row: Workflow, shot: Shot, take: TakeState, job: GenerationJob | None
    ) -> dict[str, Any]:
        if job is None:
            return {"status": "failed", "error": f"its video {take.job_id} was deleted"}
        if job.status == "failed":
            return {"status": "failed", "error": job.error_message or "the generation failed"}
        news = {"status": job.status, "progress": job.progress, "model_version": job.model_version}
        if job.status != "completed":
            return news
        try:
            folder = self._store.folder(row.id)
            name, digest = keep(self._service, folder, job, shot, take.number)
        except NotFoundError as error:
            return {"status": "failed", "error": str(error)}
        seconds = device_s(job.timings)
        return news | {"file": name, "sha256": digest, "device_s": round(seconds, 4)}

    def _submit(self, row: Workflow, plan: Plan, shots: Sequence[Shot], state: State) -> None:
        """Queue the takes that can be made, at most IN_FLIGHT of this workflow at a time."""
        if time.monotonic() < self._held.get(row.id, 0.0):
            return
        self._held.pop(row.id, None)
        room = IN_FLIGHT - sum(take.status in _UNDER_WAY for _, take in state.all_takes())
        for shot, entry, take in ready(state, shots):
            if room <= 0:
                return
            begins = beginning(self._store.folder(row.id), plan, state, shot)
            if not take.key:
                version = self._service.model.version
                take.key = take_key(row.owner, version, plan, shot, take, begins.digest)
                take.parent = begins.parent
                self._note(row, entry, take, "")
            job = job_of(self._service, plan, shot, take)
            if not self._room_in_budget(row, plan, state, job):
                return
            if not self._queue(row, entry, take, job, begins):
                return
            room -= 1

    def _queue(
        self, row: Workflow, shot: ShotState, take: TakeState, job: GenerationJob, begins: Beginning
    ) -> bool:
        """False when there is no room for more now."""
        try:
            job, created = submit(self._service, row, job, take.key, begins)
        except ApiError as error:
            if error.status == 429 or error.status >= 500:  # full, or not able to say yes now
                self._note(row, shot, take, str(error))
                self._held[row.id] = time.monotonic() + FULL_S
                return False
            take.status, take.error = "failed", str(error)
        else:
            if not created and job.status == "failed":
                # An equal take failed before; this one deserves a try of its own.
                take.key = rekeyed(take.key, job.id)
            else:
                take.status, take.job_id = "queued", job.id
        self._note(row, shot, take, "")
        return True

    def _note(self, row: Workflow, shot: ShotState, take: TakeState, waiting: str) -> None:
        """Write a take down as it is here."""

        def apply(_row: Workflow, state: State) -> None:
            mine = state.shot(shot.id).take(take.number)
            if mine is not None and mine.status == "planned":
                for name in ("key", "parent", "status", "job_id", "error"):
                    setattr(mine, name, getattr(take, name))
            state.waiting = waiting

        self._store.change(row.id, apply)

    def _room_in_budget(self, row: Workflow, plan: Plan, state: State, job: GenerationJob) -> bool:
        if plan.budget_device_s is None:
            return True
        running = sum(take.status in _UNDER_WAY for _, take in state.all_takes())
        cost_s = self._service.store.look(
            lambda session: self._service.admission.estimate_s(session, job)
        )
        if running and cost_s is None:
            return False  # the first take's end tells what one costs
        spent_s = sum(take.device_s for _, take in state.all_takes())
        total_s = spent_s + (running + 1) * (cost_s or 0.0)
        if total_s <= plan.budget_device_s:
            return True
        if not running:
            self._fail(
                row.id,
                "budget_exceeded",
                f"The budget of {plan.budget_device_s:g} s of device time is used up: "
                f"{spent_s:.1f} s are spent and the next take needs about {cost_s or 0:.1f} s.",
            )
        return False

    def _finish(self, row: Workflow, state: State) -> None:
        """Assemble, or end as failed when a shot has no take."""
        empty = [shot for shot in state.shots if shot.chosen is None]
        if empty:
            why = empty[0].takes[-1].error
            return self._fail(
                row.id,
                "shot_failed",
                f"Shot {empty[0].id!r} has no finished take: {why}. Retake it to go on.",
            )
        if state.built == state.revision:
            return self._complete(row, state.built, None)
        outcome = self._assembler.outcome(row, state, lambda: _order(row, state))
        if outcome is None:
            return None
        if isinstance(outcome, str):
            return self._fail(row.id, "assembly_failed", outcome)
        return self._complete(row, state.revision, outcome)

    def _complete(self, row: Workflow, revision: int, made: dict[str, Any] | None) -> None:
        def apply(row: Workflow, state: State) -> None:
            if made is not None:
                state.built = revision
                state.files = [File(**entry) for entry in made["files"]]
                state.metrics, state.notes = made["metrics"], made["notes"]
            if state.revision == revision:
                gate = _asks_for_review(row) and not state.approved_by
                row.status = "awaiting_review" if gate else "completed"
                row.error_code = row.error_message = None
                state.waiting = ""

        self._store.change(row.id, apply)
        self._assembler.clean(row.id, revision)

    def _fail(self, workflow_id: str, code: str, message: str) -> None:
        def apply(row: Workflow, state: State) -> None:
            row.status, row.error_code, row.error_message = "failed", code, message
            state.waiting = ""

        try:
            self._store.change(workflow_id, apply)
        except NotFoundError:
            self._assembler.forget(workflow_id)


_UNDER_WAY = ("queued", "in_progress")


def _asks_for_review(row: Workflow) -> bool:
    """By the plan's own word, or by what its kind does when it says nothing."""
    deliverable = find_kind(row.kind)
    assert deliverable is not None, f"{row.id} is of unknown kind {row.kind!r}"
    return read_plan(deliverable.plan_model, row.plan).review


def _reason(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    return "The workflow failed inside the server; its log has the reason under its id."


def _order(row: Workflow, state: State) -> dict[str, Any]:
    """What the assembly is told."""
    takes = [
        {
            "shot": shot.id,
            "number": take.number,
            "prompt": take.prompt,
            "seed": take.seed,
            "name": take.file,
            "sha256": take.sha256,
            "job_id": take.job_id,
            "model_version": take.model_version,
            "parent": take.parent,
        }
        for shot, take in state.all_takes()
        if take.status == "completed"
    ]
    choices = {shot.id: shot.chosen for shot in state.shots if shot.chosen is not None}
    about = {"workflow": row.id, "created_at": row.created_at.isoformat(), "title": row.title}
    return make_order(row.kind, row.plan, takes, choices, about, state.approved_by)
