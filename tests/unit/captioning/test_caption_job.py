"""Which clips the job captions and from what; nothing here trains."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from captioning.embedding import MeasuredEmbedder
from captioning.job import main
from captioning.recipe import CocaRecipe
from infra.errors import InputError
from infra.job_files import JobContext
from infra.lake import Lake
from infra.video import encode_mp4


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("REEL_HOME", str(tmp_path))
    lake = Lake(str(tmp_path / "lake"))
    lake.ensure()
    return lake


CLIP = encode_mp4(np.zeros((4, 48, 64, 3), np.uint8), 4.0)


def add(lake: Lake, clip_id: str, **values: Any) -> None:
    lake.write_clip_bytes({clip_id: CLIP})
    row = {
        "clip_id": clip_id,
        "source_id": "1" * 64,
        "status": "accepted",
        "start_s": 0.0,
        "end_s": 1.0,
        "offset_s": 0.0,
        "width": 64,
        "height": 48,
        "facts_json": '{"light": "dark"}',
        "sidecar": None,
    }
    lake.upsert("clips", [row | values])


def caption(lake: Lake, **recipe: Any) -> dict[str, Any]:
    return main(JobContext({"recipe": recipe, "track": False}, Path(lake.uri).parent))


def told(lake: Lake) -> dict[str, tuple[str, str, float]]:
    """clip id → (caption, source, score)."""
    rows = lake.read("clips").to_pylist()
    return {r["clip_id"]: (r["caption"], r["caption_source"], r["caption_score"]) for r in rows}


def test_a_persons_words_win_and_facts_fill_the_rest(lake: Lake) -> None:
    add(lake, "a", sidecar="  A dog\nruns ")
    add(lake, "b")
    add(lake, "c", status="rejected")
    result = caption(lake)
    assert result["captioned"] == 2
    assert result["by_source"] == {"sidecar": 1, "facts": 1}
    assert result["trained"] is False
    assert told(lake) == {
        "a": ("A dog runs", "sidecar", 1.0),
        "b": ("a dark scene", "facts", 1.0),
        "c": (None, None, None),
    }


def test_second_run_writes_nothing_and_needs_no_torch(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(lake, "a", sidecar="words")
    add(lake, "b")
    caption(lake)
    versions = lake.versions()
    monkeypatch.delitem(sys.modules, "captioning.coca", raising=False)
    again = caption(lake)
    assert (again["captioned"], again["by_source"]) == (0, {})
    assert lake.versions() == versions
    assert "captioning.coca" not in sys.modules


def test_only_what_changed_is_captioned(lake: Lake) -> None:
    add(lake, "a", sidecar="old words")
    add(lake, "b")
    caption(lake)
    add(lake, "a", sidecar="new words")
    add(lake, "c")
    assert caption(lake)["by_source"] == {"sidecar": 1, "facts": 1}
    assert told(lake)["a"][0] == "new words"


def test_a_sidecar_taken_away_takes_its_words_along(lake: Lake) -> None:
    add(lake, "a", sidecar="words")
    caption(lake)
    add(lake, "a", sidecar=None)
    caption(lake)
    assert told(lake)["a"] == ("a dark scene", "facts", 1.0)


def test_another_recipe_of_coca_leaves_what_others_said(lake: Lake) -> None:
    add(lake, "a", sidecar="words")
    caption(lake)
    assert caption(lake, coca={"views": 1})["captioned"] == 0


def test_captions_live_side_by_side_and_the_recipe_chooses(lake: Lake) -> None:
    add(lake, "a", sidecar="words")
    add(lake, "b")
    caption(lake)
    rows = lake.read("captions", ["clip_id", "source", "version", "caption", "score"]).to_pylist()
    assert sorted(tuple(row.values()) for row in rows) == [
        ("a", "facts", "1", "a dark scene", 1.0),
        ("a", "sidecar", "", "words", 1.0),
        ("b", "facts", "1", "a dark scene", 1.0),
    ]
    assert caption(lake, prefer=["facts", "sidecar"])["by_source"] == {"facts": 1}
    assert told(lake)["a"] == ("a dark scene", "facts", 1.0)
    assert caption(lake, prefer=["sidecar"])["by_source"] == {"sidecar": 1}  # facts: last resort
    assert sorted(lake.read("clips")["caption_version"].to_pylist()) == ["", "1"]


def test_words_that_were_taken_back_are_not_kept(lake: Lake) -> None:
    add(lake, "a", sidecar="words")
    caption(lake)
    add(lake, "a", sidecar=None)
    caption(lake)
    assert lake.read("captions")["source"].to_pylist() == ["facts"]


@pytest.mark.parametrize("prefer", [["facts", "facts"], ["coco"]])
def test_an_order_that_names_no_source_or_one_twice_is_refused(
    lake: Lake, prefer: list[str]
) -> None:
    with pytest.raises(InputError, match="name each of these at most once: sidecar, endpoint"):
        caption(lake, prefer=prefer)


def test_weights_of_a_user_score_what_was_embedded(lake: Lake, tmp_path: Path) -> None:
    add(lake, "a")
    add(lake, "b", status="rejected")
    width = MeasuredEmbedder(CocaRecipe()).width
    save_file({"weight": np.ones((1, width), np.float32)}, tmp_path / "fits.safetensors")
    save_file({"weight": np.ones((1, 512), np.float32)}, tmp_path / "not.safetensors")
    assert caption(lake)["scored"] == {}
    assert caption(lake, heads={"unsafe": "fits.safetensors"})["scored"] == {"unsafe": 1}
    scores = lake.read("clips", ["clip_id", "aesthetic_score", "unsafe_score"]).to_pylist()
    assert {row["clip_id"]: row["unsafe_score"] is not None for row in scores} == {
        "a": True, "b": False,
    }  # fmt: skip
    assert {row["aesthetic_score"] for row in scores} == {None}
    with pytest.raises(InputError, match="embeddings of 512 numbers"):
        caption(lake, heads={"aesthetic": "not.safetensors"})
