"""Previews of jobs under way: when they are made, what becomes of them, and who may see them."""

import base64
import io
import json
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving_fakes import LEVEL, STEPS, FakeGenerator

from serving.access import create_key
from serving.certificates import anchors
from serving.engine import Engine
from serving.inspection import inspect
from serving.plain_id import read_plain_id
from serving.previewer import PreviewRecipe, moments, worth
from serving.previews import SIDE, small
from tests.unit.serving.calls import create, png
from tests.unit.serving.conftest import running
from tests.unit.serving.test_engine import queue, until
from tests.unit.serving.test_events import events, stream

ALWAYS = PreviewRecipe(share=1.0, least_s=0.0, unfollowed=True)


def previews(store: Any, job_id: str) -> list[Any]:
    return [event for event in store.events(job_id) if event.type == "preview"]


@pytest.mark.parametrize(("steps", "most"), [(16, 3), (16, 6), (4, 6), (480, 6), (1, 3)])
def test_moments_are_spread_evenly_and_never_at_the_end(steps: int, most: int) -> None:
    after = [moments(done, steps, most) for done in range(steps)]
    assert after[0] == 0 and after[-1] <= most
    if steps > most:
        assert after[-1] == most
        first = [after.index(number) for number in range(1, most + 1)]
        gaps = np.diff([0, *first, steps])
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(
    ("expected_s", "spent_s", "cost_s", "is_worth_it"),
    [
        (1.0, 0.0, 0.02, True),
        (1.0, 0.0, 0.021, False),
        (1.0, 0.015, 0.01, False),
        (100.0, 1.5, 0.5, True),
        (0.4, 0.0, 0.0, False),  # over before anybody looks
        (1.0, 0.0, 0.0, True),  # the first, which tells what they cost
    ],
)
def test_previews_take_a_small_share_of_a_job(
    expected_s: float, spent_s: float, cost_s: float, is_worth_it: bool
) -> None:
    assert worth(PreviewRecipe(), expected_s, spent_s, cost_s) == is_worth_it


@pytest.mark.parametrize(
    ("size", "shown"), [((1280, 720), (64, 36)), ((48, 32), (48, 32)), ((32, 512), (4, 64))]
)
def test_a_preview_has_the_shape_of_the_video_and_no_more_pixels_than_the_model(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    assert small(np.zeros((48, 64, 3), np.uint8), *size).size == shown
    assert max(small(np.zeros((768, 1024, 3), np.uint8), 1280, 720).size) == SIDE


def test_a_video_has_one_preview_while_it_is_made_and_none_after(store: Any) -> None:
    generator = FakeGenerator()
    generator.gate = threading.Event()
    engine = Engine(store, lambda: generator, "3", previews=ALWAYS)
    job = queue(store)
    engine.start()
    until(lambda: previews(store, job.id))
    (event,) = previews(store, job.id)
    assert (event.data["step"], event.data["steps"], event.data["signed"]) == (1, STEPS, False)
    kind, _, data = event.data["image"].partition(",")
    picture = store.folder(job.id) / "seen.webp"
    picture.write_bytes(base64.b64decode(data))
    assert kind == "data:image/webp;base64" and len(data) < 2000
    assert read_plain_id(picture) == job.id
    with Image.open(picture) as shown:
        assert (shown.format, shown.size) == ("WEBP", (48, 32))
        assert np.abs(np.asarray(shown.convert("RGB")).astype(int) - LEVEL).max() <= 2
    picture.unlink()
    generator.gate.set()
    until(lambda: store.get(job.id).status == "completed")
    engine.stop()
    assert previews(store, job.id) == []
    assert {path.name for path in store.folder(job.id).iterdir()} == {
        "spritesheet-1.jpeg",
        "thumbnail-1.webp",
        "video-1.mp4",
    }
    ended = store.get(job.id)
    assert ended.timings["preview_s"] > 0 and ended.timings["total_s"] > 0


def test_the_newest_preview_takes_the_place_of_the_one_before(store: Any) -> None:
    job = queue(store)
    claim = store.claim("a")
    numbers = [0]
    for step in range(5):
        assert store.preview(claim, {"step": step}, replace=True)
        (event,) = previews(store, job.id)
        assert event.data == {"step": step} and event.id > numbers[-1]
        numbers.append(event.id)
    assert store.events(job.id, numbers[-2])[0].id == numbers[-1]
    store.requeue_lost(lambda _owner: True)
    assert not store.preview(claim, {"step": 9}, replace=True)  # whoever lost the job says no more
    assert [event.data for event in previews(store, job.id)] == [{"step": 4}]
    store.cancel(job.id)
    assert previews(store, job.id) == []
    assert store.events(job.id)[-1].id > numbers[-1]


def test_a_preview_that_cannot_be_made_or_stored_costs_no_job(store: Any) -> None:
    class Fails(FakeGenerator):
        def preview(self, generation: Any) -> Any:
            super().preview(generation)
            if generation.sampling().task.seed == 1:
                raise MemoryError
            return np.zeros((1, 1, 7), np.uint8)  # of no colours

    generator = Fails()
    engine = Engine(store, lambda: generator, "3", previews=ALWAYS)
    jobs = [queue(store, seed=seed, steps=12) for seed in (1, 2)]
    engine.start()
    until(lambda: all(store.get(job.id).status == "completed" for job in jobs))
    engine.stop()
    assert generator.previews == 1 + ALWAYS.most
    assert not [event for job in jobs for event in previews(store, job.id)]


NONE = PreviewRecipe(most=0, share=1.0, least_s=0.0)


FOLLOWED = PreviewRecipe(share=1.0, least_s=0.0)


@pytest.mark.parametrize("recipe", [PreviewRecipe(unfollowed=True), NONE, FOLLOWED])
def test_short_jobs_those_of_no_previews_and_those_that_nobody_follows_have_none(
    store: Any, recipe: PreviewRecipe
) -> None:
    generator = FakeGenerator()
    engine = Engine(store, lambda: generator, "3", previews=recipe)
    job = queue(store)
    engine.start()
    until(lambda: store.get(job.id).status == "completed")
    engine.stop()
    assert generator.previews == 0 and store.get(job.id).timings["preview_s"] == 0


def test_who_comes_late_gets_the_newest_preview_and_who_resumes_only_what_is_new(
    world: Any,
) -> None:
    world.generator.gate = threading.Event()
    video = create(world)
    first = threading.Thread(target=stream, args=(world, video["id"]))
    first.start()
    until(lambda: previews(world.store, video["id"]))
    (newest,) = previews(world.store, video["id"])
    threading.Timer(0.2, world.generator.gate.set).start()
    found = events(stream(world, video["id"]).text)
    shown = [each for each in found if each[1] == "video.preview"]
    assert shown[0][0] == newest.id and shown[0][2]["image"].startswith("data:image/webp")
    numbers = [number for number, _, _ in found]
    assert numbers == sorted(set(numbers))
    again = events(stream(world, video["id"], newest.id).text)
    assert newest.id not in [number for number, _, _ in again]
    assert "video.preview" not in stream(world, video["id"]).text  # the video itself is there
    first.join()


def partials(reply: Any) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block.splitlines() for block in reply.text.strip().split("\n\n")]
    return [(name[7:], json.loads(data[6:])) for name, data in blocks]


