"""The Ray Serve application: a gateway that answers HTTP, engines that pull jobs.

    start_serve(); serve.run(application(settings, info, bundle), name=APP, route_prefix=None)

Requests end when their job is in SQL; the two deployments share nothing else but a wake-up call,
so either may be replaced while the other works. Ray Serve starts, watches and replaces both; HTTP
does not go through it (`serving.listener`). Another model version is swapped into the running
replicas: `serving.job` calls `swap`, then `adopt`, and what no call reached follows HOME/serve.json
(`serving.served`). Where more than one engine may run, Ray Serve starts and stops them by the
backlog (`serving.scaling`). CPU reservations are small on purpose: training runs on the same
machine, and an idle replica costs nothing.
"""

import asyncio
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.handle import DeploymentHandle

from infra.catalog import Catalog
from infra.settings import Settings
from serving import scaling
from serving.admission import Admission
from serving.api import create_app
from serving.jobs import JobStore
from serving.listener import Listener
from serving.redaction import redact_logs
from serving.replicas import Replicas
from serving.served import Watch, read_served, refused, take_back
from serving.service import ModelInfo
from serving.tracing import Tracing, trace_logs

if TYPE_CHECKING:
    from modeling.generate import Generator

APP, ENGINE = "reel", "Engine"
CPUS = 0.1
HEAD = "node:__internal_head__"
MAX_ONGOING = 1000
REPORT_S = 2.0
SCALE_UP_AFTER_S = 2.0
LEAST_KEPT_S = 10.0
NICENESS = 5  # of engines


class Gateway:
    """The HTTP API, on the settings' address."""

    def __init__(
        self, settings: Settings, model: ModelInfo, app: str, engine: DeploymentHandle[Any]
    ) -> None:
        logging.basicConfig(level=logging.INFO)
        redact_logs()
        trace_logs()
        served = read_served(settings.home, app)
        model = ModelInfo.of(served["model"]) if served else model
        catalog = Catalog(settings.catalog_url)
        catalog.migrate()
        engines = Replicas(engine, lambda: refused(settings.home))
        self._app = create_app(settings, catalog, model, engines)
        self._listener = Listener(self._app, settings.host, settings.serve_port)
        self._listener.start()
        self._watch = Watch(settings.home, app, model.version, self._follow)
        self._watch.start()

    def adopt(self, model: ModelInfo) -> None:
        """The engines serve this model from now on."""
        self._app.state.service.adopt(model)

    def _follow(self, served: dict[str, Any]) -> None:
        self.adopt(ModelInfo.of(served["model"]))

    def check_health(self) -> None:
        """Ray Serve replaces the replica when this raises."""
        if not self._listener.is_serving:
            raise RuntimeError("the gateway's HTTP server has ended")

    def __del__(self) -> None:
        # Ray Serve calls this when it replaces the replica: the next one needs the address.
        if hasattr(self, "_watch"):
            self._watch.stop()
        if hasattr(self, "_listener"):
            self._listener.stop()


