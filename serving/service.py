"""What the endpoints share: the model being served, the store, and how a job is shown."""

import asyncio
import hashlib
import json
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from infra.catalog_models import GenerationJob
from infra.errors import NotFoundError
from serving.access import Caller, caller_of
from serving.admission import Admission
from serving.fields import Sampling
from serving.happenings import VIDEO_KINDS
from serving.jobs import UNFINISHED, JobStore
from serving.leases import engines_at_work
from serving.outlook import Outlook
from serving.policy import Policy
from serving.tracing import trace_id
from serving.uploads import LOOKS
from serving.wire import ApiError, not_found

MODEL = "reel-generator"
# Programs written for the hosted APIs name these; here they mean the model that is served.
COMPATIBLE_NAMES = ("sora-2", "sora-2-pro", "gpt-image-1", "gpt-image-2")
MIN_POLL_MS, MAX_POLL_MS, POLLS_PER_JOB = 20, 2000, 20
UNKNOWN_POLL_MS = 100
HOLD_S, LOOK_S, PAUSE_S = 1.0, 0.2, 0.01


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The served model version and what a request that does not say gets.

    `size` is (width, height) in pixels; `steps` what the sampler takes; `created` a Unix time;
    `loop_frames` how many the shortest loop has that is given no frames.
    """

    version: str
    size: tuple[int, int]
    fps: float
    steps: int = 1
    created: int = 0
    loop_frames: int = 4

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Self:
        """From `asdict`, by way of JSON."""
        width, height = facts["size"]
        return cls(**facts | {"size": (width, height)})

    def num_frames(self, seconds: float) -> int:
        """The model's frames in that time, at least one."""
        return max(1, round(seconds * self.fps))


class EngineLink(Protocol):
    """How the API reaches the engine; jobs themselves travel through SQL."""

    def notify(self) -> None:
        """A job was queued: look now."""

    def dropped(self, job_id: str) -> None:
        """A job was cancelled or deleted: if it runs, stop at the next step."""

    async def ended(self, job_id: str, within_s: float, *, follows: bool = False) -> None:
        """Return when the engine has ended a job, or after `within_s`; never raises.

        `follows`: somebody is shown its previews.
        """
        ...

    async def health(self) -> dict[str, Any]:
        """{"healthy": bool, "version": str, …}; never raises."""
        ...


