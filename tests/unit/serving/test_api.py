"""The HTTP API over a store, an engine and a fake model."""

import base64
import dataclasses
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image
from serving_fakes import FPS

from tests.unit.serving.calls import content, create, first_frame, frames_of, png


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
    assert (request.width, request.height, request.given) == (32, 48, ())


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
    ((part,),) = [request.given for request in world.generator.requests]
    given = part.frames
    assert part.start == 0 and given.shape == (1, 32, 48, 3) and (given == (10, 200, 30)).all()


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
    (given,) = world.generator.requests[1].given
    assert given.start == 0 and given.end < 16
    assert np.abs(given.frames[-1].astype(int) - before[-1]).mean() < 3


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
    (given,) = request.given
    assert given.end == request.num_frames
    assert np.abs(given.frames[0].astype(int) - before[0]).mean() < 3


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
    assert (running["x_progress"]["step"], running["x_progress"]["steps"]) == (1, 10)
    waiting = create(world)
    assert waiting["x_progress"]["queue_position"] == 1
    world.generator.gate.set()
    world.finish(waiting["id"])


def test_a_spritesheet_shows_frames_spread_over_the_video(world):
    video = world.finish(create(world, seconds=5, size="48x32")["id"])  # 40 frames, sheet of 32
    sheet = Image.open(io.BytesIO(content(world, video["id"], "spritesheet")))
    assert (sheet.format, sheet.size) == ("JPEG", (8 * 48, 3 * 32))
    levels = np.asarray(sheet)[16::32, 24::48, 1].astype(int).ravel()
    assert (np.diff(levels[:20]) > 0).all()  # every second of the 40 frames, in order


def test_a_remix_keeps_all_but_the_words(world):
    first = create(world, seed=4, steps=3, seconds=1, size="48x32", guidance=2)
    url = f"/v1/videos/{first['id']}/remix"
    world.finish(first["id"])
    again = world.finish(world.client.post(url, json={"prompt": "blue"}).json()["id"])
    assert again["remixed_from_video_id"] == first["id"] and again["prompt"] == "blue"
    before, after = world.generator.requests
    assert dataclasses.replace(before, prompt="blue") == after
    other = world.client.post(url, json={"prompt": "blue", "seed": 5}).json()
    world.client.delete(f"/v1/videos/{first['id']}")
    other = world.finish(other["id"])
    assert (other["x_seed"], other["remixed_from_video_id"]) == (5, first["id"])


def test_a_remix_of_a_given_picture_begins_with_it_again(world):
    files = {"input_reference": ("a.png", png())}
    first = world.client.post("/v1/videos", data={"prompt": "a"}, files=files).json()
    world.finish(first["id"])
    again = world.client.post(f"/v1/videos/{first['id']}/remix", json={"prompt": "b"}).json()
    world.client.delete(f"/v1/videos/{first['id']}")
    assert world.finish(again["id"])["status"] == "completed"
    assert (first_frame(world, 1) == (10, 200, 30)).all()


def test_a_character_is_a_first_frame_with_a_name(world):
    clip = content(world, world.finish(create(world, seconds=1, size="48x32")["id"])["id"])
    url = "/v1/videos/characters"
    files = {"video": ("../../m.mp4", clip)}
    mara = world.client.post(url, data={"name": "Mara"}, files=files).json()
    assert world.client.get(f"{url}/{mara['id']}").json() == mara and mara["name"] == "Mara"
    video = world.finish(create(world, character={"id": mara["id"]})["id"])
    assert video["x_character_id"] == mara["id"]
    frame = first_frame(world, 1).astype(int)
    assert np.abs(frame - frames_of(clip)[4]).mean() < 3  # its middle
    both = {"prompt": "a", "character[id]": mara["id"]}
    both = world.client.post("/v1/videos", data=both, files={"input_reference": png()})
    assert (both.status_code, both.json()["error"]["param"]) == (400, "character")
    assert world.client.delete(f"{url}/{mara['id']}").json()["deleted"]
    assert world.client.get(f"{url}/{mara['id']}").status_code == 404
    assert not [name for name in world.files() if name.startswith("char_")]


def test_an_image_can_come_as_an_event(world):
    body = {"prompt": "a b", "n": 2, "size": "32x32", "stream": True}
    reply = world.client.post("/v1/images/generations", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = reply.text.strip().split("\n\n")
    assert [event.split("\n")[0] for event in events] == ["event: image_generation.completed"] * 2
    data = json.loads(events[0].split("data: ")[1])
    assert Image.open(io.BytesIO(base64.b64decode(data["b64_json"]))).size == (32, 32)
    assert data["usage"]["input_tokens"] == 2 and data["usage"]["output_tokens"] == 8
    world.generator.error = MemoryError()
    reply = world.client.post("/v1/images/generations", json=body)
    assert reply.text.startswith("event: error") and "out_of_memory" in reply.text


def test_metrics_count_jobs_and_requests_by_route(world):
    world.finish(create(world)["id"])
    world.client.get("/v1/videos/video_secret")
    text = world.client.get("/metrics").text
    assert 'reel_jobs{kind="video",status="completed"} 1.0' in text
    assert 'route="/v1/videos/{video_id}",status="404"} 1.0' in text
    assert "video_secret" not in text and "reel_queued_device_seconds 0.0" in text


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
