import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.errors import InputError, JobCancelledError
from infra.job_files import JobContext
from infra.lake import Lake
from ingest.job import main
from ingest.sandbox import Sandbox
from tests.unit.ingest.footage import join, shot, three_shots, write

Refresh = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.usefixtures("one_reader")


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """Two good films of three shots each, captions for one, and an empty file."""
    folder = tmp_path / "footage"
    three_shots(folder / "a.mp4", seed=1)
    three_shots(folder / "b.mkv", seed=2)
    (folder / "empty.mp4").touch()
    (folder / "a.vtt").write_text("WEBVTT\n\n00:00:00.000 --> 00:00:01.250\na green disc\n")
    return folder


@pytest.fixture
def refresh(lake: Lake, footage: Path, tmp_path: Path) -> Refresh:
    def run(uri: Path = footage, context: JobContext | None = None, **spec: Any) -> dict[str, Any]:
        spec = {"uri": str(uri), "recipe": {}, "parallel": "inline", **spec}
        return main(context or JobContext(spec, tmp_path / "job"))

    return run


def statuses(lake: Lake) -> dict[str, str]:
    rows = lake.read("sources").to_pylist()
    return {Path(row["uri"]).name: row["status"] for row in rows}


def test_first_refresh_accounts_for_every_file(refresh: Refresh, lake: Lake) -> None:
    result = refresh()
    assert result["funnel"] == {
        "files": 3, "duplicates": 0, "quarantined": 1, "withdrawn": 0, "accepted": 2,
        "shots": 6, "clips": 6, "rejected": {},
    }  # fmt: skip
    assert (result["new_sources"], result["new_clips"]) == (3, 6)
    assert result["seconds"] == pytest.approx(7.5, abs=0.1)
    assert statuses(lake) == {"a.mp4": "accepted", "b.mkv": "accepted", "empty.mp4": "quarantined"}
    (bad,) = lake.read("quarantine").to_pylist()
    assert (bad["stage"], bad["reason"]) == ("open", "the file is empty")
    clips = lake.read("clips").to_pylist()
    assert set(lake.read_clip_bytes([clip["clip_id"] for clip in clips]))
    assert json.loads(clips[0]["facts_json"]).keys() == {"camera", "tempo", "light", "colors"}


