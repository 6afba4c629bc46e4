from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from captioning.recipe import CaptionRecipe
from flows import caption_recipe, refresh, refresh_report
from infra.catalog import Catalog
from infra.errors import InputError
from infra.job_files import write_json
from infra.lake import Lake
from infra.recipes import from_dict
from infra.releases import ReleaseInfo, create_release
from infra.settings import Settings

INGESTED: dict[str, Any] = {
    "funnel": {
        "files": 30,
        "duplicates": 2,
        "quarantined": 3,
        "withdrawn": 1,
        "accepted": 25,
        "shots": 200,
        "clips": 180,
        "rejected": {"too short": 15, "black": 5, "blurred": 0},
    },
    "new_sources": 25,
    "new_clips": 180,
    "seconds": 540.2,
}
CAPTIONED: dict[str, Any] = {"captioned": 180, "by_source": {"sidecar": 60, "coca": 120}}


def _release(name: str = "r2") -> ReleaseInfo:
    counts = {"sources": 25, "clips": 180, "train": 162, "val": 18, "seconds": 540.2}
    return ReleaseInfo(
        name=name,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        versions={},
        counts={**counts, "captioned": 180},
        fingerprints={},
        previous="r1",
        content_hash="",
    )


def test_funnel_gives_each_loss_its_reason_and_no_empty_ones() -> None:
    page = refresh_report.funnel(INGESTED, CAPTIONED)
    assert "| films accepted | 25 | 3 quarantined, 2 duplicates, 1 withdrawn |" in page
    assert "| clips accepted | 180 | 15 too short, 5 black |" in page
    assert "blurred" not in page
    assert "of another film" not in page
    page = refresh_report.funnel(INGESTED, CAPTIONED | {"near_duplicates": 4})
    assert "4 clips show what a better clip of another film shows" in page


def test_summary_says_when_there_was_nothing_to_do() -> None:
    text = refresh_report.summary(INGESTED, _release(), created=False)
    assert text == "nothing new: release r2 already holds all of this footage"
    text = refresh_report.summary(INGESTED, _release(), created=True)
    assert text.startswith("release r2: 25 films → 180 clips, 540 s, 180 with captions")
    assert "3 files in quarantine" in text


def test_the_captions_page_says_who_speaks_what_failed_and_what_drifted() -> None:
    release = replace(_release(), captions={"sidecar": {"": 60}, "endpoint": {"eye@0f": 100}})
    page = refresh_report.captions_page(CAPTIONED, release)
    assert "| sidecar | - | 60 |\n| endpoint | eye@0f | 100 |" in page
    assert "##" not in page
    asked = {"version": "eye@0f", "asked": 104, "answered": 100, "failed": {"HTTP 500": 3,
             "refused": 1}, "left": 20, "tokens": 9000, "stopped": "money"}  # fmt: skip
    drift = {"source": "endpoint", "version": "eye@0f", "previous": "eye@aa", "clips": 32,
             "changed": 8, "word_f1": 0.91, "examples": [{"clip_id": "0123456789",
             "before": "A dog.", "after": "![x](http://host/) <b>A|cat"}]}  # fmt: skip
    page = refresh_report.captions_page({"endpoint": asked, "drift": [drift]}, release)
    for words in (
        "asked about 104 clips and described 100 (9000 tokens)",
        "No caption from it: 3 HTTP 500, 1 refused.",
        "Not asked about: 20 clips.",
        "the next refresh asks again",
        "Of 32 watched clips 8 (25%) have other words than by version eye@aa",
        "| 01234567 | A dog. | \\!\\[x\\]\\(http://host/\\) \\<b\\>A\\|cat |",
    ):
        assert words in page


def test_the_recipe_of_captions_is_the_homes(own_home: Settings) -> None:
    assert caption_recipe.load(own_home) == CaptionRecipe()
    path = own_home.home / "recipes" / "caption.json"
    write_json(path, {"prefer": ["coca"], "coca": {"steps": 5}})
    found = caption_recipe.load(own_home)
    assert (found.order, found.coca.steps) == (("coca", "facts"), 5)
    write_json(path, {"endpoint": {"url": "nowhere", "model": "m"}})
    with pytest.raises(InputError, match=r"caption\.json is no CaptionRecipe: endpoint\.url is"):
        caption_recipe.load(own_home)


