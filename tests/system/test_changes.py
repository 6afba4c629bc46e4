"""What a change costs: of a recipe, of a manifest, of a place; what is tried again."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from infra.job_files import JobContext
from infra.lake import Lake
from infra.recipes import fingerprint
from ingest import remote
from ingest.film import FilmResult, Row, quarantined
from ingest.found import Found
from ingest.job import main
from ingest.recipe import IngestRecipe
from ingest.sandbox import Sandbox
from ingest.withdraw import same_films, withdraw
from tests.unit.ingest.footage import decode, join, shot, three_shots, write

Refresh = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.usefixtures("one_reader")


@pytest.fixture
def refresh(lake: Lake, tmp_path: Path) -> Refresh:
    def run(uri: object = tmp_path / "footage", **spec: Any) -> dict[str, Any]:
        spec = {"uri": str(uri), "recipe": {}, "parallel": "inline", **spec}
        return main(JobContext(spec, tmp_path / "job"))

    return run


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A film of a short and a long shot."""
    frames = join([shot(31, 30), shot(32, 60)], [("cut", 0)])
    return write(tmp_path / "footage/a.mp4", frames)


def clips(lake: Lake) -> list[dict[str, Any]]:
    return lake.read("clips").sort_by("start_frame").to_pylist()


def caption_all(lake: Lake) -> None:
    made = {"caption_source": "coca", "caption_score": 0.5, "caption_version": "c0"}
    lake.upsert(
        "clips",
        [{"clip_id": c["clip_id"], "caption": f"of {c['end_frame']}", **made} for c in clips(lake)],
    )


def sources(lake: Lake) -> dict[str, dict[str, Any]]:
    return {Path(row["uri"]).name: row for row in lake.read("sources").to_pylist()}


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        monkeypatch.setattr(Sandbox, "read", lambda _, path, *rest: pytest.fail(f"decoded {path}"))

    return forbid


