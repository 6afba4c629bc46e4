"""Server-sent events: a job's log in SQL as a stream that any server can resume."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from infra.catalog_models import GenerationJob, JobEvent
from infra.errors import NotFoundError
from serving.happenings import ENDS
from serving.service import Service
from serving.wire import ApiError

MEDIA_TYPE = "text/event-stream"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
WAIT_S = 0.2
KEEP_ALIVE_S = 15.0
STILL_HERE = ": still here\n\n"


def sse(event: str, data: dict[str, Any], event_id: int | None = None) -> str:
    """One event; the data is one line of JSON."""
    head = "" if event_id is None else f"id: {event_id}\n"
    return f"{head}event: {event}\ndata: {json.dumps(data)}\n\n"


async def event_stream(service: Service, job: GenerationJob, last_event_id: str) -> Response:
    """All events of the job after `last_event_id`, as they come, until the job has ended.

    Raises:
        ApiError: `last_event_id` is no id of ours.
    """
    if last_event_id and not (last_event_id.isdecimal() and len(last_event_id) < 18):
        raise ApiError(
            f"Last-Event-ID is the id of an event, a number; got {last_event_id[:40]!r}.",
            param="Last-Event-ID",
        )
    after = int(last_event_id or 0)
    news = await run_in_threadpool(service.store.events, job.id, after)
    if not news and job.status in ENDS:
        return Response(status_code=204)  # tells an EventSource not to come back
    return StreamingResponse(_events(service, job, after), media_type=MEDIA_TYPE, headers=HEADERS)


async def job_log(
    service: Service, job: GenerationJob, after: int = 0
) -> AsyncIterator[JobEvent | None]:
    """The job's events after that one, as they come, up to its end; None now and then meanwhile.

    Raises:
        NotFoundError: it was deleted.
    """
    spoken = time.monotonic()
    while True:
        for event in await run_in_threadpool(service.store.events, job.id, after):
            after, spoken = event.id, time.monotonic()
            yield event
            if event.type in ENDS:
                return
        job = await run_in_threadpool(service.store.get, job.id)
        if time.monotonic() - spoken > KEEP_ALIVE_S:
            spoken = time.monotonic()
            yield None
        if job.status not in ENDS:
            await service.engine.ended(job.id, WAIT_S, follows=True)


async def _events(service: Service, job: GenerationJob, after: int) -> AsyncIterator[str]:
    try:
        async for event in job_log(service, job, after):
            if event is None:
                yield STILL_HERE
            else:
                yield await run_in_threadpool(_shown, service, job.id, event)
    except NotFoundError:
        yield sse("video.deleted", {"id": job.id})


def _shown(service: Service, job_id: str, event: JobEvent) -> str:
    data: dict[str, Any] = {"id": job_id, "at": event.created_at.timestamp(), **event.data}
    if event.type in ENDS:
        with suppress(NotFoundError):  # deleted right after its end
            data["video"] = service.video(service.store.get(job_id))
    return sse(f"video.{event.type}", data, event.id)
