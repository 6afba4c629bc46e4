"""/v1/workflows: what is refused and what is estimated; `tests/system` makes what is not."""

from typing import Any

import pytest

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
