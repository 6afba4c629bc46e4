"""Gateway and engine in one process: `python -m tests.benchmarks.serving.server HOME PORT BUNDLE`.

With port 0 it is an engine alone, which says "ready" and works until it is killed.
"""

import sys
import threading
from pathlib import Path

import torch
import uvicorn

from infra.catalog import Catalog
from infra.settings import Settings
from modeling.bundle import load_bundle
from modeling.generate import Generator
from serving.api import create_app
from serving.engine import Engine
from serving.job import describe
from serving.jobs import JobStore
from serving.service import ModelInfo
from tests.serving_fakes import LocalEngine


def main(home: str, port: str, bundle: str) -> None:
    settings = Settings(home=Path(home))
    catalog = Catalog(settings.catalog_url)
    store = JobStore(catalog, settings.media_dir, settings.media_ttl_s)

    info: list[ModelInfo] = []

    def load() -> Generator:
        torch.set_num_threads(settings.cpu_count)
        info.append(describe(Path(bundle), "1"))  # it computes, which only this thread should
        return Generator(load_bundle(Path(bundle)))

    engine = Engine(store, load, "1")
    engine.start()
    if port == "0":
        print("ready", flush=True)
        threading.Event().wait()
    app = create_app(settings, catalog, info[0], LocalEngine(engine))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
