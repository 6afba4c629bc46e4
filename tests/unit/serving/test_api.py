"""The HTTP API over a store, an engine and a fake model."""

import base64
import io
import json
import threading
import time

import anyio
import av
import numpy as np
import pytest
from PIL import Image
from serving_fakes import FPS

from serving.wire import BodyCap


def png(width=64, height=48, colour=(10, 200, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def frames_of(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def create(world, **fields):
    reply = world.client.post("/v1/videos", json={"prompt": "a red ball"} | fields)
    assert reply.status_code == 200, reply.text
    return reply.json()


def content(world, video_id, variant="video") -> bytes:
    reply = world.client.get(f"/v1/videos/{video_id}/content", params={"variant": variant})
    assert reply.status_code == 200, reply.text
    return reply.content


def test_a_video_from_words_to_a_file_that_plays(world):
    reply = world.client.post(
        "/v1/videos", json={"prompt": "a red ball", "seconds": "2", "size": "96x64", "seed": 7}
    )
    video = reply.json()
    assert video["object"] == "video" and video["status"] in ("queued", "in_progress")
    assert (video["seconds"], video["size"], video["x_seed"]) == ("2", "96x64", 7)
    assert 100 <= int(reply.headers["openai-poll-after-ms"]) <= 2000
    video = world.finish(video["id"])
    assert (video["status"], video["progress"], video["error"]) == ("completed", 100, None)
    assert video["created_at"] <= video["completed_at"] < video["expires_at"]
    assert video["x_timings"]["sample_s"] >= 0 and video["x_timings"]["total_s"] > 0
    data = content(world, video["id"])
    assert frames_of(data).shape == (round(2 * FPS), 64, 96, 3)
    assert data.index(b"moov") < data.index(b"mdat")  # faststart: plays while it loads
    thumbnail = Image.open(io.BytesIO(content(world, video["id"], "thumbnail")))
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (96, 64))


def test_the_request_reaches_the_model_as_it_was_made(world):
    video = create(
        world, seed=5, steps="7", guidance="2.5", negative_prompt="blur", size="64x96", seconds=1
    )
    world.finish(video["id"])
    (request,) = world.generator.requests
    assert (request.prompt, request.negative_prompt) == ("a red ball", "blur")
    assert (request.seed, request.steps, request.guidance) == (5, 7, 2.5)
    assert (request.width, request.height, request.given) == (32, 48, None)


def test_another_frame_rate_shows_the_same_moments(world):
    video = create(world, fps=16, seconds=1, size="48x32")
    world.finish(video["id"])
    frames = frames_of(content(world, video["id"]))
    levels = frames[:, 16, 24, 1].astype(int)
    assert len(frames) == 16
    assert np.abs(levels[0::2] - levels[1::2]).max() <= 3
    assert (np.diff(levels[0::2]) > 8).all()


@pytest.mark.parametrize("how", ["file", "bracket", "json"])
def test_a_picture_becomes_the_first_frame(world, how):
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    if how == "file":
        reply = world.client.post(
            "/v1/videos", data={"prompt": "a"}, files={"input_reference": ("../../x.png", png())}
        )
    elif how == "bracket":
        reply = world.client.post(
            "/v1/videos", data={"prompt": "a", "input_reference[image_url]": url}
        )
    else:
        reply = world.client.post(
            "/v1/videos", json={"prompt": "a", "input_reference": {"image_url": url}}
        )
    assert world.finish(reply.json()["id"])["status"] == "completed"
    given = world.generator.requests[0].given
    assert given.shape == (1, 48, 64, 3) and (given == (10, 200, 30)).all()


def test_extend_forward_keeps_the_given_part_and_adds_the_new(world):
    first = world.finish(create(world, seconds=2, size="48x32", seed=1)["id"])
    reply = world.client.post(
        "/v1/videos/extensions", data={"prompt": "on", "video[id]": first["id"], "seconds": "1"}
    )
    video = world.finish(reply.json()["id"])
    assert (video["seconds"], video["size"]) == ("3", "48x32")
    assert video["x_extends_video_id"] == first["id"]
    assert video["x_given"] == {"start": 0, "end": 16, "fps": FPS}
    before, after = (frames_of(content(world, v["id"])).astype(int) for v in (first, video))
    assert len(after) == 24
    assert np.abs(after[:16] - before).mean() < 3
    request = world.generator.requests[1]
    assert request.direction == "forward" and len(request.given) < 16
    assert np.abs(request.given[-1].astype(int) - before[-1]).mean() < 3


def test_extend_backward_puts_the_new_part_before(world):
    first = world.finish(create(world, seconds=2, size="48x32", seed=1)["id"])
    clip = content(world, first["id"])
    reply = world.client.post(
        "/v1/videos/extensions",
        data={"prompt": "before", "seconds": "1", "direction": "backward"},
        files={"video": ("x.mp4", clip)},
    )
    video = world.finish(reply.json()["id"])
    assert video["x_given"] == {"start": 8, "end": 24, "fps": FPS}
    before, after = frames_of(clip).astype(int), frames_of(content(world, video["id"])).astype(int)
    assert len(after) == 24 and np.abs(after[8:] - before).mean() < 3
    request = world.generator.requests[1]
    assert np.abs(request.given[0].astype(int) - before[0]).mean() < 3


def test_an_extension_survives_the_deletion_of_its_parent(world):
    first = world.finish(create(world, seconds=1)["id"])
    world.generator.gate = threading.Event()
    reply = world.client.post(
        "/v1/videos/extensions", json={"prompt": "on", "video": {"id": first["id"]}, "seconds": 1}
    )
    world.client.delete(f"/v1/videos/{first['id']}")
    world.generator.gate.set()
    assert world.finish(reply.json()["id"])["status"] == "completed"


@pytest.mark.parametrize(("form", "size"), [("png", "33x47"), ("webp", "64x64"), ("jpeg", "auto")])
def test_images(world, form, size):
    reply = world.client.post(
        "/v1/images/generations",
        json={"prompt": "a", "n": 2, "size": size, "output_format": form, "seed": 3},
    )
    assert reply.status_code == 200, reply.text
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(item["b64_json"]))) for item in reply.json()["data"]
    ]
    expected = (48, 32) if size == "auto" else tuple(map(int, size.split("x")))
    assert [(p.format, p.size) for p in pictures] == [(form.upper(), expected)] * 2
    assert [r.seed for r in world.generator.requests] == [3, 4]
    assert {r.num_frames for r in world.generator.requests} == {1}


