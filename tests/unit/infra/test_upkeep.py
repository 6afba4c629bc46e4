"""Compaction and the vector index: what a lake says is the same before and after."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra import upkeep
from infra.lake import Lake
from infra.search import VECTOR_INDEX, by_likeness, by_words
from infra.upkeep import MANY_FRAGMENTS, keep_up

CLIPS = 40


def vector(number: int) -> Any:
    values = np.random.default_rng(number).normal(size=768).astype(np.float32)
    return values / np.linalg.norm(values)


def clip(number: int) -> dict[str, Any]:
    return {
        "clip_id": f"clip{number:02}",
        "caption": f"scene {number}",
        "embedding": vector(number).tolist(),
        "embedding_recipe": "v1",
    }


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Written clip by clip, tagged half-way."""
    found = Lake(str(tmp_path / "lake"))
    found.ensure()
    for number in range(CLIPS):
        found.append("clips", [clip(number)])
        found.write_clip_bytes({f"clip{number:02}": bytes([number]) * 100})
        if number == CLIPS // 2:
            found.tag("half")
    return found


def test_scattered_tables_are_compacted_and_blobs_are_left_alone(lake: Lake) -> None:
    for number in range(MANY_FRAGMENTS + 1):
        lake.append(
            "captions", [{"clip_id": f"clip{number:02}", "source": "facts", "version": "1"}]
        )
    content, half, versions = lake.content_hash(), lake.content_hash("half"), lake.versions()
    assert by_words(lake, "scene 7", ["clip_id"], limit=1)["clip_id"][0].as_py() == "clip07"
    assert keep_up(lake) == ["compacted clips", "compacted captions"]
    assert len(lake.dataset("clips").get_fragments()) == 1
    assert lake.versions()["clip_bytes"] == versions["clip_bytes"]
    assert (lake.content_hash(), lake.content_hash("half")) == (content, half)
    assert lake.count("clips", release="half") == CLIPS // 2 + 1
    assert by_words(lake, "scene 7", ["clip_id"], limit=1)["clip_id"][0].as_py() == "clip07"
    lake.upsert("clips", [{"clip_id": "clip07", "caption": "a fox"}])
    assert by_words(lake, "fox", ["clip_id"])["clip_id"].to_pylist() == ["clip07"]
    assert keep_up(lake) == []


def test_a_process_that_dies_in_a_compaction_leaves_the_lake_as_it_was(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lance.optimize import Compaction, CompactionTask  # noqa: F401

    content = lake.content_hash()
    dataset = lake.dataset("clips")
    plan = Compaction.plan(dataset, {})
    for task in plan.tasks:
        task.execute(dataset)  # files are written, and nothing is committed
    assert lake.content_hash() == content
    assert keep_up(lake) == ["compacted clips"]
    assert lake.content_hash() == content


def test_what_is_written_during_a_compaction_is_kept(lake: Lake) -> None:
    def write() -> None:
        for number in range(CLIPS, CLIPS + 10):
            lake.append("clips", [clip(number)])

    writer = threading.Thread(target=write)
    writer.start()
    keep_up(lake)
    writer.join()
    assert lake.count("clips") == CLIPS + 10


def test_many_embeddings_get_an_index_that_later_ones_join(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "INDEXED_VECTORS", CLIPS)
    monkeypatch.setattr(upkeep, "ROWS_A_PARTITION", 10)
    exact = by_likeness(lake, vector(3), "v1", ["clip_id"], limit=5)["clip_id"].to_pylist()
    assert keep_up(lake) == ["compacted clips", "indexed embeddings"]
    assert VECTOR_INDEX in {index.name for index in lake.dataset("clips").describe_indices()}
    found = by_likeness(lake, vector(3), "v1", ["clip_id"], limit=5)["clip_id"].to_pylist()
    assert found == exact
    lake.append("clips", [clip(99)])
    assert by_likeness(lake, vector(99), "v1", ["clip_id"])["clip_id"][0].as_py() == "clip99"
    assert keep_up(lake) == ["indexed embeddings"]
    assert keep_up(lake) == []
    assert by_likeness(lake, vector(99), "v1", ["clip_id"])["clip_id"][0].as_py() == "clip99"


def test_a_table_of_many_clips_gets_an_index_over_ids_that_finds_later_ones(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "INDEXED_IDS", CLIPS)
    assert keep_up(lake) == ["compacted clips", "indexed ids of clips", "indexed ids of clip_bytes"]
    plan = lake.dataset("clips").scanner(filter="clip_id = 'clip07'").explain_plan()
    assert "ScalarIndexQuery" in plan
    lake.append("clips", [clip(99)])
    lake.write_clip_bytes({"clip99": b"late"})
    for _ in range(2):
        assert lake.count("clips", "clip_id in ('clip07', 'clip99')") == 2
        found = lake.read_clip_bytes(["clip07", "clip99"])
        assert found == {"clip07": bytes([7]) * 100, "clip99": b"late"}
        keep_up(lake)
    assert lake.content_hash("half") and keep_up(lake) == []