@pytest.mark.parametrize(("form", "kind"), [("png", "generation"), ("jpeg", "edit")])
def test_partial_pictures_come_before_the_pictures(
    world: Any, tmp_path: Any, form: str, kind: str
) -> None:
    n = 2 if kind == "generation" else 1
    body = {"prompt": "a", "n": n, "size": "64x40", "output_format": form, "stream": True}
    body |= {"partial_images": 2}
    if kind == "edit":
        url = "data:image/png;base64," + base64.b64encode(png()).decode()
        body |= {"images": [{"image_url": url}], "strength": 0.5}
    path = f"/v1/images/{kind}s"
    reply = world.client.post(path, json=body, headers={"idempotency-key": "k"})
    found = partials(reply)
    partial, completed = f"image_{kind}.partial_image", f"image_{kind}.completed"
    assert [name for name, _ in found] == [partial] * 2 * n + [completed] * n
    order = [(each["x_image_index"], each.get("partial_image_index")) for _, each in found]
    assert order == [(p, i) for p in range(n) for i in (0, 1)] + [(p, None) for p in range(n)]
    for name, each in found:
        assert each["type"] == name
        assert (each["size"], each["output_format"], each["quality"]) == ("64x40", form, "auto")
        file = tmp_path / f"seen.{form}"
        file.write_bytes(base64.b64decode(each["b64_json"]))
        with Image.open(file) as picture:
            assert (picture.format, picture.size) == (form.upper(), (64, 40))
        seen = inspect(file, anchors(world.settings))
        assert seen.signature == "here" and seen.plain_id == seen.claims["job"]
    levels = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(each["b64_json"]))).convert("L")).mean()
        for name, each in found
        if name == partial
    ]
    assert np.allclose(levels, [2 * LEVEL, 4 * LEVEL] * n, atol=1.5)  # after 2 and 4 of 5 steps
    again = world.client.post(path, json=body, headers={"idempotency-key": "k"})
    assert partials(again) == found


def test_partial_pictures_are_made_for_streams_alone(world: Any) -> None:
    body = {"prompt": "a", "partial_images": 3}
    assert world.client.post("/v1/images/generations", json=body).status_code == 200
    one = partials(
        world.client.post("/v1/images/generations", json={"prompt": "a", "stream": True})
    )
    assert [name for name, _ in one] == ["image_generation.completed"]
    assert world.generator.previews == 0
    assert not [name for name in world.files() if "partial" in name]


def test_previews_of_others_do_not_exist(catalog: Any, tmp_path: Any) -> None:
    with running(catalog, tmp_path, api_keys="required") as world:
        mine, other = (
            {"authorization": f"Bearer {create_key(world.catalog, name='k', tenant=tenant)}"}
            for tenant in ("film", "games")
        )
        world.generator.gate = threading.Event()
        body = {"prompt": "a"}
        video = world.client.post("/v1/videos", json=body, headers=mine).json()["id"]
        path = f"/v1/videos/{video}/events"
        follower = threading.Thread(target=world.client.get, args=(path,), kwargs={"headers": mine})
        follower.start()
        until(lambda: previews(world.store, video))
        refused = world.client.get(path, headers=other)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
        assert world.client.get(path).status_code == 401
        assert world.client.delete(f"/v1/videos/{video}", headers=mine).status_code == 200
        world.generator.gate.set()
        follower.join()
        assert previews(world.store, video) == [] and world.files() == []
