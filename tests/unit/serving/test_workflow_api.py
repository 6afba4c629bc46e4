"""/v1/workflows: what is refused, what is estimated, and how shots become jobs."""

import base64
import time
from typing import Any

import pytest

from serving.workflows.state import State
from serving.workflows.store import WorkflowStore
from tests.unit.serving.calls import png

SHOTS = [
    {"id": "a", "prompt": "a pier", "seconds": 1, "takes": 2},
    {"id": "b", "prompt": "a gull", "seconds": 1, "continuity": "previous"},
]
PLAN: dict[str, Any] = {"title": "Harbour", "size": "48x32", "shots": SHOTS}
PNG = "data:image/png;base64," + base64.b64encode(png()).decode()


def post(world: Any, path: str, body: Any = None, **headers: str) -> Any:
    return world.client.post(f"/v1/workflows/{path}", json=body, headers=headers)


def followed(world: Any, workflow_id: str, until: Any) -> dict[str, Any]:
    """The workflow when `until` holds of it; fails with its end otherwise."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found: dict[str, Any] = world.client.get(f"/v1/workflows/{workflow_id}").json()
        if until(found):
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def takes_done(found: dict[str, Any]) -> bool:
    return all(t["status"] in ("completed", "failed") for s in found["shots"] for t in s["takes"])


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


def test_shots_become_jobs_and_go_on_from_each_other(world: Any) -> None:
    plan = PLAN | {
        "assets": {"mara": PNG},
        "shots": [*SHOTS, {"id": "c", "prompt": "fog", "seconds": 1, "reference": "mara"}],
    }
    reply = post(world, "storyboard", plan, **{"idempotency-key": "k"})
    assert reply.status_code == 201, reply.text
    again = post(world, "storyboard", plan, **{"idempotency-key": "k"})
    assert again.json()["id"] == reply.json()["id"]
    other = post(world, "storyboard", PLAN, **{"idempotency-key": "k"})
    assert other.status_code == 400
    found = followed(world, reply.json()["id"], takes_done)
    assert [len(shot["takes"]) for shot in found["shots"]] == [2, 1, 1]
    a, b, c = found["shots"]
    assert b["takes"][0]["parent"] == "a/1" and a["chosen"] == 1
    videos = world.client.get("/v1/videos").json()["data"]
    ids = {take["video_id"] for shot in found["shots"] for take in shot["takes"]}
    assert {video["id"] for video in videos} == ids and len(ids) == 4
    assert {t["model_version"] for s in found["shots"] for t in s["takes"]} == {"3"}
    by_prompt = {request.prompt: request for request in world.generator.requests}
    first = by_prompt["a gull"].given[0].frames[0]
    seeds = [take["seed"] for take in a["takes"]]
    assert abs(int(first[0, 0, 0]) - seeds[0] % 200) < 8  # the fake's red is its seed
    assert abs(int(first[0, 0, 1]) - 220) < 8  # and its last frame the brightest
    assert (by_prompt["fog"].given[0].frames[0, 0, 0] == (10, 200, 30)).all()
    assert c["takes"][0]["seed"] not in seeds


def test_what_another_runner_began_is_found_not_made_again(world: Any) -> None:
    """A runner that died after it had queued a take, before it wrote that down."""
    first = followed(world, post(world, "storyboard", PLAN).json()["id"], takes_done)
    made = len(world.generator.requests)
    store = WorkflowStore(world.catalog, world.settings.media_dir, 3600)

    def forget(row: Any, state: State) -> None:
        row.status = "in_progress"
        for shot in state.shots:
            shot.chosen = None
            for take in shot.takes:
                take.status, take.job_id, take.file = "planned", "", ""

    store.change(first["id"], forget)
    found = followed(world, first["id"], takes_done)
    again = post(world, "storyboard", PLAN | {"title": "The same shots"}).json()["id"]
    followed(world, again, takes_done)
    assert len(world.generator.requests) == made
    assert found["shots"] == first["shots"]


def test_only_the_shot_that_an_edited_plan_changed_is_made(world: Any) -> None:
    followed(world, post(world, "storyboard", PLAN).json()["id"], takes_done)
    made = len(world.generator.requests)
    changed = PLAN | {"shots": [SHOTS[0], SHOTS[1] | {"prompt": "two gulls"}]}
    followed(world, post(world, "storyboard", changed).json()["id"], takes_done)
    assert [r.prompt for r in world.generator.requests[made:]] == ["two gulls"]


def test_a_shot_that_fails_ends_the_workflow_until_it_is_retaken(world: Any) -> None:
    world.generator.error = RuntimeError("no")
    plan = PLAN | {"shots": [SHOTS[1] | {"continuity": "cut"}]}
    begun = post(world, "storyboard", plan).json()["id"]
    failed = followed(world, begun, lambda found: found["status"] == "failed")
    assert failed["error"]["code"] == "shot_failed" and "'b'" in failed["error"]["message"]
    reply = world.client.get(f"/v1/workflows/{begun}/bundle")
    assert reply.json()["error"]["code"] == "workflow_not_ready"
    world.generator.error = None
    assert post(world, f"{begun}/shots/z/retake", {}).status_code == 400
    assert post(world, f"{begun}/shots/b/choose", {"take": 1}).status_code == 400
    assert post(world, f"{begun}/shots/b/retake", {"seed": 7}).status_code == 200
    found = followed(world, begun, takes_done)
    assert (found["shots"][0]["takes"][1]["seed"], found["error"]) == (7, None)


def test_a_budget_holds(world: Any) -> None:
    one = PLAN | {"shots": [SHOTS[1] | {"continuity": "cut"}]}
    followed(world, post(world, "storyboard", one).json()["id"], takes_done)
    reply = post(world, "storyboard", PLAN | {"budget_device_s": 1e-6})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "over_budget")


def test_a_deleted_workflow_leaves_no_file(world: Any) -> None:
    begun = post(world, "storyboard", PLAN | {"assets": {"mara": PNG}}).json()["id"]
    followed(world, begun, takes_done)
    assert world.client.delete(f"/v1/workflows/{begun}").json()["deleted"] is True
    assert world.client.get(f"/v1/workflows/{begun}").status_code == 404
    assert not [name for name in world.files() if name.startswith("wf_")]
