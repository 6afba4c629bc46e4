"""A moderation endpoint, real on loopback: asked about all, and nothing is made without it."""

import base64
import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from infra.video import encode_mp4
from serving.policy import Policy
from tests.unit.serving.calls import png
from tests.unit.serving.conftest import *  # noqa: F403 - the fixtures
from tests.unit.serving.conftest import running
from tests.unit.serving.test_policy import refused


@contextmanager
def moderation(answer):
    """(its /v1, what was asked) of a server; `answer(inputs)` is what it replies, or a status."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append((self.path, self.headers["authorization"], body["input"]))
            said = answer(body["input"])
            self.send_response(said if isinstance(said, int) else 200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps({} if isinstance(said, int) else said).encode())

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    thread.join()
    server.server_close()


def flags(*found: bool):
    return {"id": "m", "model": "m", "results": [{"flagged": flag} for flag in found]}


def test_the_endpoint_is_asked_about_every_text():
    with moderation(lambda texts: flags(*("bad" in text for text in texts))) as (url, asked):
        policy = Policy(url=url, key="secret")
        assert refused(policy, prompt="good", negative_prompt="") == (200, None)
        assert refused(policy, prompt="good", negative_prompt="bad") == (400, "negative_prompt")
    assert asked[0] == ("/v1/moderations", "Bearer secret", ["good"])
    assert asked[1][2] == ["good", "bad"] and "secret" not in repr(policy)


@pytest.mark.parametrize(
    "answer",
    [404, {}, {"results": []}, {"results": [{"flagged": "no"}]}, {"results": None}, [1],
     {"results": [{}]}, flags(False, False)],
    ids=str,
)  # fmt: skip
def test_an_endpoint_that_answers_in_another_way_allows_nothing(answer):
    with moderation(lambda _inputs: answer) as (url, _):
        assert refused(Policy(url=url), prompt="a") == (503, None)


def test_jobs_wait_for_nobody_and_leave_nothing_when_the_endpoint_is_gone(catalog, tmp_path):
    with moderation(lambda _inputs: flags(False)) as (url, _):
        pass  # it was there
    with running(catalog, tmp_path, moderation_url=url) as world:
        posts = (
            ("/v1/videos", {"prompt": "a"}, {"input_reference": ("a.png", png())}),
            ("/v1/images/edits", {"prompt": "a"}, {"image": ("a.png", png())}),
        )
        for path, fields, files in posts:
            reply = world.client.post(path, data=fields, files=files)
            error = reply.json()["error"]
            assert (reply.status_code, error["code"]) == (503, "policy_unavailable")
        assert world.client.get("/v1/videos").json()["data"] == [] and world.files() == []


def test_pictures_and_clips_are_looked_at_too(catalog, tmp_path):
    seen = []

    def judge(inputs):
        pictures = [entry for entry in inputs if isinstance(entry, dict)]
        seen.extend(entry["image_url"]["url"][:23] for entry in pictures)
        return flags(*(bool(pictures) for _ in inputs))

    clip = io.BytesIO(encode_mp4(np.zeros((8, 32, 48, 3), np.uint8), 8.0))
    with moderation(judge) as (url, _), running(catalog, tmp_path, moderation_url=url) as world:
        posts = (
            ("/v1/videos", {"input_reference": ("a.png", png())}),
            ("/v1/videos/edits", {"video": ("a.mp4", clip)}),
        )
        for path, files in posts:
            reply = world.client.post(path, data={"prompt": "a"}, files=files)
            assert reply.json()["error"]["code"] == "moderation_blocked", reply.text
        assert world.files() == []
    assert seen == ["data:image/jpeg;base64,"] * 2


def test_the_words_and_pictures_of_plans_are_looked_at_before_anything_is_kept(catalog, tmp_path):
    asked = []

    def judge(inputs):
        asked.extend(entry if isinstance(entry, str) else "a picture" for entry in inputs)
        return flags(*(entry == "bad" or isinstance(entry, dict) for entry in inputs))

    logo = "data:image/png;base64," + base64.b64encode(png()).decode()
    plan = {"title": "Spring", "prompt": "a runner", "short_side": 180, "aspects": ["1:1"],
            "audiences": [{"id": "a"}], "assets": {"logo": logo},
            "brand": {"logo": "logo"}}  # fmt: skip
    with moderation(judge) as (url, _), running(catalog, tmp_path, moderation_url=url) as world:
        for headline, param in (("bad", "locales[0].headline"), ("good", "assets.logo")):
            locales = [{"id": "en", "headline": headline}]
            reply = world.client.post("/v1/workflows/campaign", json=plan | {"locales": locales})
            error = reply.json()["error"]
            assert (error["code"], error["param"]) == ("moderation_blocked", param), reply.text
        assert world.files() == [] and world.client.get("/v1/workflows").json()["data"] == []
    assert "Spring" in asked and asked[-1] == "a picture" and logo not in asked
