"""What an unmodified openai client does with a server: `-m tests.contracts.openai_cases URL`.

Runs under any major of the client that has `videos`; prints one JSON object, {case: "" or its
traceback}. It imports nothing of what it tests.
"""

import base64
import json
import re
import sys
import traceback
import urllib.request
from collections.abc import Callable
from typing import Any

import openai

from tests.contracts.openai_calls import MAJOR, PICTURE, Client, fails, made
from tests.contracts.openai_webhooks import webhook_endpoints_crud, webhooks_are_signed_and_repeated


def create_poll_download(client: Client) -> None:
    raw = client.videos.with_raw_response.create(
        prompt="a red ball", seconds="4", size="1280x720", model="sora-2"
    )
    assert 20 <= int(raw.headers["openai-poll-after-ms"]) <= 2000
    assert raw.headers["x-request-id"].startswith("req_")
    video = raw.parse()
    assert video.object == "video" and video.status in ("queued", "in_progress")
    assert (video.seconds, video.size, video.model) == ("4", "1280x720", "reel-generator")
    assert isinstance(video.created_at, int) and isinstance(video.progress, int)
    video = client.videos.poll(video.id)
    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    assert video.created_at <= video.completed_at < video.expires_at
    assert video.prompt == "a red ball" and video.remixed_from_video_id is None
    content = client.videos.download_content(video.id)
    assert content.response.headers["content-type"] == "video/mp4"
    assert content.read()[4:8] == b"ftyp"


def content_variants(client: Client) -> None:
    video = made(client)
    for variant, magic in (
        ("video", b"ftyp"),
        ("thumbnail", b"WEBP"),
        ("spritesheet", b"\xff\xd8"),
    ):
        assert magic in client.videos.download_content(video.id, variant=variant).read()[:16]
    wrong = fails(
        openai.BadRequestError, lambda: client.videos.download_content(video.id, variant="sound")
    )
    assert wrong.param == "variant"


def create_and_poll_with_a_picture_and_our_fields(client: Client) -> None:
    video = made(
        client,
        input_reference=("first.png", PICTURE, "image/png"),
        model="champion",
        extra_body={"seed": 5, "guidance": 2.5, "steps": 3, "negative_prompt": "blur", "fps": 12},
    )
    assert video.model_extra["x_seed"] == 5 and video.model_extra["x_progress"] is None


def a_picture_as_a_data_url(client: Client) -> None:
    url = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    made(client, extra_body={"input_reference": {"image_url": url}})


def extend_by_file_and_by_id(client: Client) -> None:
    first = made(client)
    clip = client.videos.download_content(first.id).read()
    by_file = client.videos.extend(prompt="on", seconds="1", video=("clip.mp4", clip, "video/mp4"))
    by_id = client.videos.extend(
        prompt="before",
        seconds="1",
        video=openai.omit,
        extra_body={"video": {"id": first.id}, "direction": "backward"},
    )
    for video in (by_file, by_id):
        ended = client.videos.poll(video.id)
        assert (ended.status, ended.seconds, ended.size) == ("completed", "2", "96x64")


def edit_by_file_and_by_id(client: Client) -> None:
    first = made(client)
    clip = client.videos.download_content(first.id).read()
    box = {"top": 0, "left": 0.5, "height": 1, "width": 0.5}
    for video, fields in (
        (("clip.mp4", clip, "video/mp4"), {"strength": 0.4, "seed": 3}),
        (openai.omit, {"video": {"id": first.id}, "box": box}),
        (openai.omit, {"video": {"id": first.id}, "start": 0.25, "end": 0.75}),
    ):
        edited = client.videos.edit(prompt="as ink", video=video, extra_body=fields)
        ended = client.videos.poll(edited.id)
        assert (ended.status, ended.seconds, ended.size) == ("completed", "1", "96x64"), ended


def bridge_and_loop(client: Client) -> None:
    url = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    ends = [{"at": 0, "image_url": url}, {"at": "end", "image_url": url}]
    made(client, seconds="3", extra_body={"keyframes": ends})
    # Of different kinds they are numbered: the client's own lists lose which field is whose.
    clip = made(client)
    mixed = {"0": ends[0], "1": {"at": "end", "video": {"id": clip.id}}}
    made(client, seconds="3", extra_body={"keyframes": mixed})
    made(client, seconds="2", extra_body={"loop": True})


def remix(client: Client) -> None:
    first = made(client, extra_body={"seed": 9})
    again = client.videos.poll(client.videos.remix(first.id, prompt="b").id)
    assert (again.status, again.remixed_from_video_id, again.prompt) == ("completed", first.id, "b")
    assert (again.seconds, again.size) == (first.seconds, first.size)
    assert again.model_extra["x_seed"] == 9
    missing = fails(openai.NotFoundError, lambda: client.videos.remix("video_no", prompt="b"))
    assert missing.param == "video_id"