def test_images_are_no_videos(world):
    world.client.post("/v1/images/generations", json={"prompt": "a"})
    assert world.client.get("/v1/videos").json()["data"] == []
    image_id = next(path.name for path in world.settings.media_dir.glob("image_*"))
    assert world.client.get(f"/v1/videos/{image_id}").status_code == 404


def test_a_video_cannot_be_downloaded_before_it_is_done(world):
    world.generator.gate = threading.Event()
    video = create(world)
    reply = world.client.get(f"/v1/videos/{video['id']}/content")
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (400, "video_not_ready")
    world.generator.gate.set()
    world.finish(video["id"])


def test_progress_is_the_models_own(world):
    world.generator.gate = threading.Event()
    video = create(world, steps=10)
    deadline = time.monotonic() + 10
    while world.client.get(f"/v1/videos/{video['id']}").json()["progress"] == 0:
        assert time.monotonic() < deadline
    running = world.client.get(f"/v1/videos/{video['id']}").json()
    assert (running["status"], running["progress"]) == ("in_progress", 9)  # one step of ten
    assert running["x_progress"]["stage"] == "sampling"
    waiting = create(world)
    assert waiting["x_progress"]["queue_position"] == 1
    world.generator.gate.set()
    world.finish(waiting["id"])


def test_deleting_a_running_video_frees_the_engine_and_the_disk(world):
    world.generator.gate = threading.Event()
    video = create(world)
    while not world.generator.requests:
        time.sleep(0.01)
    reply = world.client.delete(f"/v1/videos/{video['id']}")
    assert reply.json() == {"id": video["id"], "object": "video.deleted", "deleted": True}
    assert world.client.get(f"/v1/videos/{video['id']}").status_code == 404
    next_video = create(world)
    deadline = time.monotonic() + 10
    while len(world.generator.requests) < 2:  # the gate is still shut: the first one was stopped
        assert time.monotonic() < deadline
        time.sleep(0.01)
    world.generator.gate.set()
    world.finish(next_video["id"])
    assert not any(video["id"] in name for name in world.files())


