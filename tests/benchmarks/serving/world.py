"""Engines and servers over the demo's model, each in a home of its own."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.catalog import Catalog
from infra.catalog_models import GenerationJob
from infra.settings import Settings
from modeling.bundle import load_bundle
from modeling.generate import Generator
from serving.engine import Engine
from serving.happenings import ENDS
from serving.jobs import JobStore, new_job_id
from serving.previewer import PreviewRecipe
from tests.benchmarks.model.demo_model import newest

PROMPT = "a large red circle moving left on a dark background"
ROOT = Path(__file__).parents[3]
PATIENCE_S = 1800.0


@contextmanager
def new_store() -> Iterator[JobStore]:
    """A store in a home that goes away."""
    with tempfile.TemporaryDirectory(prefix="reel-bench-") as folder:
        settings = Settings(home=Path(folder))
        catalog = Catalog(settings.catalog_url)
        catalog.migrate()
        yield JobStore(catalog, settings.media_dir, settings.media_ttl_s)
        catalog.close()


@contextmanager
def engine_here(
    store: JobStore,
    make: Callable[[Any], Generator] = Generator,
    previews: PreviewRecipe = PreviewRecipe(),  # noqa: B008 - frozen
) -> Iterator[tuple[Engine, Generator]]:
    """An engine of this process; `make` makes its generator of the bundle."""
    import torch

    made: list[Generator] = []

    def load() -> Generator:
        torch.set_num_threads(Settings().cpu_count)
        made.append(make(load_bundle(newest())))
        return made[0]

    engine = Engine(store, load, "1", previews=previews)
    engine.start()
    try:
        yield engine, made[0]
    finally:
        engine.stop()


def queue(
    store: JobStore, seed: int, seconds: float = 0, *, steps: int = 0, size: str = "64x48"
) -> GenerationJob:
    """Queue a video, or a picture of no seconds."""
    params = {"seed": seed, "steps": steps, "guidance": 0.0, "negative_prompt": ""}
    if not seconds:
        params |= {"n": 1, "output_format": "png", "output_compression": 90}
    kind = "video" if seconds else "image"
    job = GenerationJob(
        id=new_job_id(kind), kind=kind, prompt=PROMPT, params=params, size=size, seconds=seconds
    )
    store.folder(job.id).mkdir(parents=True)
    return store.submit(job)[0]


def wait(store: JobStore, jobs: list[GenerationJob]) -> list[GenerationJob]:
    """The jobs once all have ended."""
    deadline = time.monotonic() + PATIENCE_S
    while any(store.get(job.id).status not in ENDS for job in jobs):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(jobs)} jobs did not end in {PATIENCE_S:.0f} s")
        time.sleep(0.005)
    return [store.get(job.id) for job in jobs]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Server:
    """A server process and where it is."""

    process: "subprocess.Popen[bytes]"
    url: str
    store: JobStore


@contextmanager
def server(**settings: str) -> Iterator[Server]:
    """Gateway and engine in one process, without Ray; `settings` are REEL_ variables."""
    with new_store() as store:
        port = free_port()
        command = [sys.executable, "-m", "tests.benchmarks.serving.server"]
        arguments = [str(store.media_dir.parent), str(port), str(newest())]
        process = subprocess.Popen([*command, *arguments], cwd=ROOT, env=os.environ | settings)
        try:
            url = f"http://127.0.0.1:{port}"
            until_healthy(url, lambda: process.poll() is None)
            yield Server(process, url, store)
        finally:
            process.kill()
            process.wait()


@dataclass
class Deployed:
    """The application on a Ray cluster of its own, where it is and its jobs."""

    url: str
    store: JobStore
    deploy: Callable[[str], None]
    """Deploys the same weights as another version."""


@contextmanager
def deployed(catalog_url: str = "") -> Iterator[Deployed]:
    """The demo's model, served as it is from a home that goes away."""
    import ray
    from ray import serve

    from serving.app import start_serve
    from serving.job import deploy, describe

    with tempfile.TemporaryDirectory(prefix="reel-bench-") as folder:
        settings = Settings(home=Path(folder), serve_port=free_port(), catalog_url=catalog_url)
        catalog = Catalog(settings.catalog_url)
        catalog.migrate()
        store = JobStore(catalog, settings.media_dir, settings.media_ttl_s)
        ray.init(num_cpus=settings.cpu_count, include_dashboard=False, log_to_driver=False)
        try:
            start_serve()

            def serve_version(version: str) -> None:
                deploy(settings, describe(newest(), version), newest())

            serve_version("1")
            yield Deployed(settings.serve_url, store, serve_version)
        finally:
            serve.shutdown()
            ray.shutdown()
            catalog.close()


def until_healthy(url: str, is_alive: Callable[[], bool] = lambda: True) -> None:
    """Return when the server answers that it is healthy."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and is_alive():
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=10):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"no server answers at {url}")


def call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON that an address answers; with a body it is a POST of JSON."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        found: dict[str, Any] = json.load(reply)
    return found
