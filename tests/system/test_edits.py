"""Keyframes, loops, edits of videos and of pictures, over HTTP with a fake model."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from serving_fakes import FPS

from infra.video import encode_mp4
from tests.unit.serving.calls import content, create, frames_of, png
from tests.unit.serving.conftest import *  # noqa: F403 - the fixtures

RIGHT = {"top": 0, "left": 0.5, "height": 1, "width": 0.5}


def url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def clip(seconds: float = 2.0, fps: float = FPS) -> bytes:
    return encode_mp4(np.full((round(seconds * fps), 32, 48, 3), 90, np.uint8), fps)


def mask(size=(64, 48), opaque=False, mode="RGBA") -> bytes:
    picture = Image.new(mode, size)
    if mode == "RGBA":
        picture.putalpha(255)
        if not opaque:
            picture.paste((0, 0, 0, 0), (size[0] // 2, 0, *size))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_keyframes_as_json(world):
    clip_id = world.finish(create(world, seconds=1, size="48x32")["id"])["id"]
    frames = [
        {"at": 0, "image_url": url(png())},
        {"at": 2, "image_url": url(png())},
        {"at": "end", "video": {"id": clip_id}},
    ]
    video = world.finish(create(world, seconds=4, size="48x32", keyframes=frames)["id"])
    assert (video["status"], video["seconds"]) == ("completed", "4")
    request = world.generator.requests[-1]
    assert [(given.start, given.end) for given in request.given] == [(0, 1), (17, 21), (24, 32)]
    assert len(frames_of(content(world, video["id"]))) == 4 * FPS
    assert sorted(
        path.name for path in (world.settings.media_dir / video["id"]).glob("input*")
    ) == [
        "input0.png",
        "input1.png",
        "input2.video",
    ]


@pytest.mark.parametrize("style", ["[{}][{}]", "[][{}]"])
def test_keyframes_as_a_form(world, style):
    fields = {"prompt": "a", "seconds": "3"}
    if style == "[][{}]":  # as the openai client sends a list of objects
        fields |= {"keyframes[][at]": ["0", "end"], "keyframes[][image_url]": [url(png())] * 2}
        files = None
    else:
        fields |= {"keyframes[0][at]": "0", "keyframes[1][at]": "end"}
        files = {
            "keyframes[0][image]": ("../a.png", png()),
            "keyframes[1][video]": ("a.mp4", clip(1)),
        }
    reply = world.client.post("/v1/videos", data=fields, files=files)
    assert reply.status_code == 200, reply.text
    assert world.finish(reply.json()["id"])["status"] == "completed"
    assert len(world.generator.requests[0].given) == 2


def test_a_remix_of_a_bridge_has_its_ends(world):
    frames = [{"at": at, "image_url": url(png())} for at in (0, "end")]
    first = world.finish(create(world, seconds=3, keyframes=frames)["id"])
    again = world.client.post(f"/v1/videos/{first['id']}/remix", json={"prompt": "b"}).json()
    world.client.delete(f"/v1/videos/{first['id']}")
    assert world.finish(again["id"])["status"] == "completed"
    assert [len(request.given) for request in world.generator.requests] == [2, 2]


def test_a_loop(world):
    video = world.finish(create(world, seconds="1.9", loop="true", fps=16)["id"])
    (request,) = world.generator.requests
    assert request.loop and request.num_frames == 16 and video["status"] == "completed"
    assert len(frames_of(content(world, video["id"]))) == 30


@pytest.mark.parametrize("how", ["file", "id"])
def test_an_edit_of_a_whole_video(world, how):
    if how == "file":
        fields, files = {}, {"video": ("../x.mp4", clip())}
    else:
        parent = world.finish(create(world, seconds=2, size="48x32")["id"])
        fields, files = {"video[id]": parent["id"]}, None
    body = {"prompt": "as ink", "seed": "4", **fields}
    reply = world.client.post("/v1/videos/edits", data=body, files=files)
    video = world.finish(reply.json()["id"])
    assert (video["status"], video["seconds"], video["size"]) == ("completed", "2", "48x32")
    assert video["x_edits_video_id"] == (parent["id"] if how == "id" else None)
    request = world.generator.requests[-1]
    assert (request.prompt, request.seed, request.strength) == ("as ink", 4, 0.7)
    assert request.source is not None and len(frames_of(content(world, video["id"]))) == 16


def test_an_edit_of_a_part_of_a_video(world):
    body: dict[str, object] = {"prompt": "a", "start": "0.5", "end": "1", "strength": "0.5"}
    body |= boxed()
    reply = world.client.post("/v1/videos/edits", data=body, files={"video": clip(fps=16)})
    video = world.finish(reply.json()["id"])
    assert video["status"] == "completed", video
    (request,) = world.generator.requests
    assert request.strength == 0.5 and len(request.given) == 3
    frames = frames_of(content(world, video["id"]))
    assert len(frames) == 32 and np.abs(frames[:, :, :20].astype(int) - 90).max() < 12


def boxed(**change: float) -> dict[str, float]:
    """The form's fields of the right half, but for `change`."""
    return {f"box[{side}]": share for side, share in (RIGHT | change).items()}