def test_footage_of_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    last = {"uri": "/films", "where": "motion > 0.1"}
    monkeypatch.setattr(refresh.Variable, "get", lambda _name, default: last)
    assert refresh.footage("", "") == ("/films", "motion > 0.1")
    assert refresh.footage("/other", "") == ("/other", "")  # other films, no filter
    assert refresh.footage("", "luma > 0.2") == ("/films", "luma > 0.2")
    assert refresh.footage("s3://bucket/films", "")[0] == "s3://bucket/films"


def test_no_footage_and_relative_paths_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh.Variable, "get", lambda _name, default: default)
    with pytest.raises(InputError, match="no footage was named"):
        refresh.footage("", "")
    with pytest.raises(InputError, match="'films' is a relative path"):
        refresh.footage("films", "")


def test_a_retry_looks_for_no_footage_and_leaves_that_of_last_time(
    own_home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs, set_to = list[dict[str, Any]](), list[dict[str, str]]()

    def run_step(step: str, _module: str, spec: dict[str, Any]) -> dict[str, Any]:
        specs.append(spec)
        return INGESTED | {"retried": 3, "mended": 2} if step == "ingest" else CAPTIONED

    monkeypatch.setattr(refresh, "run_step", run_step)
    monkeypatch.setattr(refresh, "is_released", lambda *_: False)
    monkeypatch.setattr("infra.upkeep.keep_up", lambda _lake: [])
    monkeypatch.setattr("infra.releases.create_release", lambda *_, **__: (_release(), False))
    monkeypatch.setattr("infra.releases.get_release", lambda *_: _release("r1"))
    monkeypatch.setattr(refresh_report, "publish", lambda *_, **__: None)
    last = {"uri": "/films", "where": "motion > 0.1"}
    monkeypatch.setattr(refresh.Variable, "get", lambda *_, **__: last)
    monkeypatch.setattr(refresh.Variable, "set", lambda _name, uri, **_: set_to.append(uri))
    data = refresh.refresh_data.fn(retry=True).data
    assert specs[0].keys() == {"retry", "recipe", "parallel"}
    assert (data["retried"], data["mended"], set_to) == (3, 2, [])
    data = refresh.refresh_data.fn().data
    assert specs[2]["uri"] == "/films"
    assert set_to == [last]
    assert "mended" not in data


def test_captions_are_skipped_only_when_content_and_recipes_are_the_released_ones(
    tmp_path: Path,
) -> None:
    lake, catalog = Lake(str(tmp_path / "lake")), Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    lake.ensure()
    catalog.migrate()
    clip = {"clip_id": "1", "status": "accepted", "split": "train", "start_s": 0.0, "end_s": 2.0}
    lake.upsert("clips", [clip | {"caption": "a red ball"}])
    marks = {"ingest": "f00", "caption": "ba5"}
    assert not refresh.is_released(lake, catalog, marks, "")
    create_release(lake, catalog, fingerprints=marks)
    assert refresh.is_released(lake, catalog, marks, "")
    assert not refresh.is_released(lake, catalog, marks | {"caption": "new"}, "")
    assert not refresh.is_released(lake, catalog, marks, "motion > 0.1")
    lake.upsert("clips", [{"clip_id": "1", "caption_source": "coca"}])
    create_release(lake, catalog, fingerprints=marks)
    waiting = from_dict(
        CaptionRecipe, {"endpoint": {"url": "http://host/v1", "model": "eye"}}
    ).unanswered
    assert refresh.is_released(lake, catalog, marks, "")
    assert not refresh.is_released(lake, catalog, marks, "", waiting)  # it is asked again
    lake.upsert("clips", [clip | {"clip_id": "2"}])
    assert not refresh.is_released(lake, catalog, marks, "")
    catalog.close()
