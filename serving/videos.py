"""/v1/videos: create, extend, retrieve, list, download, delete."""

import random
from typing import Any, Literal

from fastapi import APIRouter, Query, Request, UploadFile
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from infra.catalog_models import GenerationJob
from infra.errors import NotFoundError
from serving.fields import ExtensionFields, ImageReference, VideoFields, validate
from serving.forms import Body, read_body
from serving.jobs import VIDEO_KINDS, new_job_id
from serving.service import HOLD_S, MODEL, Service, sampling_params
from serving.uploads import (
    VideoFacts,
    data_url_bytes,
    link_video,
    probe_video,
    save_image,
    save_video,
    staging,
)
from serving.wire import ApiError, not_found

VARIANTS = {"video": "video/mp4", "thumbnail": "image/webp"}
MAX_REFERENCE_BYTES = 50 * 2**20


def video_routes(service: Service) -> APIRouter:
    """The router; fixed paths are declared before /{video_id}."""
    router = APIRouter(prefix="/v1/videos", tags=["videos"])
    store = service.store

    def find(video_id: str) -> GenerationJob:
        try:
            job = store.get(video_id)
        except NotFoundError as error:
            raise not_found(str(error), "video_id") from error
        if job.kind not in VIDEO_KINDS:
            raise not_found(f"There is no video {video_id!r}.", "video_id")
        return job

    async def reply(job: GenerationJob) -> JSONResponse:
        return await run_in_threadpool(
            lambda: JSONResponse(service.video(job), headers=service.poll_headers(job))
        )

    @router.post("", openapi_extra=body_schema(VideoFields, "input_reference"))
    async def create_video(request: Request) -> JSONResponse:
        async with read_body(request) as body:
            upload = take_file(body, "input_reference")
            fields = validate(VideoFields, body.fields)
            service.check_model(fields.model)
            with staging(store.media_dir) as folder:
                params = sampling_params(fields, _seed(fields.seed))
                params["fps"] = fields.fps
                if upload is not None or fields.input_reference is not None:
                    picture = await _reference(upload, fields.input_reference)
                    params["input"] = await save_image(picture, folder, "input_reference")
                job = GenerationJob(
                    id=new_job_id("video"),
                    kind="video",
                    model=MODEL,
                    model_version=service.model.version,
                    prompt=fields.prompt,
                    params=params,
                    size=fields.size or service.default_size(),
                    seconds=fields.seconds,
                )
                content = fields.model_dump(exclude={"input_reference"})
                job = await run_in_threadpool(service.submit, request, job, folder, content)
        return await reply(job)

    @router.post("/extensions", openapi_extra=body_schema(ExtensionFields, "video"))
    async def extend_video(request: Request) -> JSONResponse:
        async with read_body(request) as body:
            upload = take_file(body, "video")
            fields = validate(ExtensionFields, body.fields)
            service.check_model(fields.model)
            parent = None
            with staging(store.media_dir) as folder:
                if upload is not None:
                    facts = await save_video(upload, folder, "video")
                elif fields.video is not None:
                    parent = await run_in_threadpool(find, fields.video.id)
                    facts = await _parent_facts(service, parent, folder)
                else:
                    raise ApiError(
                        "video is required: a file part, or video[id] of a finished video.",
                        param="video",
                        code="missing_required_parameter",
                    )
                job = _extension(service, fields, facts, parent)
                content = fields.model_dump()
                job = await run_in_threadpool(service.submit, request, job, folder, content)
        return await reply(job)

    @router.get("")
    def list_videos(
        after: str | None = None,
        limit: int = Query(20, ge=1, le=100),
        order: Literal["asc", "desc"] = "desc",
    ) -> dict[str, Any]:
        try:
            jobs, has_more = store.page(
                VIDEO_KINDS, after=after, limit=limit, newest_first=order == "desc"
            )
        except NotFoundError as error:
            raise ApiError(f"after: {error}", param="after") from error
        return {
            "object": "list",
            "data": [service.video(job) for job in jobs],
            "first_id": jobs[0].id if jobs else None,
            "last_id": jobs[-1].id if jobs else None,
            "has_more": has_more,
        }

    @router.get("/{video_id}")
    async def retrieve_video(video_id: str, request: Request) -> JSONResponse:
        job = await run_in_threadpool(find, video_id)
        if request.headers.get("x-stainless-poll-helper") == "true":
            # The client only waits for the end: holding its question answers sooner, with less
            # work taken from the sampler, than many questions would.
            job = await service.ended(job, HOLD_S)
        return await reply(job)

    @router.get("/{video_id}/content")
    def download_video(video_id: str, variant: str = "video") -> FileResponse:
        if variant not in VARIANTS:
            raise ApiError(
                f"There is no variant {variant[:40]!r}; the variants are {', '.join(VARIANTS)}.",
                param="variant",
            )
        job = find(video_id)
        if job.status != "completed":
            # Not 409: the client would repeat a 409 by itself, three times.
            raise ApiError(_not_ready(job), param="video_id", code="video_not_ready")
        artifact = next(a for a in store.artifacts(job.id) if a.name == variant)
        path = store.media_dir / artifact.path
        if not path.is_file():
            raise not_found(f"The file of video {video_id!r} is gone.", "video_id")
        return FileResponse(
            path,
            media_type=artifact.media_type,
            filename=f"{job.id}{path.suffix}",
            content_disposition_type="inline",
        )

    @router.delete("/{video_id}")
    def delete_video(video_id: str) -> dict[str, Any]:
        store.delete(find(video_id).id)
        return {"id": video_id, "object": "video.deleted", "deleted": True}

    return router


