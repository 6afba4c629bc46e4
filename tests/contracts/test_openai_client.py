"""The unmodified openai client, in two majors, against a real server; and a server that dies."""

import io
import signal
import time

import av
import openai
import pytest

from tests.contracts import openai_cases, openai_contract
from tests.contracts.server import serving

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


@pytest.fixture(scope="module", params=openai_contract.MAJORS)
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    return openai_contract.run(request.param, tmp_path_factory.mktemp("serving"))


@pytest.mark.parametrize("case", [case.__name__ for case in openai_cases.CASES])
def test_client(results: dict[str, str], case: str) -> None:
    assert results[case] == "", results[case]


def num_frames(data: bytes) -> int:
    with av.open(io.BytesIO(data)) as container:
        return sum(1 for _ in container.decode(container.streams.video[0]))


def test_jobs_survive_a_killed_server(tmp_path):
    with (
        serving(tmp_path, 0.1) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", timeout=30) as client,
    ):
        running = client.videos.create(prompt="a", seconds="1", extra_body={"steps": 30, "seed": 7})
        waiting = client.videos.create(prompt="b", seconds="1")
        while client.videos.retrieve(running.id).progress < 20:
            time.sleep(0.05)
        server.stop(signal.SIGKILL)
        server.start()
        for video in (running, waiting):
            video = client.videos.poll(video.id)
            assert (video.status, video.error) == ("completed", None)
            assert num_frames(client.videos.download_content(video.id).read()) == 8
        media = tmp_path / "media" / running.id
        names = ["spritesheet-2.jpeg", "thumbnail-2.webp", "video-2.mp4"]
        assert sorted(path.name for path in media.iterdir()) == names