WRONG_EDITS = [
    ({}, "prompt"),
    ({"prompt": "a", "strength": 0}, "strength"),
    ({"prompt": "a", "strength": 1.5}, "strength"),
    ({"prompt": "a", "start": -1}, "start"),
    ({"prompt": "a", "start": 2}, "start"),
    ({"prompt": "a", "end": 0}, "end"),
    ({"prompt": "a", "end": "nan"}, "end"),
    ({"prompt": "a", "start": 1, "end": 1}, "start"),
    ({"prompt": "a", "outside": True}, "box"),
    ({"prompt": "a", "box[top]": 0}, "box"),
    ({"prompt": "a", "box": "left"}, "box"),
    ({"prompt": "a", "model": "gpt-9"}, "model"),
    ({"prompt": "a", "seconds": 4}, "seconds"),
    ({"prompt": "a", "size": "1x1"}, "size"),
    *(
        ({"prompt": "a"} | boxed(**change), "box")
        for change in ({"left": 0.6}, {"width": 0}, {"left": 0, "width": 1}, {"top": -1})
    ),
    ({"prompt": "a", "outside": True, "strength": 0.5} | boxed(), "strength"),
]  # fmt: skip


def refused(world, reply, param, status=400):
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (status, param), reply.text
    assert error["code"] and error["message"].endswith(".")
    assert world.files() == [] and list(world.settings.media_dir.glob(".incoming/*")) == []
    assert world.client.get("/v1/videos").json()["data"] == []


@pytest.mark.parametrize(("fields", "param"), WRONG_EDITS)
def test_wrong_edits_are_named_and_leave_nothing(still_world, fields, param):
    reply = still_world.client.post("/v1/videos/edits", data=fields, files={"video": clip()})
    refused(still_world, reply, param)


def test_an_edit_without_a_video(still_world):
    for body, param, status in (
        ({"prompt": "a"}, "video", 400),
        ({"prompt": "a", "video": {"id": "no"}}, "video", 404),
    ):
        refused(still_world, still_world.client.post("/v1/videos/edits", json=body), param, status)
    reply = still_world.client.post(
        "/v1/videos/edits", data={"prompt": "a"}, files={"video": b"junk"}
    )
    refused(still_world, reply, "video")


IMAGE = {"image_url": url(png())}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"loop": "perhaps"}, "loop"),
        ({"loop": True, "seconds": 1, "keyframes": [{"at": 0}]}, "keyframes"),
        ({"keyframes": [{"at": -1, **IMAGE}]}, "keyframes"),
        ({"keyframes": [{"at": "start", **IMAGE}]}, "keyframes"),
        ({"keyframes": [{"at": True, **IMAGE}]}, "keyframes"),
        ({"keyframes": [{"at": 5, **IMAGE}]}, "keyframes"),  # after the end
        ({"keyframes": [{"at": 1}]}, "keyframes"),
        ({"keyframes": [IMAGE]}, "keyframes"),
        ({"keyframes": {"1": {"at": 1, **IMAGE}}}, "keyframes"),
        ({"keyframes": [{"at": 1, "video": {"id": "v"}, **IMAGE}]}, "keyframes"),
        ({"keyframes": [{"at": at, **IMAGE} for at in (1, 1.1)]}, "keyframes"),
        ({"keyframes": [{"at": at, **IMAGE} for at in (0, 0)]}, "keyframes"),
        ({"keyframes": [{"at": 0, **IMAGE}], "input_reference": IMAGE}, "keyframes"),
        ({"keyframes": [{"at": n, **IMAGE} for n in range(9)]}, "keyframes"),
        ({"keyframes": [{"at": 1, "image_url": "http://127.0.0.1/a.png"}]}, "keyframes"),
        ({"keyframes": "x"}, "keyframes"),
    ],
)
def test_wrong_keyframes_are_named_and_leave_nothing(still_world, fields, param):
    reply = still_world.client.post("/v1/videos", json={"prompt": "a", "seconds": 4} | fields)
    refused(still_world, reply, param)


