"""Lessons and campaigns over a real engine thread and a fake model."""

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webvtt

from infra.catalog import Catalog
from serving.certificates import anchors
from serving.inspection import inspect
from serving.workflows.lettering import font_path
from tests.system.test_workflows import PNG, followed, post
from tests.unit.serving.conftest import running

LESSON: dict[str, Any] = {
    "title": "Rain",
    "size": "400x224",
    "fps": 2,
    "words_per_minute": 300,
    "segments": [{"id": "sea", "title": "Sea", "prompt": "the sea", "seconds": 1,
                  "narration": "Heat makes vapour."}],
}  # fmt: skip
FONT = "data:font/ttf;base64," + base64.b64encode(font_path().read_bytes()).decode()
CAMPAIGN: dict[str, Any] = {
    "title": "Spring",
    "prompt": "a runner",
    "short_side": 180,
    "fps": 4,
    "audiences": [{"id": "trail"}, {"id": "city", "scene": "a bridge"}],
    "locales": [{"id": "en", "headline": "Run free"}, {"id": "de", "headline": "Lauf frei"}],
    "aspects": ["1:1"],
    "durations": [2],
    "end_card_s": 0.5,
    "assets": {"logo": PNG},
    "fonts": {"house": FONT},
    "brand": {"logo": "logo", "font": "house"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("home")
    catalog = Catalog(f"sqlite:///{home / 'catalog.db'}")
    catalog.migrate()
    with running(catalog, home) as world:
        yield world
    catalog.close()


def ended(found: dict[str, Any]) -> bool:
    assert found["status"] != "failed", found["error"]
    return found["status"] in ("completed", "awaiting_review")


def bundle(world: Any, begun: str) -> zipfile.ZipFile:
    reply = world.client.get(f"/v1/workflows/{begun}/bundle")
    assert reply.status_code == 200, reply.text
    return zipfile.ZipFile(io.BytesIO(reply.content))


def test_a_lesson_is_published_by_its_reviewer_alone(world: Any, tmp_path: Path) -> None:
    begun = post(world, "lesson", LESSON).json()["id"]
    found = followed(world, begun, ended)
    names = [file["name"] for file in found["files"]]
    assert found["status"] == "awaiting_review" and "lesson.draft.mp4" in names
    assert not [name for name in names if name.endswith((".zip", "lesson.mp4"))]
    assert world.client.get(f"/v1/workflows/{begun}/bundle").status_code == 400
    made = len(world.generator.requests)
    post(world, f"{begun}/approve", {"reviewer": "N. N."})
    found = followed(world, begun, lambda found: ended(found) and found["status"] == "completed")
    assert len(world.generator.requests) == made
    with bundle(world, begun) as archive:
        archive.extractall(tmp_path)
    assert json.loads((tmp_path / "review.json").read_text())["reviewer"] == "N. N."
    assert webvtt.read(tmp_path / "captions.en.vtt")[0].text == "Heat makes vapour."
    with zipfile.ZipFile(tmp_path / "lesson.scorm12.zip") as package:
        film = next(name for name in package.namelist() if name.endswith("lesson.mp4"))
        assert package.read(film) == (tmp_path / "lesson.mp4").read_bytes()
    seen = inspect(tmp_path / "lesson.mp4", anchors(world.settings))
    assert (seen.signature, seen.job_id) == ("here", begun)
    assert not list(tmp_path.glob("*draft*"))
    post(world, f"{begun}/shots/sea/retake", {})
    found = followed(world, begun, lambda found: found["status"] == "awaiting_review")
    assert found["approved_by"] is None


def test_a_campaign_makes_one_video_for_each_audience(world: Any) -> None:
    made = len(world.generator.requests)
    begun = post(world, "campaign", CAMPAIGN).json()["id"]
    found = followed(world, begun, ended)
    assert len(world.generator.requests) - made == 2
    assert found["metrics"]["adverts"] == 4 and found["metrics"]["failed"] == []
    with bundle(world, begun) as archive:
        assert sum(name.startswith("adverts/") for name in archive.namelist()) == 4
        assert len(json.loads(archive.read("manifest.json"))["plan"]["fonts"]["house"]) == 64


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"locales": [{"id": "x", "headline": "走れ"}]}, "locales[0].headline"),
        ({"fonts": {"house": "data:font/ttf;base64,AAAA"}}, "fonts.house"),
        ({"fonts": {"house": "data:font/ttf;base64,AAEAAP//////"}}, "locales[0].headline"),
        ({"fonts": {"house": "/etc/passwd"}}, "fonts.house"),
        ({"budget_device_s": 1e-9}, "budget_device_s"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_queued(
    world: Any, change: dict[str, Any], param: str
) -> None:
    if param == "budget_device_s":  # an estimate needs a job that has ended
        followed(world, post(world, "lesson", LESSON).json()["id"], ended)
    files, made = world.files(), len(world.generator.requests)
    reply = post(world, "campaign", CAMPAIGN | change)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text
    assert (world.files(), len(world.generator.requests)) == (files, made)
