from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.catalog import Catalog
from infra.errors import InputError, NotFoundError
from infra.lake import Lake
from infra.releases import create_release, difference, get_release, list_releases


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(str(tmp_path / "lake"))
    found.ensure()
    found.upsert("sources", [{"uri": "a.mp4", "status": "accepted"}])
    found.upsert("clips", [_clip("1"), _clip("2", split="val"), _clip("3", status="rejected")])
    return found


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    found = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    found.migrate()
    yield found
    found.close()


def _clip(clip_id: str, status: str = "accepted", split: str = "train") -> dict[str, object]:
    span = {"start_s": 1.0, "end_s": 3.5}
    return {"clip_id": clip_id, "status": status, "split": split, "caption": "x", **span}


def test_counts_are_of_what_was_accepted(lake: Lake, catalog: Catalog) -> None:
    release, created = create_release(lake, catalog, fingerprints={"ingest": "f00"})
    assert created
    assert release.counts == {
        "sources": 1,
        "clips": 2,
        "train": 1,
        "val": 1,
        "seconds": 5.0,
        "captioned": 2,
    }
    assert release.fingerprints == {"ingest": "f00"}
    assert release.versions == lake.versions()
    assert get_release(catalog, "latest") == get_release(catalog, release.name) == release


def test_a_release_says_whose_captions_its_clips_have(lake: Lake, catalog: Catalog) -> None:
    for clip_id, source, version in (
        ("1", "sidecar", ""),
        ("2", "coca", "c1"),
        ("3", "coca", "c1"),
    ):
        used = {"caption_source": source, "caption_version": version}
        lake.upsert("clips", [{"clip_id": clip_id, **used}])
    lake.upsert("clips", [_clip("4")])  # of a lake from before anybody said
    create_release(lake, catalog, fingerprints={})
    assert get_release(catalog, "latest").captions == {"sidecar": {"": 1}, "coca": {"c1": 1}}


def test_the_same_content_is_the_same_release(lake: Lake, catalog: Catalog) -> None:
    first, _ = create_release(lake, catalog, fingerprints={})
    lake.upsert("clips", [_clip("1")])
    lake.upsert("latents", [{"clip_id": "1", "vae_hash": "v"}])
    again, created = create_release(lake, catalog, fingerprints={"ingest": "other"})
    assert (again, created) == (first, False)


def test_new_content_is_a_new_release_that_knows_the_last(lake: Lake, catalog: Catalog) -> None:
    first, _ = create_release(lake, catalog, fingerprints={})
    lake.upsert("sources", [{"uri": "b.mp4", "status": "accepted"}])
    lake.upsert("clips", [_clip("4")])
    lake.delete("clips", "clip_id = '2'")
    second, created = create_release(lake, catalog, fingerprints={})
    assert created
    assert second.previous == first.name
    assert second.name != first.name
    assert [release.name for release in list_releases(catalog)] == [first.name, second.name]
    assert difference(lake, first, second) == {
        "sources": {"added": 1, "removed": 0},
        "clips": {"added": 1, "removed": 1},
        "seconds": {"added": 2.5, "removed": 2.5},
        "sources_added": ["b.mp4"],
        "sources_removed": [],
    }
    assert difference(lake, None, first)["clips"] == {"added": 2, "removed": 0}


def test_tags_without_a_row_do_no_harm(lake: Lake, catalog: Catalog) -> None:
    wanted = "spring"
    lake.tag(wanted)  # as a process leaves it that dies before the catalog row
    lake.upsert("clips", [_clip("4")])
    release, created = create_release(lake, catalog, fingerprints={}, name=wanted)
    assert created
    assert release.counts["clips"] == 3


def test_names_are_checked(lake: Lake, catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match="there is no release yet"):
        get_release(catalog, "latest")
    create_release(lake, catalog, fingerprints={}, name="spring")
    lake.upsert("clips", [_clip("4")])
    for taken in ("spring", "latest"):
        with pytest.raises(InputError, match=f"{taken}.* is taken"):
            create_release(lake, catalog, fingerprints={}, name=taken)
    with pytest.raises(NotFoundError, match="no release 'summer'; the newest are spring"):
        get_release(catalog, "summer")


def test_nothing_accepted_is_nothing_to_release(lake: Lake, catalog: Catalog) -> None:
    lake.delete("clips", "status = 'accepted'")
    with pytest.raises(InputError, match="no accepted clip"):
        create_release(lake, catalog, fingerprints={})
    assert lake.releases() == []