def test_a_keyframe_of_an_unknown_video_and_a_file_without_a_moment(still_world):
    body = {"prompt": "a", "keyframes": [{"at": 1, "video": {"id": "no"}}]}
    refused(still_world, still_world.client.post("/v1/videos", json=body), "keyframes", 404)
    reply = still_world.client.post(
        "/v1/videos", data={"prompt": "a"}, files={"keyframes[0][image]": png()}
    )
    refused(still_world, reply, "keyframes")


@pytest.mark.parametrize("name", ["image", "image[]"])
def test_an_image_edit_with_a_mask(world, name):
    reply = world.client.post(
        "/v1/images/edits",
        data={"prompt": "a", "n": "2", "output_format": "png"},
        files={name: ("a.png", png()), "mask": ("m.png", mask())},
    )
    assert reply.status_code == 200, reply.text
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(item["b64_json"]))))
        for item in reply.json()["data"]
    ]
    assert reply.json()["size"] == "64x48" and len(pictures) == 2
    for picture in pictures:
        assert (picture[:, :32] == (10, 200, 30)).all()
        assert not (picture[:, 32:] == (10, 200, 30)).all(axis=2).any()
    assert all(request.given[0].mask_HW is not None for request in world.generator.requests)


def test_an_image_edit_without_a_mask_and_as_json(world):
    body = {"prompt": "a", "images": [{"image_url": url(png())}], "strength": 0.3, "size": "32x32"}
    reply = world.client.post("/v1/images/edits", json=body)
    assert reply.status_code == 200 and reply.json()["size"] == "32x32", reply.text
    del body["strength"]
    assert world.client.post("/v1/images/edits", json=body).is_success
    assert [request.strength for request in world.generator.requests] == [0.3, 0.7]


def test_an_image_edit_streams(world):
    files = {"image": ("a.png", png())}
    fields = {"prompt": "a", "stream": "true", "partial_images": "2"}
    reply = world.client.post("/v1/images/edits", data=fields, files=files)
    named = [line for line in reply.text.splitlines() if line.startswith("event: ")]
    assert named[-1] == "event: image_edit.completed"
    assert named[:-1] == ["event: image_edit.partial_image"] * 2


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        ({}, {"image": png()}, "prompt"),
        ({"prompt": "a"}, {"mask": mask()}, "image"),
        ({"prompt": "a"}, {"image": png(), "image[]": png()}, "image"),
        ({"prompt": "a"}, {"image": b"junk"}, "image"),
        ({"prompt": "a"}, {"image": png(), "mask": mask((32, 48))}, "mask"),
        ({"prompt": "a"}, {"image": png(), "mask": mask(opaque=True)}, "mask"),
        ({"prompt": "a"}, {"image": png(), "mask": mask(mode="RGB")}, "mask"),
        ({"prompt": "a"}, {"image": png(), "mask": b"junk"}, "mask"),
        ({"prompt": "a", "strength": "2"}, {"image": png()}, "strength"),
        ({"prompt": "a", "partial_images": "4"}, {"image": png()}, "partial_images"),
        ({"prompt": "a", "n": "11"}, {"image": png()}, "n"),
        ({"prompt": "a"}, {"picture": png()}, "picture"),
    ],
)
def test_wrong_image_edits_are_named_and_leave_nothing(still_world, fields, files, param):
    reply = still_world.client.post("/v1/images/edits", data=fields, files=files)
    refused(still_world, reply, param)
