import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import clip_pages, difference_page
from infra import lake_schema
from infra.catalog import Catalog
from infra.job_files import JobContext
from infra.lake import Lake
from infra.releases import ReleaseInfo, create_release, difference
from ingest.job import main
from tests.unit.ingest.footage import join, shot, write

WORDS = {"added": {"snow": 3, "fog": 1}, "removed": {"sun": 2}, "now": {"snow": 3, "fog": 1}}


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of two films with a short shot in each; the captions of the long shots differ."""
    folder = tmp_path_factory.mktemp("ingested")
    for seed in (1, 5):
        shots = [shot(seed, 40), shot(seed + 1, 12), shot(seed + 2, 40)]
        write(folder / f"films/{seed}.mp4", join(shots, [("cut", 0)] * 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REEL_HOME", str(folder / "home"))
        main(JobContext({"uri": str(folder / "films"), "recipe": {}}, folder / "job"))
    lake = Lake(str(folder / "home/lake"))
    rows = lake.read("clips", ["clip_id"], "status = 'accepted'").to_pylist()
    captions = ["A disc in snow", "a disc, and SNOW", "a disc in fog", "sun"]
    lake.upsert(
        "clips",
        [
            row | {"caption": caption, "motion": number / 10}
            for number, (row, caption) in enumerate(zip(rows, captions, strict=True))
        ],
    )
    return folder / "home/lake"


@pytest.fixture
def lake(ingested: Path, tmp_path: Path) -> Lake:
    """A lake of this test's own, with all that was ingested."""
    return Lake(str(shutil.copytree(ingested, tmp_path / "lake")))


@pytest.fixture
def releases(lake: Lake, tmp_path: Path) -> list[ReleaseInfo]:
    """All accepted clips, then those of them that move."""
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog.migrate()
    wheres = ("", "motion > 0.05 and motion < 0.25")
    found = [create_release(lake, catalog, fingerprints={}, where=where)[0] for where in wheres]
    catalog.close()
    return found


def test_clips_left_out_say_why_and_show_their_scores(
    lake: Lake, releases: list[ReleaseInfo]
) -> None:
    assert [row["reason"] for row in clip_pages.clips_left_out(lake, releases[0])] == [
        "shorter than 1 s"
    ] * 2
    left_out = clip_pages.clips_left_out(lake, releases[1])
    filtered = [row for row in left_out if row["status"] == "accepted"]
    assert len(left_out) == 4
    assert {row["reason"] for row in filtered} == {
        "outside the filter motion > 0.05 and motion < 0.25"
    }
    assert all(row["label"].startswith("outside the filter, ") for row in filtered)
    assert {row["label"].split(", ")[2] for row in filtered} == {"motion 0", "motion 0.3"}


def test_a_clip_without_a_score_is_left_out_too(lake: Lake, releases: list[ReleaseInfo]) -> None:
    (clip_id, *_) = lake.read("clips", ["clip_id"], "motion = 0.1")["clip_id"].to_pylist()
    lake.upsert("clips", [{"clip_id": clip_id, "motion": None}])
    lake.tag(releases[1].name)
    rows = clip_pages.clips_left_out(lake, releases[1])
    (row,) = [row for row in rows if row["clip_id"] == clip_id]
    assert "motion" not in row["label"].split(", ", 1)[1]


def test_the_page_of_clips_has_both_sheets_and_counts_reasons(
    lake: Lake, releases: list[ReleaseInfo]
) -> None:
    page = clip_pages.page(lake, releases[1])
    assert page.count("data:image/jpeg") == 2
    assert "## Kept: 2 clips" in page
    assert "## Left out: 4 clips" in page
    assert "| shorter than 1 s | 2 | 1 |" in page
    assert "| outside the filter motion > 0.05 and motion < 0.25 | 2 | 3.3 |" in page


def test_the_page_says_what_a_viewer_would_notice_and_how_to_do_without(
    lake: Lake, releases: list[ReleaseInfo]
) -> None:
    rows = lake.read("clips", ["clip_id"], releases[0].view).to_pylist()
    lake.upsert("clips", [row | {"static_share": 0.0, "bar_top_share": 0.0} for row in rows])
    lake.upsert("clips", [rows[0] | {"static_share": 0.6, "bar_top_share": 0.125}])
    lake.tag(releases[0].name)
    page = clip_pages.page(lake, releases[0])
    assert 'or more | 1 | `--where "static_share < 0.5"`' in page
    assert 'above or below | 1 | `--where "bar_top_share < 0.02 and bar_bottom' in page
    assert "text on" not in page and "show text" not in page  # nobody read any
    lake.upsert("clips", [row | dict.fromkeys(lake_schema.SCORES, None) for row in rows])
    lake.tag(releases[0].name)
    assert "Nothing that a viewer would mind" in clip_pages.page(lake, releases[0])


def test_rejected_clips_are_seen(lake: Lake, releases: list[ReleaseInfo]) -> None:
    rows = clip_pages.clips_left_out(lake, releases[0])
    drawn = np.asarray(clip_pages.sheet(lake, rows, releases[0]).convert("RGB"))
    # Two plain discs on plain grounds: four colours that paper, frame and ink do not have.
    counts = np.unique(drawn.reshape(-1, 3) // 16, axis=0, return_counts=True)[1]
    assert (counts > 1000).sum() >= 4


def test_a_release_that_leaves_nothing_out_says_so(lake: Lake, releases: list[ReleaseInfo]) -> None:
    lake.delete("clips", "status = 'rejected'")
    lake.tag(releases[0].name)
    page = clip_pages.page(lake, releases[0])
    assert page.endswith("## Left out: 0 clips\n\nNone.")


def test_words_that_came_and_went(lake: Lake, releases: list[ReleaseInfo]) -> None:
    words = difference_page.word_difference(lake, releases[0], releases[1])
    assert words["removed"] == {"sun": 1}
    assert words["added"] == {}
    first = difference_page.word_difference(lake, None, releases[0])
    assert first["added"] == first["now"]
    assert (first["now"]["disc"], first["now"]["snow"]) == (3, 2)


def test_the_difference_is_in_hours_films_and_words(
    lake: Lake, releases: list[ReleaseInfo]
) -> None:
    change = difference(lake, releases[0], releases[1])
    page = difference_page.page(change, WORDS, releases[0], releases[1])
    assert f"since release {releases[0].name}" in page
    assert "| clips | 0 | 2 | 2 |" in page
    assert "| footage | 0 s | 3 s | 3 s |" in page
    assert "| words in captions | 2 | 1 | 2 |" in page
    assert "## New words\n\nsnow (3), fog (1)" in page
    assert "## Words that no caption has any more\n\nsun (2)" in page


def test_the_difference_lists_films_but_not_without_end(releases: list[ReleaseInfo]) -> None:
    change: dict[str, Any] = {
        "sources": {"added": 30, "removed": 1},
        "clips": {"added": 200, "removed": 4},
        "seconds": {"added": 7300.0, "removed": 150.0},
        "sources_added": [f"file:///films/{number}%20a.mp4" for number in range(30)],
        "sources_removed": ["/films/old.mp4"],
    }
    page = difference_page.page(change, WORDS, None, releases[0])
    assert "the first release" in page
    assert "| footage | 2.0 h | 2.5 min |" in page
    assert "- `/films/0 a.mp4`" in page
    assert "- and 10 more" in page
    assert "/films/old.mp4" in page
