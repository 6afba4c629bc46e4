"""/v1/images/generations: a durable job like any other, whose request waits for its end."""

import base64
import random
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from infra.catalog_models import GenerationJob
from serving.fields import ImageFields, validate
from serving.forms import read_body
from serving.jobs import JobStore, new_job_id
from serving.service import HOLD_S, MODEL, UNFINISHED, Service, sampling_params
from serving.uploads import staging
from serving.wire import ApiError


def image_routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/images", tags=["images"])
    store = service.store
    schema = {"application/json": {"schema": ImageFields.model_json_schema()}}

    @router.post(
        "/generations", openapi_extra={"requestBody": {"required": True, "content": schema}}
    )
    async def generate_images(request: Request) -> JSONResponse:
        async with read_body(request) as body:
            if body.files:
                raise ApiError("This endpoint takes no files.", param=next(iter(body.files)))
            fields = validate(ImageFields, body.fields)
        service.check_model(fields.model)
        job = _job(service, fields)
        with staging(store.media_dir) as folder:
            content = fields.model_dump()
            job = await run_in_threadpool(service.submit, request, job, folder, content)
        job = await _ended(service, job, request)
        return JSONResponse(await run_in_threadpool(_response, store, job))

    return router


def _job(service: Service, fields: ImageFields) -> GenerationJob:
    seed = random.SystemRandom().randrange(2**31) if fields.seed is None else fields.seed
    params = sampling_params(fields, seed)
    params |= {
        "n": fields.n or 1,
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
    if job.status == "failed":
        lost = job.error_code == "worker_lost"
        raise ApiError(
            job.error_message or "The generation failed.",
            code=job.error_code or "generation_failed",
            status=500 if lost else 400,
            kind="server_error" if lost else "image_generation_error",
            headers={"x-should-retry": "false"},
        )
    return job


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
        "x_seed": job.params["seed"],
        "x_model_version": job.model_version,
        "x_timings": job.timings,
    }
