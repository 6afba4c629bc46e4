"""POST /v1/videos and what makes a video from another: extensions, remixes; and estimates."""

import os

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from infra.catalog_models import GenerationJob
from serving.access import caller_of
from serving.characters import Characters
from serving.clips import save_clip
from serving.fields import ExtensionFields, ImageReference, RemixFields, VideoFields, validate
from serving.forms import form_schema, json_body, json_schema, read_body, take_file, take_files
from serving.jobs import new_job_id
from serving.keyframes import FILES, check_placed, save_keyframes
from serving.pictures import Pictures
from serving.service import MODEL, Service, new_seed, sampling_params
from serving.uploads import VideoFacts, staging
from serving.videos import not_ready, video_reply
from serving.wire import ApiError


def creation_routes(service: Service, pictures: Pictures, characters: Characters) -> APIRouter:
    """The router; include it before the one with /v1/videos/{video_id}."""
    router = APIRouter(prefix="/v1/videos", tags=["videos"])
    store = service.store

    @router.post("", openapi_extra=form_schema(VideoFields, "input_reference", *FILES))
    async def create_video(request: Request) -> JSONResponse:
        async with read_body(request) as body:
            files = take_files(body, "input_reference", *FILES)
            upload = files.get("input_reference")
            fields = validate(VideoFields, body.fields)
            service.check_model(fields.model)
            job = _video(service, fields)
            with staging(store.media_dir) as folder:
                if fields.character is not None:
                    _check_one_first_frame(upload, fields.input_reference)
                    tenant, character = caller_of(request).tenant, fields.character.id
                    job.params["input"] = await run_in_threadpool(
                        characters.link_picture, tenant, character, folder
                    )
                elif upload is not None or fields.input_reference is not None:
                    job.params["input"] = await pictures.save(
                        upload, fields.input_reference, folder, "input_reference"
                    )
                job.params["keyframes"] = await save_keyframes(
                    service, pictures, request, fields, files, folder
                )
                check_placed(service.model, job)
                content = fields.model_dump(exclude={"input_reference"})
                job = await run_in_threadpool(service.submit, request, job, folder, content)
        return await video_reply(service, job)

    @router.post("/estimate", openapi_extra=json_schema(VideoFields))
    async def estimate_video(request: Request) -> JSONResponse:
        """What the same body would cost at POST /v1/videos; nothing is queued."""
        fields = validate(VideoFields, await json_body(request))
        service.check_model(fields.model)
        return JSONResponse(await run_in_threadpool(service.estimate, _video(service, fields)))

    @router.post("/extensions", openapi_extra=form_schema(ExtensionFields, "video"))
    async def extend_video(request: Request) -> JSONResponse:
        async with read_body(request) as body:
            upload = take_file(body, "video")
            fields = validate(ExtensionFields, body.fields)
            service.check_model(fields.model)
            with staging(store.media_dir) as folder:
                facts, parent = await save_clip(service, request, upload, fields.video, folder)
                job = _extension(service, fields, facts, parent)
                content = fields.model_dump()
                job = await run_in_threadpool(service.submit, request, job, folder, content)
        return await video_reply(service, job)

    @router.post("/{video_id}/remix", openapi_extra=json_schema(RemixFields))
    async def remix_video(video_id: str, request: Request) -> JSONResponse:
        fields = validate(RemixFields, await json_body(request))
        source = await run_in_threadpool(service.find_video, request, video_id)
        if source.status != "completed":
            raise ApiError(not_ready(source), param="video_id", code="video_not_ready")
        with staging(store.media_dir) as folder:
            job = _remix(service, fields, source)
            for path in store.folder(source.id).glob("input*"):
                os.link(path, folder / path.name)
            content = fields.model_dump()
            job = await run_in_threadpool(service.submit, request, job, folder, content)
        return await video_reply(service, job)

    return router


def _video(service: Service, fields: VideoFields) -> GenerationJob:
    params = sampling_params(fields, new_seed(fields.seed)) | {"fps": fields.fps}
    params["loop"] = fields.loop
    if fields.character is not None:
        params["character"] = fields.character.id
    return GenerationJob(
        id=new_job_id("video"),
        kind="video",
        model=MODEL,
        model_version=service.model.version,
        prompt=fields.prompt,
        params=params,
        size=fields.size or service.default_size(),
        seconds=fields.seconds,
    )


def _check_one_first_frame(upload: UploadFile | None, reference: ImageReference | None) -> None:
    if upload is not None or reference is not None:
        raise ApiError(
            "character and input_reference both name the first frame; send one of them.",
            param="character",
        )


def _extension(
    service: Service, fields: ExtensionFields, facts: VideoFacts, parent: GenerationJob | None
) -> GenerationJob:
    parent_id = None if parent is None else parent.id
    params = sampling_params(fields, new_seed(fields.seed))
    params |= {"input": "input.video", "direction": fields.direction, "extends": parent_id}
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
        parent_id=parent_id,
    )


def _remix(service: Service, fields: RemixFields, source: GenerationJob) -> GenerationJob:
    """The same seed, size, duration and given frames under new words."""
    said = fields.model_dump(exclude={"prompt"}, exclude_none=True)
    return GenerationJob(
        id=new_job_id("video"),
        kind=source.kind,
        model=MODEL,
        model_version=service.model.version,
        prompt=fields.prompt,
        params={**source.params, **said, "remixed_from": source.id},
        size=source.size,
        seconds=source.seconds,
        parent_id=source.id,
    )
