"""A server of the fake model, as its own process: `python serving_server.py HOME PORT STEP_S`."""

import logging
import sys
from pathlib import Path

import uvicorn
from serving_fakes import FPS, FakeGenerator, LocalEngine

from infra.catalog import Catalog
from infra.settings import Settings
from serving.api import create_app
from serving.engine import Engine
from serving.jobs import JobStore
from serving.outbox import Backoff
from serving.provenance import Provenance
from serving.redaction import redact_logs
from serving.service import ModelInfo
from serving.tracing import Tracing, trace_logs


def main(home: str, port: str, step_s: str) -> None:
    logging.basicConfig(level=logging.INFO)
    redact_logs()
    trace_logs()
    settings = Settings(home=Path(home))
    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    store = JobStore(catalog, settings.media_dir, settings.media_ttl_s, tracing=Tracing(settings))
    seal = Provenance(settings).seal
    engine = Engine(store, lambda: FakeGenerator(float(step_s)), "3", seal=seal)
    engine.start()
    model = ModelInfo(version="3", size=(96, 64), fps=FPS)
    soon = Backoff(first_s=0.2)
    app = create_app(settings, catalog, model, LocalEngine(engine), backoff=soon)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
