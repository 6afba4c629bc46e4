"""/v1/images: generations and edits, durable jobs like any other, whose requests wait for the end.

With `stream`, the answer is server-sent events, in OpenAI's shapes: up to `partial_images` partial
pictures of each, which are the sampler's estimates on the way, and then the pictures.
"""

import base64
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from infra.catalog_models import GenerationJob, JobEvent
from infra.errors import NotFoundError
from serving.edit_fields import ImageEditFields
from serving.events import HEADERS, MEDIA_TYPE, STILL_HERE, job_log, sse
from serving.fields import ImageFields, parse_size, validate
from serving.forms import form_schema, json_body, json_schema, read_body, take_files
from serving.given_picture import save_given
from serving.happenings import PREVIEW
from serving.jobs import UNFINISHED, JobStore, new_job_id
from serving.pictures import Pictures
from serving.service import HOLD_S, MODEL, Service, new_seed, sampling_params
from serving.uploads import staging
from serving.wire import ApiError, not_found

PATCH = 16  # pixels; what `usage` counts of a picture


def image_routes(service: Service, pictures: Pictures) -> APIRouter:
    router = APIRouter(prefix="/v1/images", tags=["images"])
    store = service.store

    @router.post("/generations", openapi_extra=json_schema(ImageFields))
    async def generate_images(request: Request) -> Response:
        fields = validate(ImageFields, await json_body(request))
        service.check_model(fields.model)
        job = _job(service, fields)
        with staging(store.media_dir) as folder:
            content = fields.model_dump()
            job = await run_in_threadpool(service.submit, request, job, folder, content)
        return await _answer(service, job, request, stream=bool(fields.stream))

    @router.post("/edits", openapi_extra=form_schema(ImageEditFields, "image", "image[]", "mask"))
    async def edit_images(request: Request) -> Response:
        async with read_body(request) as body:
            files = take_files(body, "image", "image[]", "mask")
            fields = validate(ImageEditFields, body.fields)
            service.check_model(fields.model)
            with staging(store.media_dir) as folder:
                given = await save_given(pictures, fields, files, folder)
                if fields.size in (None, "auto"):
                    fields = fields.model_copy(update={"size": given.size})
                job = _job(service, fields)
                job.params |= given.params
                content = fields.model_dump(exclude={"images", "mask"})
                job = await run_in_threadpool(service.submit, request, job, folder, content)
        return await _answer(service, job, request, stream=bool(fields.stream), kind="image_edit")

    @router.post("/estimate", openapi_extra=json_schema(ImageFields))
    async def estimate_images(request: Request) -> JSONResponse:
        """What the same body would cost at POST /v1/images/generations; nothing is queued."""
        fields = validate(ImageFields, await json_body(request))
        service.check_model(fields.model)
        return JSONResponse(await run_in_threadpool(service.estimate, _job(service, fields)))

    return router


async def _answer(
    service: Service,
    job: GenerationJob,
    request: Request,
    *,
    stream: bool,
    kind: str = "image_generation",
) -> Response:
    """The job's pictures once it has ended, as one object or as events of that kind."""
    if stream:
        events = _events(service, job, kind)
        return StreamingResponse(events, media_type=MEDIA_TYPE, headers=HEADERS)
    job = await _ended(service, job, request)
    return JSONResponse(await run_in_threadpool(_response, service.store, job))


def _job(service: Service, fields: ImageFields) -> GenerationJob:
    params = sampling_params(fields, new_seed(fields.seed))
    params |= {
        "n": fields.n or 1,
        "partial_images": (fields.partial_images or 0) if fields.stream else 0,
        "output_format": fields.output_format or "png",
        "output_compression": 90
        if fields.output_compression is None
        else fields.output_compression,
    }
    size = service.default_size() if fields.size in (None, "auto") else fields.size
    return GenerationJob(
        id=new_job_id("image"),
        kind="image",
        model=MODEL,
        model_version=service.model.version,
        prompt=fields.prompt,
        params=params,
        size=size,
        seconds=0.0,
    )


