"""Workflows over a real engine thread and a fake model: shots become jobs, jobs become files."""

import base64
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import opentimelineio as otio
import pytest
import webvtt
from PIL import Image

from infra.catalog import Catalog
from serving.certificates import anchors
from serving.inspection import inspect
from serving.workflows.state import State
from serving.workflows.store import WorkflowStore
from tests.unit.serving import conftest
from tests.unit.serving.calls import png
from tests.unit.serving.conftest import running

SHOTS = [
    {"id": "a", "prompt": "a pier", "seconds": 1, "takes": 2},
    {"id": "b", "prompt": "a gull", "seconds": 1, "continuity": "previous"},
]
PLAN: dict[str, Any] = {"title": "Harbour", "size": "48x32", "slate_s": 0, "shots": SHOTS}
PATIENCE_S = 120.0
PNG = "data:image/png;base64," + base64.b64encode(png()).decode()


empty_catalog, catalog = conftest.empty_catalog, conftest.catalog


@pytest.fixture
def world(tmp_path: Path, catalog: Catalog) -> Iterator[Any]:
    with running(catalog, tmp_path) as world:
        yield world


def post(world: Any, path: str, body: Any = None, **headers: str) -> Any:
    return world.client.post(f"/v1/workflows/{path}", json=body, headers=headers)


def followed(world: Any, workflow_id: str, until: Any) -> dict[str, Any]:
    """The workflow when `until` holds of it; fails with its end otherwise."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found: dict[str, Any] = world.client.get(f"/v1/workflows/{workflow_id}").json()
        if until(found):
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def takes_done(found: dict[str, Any]) -> bool:
    return all(t["status"] in ("completed", "failed") for s in found["shots"] for t in s["takes"])


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
    # What was being put together just then is ended by the runner, at its next look.
    deadline = time.monotonic() + PATIENCE_S
    while left := [name for name in world.files() if name.startswith("wf_")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def ended(found: dict[str, Any]) -> bool:
    assert found["status"] != "failed", found["error"]
    return found["status"] in ("completed", "awaiting_review")


def bundle(world: Any, workflow_id: str) -> zipfile.ZipFile:
    reply = world.client.get(f"/v1/workflows/{workflow_id}/bundle")
    assert reply.headers["content-type"] == "application/zip", reply.text
    return zipfile.ZipFile(io.BytesIO(reply.content))


def test_another_take_is_cut_in_without_the_model(world: Any, tmp_path: Path) -> None:
    begun = post(world, "storyboard", PLAN | {"review": True}).json()["id"]
    found = followed(world, begun, ended)
    assert found["status"] == "awaiting_review"
    refused = world.client.get(f"/v1/workflows/{begun}/bundle").json()
    assert refused["error"]["code"] == "review_pending"
    names = [file["name"] for file in found["files"]]
    assert {"animatic.mp4", "harbour.otio", "harbour.edl", "manifest.json"} <= set(names)
    for file in found["files"]:
        assert world.client.get(file["url"]).headers["content-length"] == str(file["bytes"])
    for name in ("nothing.mp4", "../order.json", "%2e%2e/order.json"):
        assert world.client.get(f"/v1/workflows/{begun}/files/{name}").status_code == 404
    made = len(world.generator.requests)
    for take in found["shots"][0]["takes"]:
        world.client.delete(f"/v1/videos/{take['video_id']}")  # takes outlive their jobs
    post(world, f"{begun}/shots/a/choose", {"take": 2})
    found = followed(world, begun, ended)
    assert len(world.generator.requests) == made
    assert found["shots"][1]["continuity_is_stale"] is True
    assert post(world, f"{begun}/approve", {}).status_code == 400
    post(world, f"{begun}/approve", {"reviewer": "N. N."})
    assert followed(world, begun, lambda found: found["status"] == "completed")["approved_by"]
    with bundle(world, begun) as archive:
        archive.extractall(tmp_path / "bundle")
    cut = otio.adapters.read_from_file(str(tmp_path / "bundle/harbour.otio"))
    first = next(iter(cut.find_clips()))
    assert first.active_media_reference_key == "take-2"
    manifest = json.loads((tmp_path / "bundle/manifest.json").read_text())
    assert manifest["workflow"] == begun and len(manifest["takes"]) == 3


def test_a_retake_cascades_to_the_shots_that_go_on_from_it(world: Any) -> None:
    begun = post(world, "storyboard", PLAN).json()["id"]
    followed(world, begun, ended)
    post(world, f"{begun}/shots/a/retake", {"prompt": "a quay", "cascade": True})
    found = followed(world, begun, ended)
    a, b = found["shots"]
    assert (a["chosen"], b["chosen"], b["takes"][1]["parent"]) == (3, 2, "a/3")
    assert [r.prompt for r in world.generator.requests[-2:]] == ["a quay", "a gull"]
    assert b["continuity_is_stale"] is False


def test_a_games_pictures_loops_and_scenes_come_from_jobs_of_their_kinds(
    world: Any, tmp_path: Path
) -> None:
    shots = [{"id": "a", "prompt": "a gate", "seconds": 1,
              "dialogue": [{"speaker": "M", "text": "<i>Halt</i>"}]}]  # fmt: skip
    items = [
        {"type": "skybox", "id": "dusk", "prompt": "dusk", "height": 32},
        {"type": "flipbook", "id": "torch", "prompt": "fire", "rows": 2, "columns": 4, "tile": 32},
        {"type": "cutscene", "id": "intro", "shots": shots},
    ]
    plan = {"title": "Torchlight", "size": "48x32", "fps": 8, "items": items}
    begun = post(world, "game", plan).json()["id"]
    found = followed(world, begun, ended)
    kinds = {shot["id"]: shot["takes"][0]["video_id"].partition("_")[0] for shot in found["shots"]}
    assert kinds == {"dusk": "image", "torch": "video", "intro_a": "video"}
    with bundle(world, begun) as archive:
        archive.extractall(tmp_path)
    with Image.open(tmp_path / "skyboxes/dusk/equirectangular.png") as sky:
        assert sky.size == (64, 32)
    with Image.open(tmp_path / "flipbooks/torch/torch.png") as sheet:
        assert sheet.size == (128, 64)
    (caption,) = webvtt.read(tmp_path / "cutscenes/intro/a.vtt")
    assert caption.voice == "M" and "<i>" not in caption.raw_text
    assert found["metrics"]["torch"]["repaired"] and "torch" in " ".join(found["notes"])


def test_what_is_put_together_is_signed_and_names_its_jobs(world: Any, tmp_path: Path) -> None:
    made = post(world, "storyboard", PLAN).json()["id"]
    found = followed(world, made, lambda work: work["status"] == "completed")
    jobs = {take["video_id"] for shot in found["shots"] for take in shot["takes"]}
    signed = [file for file in found["files"] if file["name"].endswith((".mp4", ".png"))]
    assert len(signed) >= 3
    for file in signed:
        data = world.client.get(file["url"]).content
        assert hashlib.sha256(data).hexdigest() == file["sha256"]
        (tmp_path / "got").write_bytes(data)
        seen = inspect(tmp_path / "got", anchors(world.settings))
        assert (seen.signature, seen.job_id) == ("here", made)
        assert set(seen.claims["made_from"].split()) == jobs