def test_second_refresh_opens_no_film_and_commits_nothing(
    refresh: Refresh, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = refresh()
    versions = lake.versions()
    monkeypatch.setattr("ingest.job.content_id", lambda path: pytest.fail(f"opened {path}"))
    second = refresh()
    assert second["funnel"] == first["funnel"]
    assert (second["new_sources"], second["new_clips"]) == (0, 0)
    assert lake.versions() == versions


def test_one_more_film_costs_one_film(
    refresh: Refresh, footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh()
    opened = []
    read = Sandbox.read
    monkeypatch.setattr(
        Sandbox, "read", lambda self, path, *more: opened.append(path) or read(self, path, *more)
    )
    three_shots(footage / "new.webm", seed=3, codec="libvpx-vp9", options={"cpu-used": "8"})
    assert refresh()["new_clips"] == 3
    assert [path.name for path in opened] == ["new.webm"]


def test_a_moved_film_is_recognised_without_decoding(
    refresh: Refresh, lake: Lake, footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh()
    (footage / "archive").mkdir()
    (footage / "a.mp4").rename(footage / "archive/renamed.mp4")
    monkeypatch.setattr(Sandbox, "read", lambda *_: pytest.fail("decoded"))
    assert refresh()["funnel"]["clips"] == 6
    assert sorted(statuses(lake)) == ["b.mkv", "empty.mp4", "renamed.mp4"]


def test_exact_copies_are_duplicates(refresh: Refresh, lake: Lake, footage: Path) -> None:
    shutil.copy(footage / "b.mkv", footage / "copy of b.mkv")
    assert refresh()["funnel"]["duplicates"] == 1
    shutil.copy(footage / "b.mkv", footage / "later.mkv")
    result = refresh()
    assert (result["funnel"]["duplicates"], result["funnel"]["clips"]) == (2, 6)
    rows = {Path(r["uri"]).name: r for r in lake.read("sources").to_pylist()}
    assert rows["b.mkv"]["status"] == "accepted"
    assert rows["later.mkv"]["duplicate_of"] == rows["b.mkv"]["source_id"]


@pytest.mark.parametrize("better_comes", ["together", "later", "earlier"])
def test_the_better_of_two_copies_is_kept_in_any_order(
    refresh: Refresh, lake: Lake, tmp_path: Path, better_comes: str
) -> None:
    frames = join([shot(31, 40), shot(32, 40)], [("cut", 0)])
    poor = write(tmp_path / "poor.mp4", frames[:, ::2, ::2], options={"crf": "28"})
    # Smaller in bytes though larger in pixels, so it is read after the poor one.
    good = write(tmp_path / "good.mp4", frames, options={"crf": "40"})
    folder = tmp_path / "copies"
    folder.mkdir()
    order = {"together": [[poor, good]], "later": [[poor], [good]], "earlier": [[good], [poor]]}
    for batch in order[better_comes]:
        for path in batch:
            shutil.copy(path, folder)
        result = refresh(folder)
    assert statuses(lake) == {"good.mp4": "accepted", "poor.mp4": "duplicate"}
    assert result["funnel"]["clips"] == 2
    clips = lake.read("clips").to_pylist()
    assert {clip["width"] for clip in clips} == {128}
    assert sorted(lake.read("clip_bytes")["clip_id"].to_pylist()) == sorted(
        clip["clip_id"] for clip in clips
    )


def test_a_mended_file_leaves_quarantine(refresh: Refresh, lake: Lake, footage: Path) -> None:
    refresh()
    three_shots(footage / "empty.mp4", seed=4)
    assert refresh()["funnel"]["quarantined"] == 0
    assert lake.count("quarantine") == 0


def test_a_film_that_was_replaced_takes_its_old_clips_along(
    refresh: Refresh, lake: Lake, footage: Path
) -> None:
    refresh()
    ids = lake.read("clips")["clip_id"].to_pylist()
    lake.upsert("captions", [{"clip_id": i, "source": "coca", "version": "c1"} for i in ids])
    write(footage / "a.mp4", shot(50, 40))
    assert refresh()["funnel"]["clips"] == 4
    assert lake.count("clips") == lake.count("clip_bytes") == 4
    left = set(lake.read("clips")["clip_id"].to_pylist()).intersection(ids)
    assert set(lake.read("captions")["clip_id"].to_pylist()) == left
    assert len(left) == 3


def test_a_new_recipe_replaces_what_the_old_one_made(refresh: Refresh, lake: Lake) -> None:
    refresh()
    result = refresh(recipe={"clips": {"max_duration_s": 1.1, "min_duration_s": 0.5}})
    assert result["funnel"]["clips"] == lake.count("clips") == lake.count("clip_bytes") == 12


def test_unreadable_files_are_quarantined_without_ending_the_run(
    refresh: Refresh, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> str:
        if path.name == "b.mkv":
            raise PermissionError(13, "Permission denied", str(path))
        return path.name.ljust(64, "0").encode().hex()[:64]

    monkeypatch.setattr("ingest.job.content_id", refuse)
    assert refresh()["funnel"]["accepted"] == 1
    (bad,) = lake.read("quarantine", where="reason = 'the file cannot be read'").to_pylist()
    assert "Permission denied" in bad["error"]


def test_captions_follow_their_file(refresh: Refresh, lake: Lake, footage: Path) -> None:
    def texts() -> list[str | None]:
        clips = lake.read("clips", where="caption is null").to_pylist()
        source = {r["source_id"]: r["uri"] for r in lake.read("sources").to_pylist()}
        mine = [clip for clip in clips if source[clip["source_id"]].endswith("a.mp4")]
        return [clip["sidecar"] for clip in sorted(mine, key=lambda clip: clip["start_frame"])]

    assert refresh()["captions"] == 1
    assert texts() == ["a green disc", None, None]
    first = lake.read("clips", where="sidecar is not null")["clip_id"][0].as_py()
    made = {"caption": "old", "caption_source": "sidecar", "caption_version": "r"}
    lake.upsert("clips", [{"clip_id": first, **made}])
    (footage / "a.vtt").write_text("WEBVTT\n\n00:00:00.000 --> 00:00:01.250\na blue disc\n")
    refresh()
    assert texts() == ["a blue disc", None, None]
    (footage / "a.vtt").unlink()
    (footage / "a.txt").write_text("discs")
    refresh()
    assert texts() == ["discs"] * 3


def test_a_broken_caption_file_is_quarantined_and_its_film_is_not(
    refresh: Refresh, lake: Lake, footage: Path
) -> None:
    (footage / "b.vtt").write_text("WEBVTT\n\n00:00:zz --> 00:00:02.000\nhello\n")
    assert refresh()["funnel"]["accepted"] == 2
    (bad,) = lake.read("quarantine", where="stage = 'captions'").to_pylist()
    assert bad["uri"] == (footage / "b.vtt").as_uri()
    assert bad["reason"] == "a cue of the WebVTT file does not parse"
    (footage / "b.vtt").unlink()
    refresh()
    assert lake.count("quarantine", "stage = 'captions'") == 0


class _StopAfterOne(JobContext):
    def progress(self, done: float, total: float, message: str = "", **metrics: float) -> None:
        self.should_stop = done >= 1


def test_a_stopped_run_resumes_to_the_same_lake(
    refresh: Refresh, lake: Lake, footage: Path, tmp_path: Path
) -> None:
    refresh()
    undisturbed = lake.content_hash()
    shutil.rmtree(tmp_path / "home")
    spec = {"uri": str(footage), "recipe": {}, "parallel": "inline"}
    with pytest.raises(JobCancelledError):
        refresh(context=_StopAfterOne(spec, tmp_path / "job"))
    assert lake.count("sources") == 1
    refresh()
    assert lake.content_hash() == undisturbed


@pytest.mark.parametrize("table", ["clips", "quarantine", "sources"])
def test_a_run_killed_between_two_writes_resumes_to_the_same_lake(
    refresh: Refresh,
    lake: Lake,
    footage: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
) -> None:
    # One of these is a worse copy of the other: written first, it must not survive.
    frames = join([shot(31, 40), shot(32, 40)], [("cut", 0)])
    write(footage / "poor.mp4", frames[:, ::2, ::2], options={"crf": "10"})
    write(footage / "good.mp4", frames, options={"crf": "40"})
    refresh()
    undisturbed = lake.content_hash()
    shutil.rmtree(tmp_path / "home")
    monkeypatch.setattr("ingest.job.FLUSH_FILMS", 1)
    upsert, calls = Lake.upsert, random.Random(table).randrange(3)

    def die(self: Lake, name: str, rows: Any) -> None:
        nonlocal calls
        calls -= name == table
        if calls < 0:
            raise KeyboardInterrupt
        upsert(self, name, rows)

    with monkeypatch.context() as dying:
        dying.setattr(Lake, "upsert", die)
        with pytest.raises(KeyboardInterrupt):
            refresh()
    refresh()
    assert lake.content_hash() == undisturbed


def test_a_wrong_spec_is_one_clear_sentence(refresh: Refresh) -> None:
    with pytest.raises(InputError, match="use 'ray' or 'inline'"):
        refresh(parallel="threads")
    with pytest.raises(InputError, match="has no field 'speed'"):
        refresh(recipe={"speed": 3})


def test_progress_reaches_its_end(refresh: Refresh, tmp_path: Path) -> None:
    refresh()
    report = json.loads((tmp_path / "job/progress.json").read_text())
    assert report["done"] == report["total"]
