"""`reel search` on a lake of a few clips that the caption job has embedded."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from captioning.job import main as caption
from flows.cli import app
from infra.job_files import JobContext
from infra.lake import Lake
from infra.settings import Settings
from infra.video import encode_mp4
from tests.unit.captioning.bars import clip

IDS = {("red", "left"): "aaaaaaaa1", ("red", "right"): "aaaaaaaa2", ("blue", "left"): "bbbbbbbb1"}


def film(color: str, way: str, start: int = 2) -> bytes:
    return encode_mp4(clip(color, way, start).repeat(4, 1).repeat(4, 2), 10.0)


@pytest.fixture
def lake(own_home: Settings, tmp_path: Path) -> Lake:
    found = Lake(own_home.lake_uri)
    found.ensure()
    found.write_clip_bytes({clip_id: film(*what) for what, clip_id in IDS.items()})
    found.upsert(
        "clips",
        [
            {"clip_id": clip_id, "source_id": "1" * 64, "status": "accepted", "offset_s": 0.0,
             "start_s": 0.0, "end_s": 0.8, "width": 64, "height": 64, "motion": 0.1 * number,
             "sidecar": f"a {color} bar goes {way}"}
            for number, ((color, way), clip_id) in enumerate(IDS.items())
        ],
    )  # fmt: skip
    (tmp_path / "job").mkdir()
    caption(JobContext({"track": False}, tmp_path / "job"))
    return found


@pytest.fixture(autouse=True)
def environment(own_home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets the process's environment; here it is put back afterwards."""
    for name, value in own_home.process_env().items():
        monkeypatch.setenv(name, value)


def search(*words: str) -> Result:
    return CliRunner().invoke(app, ["search", *words])


def rows(*words: str) -> list[dict[str, Any]]:
    result = search(*words, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.output)
    return found


def test_clips_like_a_file_come_first_with_their_cosine(
    lake: Lake, own_home: Settings, tmp_path: Path
) -> None:
    (tmp_path / "like.mp4").write_bytes(film("red", "right", 3))
    found = rows("--like", str(tmp_path / "like.mp4"))
    assert found[0]["clip_id"] == "aaaaaaaa2"
    assert 1.0 >= found[0]["score"] > found[1]["score"] > found[2]["score"]
    assert (own_home.home / "search.png").stat().st_size > 0


def test_a_clip_is_not_among_those_like_it(lake: Lake) -> None:
    assert {row["clip_id"] for row in rows("--like", "aaaaaaaa1")} == {"aaaaaaaa2", "bbbbbbbb1"}
    assert [row["clip_id"] for row in rows("--like", "aaaaaaaa1", "--where", "motion > 0.15")] == [
        "bbbbbbbb1"
    ]


def test_words_and_a_clip_together(lake: Lake) -> None:
    found = rows("blue bar", "--like", "aaaaaaaa1")
    assert {row["clip_id"] for row in found} == {"aaaaaaaa2", "bbbbbbbb1"}
    assert all(0 < row["score"] < 0.04 for row in found)


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ("nowhere.mp4", "'nowhere.mp4' is neither a file nor a clip's id"),
        ("cccccccc", "no clip begins with 'cccccccc'"),
        ("aaaaaaaa", "2 clips begin with 'aaaaaaaa'"),
        (__file__, "as video"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(lake: Lake, like: str, words: str) -> None:
    result = search("--like", like)
    assert words in str(result.exception or result.output)


def test_without_embeddings_the_next_step_is_named(lake: Lake, tmp_path: Path) -> None:
    lake.upsert("clips", [{"clip_id": i, "embedding_recipe": None} for i in IDS.values()])
    (tmp_path / "like.mp4").write_bytes(film("red", "left"))
    result = search("--like", str(tmp_path / "like.mp4"))
    assert "has an embedding" in str(result.exception or result.output)
    assert "nothing to search for" in str(search().exception)
