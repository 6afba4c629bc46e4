from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError, NotFoundError
from infra.lake import Lake
from infra.search import by_both, by_likeness, by_words, embedding_of, embedding_version


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(str(tmp_path / "lake"))
    found.ensure()
    captions = {
        "a": "a red car is turning left at the corner",
        "b": "two cars wait",
        "c": "a dog in the snow",
        "d": None,
    }
    found.upsert(
        "clips",
        [
            {"clip_id": name, "caption": caption, "motion": 0.1 * index}
            for index, (name, caption) in enumerate(captions.items())
        ],
    )
    return found


def found(lake: Lake, text: str, where: str | None = None) -> list[str]:
    ids: list[str] = by_words(lake, text, ["clip_id"], where)["clip_id"].to_pylist()
    return ids


def test_the_best_match_comes_first_and_words_are_stemmed(lake: Lake) -> None:
    assert found(lake, "car turns left") == ["a", "b"]
    assert found(lake, "elephant") == []


def test_directions_are_words_like_any_other(lake: Lake) -> None:
    lake.upsert("clips", [{"clip_id": "e", "caption": "a kite goes up"}])
    lake.upsert("clips", [{"clip_id": "f", "caption": "a kite goes down"}])
    assert found(lake, "kite down") == ["f", "e"]


def test_the_condition_holds_before_the_ranking(lake: Lake) -> None:
    assert found(lake, "car", "motion > 0.05") == ["b"]
    with pytest.raises(InputError, match="mood"):
        found(lake, "car", "mood > 1")


def test_captions_written_after_the_first_search_are_found_too(lake: Lake) -> None:
    content = lake.content_hash()
    assert found(lake, "snow") == ["c"]
    assert lake.content_hash() == content
    lake.upsert(
        "clips", [{"clip_id": "d", "caption": "snow falls"}, {"clip_id": "c", "caption": "a cat"}]
    )
    assert found(lake, "snow") == ["d"]


def vector(*values: float) -> np.ndarray:
    """(768,) of length 1."""
    full = np.zeros(768, np.float32)
    full[: len(values)] = values
    return full / np.linalg.norm(full)


@pytest.fixture
def embedded(lake: Lake) -> Lake:
    """Clips a, b, c at growing angles, d embedded by something else."""
    angles = {"a": (1.0, 0.0), "b": (1.0, 0.5), "c": (0.0, 1.0), "d": (1.0, 0.0)}
    lake.upsert(
        "clips",
        [
            {"clip_id": name, "embedding": vector(*values).tolist(),
             "embedding_recipe": "other" if name == "d" else "v1", "status": "accepted"}
            for name, values in angles.items()
        ],
    )  # fmt: skip
    return lake


def test_the_likest_come_first_and_versions_are_never_compared(embedded: Lake) -> None:
    rows = by_likeness(embedded, vector(1.0, 0.0), "v1", ["clip_id"]).to_pylist()
    assert [row["clip_id"] for row in rows] == ["a", "b", "c"]
    assert [row["_score"] for row in rows] == pytest.approx([1.0, 0.8944, 0.0], abs=1e-3)
    rows = by_likeness(embedded, vector(1.0, 0.0), "v1", ["clip_id"], "motion > 0.05", 1)
    assert rows["clip_id"].to_pylist() == ["b"]
    assert len(by_likeness(embedded, vector(1.0), "v2", ["clip_id"])) == 0
    with pytest.raises(InputError, match="mood"):
        by_likeness(embedded, vector(1.0), "v1", ["clip_id"], "mood > 1")


def test_words_and_likeness_are_ranked_together(embedded: Lake) -> None:
    def both(text: str, *values: float, where: str | None = None) -> list[str]:
        query = vector(*values)
        table = by_both(embedded, text, query, "v1", ["clip_id", "caption"], where)
        assert table["_score"].to_pylist() == sorted(table["_score"].to_pylist(), reverse=True)
        ids: list[str] = table["clip_id"].to_pylist()
        return ids

    assert both("car", 0.0, 1.0) == ["b", "a", "c"]  # b is second of both, a and c once first
    assert both("dog", 0.0, 1.0) == ["c", "b", "a"]
    assert both("dog", 0.0, 1.0, where="motion > 0.25") == []
    score = by_both(embedded, "dog", vector(0.0, 1.0), "v1", [], None, 1)["_score"][0].as_py()
    assert score == pytest.approx(2 / 61)


def test_a_clip_is_found_by_the_beginning_of_its_id(embedded: Lake) -> None:
    found, version, clip_id = embedding_of(embedded, "a")
    assert (version, clip_id) == ("v1", "a")
    assert found == pytest.approx(vector(1.0, 0.0))
    embedded.upsert("clips", [{"clip_id": "ab", "caption": "new"}])
    with pytest.raises(NotFoundError, match="2 clips begin with 'a'"):
        embedding_of(embedded, "a")
    with pytest.raises(NotFoundError, match="no embedding yet; run: reel refresh"):
        embedding_of(embedded, "ab")
    with pytest.raises(NotFoundError, match="no clip begins with 'x'"):
        embedding_of(embedded, "x")


def test_files_are_embedded_by_what_embedded_most_clips(embedded: Lake) -> None:
    assert embedding_version(embedded) == "v1"
    with pytest.raises(NotFoundError, match=r"no clip in .* has an embedding"):
        embedded.delete("clips", "true")
        embedding_version(embedded)