@dataclass(kw_only=True)
class Service:
    """The API's dependencies; the served model may change while it runs."""

    store: JobStore
    model: ModelInfo
    engine: EngineLink
    admission: Admission
    policy: Policy

    def adopt(self, model: ModelInfo) -> None:
        """Another model is served from now on."""
        self.model = model
        self.admission = replace(self.admission, steps=model.steps)

    def find_video(self, request: Request, video_id: str, param: str = "video_id") -> GenerationJob:
        """The caller's video; raises ApiError when there is none."""
        try:
            job = self.store.get(video_id, caller_of(request).tenant)
        except NotFoundError as error:
            raise not_found(str(error), param) from error
        if job.kind not in VIDEO_KINDS:
            raise not_found(f"There is no video {video_id!r}.", param)
        return job

    def check_model(self, name: str) -> None:
        """Raises ApiError unless `name` means the served model."""
        version = self.model.version
        known = ("", MODEL, version, f"{MODEL}@{version}", "champion", *COMPATIBLE_NAMES)
        if name not in known:
            raise ApiError(
                f"There is no model {name[:80]!r} here; leave the field out or use "
                f"{MODEL!r}, now version {version}.",
                param="model",
                code="model_not_found",
            )

    def default_size(self) -> str:
        width, height = self.model.size
        return f"{width}x{height}"

    def submit(
        self, request: Request, job: GenerationJob, folder: Path, content: Mapping[str, Any]
    ) -> GenerationJob:
        """Queue `job` with the inputs in `folder`, or find it if this is the same request again.

        A client that was cut off repeats its request: `Idempotency-Key` names it, and the openai
        client, which sends none, says `x-stainless-retry-count`.

        Raises:
            ApiError: the policy refuses it, or there is no room.
        """
        headers, caller = request.headers, caller_of(request)
        job.owner = caller.tenant
        who = caller.tenant or headers.get("authorization", "")
        job.request_hash = _hash(who, request.url.path, content, _file_hashes(folder))
        key = headers.get("idempotency-key")
        job.idempotency_key = _hash(who, key) if key else None
        is_retry = headers.get("x-stainless-retry-count", "0") != "0"
        job, _ = self.queue(caller, job, folder, is_retry=is_retry)
        return job

    def queue(
        self, caller: Caller, job: GenerationJob, folder: Path, *, is_retry: bool = False
    ) -> tuple[GenerationJob, bool]:
        """Queue `job` with the inputs in `folder`; see `JobStore.submit` for what it returns.

        Raises:
            ApiError: the policy refuses it, there is no room, or the quota is used up.
        """
        self._ask_policy(job, folder)
        target = self.store.folder(job.id)
        folder.replace(target)
        created = False
        try:
            admit = self.admission.check(caller)
            job, created = self.store.submit(job, is_retry=is_retry, admit=admit)
        finally:
            if not created:
                shutil.rmtree(target, ignore_errors=True)
        if created:
            self.engine.notify()
        return job, created

    def _ask_policy(self, job: GenerationJob, folder: Path) -> None:
        texts = {"prompt": job.prompt, "negative_prompt": job.params.get("negative_prompt", "")}
        looks = list(folder.glob(LOOKS))
        self.policy.check(texts, [*folder.glob("input*.png"), *looks])
        for path in looks:
            path.unlink()

    def estimate(self, job: GenerationJob) -> dict[str, Any]:
        """What `job`, which is not queued, would cost, and when it would end."""
        device_s, queued_s, engines = self.store.look(
            lambda session: (
                self.admission.estimate_s(session, job),
                self.admission.queued_s(session),
                engines_at_work(session),
            )
        )
        return {
            "object": "estimate",
            "model": MODEL,
            "x_model_version": self.model.version,
            "size": job.size,
            "seconds": f"{job.seconds:g}",
            "device_seconds": None if device_s is None else round(device_s, 3),
            "queued_device_seconds": round(queued_s, 3),
            "eta_s": None if device_s is None else round(queued_s / max(1, engines) + device_s, 3),
        }

    def reply(self, job: GenerationJob) -> JSONResponse:
        """The video object, and how often the client's poll() is to ask for it.

        It takes the first answer for good.
        """
        outlook = self.store.outlooks([job])[job.id]
        headers = {}
        if job.status in UNFINISHED:
            interval_ms: float = UNKNOWN_POLL_MS
            if outlook.eta_s is not None:
                interval_ms = 1000 * outlook.eta_s / POLLS_PER_JOB
            interval_ms = min(max(interval_ms, MIN_POLL_MS), MAX_POLL_MS)
            headers["openai-poll-after-ms"] = str(round(interval_ms))
        return JSONResponse(self._video(job, outlook), headers=headers)

    async def ended(self, job: GenerationJob, within_s: float) -> GenerationJob:
        """`job` as it is when it ends, or after `within_s`.

        Raises:
            NotFoundError: it was deleted meanwhile.
        """
        deadline = time.monotonic() + within_s
        while job.status in UNFINISHED and time.monotonic() < deadline:
            # The engine says when; SQL, looked at less often, says what, and knows of all else.
            await self.engine.ended(job.id, LOOK_S)
            job = await run_in_threadpool(self.store.get, job.id)
            if job.status in UNFINISHED:
                await asyncio.sleep(PAUSE_S)  # it went back to the queue
        return job

    def video(self, job: GenerationJob) -> dict[str, Any]:
        """OpenAI's video object; fields that begin with `x_` are ours."""
        return self.videos([job])[0]

    def videos(self, jobs: Sequence[GenerationJob]) -> list[dict[str, Any]]:
        """That of each of them, with as few questions to SQL as of one."""
        outlooks = self.store.outlooks(jobs)
        return [self._video(job, outlooks[job.id]) for job in jobs]

    def _video(self, job: GenerationJob, outlook: Outlook) -> dict[str, Any]:
        error = None
        if job.status == "failed":
            error = {"code": job.error_code, "message": job.error_message}
        return {
            "id": job.id,
            "object": "video",
            "model": job.model,
            "status": job.status,
            "progress": job.progress,
            "created_at": _unix(job.created_at),
            "completed_at": _unix(job.completed_at) if job.status == "completed" else None,
            "expires_at": _unix(job.expires_at),
            "prompt": job.prompt,
            "remixed_from_video_id": job.params.get("remixed_from"),
            "seconds": f"{job.seconds:g}",
            "size": job.size,
            "error": error,
            "x_model_version": job.model_version,
            "x_seed": job.params["seed"],
            "x_progress": _progress(job, outlook),
            "x_timings": job.timings,
            "x_extends_video_id": job.params.get("extends"),
            "x_edits_video_id": job.params.get("edits"),
            "x_given": job.params.get("given"),
            "x_character_id": job.params.get("character"),
            "x_trace_id": trace_id(job),
            "x_estimate_s": None if job.estimate_s is None else round(job.estimate_s, 3),
        }


def _progress(job: GenerationJob, outlook: Outlook) -> dict[str, Any] | None:
    if job.status not in UNFINISHED:
        return None
    return {
        "stage": "queued" if job.status == "queued" else job.stage,
        "queue_position": outlook.position,
        "step": job.step,
        "steps": job.steps,
        "eta_s": None if outlook.eta_s is None else round(outlook.eta_s, 1),
    }


def sampling_params(fields: Sampling, seed: int) -> dict[str, Any]:
    """The part of a job's params that every kind has; the model's defaults stand as 0."""
    return {
        "seed": seed,
        "steps": fields.steps or 0,
        "guidance": fields.guidance or 0.0,
        "negative_prompt": fields.negative_prompt,
    }


def new_seed(seed: int | None) -> int:
    """The seed that was asked for, or any."""
    return random.SystemRandom().randrange(2**31) if seed is None else seed


def _unix(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _file_hashes(folder: Path) -> list[str]:
    hashes = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as handle:
            hashes.append(f"{path.name} {hashlib.file_digest(handle, 'sha256').hexdigest()}")
    return hashes
