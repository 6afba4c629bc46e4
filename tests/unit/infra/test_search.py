from pathlib import Path

import pytest

from infra.errors import InputError
from infra.lake import Lake


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
    ids: list[str] = lake.search_captions(text, ["clip_id"], where)["clip_id"].to_pylist()
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
