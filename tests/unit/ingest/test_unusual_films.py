"""Films that are whole but unlike the usual: their frames, times and colours come out true."""

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

from infra.video import read_clip, read_file_frames
from ingest.decode import Film, read_film
from ingest.film import FilmResult, ingest_film
from ingest.recipe import ExtractionRecipe, IngestRecipe
from tests.unit.ingest.footage import Frames, decode, join, shot, three_shots, write

BT2020_NCL = 9  # AVCOL_SPC_BT2020_NCL, which swscale's own numbers lack


def ingest(path: Path, **recipe: Any) -> FilmResult:
    source = {"uri": path.as_uri(), "source_id": "ab" * 32, "size_bytes": 1, "mtime_ns": 1}
    folder = path.with_name(f"clips of {path.name}")
    folder.mkdir()
    result = ingest_film(path, source, IngestRecipe(**recipe), folder)
    assert result.source["status"] == "accepted", result.reason + result.error
    return result


def facts(path: Path) -> tuple[Film, list[Frames]]:
    seen = list(read_film(path))
    return seen[-1][0], [image for _, image in seen]


def clip(result: FilmResult, number: int) -> Frames:
    """The frames of a clip as readers get them."""
    row = result.clips[number]
    data = result.clip_files[row["clip_id"]].read_bytes()
    times_s = np.arange(row["num_frames"]) / row["fps"]
    return read_clip(data, row["offset_s"], times_s.tolist(), None)


def assert_shows(shown: Frames, wanted: Frames, atol: float = 0.5) -> None:
    assert shown.shape == wanted.shape
    difference = np.abs(shown.astype(np.float32) - wanted.astype(np.float32))
    assert difference.mean(axis=(1, 2, 3)).max() < atol


def test_an_edit_list_hides_frames_from_film_and_clips(tmp_path: Path) -> None:
    options = {"crf": "12", "g": "90", "bf": "0", "sc_threshold": "0"}
    frames = join([shot(1, 40), shot(2, 50)], [("cut", 0)])
    path = write(tmp_path / "film.mp4", frames, options=options)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 4
    scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    _, start, _ = struct.unpack_from(">IiI", data, at + 8)
    struct.pack_into(">i", data, at + 12, start + 10 * scale // 24)
    path.write_bytes(data)
    whole = decode(path)
    assert len(whole) == 80
    result = ingest(path)
    assert [(c["start_frame"], c["end_frame"]) for c in result.clips] == [(0, 30), (30, 80)]
    assert_shows(clip(result, 0), whole[:30])
    assert_shows(clip(result, 1), whole[30:])


def test_times_before_zero_are_times() -> None:
    film = Film(container="", codec="", width=64, height=64, nominal_fps=10, time_base=0.01)
    for pts in (-25, -15, -5, 5):
        film.add_frame(pts)
    assert film.timed
    assert np.allclose(film.times_s, [0, 0.1, 0.2, 0.3, 0.4])


def test_a_recording_that_began_anew_goes_on_in_time(tmp_path: Path) -> None:
    parts = [three_shots(tmp_path / f"{seed}.ts", seed=seed) for seed in (1, 2)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    film, _ = facts(path)
    assert np.diff(film.times_s).min() > 0
    result = ingest(path)
    assert result.source["duration_s"] == pytest.approx(7.5, abs=0.3)
    whole = np.concatenate([decode(part) for part in parts])
    last = result.clips[-1]
    assert_shows(clip(result, -1), whole[last["start_frame"] : last["end_frame"]], atol=3)


def test_frames_without_rising_times_are_put_after_each_other() -> None:
    film = Film(container="", codec="", width=64, height=64, nominal_fps=10, time_base=0.01)
    for pts in (None, 5, 5, 4, 30, 9000, 3, 13):
        film.add_frame(pts)
    assert list(film.pts) == [0, 5, 6, 7, 30, 9000, 9010, 9020]
    assert not film.timed


def test_a_picture_shown_for_long_is_not_divided(tmp_path: Path) -> None:
    times_ms = [0, 40, 80, 60_000, 60_040, 60_080]
    result = ingest(write(tmp_path / "slides.mkv", shot(1, 6), times_ms=times_ms))
    assert all(clip["end_frame"] > clip["start_frame"] for clip in result.clips)
    assert sum(clip["num_frames"] for clip in result.clips) == 6


def test_a_film_with_one_keyframe_is_not_copied_into_each_clip(tmp_path: Path) -> None:
    options = {"crf": "12", "g": "9999", "keyint_min": "9999", "sc_threshold": "0"}
    path = three_shots(tmp_path / "one.mp4", options=options)
    result = ingest(path, extraction=ExtractionRecipe(max_lead_s=1.0))
    sizes = [file.stat().st_size for file in result.clip_files.values()]
    assert result.clips[0]["offset_s"] == result.clips[2]["offset_s"] == 0
    assert max(sizes) < 0.7 * path.stat().st_size
    for number in range(3):
        assert_shows(clip(result, number), decode(path)[30 * number : 30 * number + 30], atol=2)


@pytest.mark.parametrize("name", ["phone.mp4", "phone.mkv"])
def test_a_turned_film_gives_turned_clips_in_any_container(tmp_path: Path, name: str) -> None:
    codec, options = ("libx264", {}) if name == "phone.mp4" else ("libx265", X265)
    path = three_shots(tmp_path / "phone.mp4", codec=codec, options=options)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    turn = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    data[at : at + 36] = turn
    path.write_bytes(data)
    result = ingest(path)
    assert (result.source["width"], result.source["height"]) == (96, 128)
    whole, _ = read_file_frames(path, 90)
    assert_shows(clip(result, 1), whole[30:60])


X265 = {"x265-params": "log-level=none", "crf": "10"}


def test_ten_bits_are_brought_to_eight(tmp_path: Path) -> None:
    path = three_shots(tmp_path / "deep.mkv", codec="libx265", pix_fmt="yuv420p10le", options=X265)
    eight = three_shots(tmp_path / "plain.mkv", codec="libx265", options=X265)
    (deep, small), (_, wanted) = facts(path), facts(eight)
    assert deep.codec == "hevc"
    assert np.abs(np.stack(small).astype(int) - np.stack(wanted)).mean() < 1.5
    shown = clip(ingest(path), 0)
    assert shown.dtype == np.uint8
    assert_shows(shown, decode(eight)[:30], atol=2)


@pytest.mark.parametrize("trc", [ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67])
def test_hdr_is_brought_to_sdr(tmp_path: Path, trc: ColorTrc) -> None:
    """A grey wedge by nits, coded as HDR: dark stays dark, white is white, nothing is grey mist."""
    nits = np.array([0.0, 2.0, 25.0, 100.0, 203.0, 1000.0])
    path = tmp_path / "hdr.mkv"
    codes = _pq(nits) if trc == ColorTrc.SMPTE2084 else _hlg(nits)
    bars = np.repeat(np.round(codes * 65535).astype(np.uint16), 32)
    picture = np.broadcast_to(bars[None, :, None], (96, 192, 3))
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx265", rate=24, options=X265)
        stream.height, stream.width, stream.pix_fmt = 96, 192, "yuv420p10le"
        stream.codec_context.color_trc = trc
        stream.codec_context.color_primaries = ColorPrimaries.BT2020
        stream.codec_context.colorspace = BT2020_NCL
        for _ in range(30):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb48le")
            frame = frame.reformat(format="yuv420p10le", dst_colorspace=Colorspace.BT2020)
            frame.pts = None
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    shown = clip(ingest(path), 0)[5, 48, 16::32].astype(int)
    assert np.ptp(shown, axis=1).max() <= 6  # grey stays grey
    assert np.allclose(shown.mean(axis=1), [0, 37, 107, 190, 228, 255], atol=6)
    _, small = facts(path)
    assert np.allclose(small[5][36, 8::16].mean(axis=1), shown.mean(axis=1), atol=6)


def _pq(nits: Any) -> Any:
    root = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * root) / (1 + 18.6875 * root)) ** 78.84375