async def _ended(service: Service, job: GenerationJob, request: Request) -> GenerationJob:
    """The job once it has ended. The job outlives its request: a client's retry finds it again."""
    while job.status in UNFINISHED:
        job = await service.ended(job, HOLD_S)
        if await request.is_disconnected():
            raise ApiError("The client left.", status=499, code="client_left")
    _check(job)
    return job


def _check(job: GenerationJob) -> None:
    """Raises ApiError where the job failed."""
    if job.status == "failed":
        lost = job.error_code == "worker_lost"
        raise ApiError(
            job.error_message or "The generation failed.",
            code=job.error_code or "generation_failed",
            status=500 if lost else 400,
            kind="server_error" if lost else "image_generation_error",
            headers={"x-should-retry": "false"},
        )


async def _events(service: Service, job: GenerationJob, kind: str) -> AsyncIterator[str]:
    """Partial pictures as they come, then a `completed` event for each picture.

    A failure is an `error` event in the error shape.
    """
    sent: set[tuple[str, int]] = set()
    try:
        async for event in job_log(service, job):
            if event is None:
                yield STILL_HERE
            elif event.type == PREVIEW and (name := _partial_name(event)) not in sent:
                sent.add(name)  # of an attempt that was lost there may be another
                if partial := await run_in_threadpool(_partial, service.store, job, event, kind):
                    yield sse(f"{kind}.partial_image", partial)
        job = await run_in_threadpool(service.store.get, job.id)
        _check(job)
        response = await run_in_threadpool(_response, service.store, job)
    except NotFoundError as error:
        yield sse("error", not_found(str(error)).body)
        return
    except ApiError as error:
        yield sse("error", error.body)
        return
    completed = _shared(job, f"{kind}.completed") | {"usage": response["usage"]}
    for index, picture in enumerate(response["data"]):
        yield sse(f"{kind}.completed", completed | picture | {"x_image_index": index})


def _shared(job: GenerationJob, kind: str) -> dict[str, Any]:
    """What every event of a stream says."""
    return {
        "type": kind,
        "created_at": int(job.created_at.timestamp()),
        "size": job.size,
        "quality": "auto",
        "background": "opaque",
        "output_format": job.params["output_format"],
    }


def _partial_name(event: JobEvent) -> tuple[str, int]:
    return event.data["picture"], event.data["index"]


def _partial(
    store: JobStore, job: GenerationJob, event: JobEvent, kind: str
) -> dict[str, Any] | None:
    """A partial picture's event; None when its file went with the attempt that made it."""
    picture, index = _partial_name(event)
    try:
        data = (store.folder(job.id) / event.data["file"]).read_bytes()
    except FileNotFoundError:
        return None
    return {
        **_shared(job, f"{kind}.partial_image"),
        "b64_json": base64.b64encode(data).decode(),
        "partial_image_index": index,
        "x_image_index": int(picture.removeprefix("image")),
    }


def _response(store: JobStore, job: GenerationJob) -> dict[str, Any]:
    pictures = [
        base64.b64encode((store.media_dir / artifact.path).read_bytes()).decode()
        for artifact in store.artifacts(job.id)
    ]
    return {
        "created": int(job.created_at.timestamp()),
        "data": [{"b64_json": picture} for picture in pictures],
        "size": job.size,
        "background": "opaque",
        "output_format": job.params["output_format"],
        "usage": _usage(job),
        "x_seed": job.params["seed"],
        "x_model_version": job.model_version,
        "x_timings": job.timings,
    }


def _usage(job: GenerationJob) -> dict[str, Any]:
    """OpenAI's counts, which clients require: words of the prompt, patches of the pictures."""
    width, height = parse_size(job.size, even=False)
    words = len(job.prompt.split())
    patches = -(-width // PATCH) * -(-height // PATCH) * int(job.params["n"])
    return {
        "input_tokens": words,
        "input_tokens_details": {"text_tokens": words, "image_tokens": 0},
        "output_tokens": patches,
        "total_tokens": words + patches,
    }