def test_a_new_detector_leaves_unchanged_spans_their_captions_and_bytes(
    refresh: Refresh, lake: Lake, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh()
    caption_all(lake)
    before, bytes_version = clips(lake), lake.versions()["clip_bytes"]
    monkeypatch.setattr("ingest.job.content_id", lambda path: pytest.fail(f"hashed {path}"))
    refresh(recipe={"shots": {"cut_ratio": 3.1}})
    after = clips(lake)
    assert {clip["recipe"] for clip in after}.isdisjoint(clip["recipe"] for clip in before)
    assert [{**clip, "recipe": ""} for clip in after] == [{**clip, "recipe": ""} for clip in before]
    assert lake.versions()["clip_bytes"] == bytes_version


def test_a_new_clip_length_costs_only_the_spans_that_it_changes(
    refresh: Refresh, lake: Lake, film: Path
) -> None:
    refresh()
    caption_all(lake)
    short = clips(lake)[0]
    refresh(recipe={"clips": {"max_duration_s": 1.3}})
    captions = {(c["start_frame"], c["end_frame"]): c["caption"] for c in clips(lake)}
    assert captions == {(0, 30): "of 30", (30, 60): None, (60, 90): None}
    assert short["clip_id"] == clips(lake)[0]["clip_id"]
    assert lake.count("clip_bytes") == 3


def test_a_manifest_changes_words_without_decoding(
    refresh: Refresh, lake: Lake, film: Path, tmp_path: Path, no_decoding: Callable[[], None]
) -> None:
    manifest = tmp_path / "films.csv"
    manifest.write_text("uri,licence,caption,tags\nfootage/a.mp4,CC0,a disc,round; small\n")
    assert refresh(manifest)["captions"] == 2
    row = sources(lake)["a.mp4"]
    assert (row["licence"], row["tags"]) == ("CC0", ["round", "small"])
    assert {clip["sidecar"] for clip in clips(lake)} == {"a disc"}
    no_decoding()
    versions = lake.versions()
    refresh(manifest)
    assert lake.versions() == versions
    refresh()  # the folder says nothing of licences
    assert lake.versions() == versions
    manifest.write_text("uri,licence,caption\nfootage/a.mp4,CC-BY,\n")
    assert refresh(manifest)["captions"] == 0
    row = sources(lake)["a.mp4"]
    assert (row["licence"], row["caption"], row["tags"]) == ("CC-BY", None, ["round", "small"])
    assert {clip["sidecar"] for clip in clips(lake)} == {None}


def test_a_new_recipe_keeps_what_a_manifest_said(
    refresh: Refresh, lake: Lake, film: Path, tmp_path: Path
) -> None:
    (tmp_path / "films.csv").write_text("uri,licence\nfootage/a.mp4,CC0\n")
    refresh(tmp_path / "films.csv")
    refresh(recipe={"clips": {"max_duration_s": 1.3}})
    assert sources(lake)["a.mp4"]["licence"] == "CC0"


def test_timed_captions_come_before_the_manifests(
    refresh: Refresh, lake: Lake, film: Path, tmp_path: Path
) -> None:
    film.with_suffix(".json").write_text('[{"start": 0, "end": 1.25, "text": "timed"}]')
    (tmp_path / "films.jsonl").write_text('{"uri": "footage/a.mp4", "caption": "whole"}')
    refresh(tmp_path / "films.jsonl")
    assert [clip["sidecar"] for clip in clips(lake)] == ["timed", "whole"]


def test_a_store_elsewhere_is_read_once(
    refresh: Refresh, lake: Lake, film: Path, tmp_path: Path, bucket: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    bucket.pipe("/films/a.mp4", film.read_bytes())
    bucket.pipe("/films/copy.mp4", film.read_bytes())
    bucket.pipe("/films/a.txt", b"a disc")
    result = refresh("memory://films")
    assert (result["funnel"]["accepted"], result["funnel"]["duplicates"]) == (1, 1)
    assert {clip["sidecar"] for clip in clips(lake)} == {"a disc"}
    assert [path.suffix for path in (tmp_path / "home/fetched").iterdir()] == [".txt"]
    versions = lake.versions()
    with monkeypatch.context() as offline:
        offline.setattr(remote, "download", lambda uri, *_: pytest.fail(f"fetched {uri}"))
        refresh("memory://films")
    assert lake.versions() == versions
    bucket.mv("/films/a.mp4", "/films/moved.mp4")
    monkeypatch.setattr(Sandbox, "read", lambda _, path, *rest: pytest.fail(f"decoded {path}"))
    assert refresh("memory://films")["funnel"]["clips"] == 2
    assert sorted(sources(lake)) == ["copy.mp4", "moved.mp4"]


def test_a_store_larger_than_the_disk_is_read_in_parts(
    refresh: Refresh, lake: Lake, tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    for seed in range(3):
        path = three_shots(tmp_path / f"{seed}.mp4", seed=seed)
        bucket.pipe(f"/films/{seed}.mp4", path.read_bytes())
        sizes.append(path.stat().st_size)
    limit = sum(sizes) - min(sizes) + 1
    monkeypatch.setenv("REEL_FETCH_GIB", repr(limit / 2**30))
    held, download = [], remote.download

    def note(uri: str, to: Path, callback: Any) -> None:
        download(uri, to, callback)
        seen = []
        for part in to.parent.iterdir():
            with suppress(FileNotFoundError):  # another film arrived, and has its own name now
                seen.append(part.stat().st_size)
        held.append(sum(seen))

    monkeypatch.setattr(remote, "download", note)
    accepted = refresh("memory://films")["funnel"]["accepted"]
    assert accepted == 3, lake.read("sources").to_pylist()
    assert len(held) == 3
    assert max(held) <= limit
    assert list((tmp_path / "home/fetched").iterdir()) == []


def test_what_cannot_be_opened_is_said_once(
    refresh: Refresh, lake: Lake, film: Path, tmp_path: Path
) -> None:
    (film.parent / "out.mp4").symlink_to(tmp_path)
    (tmp_path / "films.csv").write_text("uri\nfootage/a.mp4\nfootage/none.mp4\n\nfootage/a.mp4\n")
    for place in (film.parent, tmp_path / "films.csv"):
        counts = refresh(place)["funnel"]
        assert counts["quarantined"] + counts["accepted"] == counts["files"]
        versions = lake.versions()
        assert refresh(place)["funnel"] == counts
        assert lake.versions() == versions
    assert lake.count("quarantine") == 3


def test_a_store_that_does_not_answer_costs_no_film(
    refresh: Refresh, lake: Lake, film: Path, tmp_path: Path, bucket: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    bucket.pipe("/films/a.mp4", film.read_bytes())
    (tmp_path / "films.csv").write_text("uri\nmemory:///films/a.mp4\n")
    refresh(tmp_path / "films.csv")
    with monkeypatch.context() as away:
        away.setattr(remote, "look_up", lambda uri: Found(uri=uri, problem="no answer"))
        assert refresh(tmp_path / "films.csv")["funnel"]["quarantined"] == 1
    assert sources(lake)["a.mp4"]["status"] == "accepted"
    assert lake.count("clips") == lake.count("clip_bytes") == 2
    (held,) = lake.read("quarantine").to_pylist()
    assert (held["stage"], held["reason"]) == ("list", "row 1: memory:///films/a.mp4: no answer")
    with monkeypatch.context() as torn:
        torn.setattr(remote, "download", lambda *_: 1 / 0)
        bucket.pipe("/films/a.mp4", film.read_bytes() + b"changed")
        counts = refresh(tmp_path / "films.csv")["funnel"]
        assert (counts["accepted"], counts["clips"]) == (1, 2)
    (held,) = lake.read("quarantine").to_pylist()
    assert (held["stage"], held["reason"]) == ("fetch", "the film could not be fetched")
    assert refresh(tmp_path / "films.csv")["funnel"]["clips"] == 2
    assert lake.count("quarantine") == 0
    assert list(sources(lake)) == ["a.mp4"]


def test_a_film_that_is_away_keeps_its_clips_and_their_captions(
    refresh: Refresh, lake: Lake, film: Path, tmp_path: Path
) -> None:
    film.with_suffix(".txt").write_text("a disc")
    (tmp_path / "films.csv").write_text("uri\nfootage/a.mp4\n")
    refresh(tmp_path / "films.csv")
    film.rename(tmp_path / "elsewhere.mp4")
    refresh(tmp_path / "films.csv")
    assert [clip["sidecar"] for clip in clips(lake)] == ["a disc", "a disc"]


def test_copies_of_a_withdrawn_film_name_it_in_any_order(
    refresh: Refresh, lake: Lake, film: Path
) -> None:
    refresh()
    withdraw(lake, same_films(lake, sources(lake)["a.mp4"]))
    for crf in (20, 22):
        write(film.parent / f"{crf}.mp4", decode(film), options={"crf": str(crf)})
        refresh()
    root = sources(lake)["a.mp4"]["source_id"]
    assert {sources(lake)[f"{crf}.mp4"]["duplicate_of"] for crf in (20, 22)} == {root}


def test_rows_of_a_manifest_leave_quarantine_when_they_are_mended(
    refresh: Refresh, lake: Lake, film: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "films.jsonl"
    manifest.write_text('{"uri": "footage/a.mp4"}\n{"uri"\n{"uri": "footage/late.mp4"}\n')
    counts = refresh(manifest)["funnel"]
    assert (counts["files"], counts["accepted"], counts["quarantined"]) == (3, 1, 2)
    manifest.write_text('{"uri": "footage/late.mp4"}\n{"uri": "footage/a.mp4"}\n')
    three_shots(tmp_path / "footage/late.mp4", seed=4)
    result = refresh(retry=True)
    assert (result["retried"], result["mended"]) == (2, 2)
    assert lake.count("quarantine") == 0
    assert set(sources(lake)) == {"a.mp4", "late.mp4"}


def unlucky(_: Sandbox, _path: Path, source: Row, recipe: IngestRecipe) -> FilmResult:
    """Reads nothing, as a machine that was short of memory for a while."""
    source = {**source, "recipe": fingerprint(recipe)}
    return quarantined(source, "decode", "reading it takes too much memory", "")


def test_retry_judges_anew_what_a_refresh_leaves_alone(
    refresh: Refresh, lake: Lake, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (film.parent / "empty.mp4").touch()
    (film.parent / "a.vtt").write_text("not a caption file")
    with monkeypatch.context() as broken:
        broken.setattr(Sandbox, "read", unlucky)
        refresh()
    assert refresh()["funnel"]["quarantined"] == 2
    (film.parent / "a.vtt").write_text("WEBVTT\n\n00:00:00.000 --> 00:00:01.250\na disc\n")
    result = refresh(retry=True)
    assert (result["retried"], result["mended"]) == (2, 1)
    assert result["funnel"]["clips"] == 2
    assert [row["reason"] for row in lake.read("quarantine").to_pylist()] == ["the file is empty"]
    (film.parent / "empty.mp4").unlink()
    result = refresh(retry=True)
    assert (result["retried"], result["mended"]) == (0, 0)
    assert sorted(sources(lake)) == ["a.mp4"]


def test_retry_follows_no_link_out_of_the_folder(
    refresh: Refresh, lake: Lake, film: Path, tmp_path: Path
) -> None:
    outside = three_shots(tmp_path / "outside.mp4", seed=6)
    (film.parent / "link.mp4").symlink_to(outside)
    refresh()
    result = refresh(retry=True)
    assert (result["retried"], result["mended"]) == (1, 0)
    (row,) = lake.read("quarantine").to_pylist()
    assert row["reason"] == "a link that leads out of the folder is not followed"
    assert lake.count("clips") == 2


def test_broken_captions_are_tried_again_with_their_film(
    refresh: Refresh, lake: Lake, film: Path
) -> None:
    film.with_suffix(".vtt").write_text("not a caption file")
    refresh()
    film.with_suffix(".vtt").write_text("WEBVTT\n\n00:00:00.000 --> 00:00:01.250\na disc\n")
    assert refresh(retry=True)["mended"] == 1
    assert [clip["sidecar"] for clip in clips(lake)] == ["a disc", None]


def test_a_quarantined_file_that_is_gone_is_forgotten(
    refresh: Refresh, lake: Lake, film: Path
) -> None:
    (film.parent / "empty.mp4").touch()
    refresh()
    (film.parent / "empty.mp4").unlink()
    refresh()
    assert lake.count("quarantine") == 0
    assert sorted(sources(lake)) == ["a.mp4"]


def test_a_withdrawn_film_stays_away_under_any_name_and_recipe(
    refresh: Refresh, lake: Lake, film: Path, no_decoding: Callable[[], None]
) -> None:
    three_shots(film.parent / "other.mp4", seed=5)
    refresh()
    withdraw(lake, same_films(lake, sources(lake)["a.mp4"]))
    no_decoding()
    counts = refresh()["funnel"]
    assert (counts["withdrawn"], counts["accepted"], counts["clips"]) == (1, 1, 3)
    assert lake.count("clip_bytes") == 3
    assert sources(lake)["a.mp4"]["boundaries_json"] is None
    film.rename(film.parent / "renamed.mp4")
    assert refresh()["funnel"]["withdrawn"] == 1
    (film.parent / "other.mp4").unlink()
    assert refresh(recipe={"clips": {"max_duration_s": 1.3}})["funnel"]["withdrawn"] == 1


def test_a_withdrawn_film_does_not_come_back_in_other_bytes(
    refresh: Refresh, lake: Lake, film: Path
) -> None:
    refresh()
    withdraw(lake, same_films(lake, sources(lake)["a.mp4"]))
    write(film.parent / "again.mp4", decode(film), options={"crf": "24"})
    counts = refresh()["funnel"]
    assert (counts["withdrawn"], counts["clips"]) == (2, 0)
    assert lake.count("clip_bytes") == 0
    # It is known by itself now, also when the first is forgotten by its place.
    film.unlink()
    assert refresh()["funnel"]["withdrawn"] == 1


def test_all_that_is_the_same_film_is_withdrawn_together(
    refresh: Refresh, lake: Lake, film: Path
) -> None:
    write(film.parent / "poor.mp4", decode(film)[:, ::2, ::2])
    refresh()
    assert sources(lake)["poor.mp4"]["status"] == "duplicate"
    withdraw(lake, same_films(lake, sources(lake)["poor.mp4"]))
    assert {row["status"] for row in lake.read("sources").to_pylist()} == {"withdrawn"}
    assert refresh()["funnel"]["withdrawn"] == 2
