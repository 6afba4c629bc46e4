"""The unmodified openai client against a real server: every call, its errors, its retries."""

import base64
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import openai
import pytest
from PIL import Image

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

SCRIPT = Path(__file__).parents[1] / "serving_server.py"


class Server:
    """A server process on a folder; it can be killed and started again on the same port."""

    def __init__(self, home: Path, step_s: float) -> None:
        self.home, self.step_s = home, step_s
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key="any", timeout=30
        )

    def start(self) -> None:
        command = [sys.executable, str(SCRIPT), str(self.home), str(self.port), str(self.step_s)]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self.client.models.list()
                return
            except openai.APIConnectionError:
                assert self.process.poll() is None, "the server ended"
                time.sleep(0.1)
        raise AssertionError("the server does not answer")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        os.kill(self.process.pid, how)
        self.process.wait(30)


@contextmanager
def serving(home: Path, step_s: float) -> Iterator[Server]:
    server = Server(home, step_s)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)
        server.client.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[openai.OpenAI]:
    with serving(tmp_path_factory.mktemp("serving"), 0.01) as server:
        yield server.client


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def num_frames(data: bytes) -> int:
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        return sum(1 for _ in container.decode(stream))


def test_create_poll_download(client):
    video = client.videos.create(prompt="a red ball", seconds="4", size="1280x720", model="sora-2")
    assert (video.object, video.status in ("queued", "in_progress")) == ("video", True)
    assert (video.seconds, video.size, video.model) == ("4", "1280x720", "reel-generator")
    video = client.videos.poll(video.id)
    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    assert num_frames(client.videos.download_content(video.id).read()) == 32
    thumbnail = client.videos.download_content(video.id, variant="thumbnail").read()
    assert Image.open(io.BytesIO(thumbnail)).format == "WEBP"


def test_create_and_poll_with_a_picture_and_extra_fields(client):
    video = client.videos.create_and_poll(
        prompt="go on",
        seconds="1",
        size="96x64",
        input_reference=("first.png", picture(), "image/png"),
        extra_body={"seed": 5, "guidance": 2.5, "steps": 3, "negative_prompt": "blur"},
    )
    assert (video.status, video.model_extra["x_seed"]) == ("completed", 5)


def test_a_picture_as_a_data_url_in_extra_body(client):
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    video = client.videos.create(
        prompt="a", seconds="1", extra_body={"input_reference": {"image_url": url}}
    )
    assert client.videos.poll(video.id).status == "completed"


def test_extend_by_file_and_by_id(client):
    first = client.videos.create_and_poll(prompt="a", seconds="1", size="96x64")
    clip = client.videos.download_content(first.id).read()
    by_file = client.videos.extend(prompt="on", seconds="1", video=("clip.mp4", clip, "video/mp4"))
    by_id = client.videos.extend(
        prompt="before",
        seconds="1",
        video=openai.omit,
        extra_body={"video": {"id": first.id}, "direction": "backward"},
    )
    for video in (by_file, by_id):
        video = client.videos.poll(video.id)
        assert (video.status, video.seconds, video.size) == ("completed", "2", "96x64")
        assert num_frames(client.videos.download_content(video.id).read()) == 16


def test_list_pages_through_everything(client):
    made = [client.videos.create(prompt=f"number {n}", seconds="1").id for n in range(3)]
    seen = [video.id for video in client.videos.list(limit=2)]
    assert seen[:3] == made[::-1] and len(seen) == len(set(seen))
    oldest_first = [video.id for video in client.videos.list(limit=2, order="asc")]
    assert oldest_first == seen[::-1]
    page = client.videos.list(limit=2, after=made[1])
    assert page.data[0].id == made[0]


def test_retrieve_and_delete(client):
    video = client.videos.create(prompt="a", seconds="1")
    assert client.videos.retrieve(video.id).id == video.id
    deleted = client.videos.delete(video.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (video.id, True, "video.deleted")
    with pytest.raises(openai.NotFoundError) as error:
        client.videos.retrieve(video.id)
    assert (error.value.code, error.value.param) == ("not_found", "video_id")
    assert error.value.request_id.startswith("req_")


def test_images(client):
    reply = client.images.generate(
        prompt="a", n=2, size="64x64", output_format="webp", model="gpt-image-1", quality="low"
    )
    pictures = [Image.open(io.BytesIO(base64.b64decode(item.b64_json))) for item in reply.data]
    assert [(p.format, p.size) for p in pictures] == [("WEBP", (64, 64))] * 2
    assert (reply.size, reply.output_format) == ("64x64", "webp")


def test_models(client):
    (model,) = client.models.list().data
    assert client.models.retrieve(model.id).id == "reel-generator"


@pytest.mark.parametrize(
    ("call", "param"),
    [
        (lambda c: c.videos.create(prompt=""), "prompt"),
        (lambda c: c.videos.create(prompt="a", size="1x1"), "size"),
        (lambda c: c.videos.create(prompt="a", seconds="600"), "seconds"),
        (lambda c: c.videos.create(prompt="a", model="other"), "model"),
        (lambda c: c.videos.create(prompt="a", input_reference=b"junk"), "input_reference"),
        (lambda c: c.videos.extend(prompt="a", seconds="4", video=b"junk"), "video"),
        (lambda c: c.images.generate(prompt="a", size="big"), "size"),
    ],
)
def test_wrong_requests_raise_bad_request(client, call, param):
    with pytest.raises(openai.BadRequestError) as error:
        call(client)
    assert error.value.param == param and error.value.code
    assert error.value.type == "invalid_request_error" and error.value.message


def test_content_before_the_end_is_not_asked_for_again(client):
    """A 409 would be repeated by the client, three times."""
    video = client.videos.create(prompt="a", seconds="1", extra_body={"steps": 100})
    with pytest.raises(openai.BadRequestError) as error:
        client.videos.download_content(video.id)
    assert error.value.code == "video_not_ready"
    client.videos.delete(video.id)


def test_a_repeated_request_is_one_job(client):
    before = len(list(client.videos.list()))
    keyed = [
        client.videos.create(prompt="k", seconds="1", extra_headers={"Idempotency-Key": "k1"}).id
        for _ in range(2)
    ]
    first = client.videos.create(prompt="r", seconds="1", input_reference=picture())
    # What the client sends when the answer to its first try was lost on the way.
    again = client.videos.create(
        prompt="r",
        seconds="1",
        input_reference=picture(),
        extra_headers={"x-stainless-retry-count": "1"},
    )
    assert keyed[0] == keyed[1] and first.id == again.id
    assert len(list(client.videos.list())) == before + 2


def test_jobs_survive_a_killed_server(tmp_path):
    with serving(tmp_path, 0.1) as server:
        client = server.client
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
        assert sorted(path.name for path in media.iterdir()) == ["thumbnail-2.webp", "video-2.mp4"]
