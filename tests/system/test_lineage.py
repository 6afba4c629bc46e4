"""Lineage and takedown over a real lake and catalog; the registry is a stand-in with the same
methods, whose real ones are tested in tests/integration/test_tracking.py."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import lineage, takedown
from infra import erasure
from infra.catalog import Catalog
from infra.catalog_models import GenerationJob
from infra.errors import InfrastructureError, InputError, NotFoundError
from infra.job_files import write_json
from infra.lake import Lake
from infra.releases import create_release, get_release, list_releases, restate
from infra.search import by_words
from infra.settings import Settings
from infra.takedowns import list_takedowns
from tests.system.filled_lake import (
    BAD,
    COPY,
    GOOD,
    MARK,
    SIZES,
    Registry,
    add_film,
    clip_id_of,
    random_bytes,
)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    found = Registry()
    for module in (lineage, takedown):
        monkeypatch.setattr(module, "Tracking", lambda _url: found)
    return found


@pytest.fixture
def catalog(own_home: Settings) -> Iterator[Catalog]:
    found = Catalog(own_home.catalog_url)
    found.migrate()
    yield found
    found.close()


@pytest.fixture
def lake(own_home: Settings, catalog: Catalog, registry: Registry) -> Lake:
    """Releases r1 (good, bad) and r2 (a worse copy of bad besides), a model of each; then one more
    clip of good, in no release."""
    found = Lake(own_home.lake_uri)
    found.ensure()
    add_film(found, GOOD, "file:///films/good.mp4", licence="CC0")
    add_film(found, BAD, "file:///films/bad%20one.mp4")
    create_release(found, catalog, fingerprints={"ingest": "f"}, name="r1")
    found.upsert(
        "sources",
        [{"uri": "s3://b/copy.mp4", "source_id": COPY, "status": "duplicate", "duplicate_of": BAD}],
    )
    create_release(found, catalog, fingerprints={"ingest": "f"}, name="r2")
    registry.add("r1")
    registry.add("r2")
    found.upsert("clips", [{"clip_id": "e" * 32, "source_id": GOOD, "status": "rejected"}])
    return found


def _marked_files(lake: Lake) -> list[str]:
    command = ["grep", "-rlaF", MARK.decode(), lake.uri]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def test_a_clip_is_followed_both_ways(lake: Lake, own_home: Settings) -> None:
    clip_id = clip_id_of(GOOD, 1)
    found = lineage.trace(own_home, clip_id[:12])
    assert found["kind"] == "clip"
    assert found["source"]["uri"] == "file:///films/good.mp4"
    assert found["releases"] == {name: {"clips": 1, "seconds": 2.0} for name in ("r1", "r2")}
    assert found["model_versions"] == {"1": {"release": "r1"}, "2": {"release": "r2"}}
    text = "\n".join(lineage.describe(found))
    for words in ("/films/good.mp4", "frames 0 to 48", "CC0", "version 2, trained on r2"):
        assert words in text
    told = [(row["source"], row["version"], row["used"]) for row in found["clip"]["captions"]]
    assert told == [("coca", "c1", True), ("coca", "c0", False), ("facts", "1", False)]
    assert "  caption   coca by nobody (coca c1, 0.50)\n  besides   coca by nobody (coca c0" in text
    json.dumps(found)


def test_a_source_is_found_by_its_path_or_its_id(lake: Lake, own_home: Settings) -> None:
    by_path = lineage.trace(own_home, "/films/bad one.mp4")
    assert by_path == lineage.trace(own_home, BAD[:8])
    json.dumps(by_path)
    assert (by_path["kind"], by_path["clips"]) == ("source", 3)
    assert set(by_path["releases"]) == {"r1", "r2"}
    assert "source bbbbbbbbbbbbbbbb  accepted  /films/bad one.mp4" in list(
        lineage.describe(by_path)
    )


def test_a_release_and_a_model_name_their_sources(
    lake: Lake, own_home: Settings, catalog: Catalog
) -> None:
    release = lineage.trace(own_home, "latest")
    assert release["release"]["name"] == "r2"
    assert {row["uri"]: row["clips"] for row in release["sources"]} == {
        "file:///films/good.mp4": 3,
        "file:///films/bad%20one.mp4": 3,
    }
    assert release["model_versions"] == {"2": {"release": "r2"}}
    with catalog.session() as session:
        session.add(GenerationJob(id="v1", kind="video", model_version="1", status="completed"))
        session.add(GenerationJob(id="v2", kind="video", model_version="1", status="failed"))
    model = lineage.trace(own_home, "1")
    assert model["model_version"]["jobs"] == 1
    assert (model["kind"], model["release"]["name"]) == ("model version", "r1")
    assert "   3 clips of aaaaaaaaaaaaaaaa  /films/good.mp4" in "\n".join(lineage.describe(model))


def test_without_a_registry_all_but_models_is_known(
    lake: Lake, own_home: Settings, registry: Registry
) -> None:
    registry.answers = False
    found = lineage.trace(own_home, GOOD[:10])
    assert found["model_versions"] is None
    assert "not known while MLflow" in "\n".join(lineage.describe(found))
    with pytest.raises(InfrastructureError):
        lineage.trace(own_home, "1")


def test_names_that_say_too_little_are_one_sentence(lake: Lake, own_home: Settings) -> None:
    with pytest.raises(InputError, match="begins more than one id"):
        lineage.trace(own_home, "00000000")
    with pytest.raises(InputError, match="too short for an id"):
        lineage.trace(own_home, "abc")
    with pytest.raises(NotFoundError, match="nothing is called 'summer'; give a release"):
        lineage.trace(own_home, "summer")
    with pytest.raises(NotFoundError, match="no model version has the alias 'champion'"):
        lineage.trace(own_home, "champion")


def test_a_takedown_leaves_no_byte_on_disk(
    lake: Lake, own_home: Settings, catalog: Catalog
) -> None:
    assert {Path(path).relative_to(lake.uri).parts[0] for path in _marked_files(lake)} == {
        "clip_bytes.lance",
        "latents.lance",
        "captions.lance",
        "clips.lance",
    }
    done = takedown.take_down(own_home, "/films/bad one.mp4", "asked by its maker")
    assert _marked_files(lake) == []
    assert (done.clips, done.source_ids) == (3, [BAD, COPY])
    assert done.releases["r1"] == {"clips": 3, "seconds": 6.0}
    for release in (None, "r1", "r2"):
        for table in ("clips", "captions", "clip_bytes", "latents"):
            ids = lake.read(table, ["clip_id"], release=release)["clip_id"].to_pylist()
            assert not any(clip_id.endswith("b" * 24) for clip_id in ids), (table, release)
        left = {i: random_bytes(n, s, False) for n, (i, s) in enumerate(
            zip([clip_id_of(GOOD, number) for number in range(3)], SIZES, strict=True)
        )}  # fmt: skip
        assert lake.read_clip_bytes(list(left), release) == left
    assert lake.count("sources", f"source_id = '{BAD}'", "r1") == 0
    assert lake.count("clips") == 4
    assert lake.count("clips", release="r1") == 3
    status = lake.read("sources", ["uri", "status"]).to_pylist()
    assert [row["status"] for row in status if "good" not in row["uri"]] == ["withdrawn"] * 2
    for release in list_releases(catalog):
        assert release.content_hash == lake.content_hash(release.name)
        assert release.counts["clips"] == 3
        assert release.captions == {"coca": {"c1": 3}}


def test_a_takedown_leaves_no_index_that_knows_the_film(lake: Lake, own_home: Settings) -> None:
    by_words(lake, "disc", ["clip_id"])
    lake.tag("r2")
    lake.upsert("clips", [{"clip_id": "f" * 32, "source_id": GOOD, "caption": "a disc"}])
    by_words(lake, "disc", ["clip_id"])
    indices = Path(lake.uri) / "clips.lance/_indices"
    assert list(indices.glob("*/*"))
    takedown.take_down(own_home, BAD)
    assert not list(indices.glob("*/*"))
    assert "f" * 32 in by_words(lake, "disc", ["clip_id"])["clip_id"].to_pylist()


def test_a_takedown_names_films_that_show_some_of_it(lake: Lake, own_home: Settings) -> None:
    best = clip_id_of(GOOD, 0)
    lake.upsert("clips", [{"clip_id": clip_id_of(BAD, 2), "duplicate_of": best}])
    done = takedown.take_down(own_home, BAD)
    assert done.copies == {GOOD: 1}
    assert f"film {GOOD[:16]} holds 1 clips that show the same" in "\n".join(takedown.report(done))
    assert lake.count("clips", f"clip_id = '{best}'") == 1


def test_after_a_takedown_no_clip_is_the_duplicate_of_an_erased_one(
    lake: Lake, own_home: Settings, catalog: Catalog
) -> None:
    """A and B also show the same as one another; C was like them by way of the erased clip."""
    erased = clip_id_of(BAD, 0)
    a, b, c = (clip_id_of(GOOD, number) for number in range(3))
    rows = [
        (erased, None, [], 640), (a, erased, [erased], 64), (b, erased, [a, erased], 320),
        (c, erased, [erased], 64),
    ]  # fmt: skip
    lake.upsert(
        "clips",
        [
            {"clip_id": clip_id, "duplicate_of": of, "near_duplicates": like, "width": width,
             "height": 48, "sharpness": None}
            for clip_id, of, like, width in rows
        ],
    )  # fmt: skip
    create_release(lake, catalog, fingerprints={"ingest": "f"}, name="r3")
    lake.upsert("clips", [{"clip_id": c, "duplicate_of": None}])
    takedown.take_down(own_home, BAD)
    for release in (None, "r3"):
        found = lake.read("clips", ["clip_id", "duplicate_of"], "caption is not null", release)
        assert {row["clip_id"]: row["duplicate_of"] for row in found.to_pylist()} == {
            a: b, b: None, c: None
        }  # fmt: skip
    assert _marked_files(lake) == []
    for release in list_releases(catalog):
        assert release.content_hash == lake.content_hash(release.name)


def test_a_takedown_marks_all_that_has_seen_the_film(
    lake: Lake, own_home: Settings, registry: Registry, catalog: Catalog
) -> None:
    registry.add("r9")
    registry.champion = "2"
    done = takedown.take_down(own_home, BAD[:8])
    assert set(done.model_versions) == {"1", "2"}
    assert registry.version("2").tags["takedown"] == f"{BAD[:16]} {COPY[:16]}"
    assert "takedown" not in registry.version("3").tags
    text = "\n".join(takedown.report(done))
    assert "version 2 is the champion: train without the film" in text
    assert "not removed: the files themselves" in text
    for source_id in (BAD, COPY):
        found = lineage.trace(own_home, source_id)
        assert set(found["releases"]) == {"r1", "r2"}
        assert set(found["model_versions"]) == {"1", "2"}
        assert found["clips"] == 0
    assert lineage.trace(own_home, "r1")["withdrawn"][0]["source_id"] == BAD
    assert len(lineage.trace(own_home, "2")["withdrawn"]) == 2
    registry.add("r1")  # trained after the takedown, on what r1 holds now
    assert "4" not in lineage.trace(own_home, BAD)["model_versions"]


@pytest.mark.parametrize(
    ("step", "times"),
    [
        ("erase", 0),
        ("_scrub", 2),
        ("_scrub", 8),
        ("_remove_old_files", 1),
    ],
)
def test_a_takedown_that_was_cut_short_is_completed(
    lake: Lake, own_home: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch,
    step: str, times: int,
) -> None:  # fmt: skip
    real, left = getattr(erasure, step), times

    def die(*args: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        real(*args, **options)

    with monkeypatch.context() as dying:
        dying.setattr(erasure, step, die)
        with pytest.raises(KeyboardInterrupt):
            takedown.take_down(own_home, BAD)
    takedown.take_down(own_home, BAD)
    assert _marked_files(lake) == []
    (first, second) = list_releases(catalog)
    assert first.counts["clips"] == second.counts["clips"] == 3
    assert first.content_hash == lake.content_hash("r1")
    again = takedown.take_down(own_home, BAD)
    assert again.clips == 0
    assert again.releases == {name: {"clips": 3, "seconds": 6.0} for name in ("r1", "r2")}
    assert [row.source_id for row in list_takedowns(catalog)] == [BAD, COPY]


def test_a_second_takedown_does_not_disturb_the_first(
    lake: Lake, own_home: Settings, catalog: Catalog
) -> None:
    add_film(lake, "d" * 64, "file:///films/late.mp4")
    create_release(lake, catalog, fingerprints={}, name="r3")
    takedown.take_down(own_home, BAD)
    lake.upsert("clips", [{"clip_id": clip_id_of(GOOD, 0), "caption": "changed"}])
    takedown.take_down(own_home, "d" * 64)
    assert [get_release(catalog, name).counts["clips"] for name in ("r1", "r2", "r3")] == [3] * 3
    assert lake.read_clip_bytes([clip_id_of(GOOD, 2)], "r1") == {
        clip_id_of(GOOD, 2): random_bytes(2, SIZES[2], False)
    }
    assert lake.count("clips", "caption = 'changed'") == 1
    assert lake.count("clips", "caption = 'changed'", "r3") == 0


def test_a_release_older_than_a_column_is_read_and_restated_and_taken_down(
    own_home: Settings, catalog: Catalog, registry: Registry
) -> None:
    lake = Lake(own_home.lake_uri)
    lake.ensure()
    add_film(lake, GOOD, "file:///films/good.mp4")
    add_film(lake, BAD, "file:///films/bad%20one.mp4")
    newer = ["static_share", "caption_version", "near_duplicates", "duplicate_recipe"]
    lake.dataset("clips").drop_columns(newer)
    lake.dataset("sources").drop_columns(["interlaced", "tags"])
    create_release(lake, catalog, fingerprints={}, name="old")
    lake.ensure()
    create_release(lake, catalog, fingerprints={}, name="new")

    restate(lake, catalog, "old")
    done = takedown.take_down(own_home, BAD)
    assert set(done.releases) == {"old", "new"}
    assert _marked_files(lake) == []
    for name in ("old", "new"):
        release = get_release(catalog, name)
        assert release.counts["clips"] == 3
        assert release.content_hash == lake.content_hash(name)
        rows = lake.read("clips", ["static_share", "clip_id", *newer[1:]], release=name).to_pylist()
        assert {row["clip_id"] for row in rows} == {clip_id_of(GOOD, number) for number in range(3)}
        assert {row[column] for row in rows for column in newer} == {None}
    assert "static_share" not in lake.read("clips", release="old").column_names
    assert lake.read("clips", ["static_share"], release="old").num_rows == 3
    assert lineage.trace(own_home, "old")["withdrawn"][0]["source_id"] == BAD
    assert lineage.trace(own_home, clip_id_of(GOOD, 1))["releases"].keys() == {"old", "new"}


def test_caches_of_what_was_withdrawn_go(lake: Lake, own_home: Settings) -> None:
    home = own_home.home
    training = home / "training"
    for name, release in (("pixels-a", "r1"), ("pixels-b", "r0")):
        write_json(training / f"{name}.json", {"clips": 1, "release": release})
        (training / f"{name}.bin").write_bytes(MARK)
    for folder in ("vae-r1-01234567-01234567-0", "dit-r2-0123456789abcdef", "dit-r22-" + "0" * 16):
        write_json(training / folder / "done.json", {})
    write_json(home / "captioner/one/captioner.json", {"labelled": [f"{clip_id_of(BAD, 0)}:ff"]})
    write_json(home / "captioner/two/captioner.json", {"labelled": [f"{clip_id_of(GOOD, 0)}:ff"]})
    (home / "fetched").mkdir()
    takedown.take_down(own_home, BAD)
    left = {path.name for path in (*training.iterdir(), *(home / "captioner").iterdir())}
    assert left == {"pixels-b.json", "pixels-b.bin", "dit-r22-" + "0" * 16, "two"}
    assert not (home / "fetched").exists()


def test_nothing_is_taken_down_while_nobody_knows_who_has_seen_it(
    lake: Lake, own_home: Settings, registry: Registry
) -> None:
    registry.answers = False
    before = lake.versions()
    with pytest.raises(InfrastructureError, match="reel up"):
        takedown.take_down(own_home, BAD)
    with pytest.raises(NotFoundError, match="knows no source '/films/other"):
        takedown.take_down(own_home, "/films/other.mp4")
    assert lake.versions() == before
