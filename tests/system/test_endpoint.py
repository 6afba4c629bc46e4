"""The caption job with a model on a server: a real one on loopback that fails as servers fail."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.job import main
from captioning.recipe import CaptionRecipe
from infra.errors import InputError, JobCancelledError
from infra.job_files import JobContext
from infra.lake import Lake
from infra.recipes import from_dict
from infra.settings import Settings
from infra.video import encode_mp4
from tests.unit.captioning.chat_server import (
    Chat,
    Reply,
    caption,
    chat_server,
    colour,
    completion,
    failure,
)

KEY = "sk-not-for-logs-7f3a"
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
MOVIES = {
    name: encode_mp4(np.full((8, 48, 80, 3), rgb, np.uint8), 8.0) for name, rgb in COLOURS.items()
}


@pytest.fixture
def lake(own_home: Settings, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Six clips without a person's words, named after their colour."""
    monkeypatch.setenv("REEL_CAPTION_KEY", f"{KEY}\n")
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "somebody-else's")
    found = Lake(own_home.lake_uri)
    found.ensure()
    add(found, 2)
    return found


def add(lake: Lake, count: int) -> None:
    names = [f"{name}-{number}" for name in COLOURS for number in range(count)]
    lake.upsert(
        "clips",
        [
            {"clip_id": name, "source_id": "1" * 64, "status": "accepted", "start_s": 2.0,
             "end_s": 3.0, "offset_s": 0.0, "width": 80, "height": 48,
             "facts_json": '{"light": "dark"}'}
            for name in names
        ],
    )  # fmt: skip
    lake.write_clip_bytes({name: MOVIES[name.split("-")[0]] for name in names})


def context(lake: Lake, chat: Chat, **recipe: Any) -> JobContext:
    endpoint = {"url": chat.url, "model": "eye", "concurrency": 2, **recipe}
    spec = {"recipe": {"endpoint": endpoint}, "track": False}
    return JobContext(spec, Path(lake.uri).parent)


def job(lake: Lake, chat: Chat, **recipe: Any) -> dict[str, Any]:
    return main(context(lake, chat, **recipe))


def sources(lake: Lake) -> Counter[str]:
    return Counter(lake.read("clips")["caption_source"].to_pylist())


def seen(number: int, pictures: list[Any]) -> Reply:
    return caption(f"A {colour(pictures)} wall.")


def test_each_clip_is_described_from_its_own_frames(lake: Lake) -> None:
    with chat_server(seen) as chat:
        result = job(lake, chat, frames=3, side=40)
    rows = lake.read("clips").to_pylist()
    assert {row["clip_id"].split("-")[0]: row["caption"] for row in rows} == {
        name: f"A {name} wall." for name in COLOURS
    }
    assert {(row["caption_source"], row["caption_score"]) for row in rows} == {("endpoint", 0.75)}
    assert result["endpoint"] == {
        "version": rows[0]["caption_version"], "asked": 6, "answered": 6, "failed": {}, "left": 0,
        "tokens": 600, "stopped": "",
    }  # fmt: skip
    request = chat.requests[0]
    assert (request["model"], request["response_format"]["type"]) == ("eye", "json_schema")
    urls = [part["image_url"]["url"] for part in request["messages"][0]["content"][1:]]
    assert len(urls) == 3
    assert all(url.startswith("data:image/jpeg;base64,") for url in urls)


def test_as_many_are_asked_at_once_as_the_recipe_allows(lake: Lake) -> None:
    pair = threading.Barrier(2)

    def answer(number: int, pictures: list[Any]) -> Reply:
        pair.wait(60)  # one alone would wait in vain
        return seen(number, pictures)

    with chat_server(answer) as chat:
        assert job(lake, chat, concurrency=2)["endpoint"]["answered"] == 6
    assert chat.most_at_once == 2


def test_frames_are_scaled_to_the_side_asked_for_and_never_up(lake: Lake) -> None:
    sizes = []

    def measure(number: int, pictures: list[Any]) -> Reply:
        sizes.extend(picture.size for picture in pictures)
        return caption("A wall.")

    with chat_server(measure) as chat:
        job(lake, chat, side=40)
        assert set(sizes) == {(40, 24)}
        sizes.clear()
        job(lake, chat)
        assert set(sizes) == {(80, 48)}


