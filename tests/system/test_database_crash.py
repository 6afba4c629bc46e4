"""The database dies under a server that works: no job is lost, none ends twice."""

import time
from pathlib import Path

import openai
import pytest

from infra.catalog import Catalog
from serving.jobs import JobStore
from tests.contracts.server import serving
from tests.postgres import postgres

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


def test_jobs_survive_a_crash_of_the_database(tmp_path: Path) -> None:
    with (
        postgres() as url,
        serving(tmp_path, 0.05, REEL_CATALOG_URL=url) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=5) as client,
    ):
        running = client.videos.create(prompt="a", seconds="1", extra_body={"steps": 60})
        waiting = client.videos.create(prompt="b", seconds="1")
        while client.videos.retrieve(running.id).progress < 10:
            time.sleep(0.05)
        url.restart()
        for video in (running, waiting):
            ended = client.videos.poll(video.id)
            assert (ended.status, ended.error) == ("completed", None)
        catalog = Catalog(url)
        store = JobStore(catalog, tmp_path / "media", 3600)
        for video in (running, waiting):
            log = [event.type for event in store.events(video.id)]
            assert log.count("completed") == 1 and log[-1] == "completed"
        catalog.close()
