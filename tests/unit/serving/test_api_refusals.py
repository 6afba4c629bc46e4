"""What the HTTP API refuses: every wrong field is named, nothing is queued or left behind."""

import io
import json
import threading

import anyio
import pytest
from PIL import Image

from serving.wire import BodyCap
from tests.unit.serving.calls import create, png

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
        ({"prompt": "a", "stream": "often"}, "stream"),
        ({"prompt": "a", "stream": True, "partial_images": 4}, "partial_images"),
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


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/images/generations"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_cap_is_refused_before_it_is_parsed(declared, path):
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
    scope = {"type": "http", "headers": headers, "method": "POST", "path": path}
    cap = BodyCap(app, limit=100, small=50)
    if declared:
        anyio.run(cap, scope, receive, send)
        assert sent[0]["status"] == 413
    else:
        with pytest.raises(Exception, match="larger than"):
            anyio.run(cap, scope, receive, send)