def test_the_key_goes_to_the_server_and_nowhere_else(
    lake: Lake, own_home: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with chat_server(lambda *_: failure(401, f"Incorrect API key provided: {KEY}.")) as chat:
        result = job(lake, chat)
    assert chat.headers[0]["authorization"] == f"Bearer {KEY}"
    assert not [name for name in chat.headers[0] if name.startswith("openai-")]
    assert "Incorrect API key provided: ***" in result["endpoint"]["stopped"]
    assert KEY not in json.dumps(result) + caplog.text + repr(Settings())
    assert not any(KEY in value for value in Settings().process_env().values())
    written = [path for path in own_home.home.rglob("*") if path.is_file()]
    assert written
    assert not any(KEY.encode() in path.read_bytes() for path in written)


def test_a_server_that_refuses_the_key_is_asked_no_more(lake: Lake) -> None:
    with chat_server(lambda *_: failure(401)) as chat:
        result = job(lake, chat)["endpoint"]
    assert len(chat.requests) <= 2  # those that were under way
    assert result["asked"] + result["left"] == 6
    assert sources(lake) == {"facts": 6}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(lake: Lake, status: int) -> None:
    def answer(number: int, pictures: list[Any]) -> Reply:
        return failure(status) if number % 3 < 2 else seen(number, pictures)

    with chat_server(answer) as chat:
        result = job(lake, chat, concurrency=1)
    assert result["endpoint"]["answered"] == 6
    assert result["endpoint"]["asked"] == 6  # a clip counts once
    assert len(chat.requests) == 18


def test_a_wait_that_the_server_asks_for_is_kept(lake: Lake) -> None:
    add(lake, 1)
    times: list[float] = []

    def answer(number: int, pictures: list[Any]) -> Reply:
        times.append(time.monotonic())
        later = {"retry-after-ms": "not a number", "retry-after": "0.3"}
        return failure(429, **later) if number == 0 else seen(number, pictures)

    with chat_server(answer) as chat:
        job(lake, chat, concurrency=1, max_clips=1)
    assert times[1] - times[0] >= 0.29


def test_what_one_clip_runs_into_costs_that_clip_only_and_is_tried_again(lake: Lake) -> None:
    bad: dict[str, Callable[[], Reply]] = {
        "green": lambda: failure(500),
        "blue": lambda: completion("no JSON at all"),
    }

    def answer(number: int, pictures: list[Any]) -> Reply:
        return bad.get(colour(pictures), lambda: seen(number, pictures))()

    with chat_server(answer) as chat:
        first = job(lake, chat, retries=1)
        assert first["by_source"] == {"endpoint": 2, "facts": 4}
        assert first["endpoint"]["failed"] == {"HTTP 500": 2, "not the JSON asked for": 2}
        assert lake.count("clips", CaptionRecipe().unanswered or "true") == 6
        bad.clear()
        asked = len(chat.requests)
        second = job(lake, chat, retries=1)
        assert len(chat.requests) == asked + 4  # what was answered is not paid for again
    assert second["by_source"] == {"endpoint": 4}
    assert sources(lake) == {"endpoint": 6}


def test_a_clip_that_does_not_decode_costs_no_request(lake: Lake) -> None:
    lake.delete("clip_bytes", "clip_id = 'red-0'")
    lake.write_clip_bytes({"red-0": b"not a film"})
    with chat_server(seen) as chat:
        result = job(lake, chat)
    assert result["endpoint"]["failed"] == {"the clip does not decode": 1}
    assert len(chat.requests) == 5
    assert sources(lake) == {"endpoint": 5, "facts": 1}


@pytest.mark.parametrize(
    "limits", [{"timeout_s": 0.3, "retries": 0}, {"timeout_s": 60.0, "patience_s": 0.3}]
)
def test_an_answer_that_does_not_come_is_not_waited_for(
    lake: Lake, limits: dict[str, float]
) -> None:
    ended = threading.Event()

    def answer(number: int, pictures: list[Any]) -> Reply:
        ended.wait(60)
        return seen(number, pictures)

    with chat_server(answer) as chat:
        try:
            result = job(lake, chat, max_clips=2, **limits)
        finally:
            ended.set()
    assert result["endpoint"]["failed"] == {"no answer": 2}
    assert result["by_source"] == {"facts": 6}


def test_a_server_that_is_gone_is_given_up(lake: Lake) -> None:
    add(lake, 8)
    with chat_server(seen) as chat:
        pass
    result = job(lake, chat, retries=0)["endpoint"]
    assert result["stopped"] == "the server failed 16 clips in a row: no answer"
    assert (result["asked"] + result["left"], result["answered"]) == (24, 0)
    assert result["asked"] < 20
    assert sources(lake) == {"facts": 24}


def test_a_budget_of_clips_is_kept_and_the_next_run_goes_on(lake: Lake) -> None:
    with chat_server(seen) as chat:
        first = job(lake, chat, max_clips=4)
        assert first["by_source"] == {"endpoint": 4, "facts": 2}
        assert first["endpoint"]["left"] == 2
        assert first["endpoint"]["stopped"] == "the budget of 4 clips a run is spent"
        assert len(chat.requests) == 4
        assert job(lake, chat, max_clips=4)["by_source"] == {"endpoint": 2}
        assert job(lake, chat, max_clips=4)["endpoint"]["asked"] == 0
        assert len(chat.requests) == 6


def test_a_budget_of_tokens_is_kept_but_for_what_is_under_way(lake: Lake) -> None:
    with chat_server(seen) as chat:
        result = job(lake, chat, max_tokens=250, concurrency=1)
    assert result["endpoint"]["tokens"] == 300
    assert result["endpoint"]["stopped"] == "the budget of 250 tokens a run is spent"
    assert len(chat.requests) == 3


def test_what_was_paid_for_survives_a_stop(lake: Lake) -> None:
    add(lake, 8)
    with chat_server(seen) as chat:
        stopped = context(lake, chat, concurrency=1)

        def answer(number: int, pictures: list[Any]) -> Reply:
            stopped.should_stop |= number == 5
            return seen(number, pictures)

        chat.answer = answer
        with pytest.raises(JobCancelledError):
            main(stopped)
        paid = lake.count("captions", "source = 'endpoint'")
        assert 5 <= paid <= 6  # a batch of four, and what was answered of the next
        assert len(chat.requests) - paid <= 1  # the one under way
        assert lake.count("clips", "caption is not null") == 0
        before = len(chat.requests)
        chat.answer = seen
        job(lake, chat, concurrency=1)
        assert len(chat.requests) == before + 24 - paid
    assert sources(lake) == {"endpoint": 24}


def test_a_new_prompt_asks_anew_and_the_drift_is_told(lake: Lake) -> None:
    with chat_server(seen) as chat:
        assert job(lake, chat)["drift"] == []
        chat.answer = lambda number, pictures: caption(
            f"A {colour(pictures)} {'door' if colour(pictures) == 'red' else 'wall'}."
        )
        other = job(lake, chat, prompt="Look again.")
        versions = set(lake.read("captions", where="source = 'endpoint'")["version"].to_pylist())
        assert len(versions) == 2
        (drift,) = other["drift"]
        assert (drift["clips"], drift["changed"]) == (6, 2)
        assert drift["word_f1"] == pytest.approx((4 + 2 * 0.75) / 6, abs=1e-4)
        shown = [(e["clip_id"], e["before"], e["after"]) for e in drift["examples"]]
        assert shown == [(f"red-{n}", "A red wall.", "A red door.") for n in range(2)]
        assert job(lake, chat, prompt="Look again.")["drift"] == []
        back = len(chat.requests)
        assert job(lake, chat)["by_source"] == {"endpoint": 6}
        assert len(chat.requests) == back  # the old prompt's answers are still there


def test_where_a_model_runs_and_what_it_may_cost_make_no_other_version() -> None:
    def version(**values: Any) -> str:
        known = {"url": "http://a/v1", "model": "m"}
        return from_dict(CaptionRecipe, {"endpoint": known | values}).endpoint.version

    assert version() == version(url="https://b/v1", max_clips=3, concurrency=1, timeout_s=1.0)
    assert len({version(), version(model="n"), version(prompt="?"), version(frames=2)}) == 4


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"url": "localhost:8000"}, "endpoint.url is 'localhost:8000'"),
        ({"url": "https://me:secret@host/v1"}, "without a name or password"),
        ({"url": "http://host/v1"}, "name the model"),
        ({"url": "http://host/v1", "model": "m", "concurrency": 0}, "it has to be 1 or more"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_dict(CaptionRecipe, {"endpoint": values})
