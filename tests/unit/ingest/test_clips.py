import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from infra.video import read_clip, read_file_frames
from ingest.film import FilmResult, ingest_film
from ingest.recipe import ClipRecipe, ExtractionRecipe, IngestRecipe
from tests.unit.ingest.footage import decode, join, shot, three_shots, write


def ingest(path: Path, **recipe: Any) -> FilmResult:
    source = {"uri": path.as_uri(), "source_id": "ab" * 32, "size_bytes": 1, "mtime_ns": 1}
    folder = path.with_name(f"clips of {path.name}")
    folder.mkdir(exist_ok=True)
    result = ingest_film(path, source, IngestRecipe(**recipe), folder)
    assert result.source["status"] == "accepted", result.reason + result.error
    return result


def assert_same_frames(result: FilmResult, path: Path, atol: float = 0.5) -> None:
    """Every accepted clip's bytes show exactly the film's frames of its span."""
    original = decode(path).astype(np.float32)
    for clip in result.clips:
        times_s = np.arange(clip["num_frames"]) / clip["fps"]
        data = result.clip_files[clip["clip_id"]].read_bytes()
        shown = read_clip(data, clip["offset_s"], times_s.tolist(), None)
        wanted = original[clip["start_frame"] : clip["end_frame"]]
        assert shown.shape == wanted.shape
        # A neighbouring frame would differ by much more than two conversions to RGB do.
        assert np.abs(shown - wanted).mean(axis=(1, 2, 3)).max() < atol


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b-frames.mp4", "libx264", {"crf": "12", "bf": "3", "sc_threshold": "0"}),
        ("long-gop.mkv", "libx264", {"crf": "12", "g": "250", "sc_threshold": "0"}),
        ("open-gop.mp4", "libx264", {"crf": "12", "x264-params": "open-gop=1:keyint=20:bframes=3"}),
        (
            "hevc.mp4",
            "libx265",
            {"x265-params": "log-level=none:open-gop=1:keyint=20", "crf": "10"},
        ),
        (
            "vp9.webm",
            "libvpx-vp9",
            {"crf": "10", "b": "0", "deadline": "realtime", "cpu-used": "8"},
        ),
        ("stream.ts", "libx264", {"crf": "12", "bf": "2"}),
        ("mpeg4.avi", "mpeg4", {"q": "2"}),
    ],
)
def test_clip_bytes_show_the_films_own_frames(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = three_shots(tmp_path / name, codec=codec, options=options)
    result = ingest(path)
    assert [(c["start_frame"], c["end_frame"]) for c in result.clips] == [
        (0, 30),
        (30, 60),
        (60, 90),
    ]
    assert_same_frames(result, path)


def test_a_turned_film_is_measured_and_cut_upright(tmp_path: Path) -> None:
    path = three_shots(tmp_path / "phone.mp4")
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(
        ">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30
    )  # a quarter turn, as phones write it
    path.write_bytes(data)
    result = ingest(path)
    assert (result.source["width"], result.source["height"]) == (96, 128)
    clip = result.clips[1]
    shown = read_clip(
        result.clip_files[clip["clip_id"]].read_bytes(), clip["offset_s"], [0.0], None
    )
    whole, _ = read_file_frames(path, 31)
    assert shown.shape == (1, 128, 96, 3)
    assert np.abs(shown[0].astype(int) - whole[30]).mean() < 0.5


def test_h264_is_copied_not_encoded_again(tmp_path: Path) -> None:
    options = {"crf": "30", "g": "30", "sc_threshold": "0", "keyint_min": "30"}
    path = three_shots(tmp_path / "film.mp4", options=options)
    result = ingest(path)
    clip = result.clips[1]
    assert clip["offset_s"] == 0
    with av.open(str(path)) as film:
        packets = [bytes(packet) for packet in film.demux(video=0) if packet.size]
    (tmp_path / "clip.mp4").write_bytes(result.clip_files[clip["clip_id"]].read_bytes())
    with av.open(str(tmp_path / "clip.mp4")) as copy:
        assert [bytes(p) for p in copy.demux(video=0) if p.size] == packets[30:60]


def test_variable_frame_rate_clips_keep_their_times(tmp_path: Path) -> None:
    times_ms = np.cumsum([0] + [40] * 30 + [80] * 29).tolist()
    frames = join([shot(1, 30), shot(2, 30)], [("cut", 0)])
    path = write(tmp_path / "vfr.mkv", frames, times_ms=times_ms)
    result = ingest(path)
    first, second = result.clips
    assert (second["start_frame"], second["end_frame"]) == (30, 60)
    assert second["start_s"] == pytest.approx(1.2, abs=0.002)
    assert second["fps"] == pytest.approx(12.5, rel=0.02)
    times_s = (np.array(times_ms[30:]) - times_ms[30]) / 1000
    data = result.clip_files[second["clip_id"]].read_bytes()
    shown = read_clip(data, second["offset_s"], times_s.tolist(), None)
    assert np.abs(shown - decode(path)[30:].astype(np.float32)).mean(axis=(1, 2, 3)).max() < 0.5
    assert first["fps"] == pytest.approx(25, rel=0.02)


def test_transition_frames_are_in_no_clip(tmp_path: Path) -> None:
    frames = join([shot(1, 50), shot(2, 62)], [("dissolve", 12)])
    result = ingest(write(tmp_path / "film.mp4", frames))
    (old, new) = result.clips
    assert old["end_frame"] <= 39
    assert new["start_frame"] >= 49


def test_short_shots_are_kept_as_rejected_rows_with_a_reason(tmp_path: Path) -> None:
    frames = join([shot(1, 40), shot(2, 12), shot(3, 40)], [("cut", 0)] * 2)
    path = write(tmp_path / "film.mp4", frames)
    result = ingest(path)
    short = result.clips[1]
    assert (short["status"], short["reason"]) == ("rejected", "shorter than 1 s")
    assert short["motion"] > 0
    assert_same_frames(result, path)  # people may look at it


def test_a_short_shot_that_no_copy_could_show_costs_nothing(tmp_path: Path) -> None:
    frames = join([shot(1, 40), shot(2, 12), shot(3, 40)], [("cut", 0)] * 2)
    path = write(tmp_path / "film.mkv", frames, codec="ffv1", options={})
    result = ingest(path, extraction=ExtractionRecipe(max_lead_s=-1))
    rows = [(clip["status"], clip["offset_s"] is None) for clip in result.clips]
    assert rows == [("accepted", False), ("rejected", True), ("accepted", False)]


def test_long_shots_are_divided(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", shot(1, 100))
    result = ingest(path, clips=ClipRecipe(max_duration_s=1.5))
    assert [clip["num_frames"] for clip in result.clips] == [34, 33, 33]
    assert_same_frames(result, path)


def test_clip_ids_depend_on_the_span_and_extraction_only(tmp_path: Path) -> None:
    path = three_shots(tmp_path / "film.mp4")
    ids = {clip["clip_id"] for clip in ingest(path).clips}
    assert {c["clip_id"] for c in ingest(path, clips=ClipRecipe(min_duration_s=0.5)).clips} == ids
    other = ingest(path, extraction=ExtractionRecipe(crf=20)).clips
    assert ids.isdisjoint(clip["clip_id"] for clip in other)