def test_a_failure_of_the_model_ends_the_job_with_a_sentence(world):
    world.generator.error = RuntimeError("CUDA: secret path /x/y")
    video = world.finish(create(world)["id"])
    assert (video["status"], video["error"]["code"]) == ("failed", "generation_failed")
    assert "secret" not in video["error"]["message"] and video["id"] in video["error"]["message"]
    world.generator.error = MemoryError()
    assert world.finish(create(world)["id"])["error"]["code"] == "out_of_memory"
    world.generator.error = None
    assert world.finish(create(world)["id"])["status"] == "completed"


def test_a_failed_image_is_an_error_that_clients_do_not_repeat(world):
    world.generator.error = MemoryError()
    reply = world.client.post("/v1/images/generations", json={"prompt": "a"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "out_of_memory")
    assert reply.headers["x-should-retry"] == "false"


WRONG = [
    ({}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": "   "}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": "a\0b"}, "prompt"),
    ({"prompt": "\ud800"}, "prompt"),
    ({"prompt": "x" * 9000}, "prompt"),
    ({"prompt": "a", "model": "gpt-9"}, "model"),
    ({"prompt": "a", "seconds": "0"}, "seconds"),
    ({"prompt": "a", "seconds": -4}, "seconds"),
    ({"prompt": "a", "seconds": 1e9}, "seconds"),
    ({"prompt": "a", "seconds": "four"}, "seconds"),
    ({"prompt": "a", "seconds": "nan"}, "seconds"),
    ({"prompt": "a", "seconds": True}, "seconds"),
    ({"prompt": "a", "size": "big"}, "size"),
    ({"prompt": "a", "size": "100000x10000"}, "size"),
    ({"prompt": "a", "size": "8x8"}, "size"),
    ({"prompt": "a", "size": "-64x64"}, "size"),
    ({"prompt": "a", "size": "65x64"}, "size"),
    ({"prompt": "a", "size": 64}, "size"),
    ({"prompt": "a", "seed": -1}, "seed"),
    ({"prompt": "a", "seed": 2**80}, "seed"),
    ({"prompt": "a", "seed": 1.5}, "seed"),
    ({"prompt": "a", "steps": 0}, "steps"),
    ({"prompt": "a", "fps": 1000}, "fps"),
    ({"prompt": "a", "guidance": "inf"}, "guidance"),
    ({"prompt": "a", "sedd": 1}, "sedd"),
    ({"prompt": "a", "input_reference": "x"}, "input_reference"),
    ({"prompt": "a", "input_reference": {}}, "input_reference"),
    ({"prompt": "a", "input_reference": {"file_id": "file_1"}}, "input_reference"),
    *(
        ({"prompt": "a", "input_reference": {"image_url": url}}, "input_reference")
        for url in ("http://127.0.0.1/x.png", "file:///etc/passwd", "data:image/png;base64,@@")
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), WRONG)
def test_wrong_fields_are_named_and_leave_nothing(still_world, fields, param):
    reply = still_world.client.post(
        "/v1/videos", content=json.dumps(fields), headers={"content-type": "application/json"}
    )
    _refused(still_world, reply, param)


def _refused(world, reply, param):
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["param"] == param
    assert error["type"] == "invalid_request_error" and error["code"]
    assert error["message"][0].isupper() or error["message"].startswith(param)
    assert error["message"].endswith(".") and len(error["message"]) < 400
    assert reply.headers["x-request-id"].startswith("req_")
    assert world.client.get("/v1/videos").json()["data"] == []
    assert world.files() == []
    assert list(world.settings.media_dir.glob(".incoming/*")) == []


