"""A clip that a request refers to: a file part, or a finished video by its id."""

from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from infra.catalog_models import GenerationJob
from serving.fields import VideoReference
from serving.service import Service
from serving.uploads import CLIP, VideoFacts, link_video, probe_video, save_video
from serving.videos import not_ready
from serving.wire import ApiError, not_found


async def save_clip(
    service: Service,
    request: Request,
    upload: UploadFile | None,
    reference: VideoReference | None,
    folder: Path,
    param: str = "video",
    name: str = CLIP,
) -> tuple[VideoFacts, GenerationJob | None]:
    """Put the clip into `folder` as `name`; what it is, and the video that it comes from.

    Raises:
        ApiError: there is none, it is not ready or not the caller's, or it cannot be decoded.
    """
    look = folder / f"look-{name}.png" if service.policy.sees_pictures else None
    if upload is not None:
        return await save_video(upload, folder, param, picture=look, name=name), None
    if reference is None:
        raise ApiError(
            f"{param} is required: a file part, or {param}[id] of a finished video.",
            param=param,
            code="missing_required_parameter",
        )
    parent = await run_in_threadpool(service.find_video, request, reference.id, param)
    if parent.status != "completed":
        raise ApiError(not_ready(parent), param=param, code="video_not_ready")

    def link() -> None:
        artifact = next(a for a in service.store.artifacts(parent.id) if a.name == "video")
        link_video(service.store.media_dir / artifact.path, folder, name)

    try:
        await run_in_threadpool(link)
    except (FileNotFoundError, StopIteration) as error:
        raise not_found(f"The file of video {parent.id!r} is gone.", param) from error
    return await probe_video(folder / name, param, look), parent