class EngineReplica:
    """Holds the model, and the thread that works through the jobs."""

    def __init__(self, settings: Settings, version: str, bundle: Path, app: str) -> None:
        from serving.fleet import Fleet, Tap
        from serving.provenance import Provenance

        # For all threads that begin after this: what answers users beside it, the gateway above
        # all, comes first, and what the engine computes takes nearly as long.
        os.nice(NICENESS)
        logging.basicConfig(level=logging.INFO)
        redact_logs()
        trace_logs()
        self._settings, self._app, self._threads = settings, app, settings.cpu_count
        self._is_alone = settings.max_engines == 1
        self._rest = scaling.Rest(_kept_s(settings) / 2)
        catalog = Catalog(settings.catalog_url)
        catalog.migrate()
        tracing, media = Tracing(settings), settings.media_dir
        self._store = JobStore(catalog, media, settings.media_ttl_s)
        fleet = Fleet(
            lambda: Tap(catalog, media, settings.media_ttl_s, tracing=tracing),
            Provenance(settings).seal,
            share_s=math.inf if self._is_alone else settings.engine_backlog_s,
            on_taken_back=self._take_back,
        )
        if served := read_served(settings.home, app):
            version, bundle = served["version"], Path(served["bundle"])
        fleet.swap(self._loader(version, bundle), version)
        self._engine = fleet
        self._watch = Watch(settings.home, app, version, self._follow)
        self._watch.start()

    async def swap(self, version: str, bundle: Path) -> None:
        """Load the bundle beside what runs, and give it the jobs that come.

        Raises:
            InputError: it is damaged, or fails its canary; nothing has changed.
        """
        # On a thread of its own: this one answers the gateway.
        await asyncio.to_thread(self._swap, version, bundle)

    def _swap(self, version: str, bundle: Path) -> None:
        if self._engine.version != version:
            self._engine.swap(self._loader(version, bundle), version)

    def _follow(self, served: dict[str, Any]) -> None:
        """Serve what the others do: this replica was started, or another one took a version back,
        between the calls of a deployment."""
        self._swap(served["version"], Path(served["bundle"]))

    def _take_back(self, version: str, reason: str) -> None:
        take_back(self._settings.home, self._app, version, reason)

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

    async def ended(self, job_id: str, within_s: float, *, follows: bool = False) -> bool:
        """True when work on the job has ended here, or after `within_s`.

        False when another engine may have it: at once, so that nobody waits for this one.
        """
        if self._is_alone or self._engine.has(job_id):
            await self._engine.ended(job_id, within_s, follows=follows)
            return True
        return await self._engine.ended(job_id, 0.0, follows=follows)

    def health(self) -> dict[str, Any]:
        return self._engine.health()

    def check_health(self) -> None:
        """Ray Serve replaces the replica when this raises."""
        if not self._engine.health()["healthy"]:
            raise RuntimeError("the engine's thread has ended")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `serving.scaling` goes by; Ray Serve asks where there may be several engines."""
        return await asyncio.to_thread(self._stats)

    def _stats(self) -> dict[str, float]:
        settings = self._settings
        admission = Admission(queue_device_s=settings.queue_device_s)
        queued_s = self._store.look(admission.queued_s)
        wanted = scaling.engines_for(queued_s, settings.engine_backlog_s, settings.max_engines)
        rank = serve.get_replica_context().rank
        self._engine.rest(on=rank is not None and self._rest.look(rank.rank, wanted))
        busy = self._engine.health()["busy"] is not None
        return {scaling.QUEUED: queued_s, scaling.BUSY: float(busy)}

    def __del__(self) -> None:
        # Ray Serve calls this when it replaces the replica: a job under way is given back.
        if hasattr(self, "_watch"):
            self._watch.stop()
        if hasattr(self, "_engine"):
            self._engine.stop()


def application(settings: Settings, model: ModelInfo, bundle: Path, app: str) -> serve.Application:
    """The application that serves the bundle in folder `bundle` as `model`, until it is swapped.

    `app` names this start of it.
    """
    engine = _deployment(ENGINE, _engine_actor(settings), **_engines(settings))(EngineReplica)
    gateway = _deployment("Gateway", _gateway_actor(), num_replicas=1)(Gateway)
    return gateway.bind(settings, model, app, engine.bind(settings, model.version, bundle, app))


def _gateway_actor() -> dict[str, Any]:
    # The settings' address is one of the head node's.
    return {"num_cpus": CPUS, "resources": {HEAD: 0.001}}


def _engine_actor(settings: Settings) -> dict[str, Any]:
    variables = {
        # Ray would set one thread for a replica that reserves less than one CPU.
        "OMP_NUM_THREADS": str(settings.cpu_count),
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": str(REPORT_S),
    }
    reserved = {"num_cpus": CPUS, "num_gpus": settings.engine_gpus}
    return {**reserved, "runtime_env": {"env_vars": variables}}


def _engines(settings: Settings) -> dict[str, Any]:
    """One, or as many as the backlog asks for."""
    if settings.max_engines == 1:
        return {"num_replicas": 1}
    policy = AutoscalingPolicy(  # type: ignore[no-untyped-call]
        policy_function=scaling.BacklogPolicy,
        policy_kwargs={
            "backlog_s": settings.engine_backlog_s,
            "max_engines": settings.max_engines,
        },
    )
    scaled = AutoscalingConfig(
        min_replicas=1,
        max_replicas=settings.max_engines,
        upscale_delay_s=SCALE_UP_AFTER_S,
        downscale_delay_s=_kept_s(settings),
        look_back_period_s=6 * REPORT_S,
        policy=policy,
    )
    return {"autoscaling_config": scaled}


def _kept_s(settings: Settings) -> float:
    """An engine that is one too many is kept as long as the backlog that would start it again."""
    return max(LEAST_KEPT_S, settings.engine_backlog_s)


def _deployment(
    name: str, actor: dict[str, Any], **replicas: Any
) -> Callable[[type], serve.Deployment]:
    deployment: Callable[[type], serve.Deployment] = serve.deployment(
        name=name,
        max_ongoing_requests=MAX_ONGOING,
        ray_actor_options=actor,
        health_check_period_s=5,
        graceful_shutdown_wait_loop_s=0.2,
        max_constructor_retry_count=2,
        **replicas,
    )
    return deployment


def start_serve() -> None:
    """Start Ray Serve without its own HTTP server; does nothing when it runs."""
    serve.start(proxy_location="Disabled")