def _bomb() -> bytes:
    """A PNG of 30000x30000 pixels in some hundred kilobytes."""
    buffer = io.BytesIO()
    Image.new("1", (30000, 30000)).save(buffer, "PNG", optimize=False)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", png()[:60], b"GIF89a" + b"\0" * 50, png(4, 4), _bomb()],
    ids=["empty", "text", "cut", "gif", "tiny", "bomb"],
)
def test_wrong_pictures_are_refused(still_world, data):
    reply = still_world.client.post(
        "/v1/videos", data={"prompt": "a"}, files={"input_reference": ("a.png", data)}
    )
    _refused(still_world, reply, "input_reference")


@pytest.mark.parametrize(
    "data",
    [b"", b"not a video", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"\0\0\0\x18ftypmp42"],
    ids=["empty", "text", "playlist", "cut"],
)
def test_wrong_clips_are_refused(still_world, data):
    reply = still_world.client.post(
        "/v1/videos/extensions", data={"prompt": "a"}, files={"video": ("a.mp4", data)}
    )
    _refused(still_world, reply, "video")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "a"}, "video"),
        ({"prompt": "a", "video": {"id": 3}}, "video"),
        ({"prompt": "a", "video": {"id": "v"}, "seconds": "61"}, "seconds"),
        ({"prompt": "a", "video": {"id": "v"}, "direction": "up"}, "direction"),
    ],
)
def test_wrong_extensions_are_refused(still_world, fields, param):
    _refused(still_world, still_world.client.post("/v1/videos/extensions", json=fields), param)


def test_extending_an_unknown_or_unfinished_video(world):
    reply = world.client.post("/v1/videos/extensions", json={"prompt": "a", "video": {"id": "v"}})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    world.generator.gate = threading.Event()
    video = create(world)
    reply = world.client.post(
        "/v1/videos/extensions", json={"prompt": "a", "video": {"id": video["id"]}}
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "video_not_ready")
    world.generator.gate.set()
    world.finish(video["id"])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "a", "n": 11}, "n"),
        ({"prompt": "a", "size": "4096x4096"}, "size"),
        ({"prompt": "a", "output_format": "svg"}, "output_format"),
        ({"prompt": "a", "response_format": "url"}, "response_format"),
        ({"prompt": "a", "stream": True}, "stream"),
    ],
)
def test_wrong_image_requests_are_refused(still_world, fields, param):
    _refused(still_world, still_world.client.post("/v1/images/generations", json=fields), param)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/videos/video_nope", 404),
        ("DELETE", "/v1/videos/video_nope", 404),
        ("GET", "/v1/videos/video_nope/content", 404),
        ("GET", "/v1/videos/../../etc/passwd/content", 404),
        ("PUT", "/v1/videos", 405),
        ("GET", "/v1/videos?limit=none", 400),
        ("GET", "/v1/videos?limit=1000", 400),
        ("GET", "/v1/videos?order=up", 400),
        ("GET", "/v1/videos?after=nope", 400),
        ("GET", "/v1/models/other", 404),
    ],
)
def test_every_error_has_the_same_shape(still_world, method, path, status):
    reply = still_world.client.request(method, path)
    assert reply.status_code == status
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert reply.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"content-type": "application/json"}, b"{", "invalid_json"),
        ({"content-type": "application/json"}, b"[1]", "invalid_json"),
        ({"content-type": "application/json"}, b"[" * 100_000, "invalid_json"),
        ({"content-type": "application/json"}, b'{"seed": ' + b"9" * 5000 + b"}", "invalid_json"),
        ({"content-type": "application/json"}, b"\xff\xfe\xff", "invalid_json"),
        ({"content-type": "text/plain"}, b"prompt", "unsupported_content_type"),
        ({}, b"", "unsupported_content_type"),
        ({"content-type": "multipart/form-data"}, b"x", "invalid_value"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"junk", "invalid_value"),
    ],
)
def test_bodies_that_do_not_parse(still_world, headers, body, code):
    reply = still_world.client.post("/v1/videos", content=body, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)


