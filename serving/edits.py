"""POST /v1/videos/edits: a video made anew, in whole or in part."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from infra.catalog_models import GenerationJob
from infra.errors import InputError
from serving.clips import save_clip
from serving.edit_fields import DEFAULT_STRENGTH, EditFields
from serving.fields import validate
from serving.forms import form_schema, read_body, take_file
from serving.jobs import new_job_id
from serving.placement import edited_span
from serving.service import MODEL, Service, new_seed, sampling_params
from serving.uploads import CLIP, VideoFacts, staging
from serving.videos import video_reply
from serving.wire import ApiError


def edit_routes(service: Service) -> APIRouter:
    """The router; include it before the one with /v1/videos/{video_id}."""
    router = APIRouter(prefix="/v1/videos", tags=["videos"])

    @router.post("/edits", openapi_extra=form_schema(EditFields, "video"))
    async def edit_video(request: Request) -> JSONResponse:
        async with read_body(request) as body:
            upload = take_file(body, "video")
            fields = validate(EditFields, body.fields)
            service.check_model(fields.model)
            _check_together(fields)
            with staging(service.store.media_dir) as folder:
                facts, parent = await save_clip(service, request, upload, fields.video, folder)
                job = _edit(service, fields, facts, parent)
                content = fields.model_dump()
                job = await run_in_threadpool(service.submit, request, job, folder, content)
        return await video_reply(service, job)

    return router


def _check_together(fields: EditFields) -> None:
    if fields.outside and fields.box is None:
        raise ApiError("outside is of no use without a box that the video goes into.", param="box")
    if fields.outside and fields.strength is not None:
        raise ApiError(
            "strength has no meaning outside the box: there is nothing to depart from.",
            param="strength",
        )


def _edit(
    service: Service, fields: EditFields, facts: VideoFacts, parent: GenerationJob | None
) -> GenerationJob:
    clip: dict[str, Any] = {"file": CLIP, "fps": facts.fps, "num_frames": facts.num_frames}
    try:
        num_frames = service.model.num_frames(facts.seconds)
        span = edited_span(clip, fields.start, fields.end, num_frames, service.model.fps)
    except InputError as error:
        message, param = str(error), "end" if fields.start is None else "start"
        raise ApiError(f"{message[0].upper()}{message[1:]}.", param=param) from error
    whole = (span.first, span.last) == (0, facts.num_frames)
    strength = fields.strength
    if strength is None and whole and fields.box is None:
        strength = DEFAULT_STRENGTH
    params = sampling_params(fields, new_seed(fields.seed))
    params |= {
        "clip": clip,
        "start": fields.start,
        "end": fields.end,
        "box": None if fields.box is None else fields.box.model_dump(),
        "outside": fields.outside,
        "strength": strength,
        "seconds": (span.last - span.first) / facts.fps,
        "edits": None if parent is None else parent.id,
    }
    # 4:2:0 video has even sides; an odd clip loses its last row or column.
    width, height = facts.width - facts.width % 2, facts.height - facts.height % 2
    return GenerationJob(
        id=new_job_id("video"),
        kind="edit",
        model=MODEL,
        model_version=service.model.version,
        prompt=fields.prompt,
        params=params,
        size=fields.size or f"{width}x{height}",
        seconds=round(facts.seconds, 3),
        parent_id=None if parent is None else parent.id,
    )