def characters(client: Client) -> None:
    clip = client.videos.download_content(made(client).id).read()
    mara = client.videos.create_character(name="Mara", video=("mara.mp4", clip, "video/mp4"))
    found = client.videos.get_character(mara.id)
    assert (found.id, found.name, found.created_at) == (mara.id, "Mara", mara.created_at)
    video = made(client, extra_body={"character": {"id": mara.id}})
    assert video.model_extra["x_character_id"] == mara.id
    client.delete(f"/videos/characters/{mara.id}", cast_to=object)
    fails(openai.NotFoundError, lambda: client.videos.get_character(mara.id))


def list_pages_through_everything(client: Client) -> None:
    new = [client.videos.create(prompt=f"number {n}", seconds="1").id for n in range(3)]
    seen = [video.id for video in client.videos.list(limit=2)]
    assert seen[:3] == new[::-1] and len(seen) == len(set(seen))
    assert [video.id for video in client.videos.list(limit=2, order="asc")] == seen[::-1]
    page = client.videos.list(limit=2, after=new[1])
    assert (page.data[0].id, page.object, page.first_id) == (new[0], "list", new[0])
    assert page.last_id == page.data[-1].id


def retrieve_and_delete(client: Client) -> None:
    video = client.videos.create(prompt="a", seconds="1")
    assert client.videos.retrieve(video.id).id == video.id
    deleted = client.videos.delete(video.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (video.id, True, "video.deleted")
    error = fails(openai.NotFoundError, lambda: client.videos.retrieve(video.id))
    assert (error.code, error.param) == ("not_found", "video_id")
    assert error.request_id.startswith("req_")


def cancel_ends_poll(client: Client) -> None:
    video = client.videos.create(prompt="a", seconds="1", extra_body={"steps": 500})
    client.post(f"/videos/{video.id}/cancel", cast_to=object)
    ended = client.videos.poll(video.id)
    assert (ended.status, ended.error.code) == ("failed", "cancelled")


def events_resume(client: Client) -> None:
    video = made(client)
    url = f"{client.base_url}videos/{video.id}/events"
    with urllib.request.urlopen(url, timeout=30) as reply:
        text = reply.read().decode()
    ids = re.findall(r"^id: (\d+)$", text, re.M)
    names = re.findall(r"^event: (\S+)$", text, re.M)
    assert (names[0], names[-1]) == ("video.queued", "video.completed")
    rest = urllib.request.Request(url, headers={"Last-Event-ID": ids[-2]})
    with urllib.request.urlopen(rest, timeout=30) as reply:
        text = reply.read().decode()
    assert re.findall(r"^id: (\d+)$", text, re.M) == ids[-1:]
    done = urllib.request.Request(url, headers={"Last-Event-ID": ids[-1]})
    with urllib.request.urlopen(done, timeout=30) as reply:
        assert reply.status == 204


def estimate_before_running(client: Client) -> None:
    made(client)
    before = len(list(client.videos.list()))
    body = {"prompt": "a", "seconds": "2"}
    found: Any = client.post("/videos/estimate", body=body, cast_to=object)
    assert found["object"] == "estimate" and found["device_seconds"] > 0
    assert len(list(client.videos.list())) == before


def images(client: Client) -> None:
    reply = client.images.generate(
        prompt="a", n=2, size="64x64", output_format="webp", model="gpt-image-1", quality="low"
    )
    pictures = [base64.b64decode(item.b64_json) for item in reply.data]
    assert [picture[8:12] for picture in pictures] == [b"WEBP"] * 2
    assert (reply.size, reply.output_format, reply.background) == ("64x64", "webp", "opaque")
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens


def images_stream(client: Client) -> None:
    stream = client.images.generate(prompt="a", size="64x64", stream=True, partial_images=0)
    (event,) = list(stream)
    assert event.type == "image_generation.completed"
    assert base64.b64decode(event.b64_json).startswith(b"\x89PNG")
    assert (event.size, event.output_format) == ("64x64", "png") and event.usage.total_tokens > 0
    stream = client.images.generate(
        prompt="a", size="64x48", stream=True, partial_images=2, output_format="webp"
    )
    *partial, event = list(stream)
    assert [each.type for each in partial] == ["image_generation.partial_image"] * 2
    assert [each.partial_image_index for each in partial] == [0, 1]
    assert {(each.size, each.output_format, each.quality) for each in partial} == {
        (event.size, event.output_format, event.quality)
    }
    pictures = [base64.b64decode(each.b64_json) for each in (*partial, event)]
    assert {picture[8:12] for picture in pictures} == {b"WEBP"} and len(set(pictures)) == 3


def image_edits(client: Client) -> None:
    file = ("a.png", PICTURE, "image/png")
    for image in (file, [file]):
        reply = client.images.edit(
            image=image, prompt="a", output_format="png", extra_body={"strength": 0.5}
        )
        assert base64.b64decode(reply.data[0].b64_json).startswith(b"\x89PNG")
        assert reply.size == "96x64"
    stream = client.images.edit(image=file, prompt="a", size="64x64", stream=True, partial_images=2)
    *partial, event = list(stream)
    assert (event.type, event.size) == ("image_edit.completed", "64x64")
    assert [each.type for each in partial] == ["image_edit.partial_image"] * 2
    edit = client.images.edit
    _refused(client, "mask", lambda: edit(image=file, mask=file, prompt="a"))  # no alpha channel
    _refused(client, "image", lambda: edit(image=[file, file], prompt="a"))


def models(client: Client) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("reel-generator", "model", "reelwright")
    assert client.models.retrieve(model.id).id == model.id
    assert fails(openai.NotFoundError, lambda: client.models.retrieve("other")).code == "not_found"


def _refused(client: Client, param: str, call: Callable[[], Any]) -> None:
    error = fails(openai.BadRequestError, call)
    assert (error.param, error.type) == (param, "invalid_request_error")
    assert error.code and error.message


def wrong_requests_raise_bad_request(client: Client) -> None:
    create, extend = client.videos.create, client.videos.extend
    _refused(client, "prompt", lambda: create(prompt=""))
    _refused(client, "size", lambda: create(prompt="a", size="1x1"))
    _refused(client, "seconds", lambda: create(prompt="a", seconds="600"))
    _refused(client, "model", lambda: create(prompt="a", model="other"))
    _refused(client, "input_reference", lambda: create(prompt="a", input_reference=b"junk"))
    _refused(client, "video", lambda: extend(prompt="a", seconds="4", video=b"junk"))
    _refused(client, "size", lambda: client.images.generate(prompt="a", size="big"))
    _refused(client, "video", lambda: client.videos.edit(prompt="a", video=b"junk"))
    late = {"keyframes": [{"at": 9, "image_url": "data:,"}]}
    _refused(client, "keyframes", lambda: create(prompt="a", extra_body=late))


def content_before_the_end_is_not_asked_for_again(client: Client) -> None:
    """A 409 would be repeated by the client, three times."""
    video = client.videos.create(prompt="a", seconds="1", extra_body={"steps": 500})
    error = fails(openai.BadRequestError, lambda: client.videos.download_content(video.id))
    assert error.code == "video_not_ready"
    client.videos.delete(video.id)


def a_repeated_request_is_one_job(client: Client) -> None:
    before = len(list(client.videos.list()))
    key = {"Idempotency-Key": f"key of major {MAJOR}"}
    keyed = [client.videos.create(prompt="k", seconds="1", extra_headers=key).id for _ in range(2)]
    body = {"prompt": f"r{MAJOR}", "seconds": "1", "input_reference": PICTURE}
    first = client.videos.create(**body)
    # What the client sends when the answer to its first try was lost on the way.
    again = client.videos.create(**body, extra_headers={"x-stainless-retry-count": "1"})
    assert keyed[0] == keyed[1] and first.id == again.id
    assert len(list(client.videos.list())) == before + 2
    for video_id in (keyed[0], first.id):  # the webhooks of the next case are of its own jobs
        client.videos.poll(video_id)


CASES = [
    create_poll_download,
    content_variants,
    create_and_poll_with_a_picture_and_our_fields,
    a_picture_as_a_data_url,
    extend_by_file_and_by_id,
    edit_by_file_and_by_id,
    bridge_and_loop,
    remix,
    characters,
    list_pages_through_everything,
    retrieve_and_delete,
    cancel_ends_poll,
    events_resume,
    estimate_before_running,
    images,
    images_stream,
    image_edits,
    models,
    wrong_requests_raise_bad_request,
    content_before_the_end_is_not_asked_for_again,
    a_repeated_request_is_one_job,
    webhooks_are_signed_and_repeated,
    webhook_endpoints_crud,
]


def main(base_url: str) -> None:
    results = {}
    with openai.OpenAI(base_url=base_url, api_key="any", timeout=60) as client:
        for case in CASES:
            try:
                case(client)
                results[case.__name__] = ""
            except Exception:
                results[case.__name__] = traceback.format_exc()
    print(json.dumps({"version": openai.__version__, "results": results}))


if __name__ == "__main__":
    main(*sys.argv[1:])
