"""Real Ray Serve: a model goes from a folder to an answered request, and is swapped under load."""

import io
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import av
import openai
import pytest
import torch

from infra.catalog import Catalog
from infra.errors import InputError
from infra.ray_jobs import Job, RayJobs
from infra.settings import Settings
from modeling.bundle import save_bundle
from modeling.dit import DiT
from modeling.recipes import tiny
from modeling.text import TextEncoder, Tokenizer
from modeling.vae import VideoVAE
from serving.jobs import JobStore

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


def make_bundle(settings: Settings, version: str) -> None:
    """An untrained model where a downloaded version would be."""
    torch.manual_seed(int(version))
    recipe = tiny()
    tokenizer = Tokenizer(["a", "red", "circle"], 8)
    text = TextEncoder(len(tokenizer), recipe.dit.config.text_width)
    folder = settings.home / "models" / version
    vae, dit = VideoVAE(recipe.vae.config), DiT(recipe.dit.config)
    save_bundle(folder, recipe, vae, dit, text, tokenizer, {})


@pytest.fixture(scope="module")
def jobs(ray_head: Settings, catalog: Catalog) -> RayJobs:
    """What they deploy may have two engines."""
    scaled = ray_head.model_copy(update={"max_engines": 2, "engine_backlog_s": 2.0})
    return RayJobs(scaled, catalog)


@pytest.fixture(scope="module")
def client(ray_head: Settings) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{ray_head.serve_url}/v1", api_key="any") as client:
        yield client


def deploy(jobs: RayJobs, version: str) -> dict:
    spec = {"version": version}
    job = Job(step="deploy", module="serving.job", spec=spec, flow_run_id=str(uuid4()))
    return jobs.ensure(job)


def health(settings: Settings) -> dict[str, Any]:
    with urllib.request.urlopen(f"{settings.serve_url}/healthz", timeout=10) as reply:
        return json.load(reply)


def served(settings: Settings) -> str:
    return health(settings)["version"]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_deploy_generate_swap_and_refuse(ray_head, jobs, client):
    for version in ("3", "4", "5"):
        make_bundle(ray_head, version)
    result = deploy(jobs, "3")
    assert result == {"version": "3", "healthy": True, "url": ray_head.serve_url}

    video = client.videos.create_and_poll(prompt="a red circle", seconds="1", size="96x64")
    assert (video.status, video.model_extra["x_model_version"]) == ("completed", "3")
    with av.open(io.BytesIO(client.videos.download_content(video.id).read())) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    again = client.videos.with_raw_response.retrieve(video.id)
    assert len(again.headers.get_list("x-request-id")) == 1

    # The swap: a job under way and one that waits both end, once.
    long = client.videos.create(
        prompt="a", seconds="1", size="96x64", extra_body={"steps": 500, "seed": 1}
    )
    waiting = client.videos.create(prompt="a", seconds="1", size="96x64")
    while client.videos.retrieve(long.id).status != "in_progress":
        time.sleep(0.05)
    assert deploy(jobs, "4")["version"] == served(ray_head) == "4"
    assert client.models.retrieve("reel-generator").model_extra["x_version"] == "4"
    after = client.videos.create(prompt="a", seconds="1", size="96x64")
    for each, version in ((long, "3"), (waiting, None), (after, "4")):
        ended = client.videos.poll(each.id)
        assert (ended.status, ended.error) == ("completed", None)
        # What was under way ended on the version that began it.
        assert version in (None, ended.model_extra["x_model_version"])

    # A damaged bundle: refused before anything that runs is touched.
    weights = ray_head.home / "models" / "5" / "dit.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(InputError, match="hash"):
        deploy(jobs, "5")
    assert served(ray_head) == "4"


def test_a_backlog_starts_a_second_engine_and_jobs_are_cancelled_on_either(ray_head, client):
    store = JobStore(Catalog(ray_head.catalog_url), ray_head.media_dir, 3600)
    jobs = [
        client.videos.create(prompt="a", seconds="30", size="96x64", extra_body={"steps": 500})
        for _ in range(2)
    ]
    rows = [job.id for job in jobs]
    # One engine has its share with the first of them; the other is started for the second.
    until(lambda: {row.status for row in store.some(rows).values()} == {"in_progress"})
    owners = {row.lease_owner for row in store.some(rows).values()}
    assert len(owners) == 2
    until(lambda: health(ray_head)["versions"] == {"4": 2})
    assert health(ray_head)["under_way"] == 2
    for job in jobs:
        client.post(f"/videos/{job.id}/cancel", cast_to=object)
    until(lambda: health(ray_head)["under_way"] == 0)
