from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import lake_schema
from infra.catalog import Catalog
from infra.errors import InputError
from infra.lake import Lake
from infra.releases import create_release, difference, get_release
from infra.thresholds import effect, spread


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(str(tmp_path / "lake"))
    found.ensure()
    found.upsert("sources", [{"uri": "a.mp4", "status": "accepted"}])
    rows = [
        {
            "clip_id": f"{number}",
            "status": "rejected" if number == 9 else "accepted",
            "split": "train",
            "motion": number / 10,
            "luma": 0.5,
            "start_s": 0.0,
            "end_s": 1.0 + number,
            "caption": "x",
        }
        for number in range(10)
    ]
    found.upsert("clips", rows)
    return found


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    found = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    found.migrate()
    yield found
    found.close()


def test_a_release_shows_and_counts_only_its_view(lake: Lake, catalog: Catalog) -> None:
    release, _ = create_release(lake, catalog, fingerprints={}, where="motion > 0.55")
    shown = lake.read("clips", ["clip_id"], release.view, release.name)["clip_id"].to_pylist()
    assert sorted(shown) == ["6", "7", "8"]
    assert (release.counts["clips"], release.counts["seconds"]) == (3, 24)
    assert lake.count("clips", release=release.name) == 10  # nothing was deleted
    assert get_release(catalog, release.name).where == "motion > 0.55"


def test_another_view_of_the_same_content_is_another_release(lake: Lake, catalog: Catalog) -> None:
    first, _ = create_release(lake, catalog, fingerprints={})
    second, created = create_release(lake, catalog, fingerprints={}, where="duration_s < 3")
    assert created and second.content_hash == first.content_hash
    assert second.counts["clips"] == 2
    assert difference(lake, first, second)["clips"] == {"added": 0, "removed": 7}
    assert not create_release(lake, catalog, fingerprints={}, where=" duration_s < 3 ")[1]


@pytest.mark.parametrize("where", ["motion > 5", "motion >", "mood > 1"])
def test_a_view_that_cannot_be_is_refused_and_nothing_is_made(
    lake: Lake, catalog: Catalog, where: str
) -> None:
    with pytest.raises(InputError, match=r"motion|mood"):
        create_release(lake, catalog, fingerprints={}, where=where)
    assert lake.releases() == []


def test_effect_counts_what_is_kept_and_finds_the_clips_at_each_threshold(lake: Lake) -> None:
    found = effect(lake, "motion >= 0.3 and duration_s < 8", neighbours=2)
    assert (found.clips, found.clips_kept, found.seconds_kept) == (9, 4, 4 + 5 + 6 + 7)
    motion, duration = found.thresholds
    assert (str(motion), motion.clips_kept) == ("motion >= 0.3", 6)
    assert [row["clip_id"] for row in motion.kept] == ["3", "4"]
    assert [row["clip_id"] for row in motion.lost] == ["2", "1"]
    assert [row["clip_id"] for row in duration.kept] == ["6", "5"]
    assert [row["clip_id"] for row in duration.lost] == ["7", "8"]


def test_spread_is_of_accepted_clips_and_leaves_out_what_was_not_measured(lake: Lake) -> None:
    found = spread(lake)
    assert found["motion"][0] == 0 and found["motion"][-1] == 0.8
    assert found["duration_s"][3] == 5
    assert "sharpness" not in found


def test_every_score_can_be_filtered_by_and_what_lacks_it_is_left_out(
    lake: Lake, catalog: Catalog
) -> None:
    rows = [{"clip_id": f"{n}", **dict.fromkeys(lake_schema.SCORES, n / 10)} for n in range(8)]
    lake.upsert("clips", rows)
    assert {"static_share", "bar_left_share", "blown_share", "text_share"} < spread(lake).keys()
    for score in lake_schema.SCORES:
        (threshold,) = effect(lake, f"{score} <= 0.35", neighbours=1).thresholds
        lost = score in ("motion", "luma")  # clip 8 has no other score
        assert (threshold.clips_kept, threshold.kept[0]["clip_id"]) == (4, "3")
        assert (threshold.lost[0]["clip_id"], effect(lake, f"{score} > 0.35").clips_kept) == (
            "4", 4 + lost,
        )  # fmt: skip
    release, _ = create_release(lake, catalog, fingerprints={}, where="black_longest_s < 0.25")
    assert release.counts["clips"] == 3