def test_a_file_part_where_none_is_taken(still_world):
    reply = still_world.client.post(
        "/v1/videos", data={"prompt": "a"}, files={"picture": ("a", b"x")}
    )
    _refused(still_world, reply, "picture")


def test_an_error_of_ours_is_a_500_in_the_shape(world, monkeypatch):
    monkeypatch.setattr(type(world.store), "page", lambda *a, **k: 1 / 0)
    reply = world.client.get("/v1/videos")
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "server_error")
    assert "division" not in reply.text and reply.headers["x-request-id"]


def test_a_page_of_another_site_cannot_call(still_world):
    reply = still_world.client.get("/v1/videos", headers={"origin": "https://evil.example"})
    assert reply.status_code == 403
    assert still_world.client.get("/v1/videos", headers={"origin": "http://testserver"}).is_success


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_cap_is_refused_before_it_is_parsed(declared):
    async def app(_scope, receive, _send):
        while (await receive()).get("more_body"):
            pass
        raise AssertionError("the app read a body over the cap")

    sent = []

    async def receive():
        return {"type": "http.request", "body": b"x" * 60, "more_body": True}

    async def send(message):
        sent.append(message)

    headers = [(b"content-length", b"1000")] if declared else []
    scope = {"type": "http", "headers": headers, "method": "POST", "path": "/"}
    cap = BodyCap(app, limit=100)
    if declared:
        anyio.run(cap, scope, receive, send)
        assert sent[0]["status"] == 413
    else:
        with pytest.raises(Exception, match="larger than"):
            anyio.run(cap, scope, receive, send)


def test_health_says_the_version_and_whether_the_engine_lives(world):
    reply = world.client.get("/healthz")
    assert (reply.status_code, reply.json()["version"]) == (200, "3")
    world.engine.stop()
    assert world.client.get("/healthz").status_code == 503


@pytest.mark.parametrize("name", ["reel-generator", "3", "reel-generator@3", "champion", "sora-2"])
def test_names_of_the_served_model(world, name):
    video = create(world, model=name)
    assert (video["model"], video["x_model_version"]) == ("reel-generator", "3")
    world.finish(video["id"])


def test_idempotency_key(world):
    body = {"prompt": "a", "seconds": 1}
    headers = {"idempotency-key": "k1"}
    first = world.client.post("/v1/videos", json=body, headers=headers).json()
    again = world.client.post("/v1/videos", json=body, headers=headers).json()
    assert first["id"] == again["id"] and len(world.client.get("/v1/videos").json()["data"]) == 1
    other = world.client.post("/v1/videos", json=body | {"seconds": 2}, headers=headers)
    assert other.status_code == 400 and "Idempotency-Key" in other.json()["error"]["message"]
    foreign = world.client.post(
        "/v1/videos", json=body, headers=headers | {"authorization": "Bearer other"}
    )
    assert foreign.json()["id"] != first["id"]
    world.finish(foreign.json()["id"])
    assert len([name for name in world.files() if "/" not in name]) == 2


def test_an_automatic_retry_finds_its_job(world):
    def post(retry, **files):
        return world.client.post(
            "/v1/videos",
            data={"prompt": "a"},
            files={"input_reference": ("a.png", files.get("picture", png()))},
            headers={"x-stainless-retry-count": retry},
        ).json()["id"]

    first = post("0")
    assert post("1") == first
    assert post("1", picture=png(colour=(1, 2, 3))) != first
    assert post("0") != first


def test_openapi_describes_the_bodies(still_world):
    paths = still_world.client.get("/openapi.json").json()["paths"]
    content = paths["/v1/videos"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}


def test_the_page_needs_nothing_from_outside(still_world):
    reply = still_world.client.get("/")
    assert reply.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "http://" not in reply.text and "https://" not in reply.text
