"""OpenTelemetry: one trace from the request that asked for a job to the end of that job.

    tracing = Tracing(settings)         # in the gateway and in the engine, each its own

A job's row keeps the W3C `traceparent` of its request, so whichever process ends the job can go on
with the trace. Every job has a trace id, also where nothing is exported; logs name it.
"""

import json
import logging
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.catalog_models import GenerationJob, utc_now
from infra.errors import InputError
from infra.settings import Settings

TRACES = "traces.jsonl"
EXPORT_EVERY_MS = 1000
PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans and hands them to the settings' exporter; `Tracing()` exports nothing."""

    def __init__(self, settings: Settings | None = None, exporter: SpanExporter | None = None):
        if exporter is None and settings is not None:
            exporter = _exporter(settings)
        self._provider = TracerProvider(
            sampler=ALWAYS_OFF if exporter is None else DEFAULT_ON,
            resource=Resource({"service.name": "reelwright"}),
            shutdown_on_exit=exporter is not None,
        )
        if exporter is not None:
            processor = BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_EVERY_MS)
            self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("reelwright")

    def close(self) -> None:
        """Export what has ended, and stop; returns when it is out."""
        self._provider.shutdown()

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """The span of a request, within the caller's trace if it names one."""
        parent = PROPAGATOR.extract(headers, context=Context())
        # The text of an exception may quote a request: it stays out of spans as out of logs.
        with self._tracer.start_as_current_span(
            method, parent, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span

    def ended(self, job: GenerationJob, outcome: str, timings: Mapping[str, float]) -> None:
        """The spans of an attempt at a job that ends now: its wait, its sampling, its encoding."""
        now, began = utc_now(), job.started_at or utc_now()
        facts: dict[str, str | int | float] = {
            "reel.job.id": job.id,
            "reel.job.kind": job.kind,
            "reel.job.attempt": job.attempt,
            "reel.job.outcome": outcome,
            "reel.job.size": job.size,
            "reel.job.seconds": job.seconds,
            "reel.model.version": job.model_version,
        }
        span = self._tracer.start_span(
            f"job {job.kind}",
            _parent(job),
            SpanKind.CONSUMER,
            facts,
            start_time=_nanoseconds(job.created_at),
        )
        if outcome not in ("completed", "released"):
            span.set_status(Status(StatusCode.ERROR, outcome))
        inner = trace.set_span_in_context(span, Context())
        self._span("queue", inner, job.created_at, began)
        for name in ("sample", "encode"):
            if seconds := timings.get(f"{name}_s"):
                ends = min(began + timedelta(seconds=seconds), now)
                self._span(name, inner, began, ends)
                began = ends
        span.end(_nanoseconds(now))

    def _span(self, name: str, inner: Context, start: datetime, end: datetime) -> None:
        span = self._tracer.start_span(name, inner, start_time=_nanoseconds(start))
        span.end(_nanoseconds(end))


def _exporter(settings: Settings) -> SpanExporter | None:
    if settings.traces == "off":
        return None
    if settings.traces == "console":
        return ConsoleSpanExporter(out=sys.stderr, formatter=_line)
    if settings.traces == "file":
        path = settings.home / "logs" / TRACES
        path.parent.mkdir(parents=True, exist_ok=True)
        # Line by line: several processes append to it.
        return ConsoleSpanExporter(out=path.open("a", buffering=1), formatter=_line)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # type: ignore[import-not-found]
            OTLPSpanExporter,
        )
    except ImportError as error:
        raise InputError(
            "REEL_TRACES=otlp needs the package opentelemetry-exporter-otlp-proto-http; "
            "install it, or use REEL_TRACES=file"
        ) from error
    exporter: SpanExporter = OTLPSpanExporter(endpoint=settings.traces_endpoint)
    return exporter


def _line(span: ReadableSpan) -> str:
    return json.dumps(json.loads(span.to_json())) + "\n"


def traceparent() -> str:
    """The W3C traceparent of what runs here now; a new trace where none does."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier)
    new = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    return carrier.get("traceparent", new)


def trace_id(job: GenerationJob) -> str | None:
    """32 hex digits; None for jobs of earlier releases."""
    known = str(job.params.get("traceparent", ""))
    return known[3:35] or None


@contextmanager
def working(job: GenerationJob) -> Iterator[None]:
    """What is logged inside belongs to the job's trace."""
    token = context.attach(_parent(job))
    try:
        yield
    finally:
        context.detach(token)


def _parent(job: GenerationJob) -> Context:
    carrier: dict[str, Any] = {"traceparent": job.params.get("traceparent", "")}
    return PROPAGATOR.extract(carrier, context=Context())


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1e9)


class TraceIds(logging.Filter):
    """Adds the trace id to records that are made within a trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        known = trace.get_current_span().get_span_context()
        if known.is_valid:
            record.msg, record.args = f"{record.getMessage()} trace={known.trace_id:032x}", ()
        return True


def trace_logs() -> None:
    """Let the root logger's handlers name the trace."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, TraceIds) for each in handler.filters):
            handler.addFilter(TraceIds())


class Traced:
    """A span for every request, under the route that answered it."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self.app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        with self._tracing.request(scope["method"], headers) as span:

            async def send_noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note(span, scope, message["status"])
                await send(message)

            await self.app(scope, receive, send_noted)


def _note(span: Span, scope: Scope, status: int) -> None:
    route = getattr(scope.get("route"), "path", "(none)")
    span.update_name(f"{scope['method']} {route}")
    span.set_attributes(
        {
            "http.request.method": scope["method"],
            "http.route": route,
            "http.response.status_code": status,
        }
    )
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
