"""/metrics in Prometheus' format: requests of this process, and the state of all jobs from SQL."""

import time
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.catalog_models import GenerationJob, Usage, WebhookDelivery, utc_now
from serving.admission import Admission
from serving.jobs import JobStore
from serving.leases import engines_at_work

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 1, 5, 30, 120)


class Metrics:
    """The registry of one app."""

    def __init__(self, store: JobStore, admission: Admission) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Jobs(store, admission))
        labels = ["method", "route", "status"]
        self.requests = Counter(
            "reel_http_requests", "Requests answered", labels, registry=self.registry
        )
        self.seconds = Histogram(
            "reel_http_request_seconds",
            "From a request to the start of its answer",
            ["method", "route"],
            buckets=SECONDS,
            registry=self.registry,
        )

    def page(self) -> bytes:
        return generate_latest(self.registry)


class _Jobs(Collector):
    def __init__(self, store: JobStore, admission: Admission) -> None:
        self._store, self._admission = store, admission

    def describe(self) -> list[Metric]:
        return []  # or registration would already read SQL

    def collect(self) -> Iterator[Metric]:
        facts: dict[str, Any] = self._store.look(self._facts)
        jobs = GaugeMetricFamily("reel_jobs", "Jobs kept", labels=["kind", "status"])
        for (kind, status), number in facts["jobs"].items():
            jobs.add_metric([kind, status], number)
        yield jobs
        yield GaugeMetricFamily(
            "reel_queued_device_seconds", "Estimated device time that waits", facts["queued_s"]
        )
        yield GaugeMetricFamily("reel_engines_at_work", "Engines that have jobs", facts["engines"])
        yield GaugeMetricFamily(
            "reel_oldest_queued_seconds", "Age of the oldest queued job", facts["oldest_s"]
        )
        yield GaugeMetricFamily(
            "reel_device_seconds_used", "Device time charged since the beginning", facts["used_s"]
        )
        yield GaugeMetricFamily(
            "reel_webhooks_pending", "Webhook deliveries in the outbox", facts["webhooks"]
        )

    def _facts(self, session: Any) -> dict[str, Any]:
        kinds = select(GenerationJob.kind, GenerationJob.status, func.count())
        kinds = kinds.group_by(GenerationJob.kind, GenerationJob.status)
        oldest = session.scalar(
            select(func.min(GenerationJob.created_at)).where(GenerationJob.status == "queued")
        )
        waiting = select(func.count()).where(WebhookDelivery.ended_at.is_(None))
        return {
            "jobs": {(kind, status): number for kind, status, number in session.execute(kinds)},
            "engines": engines_at_work(session),
            "queued_s": self._admission.queued_s(session),
            "oldest_s": (utc_now() - oldest).total_seconds() if oldest else 0.0,
            "used_s": float(session.scalar(select(func.sum(Usage.device_s))) or 0.0),
            "webhooks": session.scalar(waiting) or 0,
        }


class Measured:
    """Counts each request under the route that answered it, never under its path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        before = time.monotonic()

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "(none)")
                method = scope["method"] if route != "(none)" else "(any)"
                self._metrics.requests.labels(method, route, message["status"]).inc()
                self._metrics.seconds.labels(method, route).observe(time.monotonic() - before)
            await send(message)

        await self.app(scope, receive, send_counted)
