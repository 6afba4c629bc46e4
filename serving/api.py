"""The HTTP API: OpenAI's shapes for videos and images, over durable jobs.

    app = create_app(settings, catalog, model, engine)

An unmodified openai client works with base_url="http://127.0.0.1:8000/v1".
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from infra.catalog import Catalog
from infra.settings import Settings
from serving.access import Keys
from serving.admission import Admission
from serving.certificates import signing_identity
from serving.characters import Characters, character_routes
from serving.creation import creation_routes
from serving.edits import edit_routes
from serving.images import image_routes
from serving.jobs import JobStore
from serving.metrics import CONTENT_TYPE, Measured, Metrics
from serving.origin import trained_on
from serving.outbox import Backoff, Outbox
from serving.pictures import Pictures
from serving.policy import Policy
from serving.service import MODEL, EngineLink, ModelInfo, Service
from serving.studio_page import studio_routes
from serving.tracing import Traced, Tracing
from serving.videos import video_routes
from serving.webhooks import Endpoints, webhook_routes
from serving.wire import install, not_found
from serving.workflows.routes import workflow_routes
from serving.workflows.runner import Runner
from serving.workflows.store import WorkflowStore


def create_app(
    settings: Settings,
    catalog: Catalog,
    model: ModelInfo,
    engine: EngineLink,
    *,
    backoff: Backoff = Backoff(),  # noqa: B008 - frozen
) -> FastAPI:
    """The app of a served model; its routes hold no state beside SQL and disk."""
    tracing = Tracing(settings)
    store = JobStore(catalog, settings.media_dir, settings.media_ttl_s, tracing=tracing)
    admission = Admission(queue_device_s=settings.queue_device_s, steps=model.steps)
    service = Service(
        store=store,
        model=model,
        engine=engine,
        admission=admission,
        policy=Policy.of(settings),
    )
    characters = Characters(catalog, settings.media_dir)
    hosts = tuple(settings.private_hosts)
    pictures = Pictures(fetch_urls=settings.fetch_urls, private_hosts=hosts)
    metrics = Metrics(store, admission)
    workflows = WorkflowStore(catalog, settings.media_dir, settings.media_ttl_s)
    runner = Runner(service, workflows, settings)
    # FastAPI's own pages load their scripts from another host.
    app = FastAPI(
        title="Reelwright",
        docs_url=None,
        redoc_url=None,
        lifespan=_working(tracing, Outbox(catalog, hosts, backoff), runner),
    )
    app.state.service = service
    app.add_middleware(Keys, catalog=catalog, required=settings.needs_keys)
    install(app)
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(Traced, tracing=tracing)
    for router in (
        character_routes(characters),
        creation_routes(service, pictures, characters),
        edit_routes(service),
        video_routes(service),
        image_routes(service, pictures),
        webhook_routes(Endpoints(catalog, hosts)),
        workflow_routes(service, workflows, runner),
        _other_routes(service, metrics, settings),
        studio_routes(),
    ):
        app.include_router(router)
    return app


def _working(
    tracing: Tracing, *threads: Outbox | Runner
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """While the app runs, its outbox delivers and its workflows go on; at the end, the last spans
    go out."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        for thread in threads:
            thread.start()
        yield
        for thread in threads:
            await run_in_threadpool(thread.stop)
        await run_in_threadpool(tracing.close)

    return lifespan


def _other_routes(service: Service, metrics: Metrics, settings: Settings) -> APIRouter:
    router = APIRouter()
    signing = signing_identity(settings)

    def model() -> dict[str, Any]:
        return {
            "id": MODEL,
            "object": "model",
            "created": service.model.created,
            "owned_by": "reelwright",
            "x_version": service.model.version,
            "x_size": service.default_size(),
            "x_fps": service.model.fps,
        }

    @router.get("/v1/models")
    def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [model()]}

    @router.get("/v1/models/{name}")
    def retrieve_model(name: str) -> dict[str, Any]:
        if name != MODEL:
            raise not_found(f"There is no model {name[:80]!r}; there is {MODEL!r}.", "model")
        return model()

    @router.get("/v1/models/{name}/training")
    def training(name: str) -> dict[str, Any]:
        """What the served version was trained on, as far as it is known here."""
        version = retrieve_model(name)["x_version"]
        return {
            "object": "model.training",
            "version": version,
            **trained_on(settings.home, version),
        }

    @router.get("/metrics", include_in_schema=False)
    def prometheus() -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE)

    @router.get("/healthz")
    async def health() -> JSONResponse:
        engine = await service.engine.health()
        healthy = bool(engine.get("healthy"))
        body = {
            "status": "ok" if healthy else "unhealthy",
            "model": MODEL,
            **engine,
            "provenance": {"certificate": signing.kind, "subject": signing.subject},
        }
        return JSONResponse(body, 200 if healthy else 503)

    return router
