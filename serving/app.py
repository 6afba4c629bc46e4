"""The Ray Serve application: a gateway that answers HTTP, an engine that pulls jobs.

    start_http(settings); serve.run(application(settings, info, bundle), name=APP)

Requests end when their job is in SQL; the two deployments share nothing else but a wake-up call,
so either may be replaced while the other works. Another model version is swapped into the running
replicas: `serving.job` calls `swap`, then `adopt`, and a replica that Ray starts again reads what
is served from HOME/serve.json, if that is of its own application. CPU reservations are small on
purpose: training runs on the same machine, and an idle replica costs nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from infra.catalog import Catalog
from infra.job_files import read_json
from infra.settings import Settings
from serving.api import create_app
from serving.redaction import redact_logs
from serving.service import ModelInfo
from serving.tracing import Tracing, trace_logs

if TYPE_CHECKING:
    from modeling.generate import Generator

APP, ENGINE = "reel", "Engine"
SERVED = "serve.json"
CPUS = 0.1
MAX_ONGOING = 1000
HEALTH_TIMEOUT_S = 5.0


class RemoteEngine:
    """The gateway's link to the engine's replica."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    def notify(self) -> None:
        self._handle.notify.remote()

    def dropped(self, job_id: str) -> None:
        self._handle.dropped.remote(job_id)

    async def ended(self, job_id: str, within_s: float) -> None:
        try:
            await self._handle.ended.remote(job_id, within_s)
        except Exception:  # a replica that is being replaced cannot tell; SQL will
            await asyncio.sleep(within_s)

    async def health(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                state: dict[str, Any] = await self._handle.health.remote()
        except Exception as error:  # whatever keeps the engine from answering, it is not healthy
            return {"healthy": False, "version": "", "reason": type(error).__name__}
        return state


@serve.ingress()
class Gateway:
    """The HTTP API."""

    def __init__(
        self, settings: Settings, model: ModelInfo, app: str, engine: DeploymentHandle[Any]
    ) -> None:
        logging.basicConfig(level=logging.INFO)
        redact_logs()
        trace_logs()
        self._settings, self._engine = settings, engine
        served = _served(settings, app)
        self._model = ModelInfo.of(served["model"]) if served else model

    def __serve_build_asgi_app__(self) -> FastAPI:
        catalog = Catalog(self._settings.catalog_url)
        catalog.migrate()
        engine = RemoteEngine(self._engine)
        self._app = create_app(self._settings, catalog, self._model, engine, behind_proxy=True)
        return self._app

    def adopt(self, model: ModelInfo) -> None:
        """The engine serves this model from now on."""
        self._app.state.service.adopt(model)


class EngineReplica:
    """Holds the model, and the thread that works through the jobs."""

    def __init__(self, settings: Settings, version: str, bundle: Path, app: str) -> None:
        from serving.fleet import Fleet, Tap
        from serving.provenance import Provenance

        logging.basicConfig(level=logging.INFO)
        redact_logs()
        trace_logs()
        self._threads = settings.cpu_count
        catalog = Catalog(settings.catalog_url)
        catalog.migrate()
        tracing, media = Tracing(settings), settings.media_dir
        fleet = Fleet(
            lambda: Tap(catalog, media, settings.media_ttl_s, tracing=tracing),
            Provenance(settings).seal,
        )
        if served := _served(settings, app):
            version, bundle = served["version"], Path(served["bundle"])
        fleet.swap(self._loader(version, bundle), version)
        self._engine = fleet

    async def swap(self, version: str, bundle: Path) -> None:
        """Load the bundle beside what runs, and give it the jobs that come.

        Raises:
            InputError: it is damaged, or fails its canary; nothing has changed.
        """
        if self._engine.version != version:
            # On a thread of its own: this one answers the gateway.
            await asyncio.to_thread(self._engine.swap, self._loader(version, bundle), version)

    def _loader(self, version: str, bundle: Path) -> "Callable[[], Generator]":
        import torch

        from modeling.bundle import load_bundle
        from modeling.generate import Generator
        from serving.canary import check_canary

        def load() -> Generator:
            torch.set_num_threads(self._threads)
            generator = Generator(load_bundle(bundle))
            check_canary(generator, version)
            return generator

        return load

    def notify(self) -> None:
        self._engine.notify()

    def dropped(self, job_id: str) -> None:
        self._engine.dropped(job_id)

    async def ended(self, job_id: str, within_s: float) -> None:
        await self._engine.ended(job_id, within_s)

    def health(self) -> dict[str, Any]:
        return self._engine.health()

    def check_health(self) -> None:
        """Ray Serve replaces the replica when this raises."""
        if not self._engine.health()["healthy"]:
            raise RuntimeError("the engine's thread has ended")

    def __del__(self) -> None:
        # Ray Serve calls this when it replaces the replica: a job under way is given back.
        if hasattr(self, "_engine"):
            self._engine.stop()


def _served(settings: Settings, app: str) -> dict[str, Any] | None:
    """What the application `app` serves by now, if that is remembered."""
    served = read_json(settings.home / SERVED)
    return served if served is not None and served.get("app") == app else None


def application(settings: Settings, model: ModelInfo, bundle: Path, app: str) -> serve.Application:
    """The application that serves the bundle in folder `bundle` as `model`, until it is swapped.

    `app` names this start of it.
    """
    # Ray would set one thread for a replica that reserves less than one CPU.
    threads = {"env_vars": {"OMP_NUM_THREADS": str(settings.cpu_count)}}
    engine = _deployment(ENGINE, {"num_cpus": CPUS, "runtime_env": threads})(EngineReplica)
    gateway = _deployment("Gateway", {"num_cpus": CPUS})(Gateway)
    return gateway.bind(settings, model, app, engine.bind(settings, model.version, bundle, app))


def _deployment(name: str, actor: dict[str, Any]) -> Callable[[type], serve.Deployment]:
    deployment: Callable[[type], serve.Deployment] = serve.deployment(
        name=name,
        num_replicas=1,
        max_ongoing_requests=MAX_ONGOING,
        ray_actor_options=actor,
        health_check_period_s=5,
        graceful_shutdown_wait_loop_s=0.2,
        max_constructor_retry_count=2,
    )
    return deployment


def start_http(settings: Settings) -> None:
    """Start Ray Serve's HTTP server on the settings' address; does nothing when it runs."""
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": settings.host, "port": settings.serve_port},
    )
