"""/v1/videos/{id}: retrieve, list, download, cancel, delete, and the stream of events."""

from typing import Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from infra.catalog_models import GenerationJob
from infra.errors import NotFoundError
from serving.access import caller_of
from serving.events import event_stream
from serving.happenings import VIDEO_KINDS
from serving.service import HOLD_S, Service
from serving.wire import ApiError, not_found

VARIANTS = ("video", "thumbnail", "spritesheet")


async def video_reply(service: Service, job: GenerationJob) -> JSONResponse:
    """The video object, and how often to ask for it."""
    return await run_in_threadpool(service.reply, job)


def not_ready(job: GenerationJob) -> str:
    """Why a video that is not completed has no content."""
    if job.status == "failed":
        return f"Video {job.id!r} has no content: it failed ({job.error_message})"
    return (
        f"Video {job.id!r} is {job.status.replace('_', ' ')} ({job.progress} %); "
        "download it when its status is completed."
    )


def video_routes(service: Service) -> APIRouter:
    """The router; fixed paths beside /{video_id} must have been declared before it."""
    router = APIRouter(prefix="/v1/videos", tags=["videos"])
    store = service.store

    @router.get("")
    def list_videos(
        request: Request,
        after: str | None = None,
        limit: int = Query(20, ge=1, le=100),
        order: Literal["asc", "desc"] = "desc",
    ) -> JSONResponse:
        try:
            jobs, has_more = store.page(
                VIDEO_KINDS,
                after=after,
                limit=limit,
                newest_first=order == "desc",
                owner=caller_of(request).tenant,
            )
        except NotFoundError as error:
            raise ApiError(f"after: {error}", param="after") from error
        found = {
            "object": "list",
            "data": service.videos(jobs),
            "first_id": jobs[0].id if jobs else None,
            "last_id": jobs[-1].id if jobs else None,
            "has_more": has_more,
        }
        # As it is: FastAPI would look through all of it for what JSON has no word for.
        return JSONResponse(found)

    @router.get("/{video_id}")
    async def retrieve_video(video_id: str, request: Request) -> JSONResponse:
        if request.headers.get("x-stainless-poll-helper") != "true":
            return await run_in_threadpool(
                lambda: service.reply(service.find_video(request, video_id))
            )
        # The client only waits for the end: holding its question answers sooner, with less
        # work taken from the sampler, than many questions would.
        job = await run_in_threadpool(service.find_video, request, video_id)
        return await video_reply(service, await service.ended(job, HOLD_S))

    @router.get("/{video_id}/content")
    def download_video(video_id: str, request: Request, variant: str = "video") -> FileResponse:
        if variant not in VARIANTS:
            raise ApiError(
                f"There is no variant {variant[:40]!r}; the variants are {', '.join(VARIANTS)}.",
                param="variant",
            )
        job = service.find_video(request, video_id)
        if job.status != "completed":
            # Not 409: the client would repeat a 409 by itself, three times.
            raise ApiError(not_ready(job), param="video_id", code="video_not_ready")
        artifact = next((a for a in store.artifacts(job.id) if a.name == variant), None)
        if artifact is None or not (store.media_dir / artifact.path).is_file():
            raise not_found(f"The {variant} of video {job.id!r} is gone.", "video_id")
        path = store.media_dir / artifact.path
        return FileResponse(
            path,
            media_type=artifact.media_type,
            filename=f"{job.id}{path.suffix}",
            content_disposition_type="inline",
        )

    @router.get("/{video_id}/events")
    async def stream_events(video_id: str, request: Request) -> Response:
        """Server-sent events; `Last-Event-ID` resumes after that event, 204 says no more come."""
        job = await run_in_threadpool(service.find_video, request, video_id)
        return await event_stream(service, job, request.headers.get("last-event-id", ""))

    @router.post("/{video_id}/cancel")
    async def cancel_video(video_id: str, request: Request) -> JSONResponse:
        """End a video as failed, with the code "cancelled"; one that has ended stays as it is."""
        job = await run_in_threadpool(service.find_video, request, video_id)
        job = await run_in_threadpool(store.cancel, job.id)
        service.engine.dropped(job.id)
        return await video_reply(service, job)

    @router.delete("/{video_id}")
    def delete_video(video_id: str, request: Request) -> dict[str, Any]:
        store.delete(service.find_video(request, video_id).id)
        service.engine.dropped(video_id)
        return {"id": video_id, "object": "video.deleted", "deleted": True}

    return router
