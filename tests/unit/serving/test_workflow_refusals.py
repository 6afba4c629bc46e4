"""/v1/workflows: what is refused and what is estimated; `tests/system` makes what is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.policy import Policy

BAD = "some forbidden thing it is"
SHOTS = [
    {"id": "a", "prompt": "a pier", "seconds": 1, "takes": 2},
    {"id": "b", "prompt": "a gull", "seconds": 1, "continuity": "previous"},
]
PLAN: dict[str, Any] = {"title": "Harbour", "size": "48x32", "shots": SHOTS}


def post(world: Any, path: str, body: Any = None, **headers: str) -> Any:
    return world.client.post(f"/v1/workflows/{path}", json=body, headers=headers)


@pytest.mark.parametrize(
    ("kind", "change", "status", "param"),
    [
        ("opera", {}, 404, "kind"),
        ("storyboard", {"title": None}, 400, "title"),
        ("storyboard", {"tittle": "x"}, 400, "tittle"),
        ("storyboard", {"shots": [SHOTS[1]]}, 400, "shots[0].continuity"),
        ("storyboard", {"shots": [{**SHOTS[0], "seconds": 1e9}]}, 400, "shots[0].seconds"),
        ("storyboard", {"assets": {"mara": "http://127.0.0.1/x.png"}}, 400, "assets.mara"),
        ("storyboard", {"assets": {"mara": "data:image/png;base64,AAAA"}}, 400, "assets.mara"),
        ("storyboard", {"budget_device_s": -1}, 400, "budget_device_s"),
        ("game", {}, 400, "items"),
    ],
)
def test_a_wrong_plan_is_refused_and_leaves_nothing(
    still_world: Any, kind: str, change: dict[str, Any], status: int, param: str
) -> None:
    reply = post(still_world, kind, PLAN | change)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)
    assert still_world.files() == []
    assert still_world.client.get("/v1/workflows").json()["data"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "wf_none"), ("DELETE", "wf_none"), ("GET", "wf_none/bundle"),
        ("GET", "wf_none/files/a.mp4"), ("POST", "wf_none/shots/a/retake"),
        ("POST", "wf_none/cancel"),
    ],
)  # fmt: skip
def test_a_workflow_that_is_not_there_is_not_found(
    still_world: Any, method: str, path: str
) -> None:
    reply = still_world.client.request(method, f"/v1/workflows/{path}")
    assert (reply.status_code, reply.json()["error"]["param"]) == (404, "workflow_id")


def test_an_estimate_counts_every_take_and_makes_none(still_world: Any) -> None:
    found = post(still_world, "storyboard/estimate", PLAN).json()
    assert (found["shots"], found["generations"], found["seconds"]) == (2, 3, 2)
    assert found["device_seconds"] is None  # nothing was made yet to learn from
    assert still_world.generator.requests == []


def blocked(kind: str, place: str) -> dict[str, Any]:
    """A plan that says in one place what is not allowed."""
    quiz = {"question": "q", "choices": ["a", "b"], "answer": 1}
    said = {"id": "a", "title": "t", "prompt": "x", "narration": "n", "quiz": quiz}
    choices = [{"text": "go", "to": "a"}, {"text": "b", "to": "b"}]
    scene = {"id": "a", "prompt": "x", "choices": choices}
    plans: dict[str, dict[str, Any]] = {
        "storyboard": {**PLAN, "shots": [{**shot} for shot in SHOTS], "style": "ink"},
        "game": {"title": "t", "items": [
            {"type": "cutscene", "id": "a", "shots": [scene, {"id": "b", "prompt": "x"}]}]},
        "lesson": {"title": "t", "segments": [said], "sources": [{"title": "s"}], "labels": {}},
        "campaign": {"title": "t", "prompt": "x", "audiences": [{"id": "a"}], "aspects": ["1:1"],
                     "locales": [{"id": "en", "headline": "h"}], "brand": {}},
    }  # fmt: skip
    if place == "script":
        return {"title": "t", "script": f"INT. ROOM\n\nA lamp.\n\nMARA\n{BAD}\n"}
    *way, last = place.replace("[", ".").replace("]", "").split(".")
    here: Any = plans[kind]
    for step in way:
        here = here[int(step) if step.isdecimal() else step]
    here[int(last) if last.isdecimal() else last] = BAD
    return plans[kind]


@pytest.fixture
def strict_world(still_world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    service = still_world.client.app.state.service
    monkeypatch.setattr(service, "policy", Policy(words=("forbidden thing",)))
    return still_world


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("storyboard", "title"), ("storyboard", "shots[1].dialogue"), ("storyboard", "style"),
        ("storyboard", "shots[0].prompt"), ("storyboard", "script"),
        ("game", "items[0].shots[0].choices[1].text"),
        ("lesson", "segments[0].narration"), ("lesson", "segments[0].quiz.choices[1]"),
        ("lesson", "labels.draft"), ("lesson", "sources[0].title"),
        ("campaign", "locales[0].headline"), ("campaign", "brand.legal"),
    ],
)  # fmt: skip
def test_the_policy_is_asked_about_all_that_a_plan_says(
    strict_world: Any, kind: str, place: str
) -> None:
    reply = post(strict_world, kind, blocked(kind, place))
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "moderation_blocked", place)
    assert strict_world.files() == []
    assert strict_world.client.get("/v1/workflows").json()["data"] == []


def test_a_loop_that_would_not_fit_into_memory_is_refused(still_world: Any) -> None:
    plan = {"title": "t", "items": [{"type": "loop", "id": "a", "prompt": "x", "seconds": 60}]}
    reply = post(still_world, "game", plan | {"size": "1920x1080"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "items[0].seconds")


def test_words_that_are_harmless_alone_are_refused_together(strict_world: Any) -> None:
    plan = PLAN | {"shots": [{**SHOTS[0], "prompt": "a forbidden"}], "style": "thing of ink"}
    assert post(strict_world, "storyboard", plan).json()["error"]["param"] == "shots[0]"


def test_nothing_is_kept_while_the_policy_cannot_be_asked(
    still_world: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = still_world.client.app.state.service
    monkeypatch.setattr(service, "policy", Policy(file=tmp_path / "gone.txt"))
    reply = post(still_world, "storyboard", PLAN)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "policy_unavailable")
    assert still_world.files() == []
    assert still_world.client.get("/v1/workflows").json()["data"] == []


@pytest.mark.parametrize(
    ("kind", "plan", "param"),
    [
        ("game", {"items": [{"type": "loop", "id": "a", "prompt": "x", "seconds": 1}]},
         "items[0].seconds"),
        ("game", {"items": [{"type": "flipbook", "id": "a", "prompt": "x", "rows": 1}]},
         "items[0].rows"),
        ("lesson", {"segments": [{"id": "a", "title": "t", "prompt": "x", "narration": "short",
                                  "fit": "loop"}]}, "segments[0].fit"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["", "/estimate"])
def test_a_shot_that_the_model_cannot_make_is_refused_when_the_plan_is_posted(
    still_world: Any, kind: str, plan: dict[str, Any], param: str, path: str
) -> None:
    service = still_world.client.app.state.service
    usual = service.model
    service.adopt(replace(usual, loop_frames=24))
    try:
        reply = post(still_world, kind + path, {"title": "t", **plan})
    finally:
        service.adopt(usual)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text
    assert "at least 3 s" in reply.json()["error"]["message"]
    assert still_world.files() == []