def take_file(body: Body, name: str) -> UploadFile | None:
    """The file part `name`, the only one that the endpoint takes."""
    unknown = sorted(set(body.files) - {name})
    if unknown:
        raise ApiError(
            f"Unknown file part {unknown[0][:80]!r}; this endpoint takes {name}.",
            param=unknown[0][:80],
            code="unknown_parameter",
        )
    if name in body.files and name in body.fields:
        raise ApiError(f"{name} was sent both as a file and as a field; send one.", param=name)
    # Starlette's own class, of which FastAPI's name is a subclass only for declared fields.
    return body.files.get(name)  # type: ignore[return-value]


def body_schema(fields: type[VideoFields] | type[ExtensionFields], file: str) -> dict[str, Any]:
    """OpenAPI for a body that we parse ourselves, since it may be a form or JSON."""
    schema = fields.model_json_schema()
    form = {**schema, "properties": {**schema["properties"], file: {"format": "binary"}}}
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def _seed(seed: int | None) -> int:
    return random.SystemRandom().randrange(2**31) if seed is None else seed


async def _reference(upload: UploadFile | None, reference: ImageReference | None) -> bytes:
    """The bytes of the picture that a request refers to."""
    if upload is not None:
        return await upload.read(MAX_REFERENCE_BYTES + 1)
    if reference is not None and reference.image_url is not None:
        return data_url_bytes(reference.image_url, "input_reference")
    if reference is not None and reference.file_id is not None:
        raise ApiError(
            f"There is no file {reference.file_id[:80]!r}: this server keeps no uploaded files; "
            "send the picture itself as a file part or a data: URL.",
            param="input_reference",
            code="file_not_found",
        )
    raise ApiError(
        "input_reference is empty; send a file part or image_url with a data: URL.",
        param="input_reference",
    )


async def _parent_facts(service: Service, parent: GenerationJob, folder: Any) -> VideoFacts:
    if parent.status != "completed":
        raise ApiError(_not_ready(parent), param="video", code="video_not_ready")

    def link() -> None:
        artifact = next(a for a in service.store.artifacts(parent.id) if a.name == "video")
        link_video(service.store.media_dir / artifact.path, folder)

    try:
        await run_in_threadpool(link)
    except (FileNotFoundError, StopIteration) as error:
        raise not_found(f"The file of video {parent.id!r} is gone.", "video") from error
    return await probe_video(folder / "input.video", "video")


def _extension(
    service: Service, fields: ExtensionFields, facts: VideoFacts, parent: GenerationJob | None
) -> GenerationJob:
    params = sampling_params(fields, _seed(fields.seed))
    params |= {"input": "input.video", "direction": fields.direction}
    # 4:2:0 video has even sides; an odd clip loses its last row or column.
    width, height = facts.width - facts.width % 2, facts.height - facts.height % 2
    start = round(fields.seconds * facts.fps) if fields.direction == "backward" else 0
    params["given"] = {"start": start, "end": start + facts.num_frames, "fps": facts.fps}
    return GenerationJob(
        id=new_job_id("video"),
        kind="extension",
        model=MODEL,
        model_version=service.model.version,
        prompt=fields.prompt,
        params=params | {"seconds": fields.seconds},
        size=f"{width}x{height}",
        seconds=round(facts.seconds + fields.seconds, 3),
        parent_id=None if parent is None else parent.id,
    )


def _not_ready(job: GenerationJob) -> str:
    if job.status == "failed":
        return f"Video {job.id!r} has no content: it failed ({job.error_message})"
    return (
        f"Video {job.id!r} is {job.status.replace('_', ' ')} ({job.progress} %); "
        "download it when its status is completed."
    )