def _hlg(nits: Any) -> Any:
    """Of grey on a screen of 1,000 nits."""
    scene = (nits / 1000) ** (1 / 1.2)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def test_interlaced_films_are_flagged(tmp_path: Path) -> None:
    options = {"x264-params": "tff=1", "flags": "+ildct+ilme", "crf": "12"}
    fields = ingest(three_shots(tmp_path / "fields.mp4", options=options))
    assert fields.source["interlaced"] is True
    assert ingest(three_shots(tmp_path / "whole.mp4")).source["interlaced"] is False


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("odd.mkv", "ffv1", "yuv444p", {}),
        ("odd.avi", "mjpeg", "yuvj444p", {"q": "2"}),
        ("alpha.mov", "qtrle", "argb", {}),
        ("alpha.webm", "libvpx-vp9", "yuva420p", {"crf": "10", "b": "0", "cpu-used": "8"}),
        ("rgb.mkv", "ffv1", "bgr0", {}),
        ("gray.mkv", "ffv1", "gray", {}),
    ],
)
def test_odd_sizes_alpha_and_unusual_pixels_are_read(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, options: dict[str, str]
) -> None:
    odd = {"height": 97, "width": 131} if name.startswith("odd") else {}
    frames = join([shot(1, 30, **odd), shot(2, 30, **odd)], [("cut", 0)])
    path = write(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt, options=options)
    result = ingest(path)
    assert (result.source["width"], result.source["height"]) == frames.shape[2:0:-1]
    assert sum(c["num_frames"] for c in result.clips) == 60
    shown, wanted = clip(result, -1), decode(path)[result.clips[-1]["start_frame"] :]
    height, width = shown.shape[1:3]  # what is encoded again loses an odd edge
    assert_shows(shown, wanted[:, :height, :width], atol=3)


def test_a_cover_picture_is_not_the_film(tmp_path: Path) -> None:
    path = tmp_path / "covered.mp4"
    film = three_shots(tmp_path / "film.mp4")
    with av.open(str(film)) as source, av.open(str(path), "w") as container:
        cover: Any = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        target = container.add_stream_from_template(source.streams.video[0])
        picture = av.VideoFrame.from_ndarray(shot(5, 1, height=64, width=64)[0], format="rgb24")
        container.mux(cover.encode(picture.reformat(format="yuvj420p")))
        container.mux(cover.encode(None))
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = target
                container.mux(packet)
    assert ingest(path).source["num_frames"] == 90
