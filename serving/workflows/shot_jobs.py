"""From a planned take to an ordinary job, and from its end to a file in the workflow's folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from infra.catalog_models import GenerationJob, Workflow
from infra.errors import NotFoundError
from infra.video import last_frame
from serving.access import Caller
from serving.jobs import new_job_id
from serving.service import MODEL, Service
from serving.uploads import PICTURE, staging
from serving.workflows.plan import Plan, Shot
from serving.workflows.state import State, TakeState

ARTIFACTS = {".mp4": "video", ".png": "image0"}


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a take's first frame is: a picture file or the last frame of a video; or neither.

    digest: hash of the file, "" when there is none.
    """

    path: Path | None = None
    digest: str = ""
    parent: str | None = None


def beginning(folder: Path, plan: Plan, state: State, shot: Shot) -> Beginning:
    """What takes of `shot` begin with, by the choices of now."""
    if shot.asset is not None:
        return Beginning(
            path=folder / "assets" / f"{shot.asset}.png", digest=plan.assets[shot.asset]
        )
    if shot.parent is None:
        return Beginning()
    parent = state.shot(shot.parent)
    take = None if parent.chosen is None else parent.take(parent.chosen)
    assert take is not None, "a shot is ready when its parent has a chosen take"
    return Beginning(
        path=folder / take.file, digest=take.sha256, parent=f"{parent.id}/{take.number}"
    )


def job_of(service: Service, plan: Plan, shot: Shot, take: TakeState) -> GenerationJob:
    """The job of a take, as POST /v1/videos or /v1/images/generations would have made it."""
    params = {
        "seed": take.seed,
        "steps": plan.steps or 0,
        "guidance": plan.guidance or 0.0,
        "negative_prompt": shot.negative_prompt or plan.negative_prompt,
    }
    if shot.picture:
        params |= {"n": 1, "output_format": "png", "output_compression": 90}
    else:
        params["fps"] = shot.fps or plan.fps
        if shot.loop:
            params["loop"] = True
    return GenerationJob(
        id=new_job_id("image" if shot.picture else "video"),
        kind="image" if shot.picture else "video",
        model=MODEL,
        model_version=service.model.version,
        prompt=take.prompt,
        params=params,
        size=shot.size or plan.size or service.default_size(),
        seconds=0.0 if shot.picture else shot.seconds,
    )


def submit(
    service: Service, row: Workflow, job: GenerationJob, key: str, begins: Beginning
) -> tuple[GenerationJob, bool]:
    """Queue the job of a take, or find the one that was queued under its key before.

    Raises:
        ApiError: there is no room now, or the request is refused.
    """
    job.owner = row.owner
    job.idempotency_key = job.request_hash = key
    caller = Caller(tenant=row.owner, quota_device_s=row.quota_device_s)
    with staging(service.store.media_dir) as folder:
        if begins.path is not None and job.kind == "video":
            _first_frame(begins.path).save(folder / PICTURE, format="PNG", compress_level=1)
            job.params = job.params | {"input": PICTURE}
        return service.queue(caller, job, folder)


def _first_frame(path: Path) -> Image.Image:
    """The picture, or the last frame of the video that we made, as RGB."""
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return picture.convert("RGB")
    return Image.fromarray(last_frame(path))


def keep(
    service: Service, folder: Path, job: GenerationJob, shot: Shot, number: int
) -> tuple[str, str]:
    """Link the file of a finished job into the workflow's folder: (its name there, its SHA-256).

    The link outlives the job.

    Raises:
        NotFoundError: the job's file is gone.
    """
    wanted = ARTIFACTS[shot.suffix]
    artifact = next((a for a in service.store.artifacts(job.id) if a.name == wanted), None)
    name = f"takes/{shot.id}-{number}{shot.suffix}"
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if artifact is None:
            raise FileNotFoundError
        target.unlink(missing_ok=True)
        os.link(service.store.media_dir / artifact.path, target)
    except FileNotFoundError as error:
        raise NotFoundError(f"the file of {job.id} is gone; retake the shot") from error
    return name, artifact.sha256
