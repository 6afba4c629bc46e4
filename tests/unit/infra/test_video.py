import io
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from PIL import Image

from infra.errors import InputError
from infra.video import Frames, encode_mp4, read_clip, read_file_frames, write_mp4


def _grey(levels: list[int], height: int = 48, width: int = 64) -> Frames:
    """One flat frame a level, so that a frame is known by its brightness."""
    frames = np.empty((len(levels), height, width, 3), np.uint8)
    frames[:] = np.array(levels, np.uint8)[:, None, None, None]
    return frames


LEVELS = [20, 40, 60, 80, 100, 120, 140, 160, 180, 200]


def _shown(frames: Frames) -> list[int]:
    """The level nearest to each frame's mean."""
    return [min(LEVELS, key=lambda level: abs(level - frame.mean())) for frame in frames]


def _encode(frames: Frames, pts: list[int], codec: str = "libx264", kind: str = "mp4") -> bytes:
    """Untagged video with the timestamps given in hundredths of a second."""
    target = io.BytesIO()
    with av.open(target, "w", format=kind) as out:
        stream = out.add_stream(codec, rate=100)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for time, picture in zip(pts, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", interpolation=Interpolation.AREA)
            frame.pts = time
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return target.getvalue()


def test_frames_are_those_shown_at_the_times() -> None:
    data = encode_mp4(_grey(LEVELS), 10)
    assert _shown(read_clip(data, 0.0, [0.0, 0.1, 0.5, 0.9], None)) == [20, 40, 120, 200]
    # Half a frame early still counts as the frame; before that it is the one before.
    assert _shown(read_clip(data, 0.0, [0.26, 0.24], None)) == [80, 60]
    assert _shown(read_clip(data, 0.3, [0.0, 0.1], None)) == [80, 100]


def test_times_in_any_order_twice_and_after_the_end() -> None:
    data = encode_mp4(_grey(LEVELS), 10)
    assert _shown(read_clip(data, 0.0, [0.9, 0.1, 0.1, 5.0], None)) == [200, 40, 40, 200]


@pytest.mark.parametrize(("codec", "kind"), [("libx264", "mp4"), ("libvpx-vp9", "webm")])
def test_times_count_from_the_first_frame(codec: str, kind: str) -> None:
    late = [250 + 10 * index for index in range(10)]
    data = _encode(_grey(LEVELS), late, codec, kind)
    assert _shown(read_clip(data, 0.0, [0.0, 0.5], None)) == [20, 120]


def test_variable_frame_rate_goes_by_timestamps() -> None:
    data = _encode(_grey(LEVELS[:4]), [0, 10, 80, 90])
    assert _shown(read_clip(data, 0.0, [0.0, 0.5, 0.81, 0.9], None)) == [20, 40, 60, 80]


def test_scaling_averages_and_keeps_colours() -> None:
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 256, (96, 128), dtype=np.uint8).repeat(1, 0)
    source = np.broadcast_to(fine[None, :, :, None], (2, 96, 128, 3)).copy()
    small = read_clip(encode_mp4(source, 10), 0.0, [0.0], (24, 32))[0].astype(float)
    exact = source[0].reshape(24, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(small - exact).mean() < 3.0
    flat = np.empty((2, 96, 128, 3), np.uint8)
    flat[:] = (200, 60, 30)
    for size in (None, (24, 32), (192, 256)):
        colour = read_clip(encode_mp4(flat, 10), 0.0, [0.0], size)[0].mean((0, 1))
        assert np.abs(colour - (200, 60, 30)).max() < 2.0


def test_crop_is_about_the_centre() -> None:
    source = np.zeros((2, 64, 128, 3), np.uint8)
    source[:, :, 32:96] = 255  # the middle square
    for size in ((64, 64), (32, 32), (128, 128)):
        found = read_clip(encode_mp4(source, 10), 0.0, [0.0], size)[0]
        assert found.shape == (*size, 3)
        assert found[:, 2:-2].min() > 240
    tall = read_clip(encode_mp4(source, 10), 0.0, [0.0], (32, 128))[0]
    assert tall.shape == (32, 128, 3)
    assert tall[:, :28].max() < 20


def test_rotation_in_the_container_is_applied() -> None:
    source = np.zeros((2, 64, 96, 3), np.uint8)
    source[:, :32, :48] = (255, 0, 0)  # red at the top left
    data = bytearray(encode_mp4(source, 10))
    matrix = data.index(b"tkhd") + 44  # ISO 14496-12, track header version 0
    data[matrix : matrix + 36] = struct.pack(
        ">9i", 0, 65536, 0, -65536, 0, 0, 64 << 16, 0, 1 << 30
    )  # a quarter turn clockwise
    upright = read_clip(bytes(data), 0.0, [0.0], None)[0]
    assert upright.shape == (96, 64, 3)
    assert upright[8, -8, 0] > 240
    assert upright[8, 8, 0] < 20
    assert read_clip(bytes(data), 0.0, [0.0], (48, 20))[0].shape == (48, 20, 3)


def test_colours_of_untagged_video_go_by_its_height() -> None:
    """Players read untagged SD as BT.601, HD as BT.709; swscale encodes 601 unless told."""
    colour = (40, 90, 160)
    sd, hd = np.empty((2, 48, 64, 3), np.uint8), np.empty((1, 720, 64, 3), np.uint8)
    sd[:], hd[:] = colour, colour
    assert np.abs(read_clip(_encode(sd, [0, 1]), 0, [0], None).mean((0, 1, 2)) - colour).max() < 3
    shifted = read_clip(_encode(hd, [0]), 0, [0], None).mean((0, 1, 2))
    assert shifted[0] < 36  # 601 read as 709, which is what a browser shows


def test_mp4_has_its_index_in_front_and_is_tagged() -> None:
    data = encode_mp4(_grey(LEVELS), 24)
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        assert stream.codec_context.name == "h264"
        assert (frame.format.name, frame.colorspace, frame.color_range) == ("yuv420p", 1, 1)
        assert float(stream.average_rate) == 24


def test_the_same_frames_make_the_same_file_whatever_the_heap_holds() -> None:
    code = """
import hashlib, numpy, infra.video
frames = numpy.random.default_rng(0).integers(80, 92, (24, 64, 96, 3)).astype(numpy.uint8)
y, x = numpy.mgrid[:64, :96]
for t, frame in enumerate(frames):
    frame[(y - 30) ** 2 + (x - 10 - 3 * t) ** 2 < 150] = 200, 40, 30
print(hashlib.sha256(infra.video.encode_mp4(frames, 12.0)).hexdigest())
"""
    made = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "MALLOC_PERTURB_": fill},  # what glibc puts into fresh memory
            capture_output=True,
            check=True,
        ).stdout
        for fill in ("85", "170")
    }
    assert len(made) == 1


def test_a_picture_that_stays_is_shown_as_long_and_an_array_that_is_filled_anew_is_a_new_one() -> (
    None
):
    levels = [20, 20, 20, 60, 60, 20, 100]

    def refilled() -> Iterator[Frames]:
        own = np.empty((48, 64, 3), np.uint8)
        for level in levels:
            own[:] = level
            yield own

    data = encode_mp4(refilled(), 24)
    assert _shown(read_file_frames(data, 9)[0]) == levels
    assert data == encode_mp4(_grey(levels), 24)


def test_fractional_rate_and_odd_size_and_one_frame() -> None:
    frames, fps = read_file_frames(encode_mp4(_grey([60] * 3, 47, 63), 24000 / 1001), 9)
    assert frames.shape == (3, 48, 64, 3)
    assert fps == pytest.approx(23.976, abs=1e-3)
    with av.open(io.BytesIO(encode_mp4(_grey([60] * 3), 29.97))) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
    assert np.abs(frames.astype(int) - 60).max() < 4  # the repeated edge, not a black one
    assert len(read_file_frames(encode_mp4(_grey([60]), 8), 9)[0]) == 1


def test_what_cannot_be_encoded_leaves_no_file(tmp_path: Path) -> None:
    for wrong, fps, words in (
        (np.zeros((0, 8, 8, 3), np.uint8), 8, "at least 1 frame"),
        (np.zeros((2, 8, 8, 3)), 8, r"\(T, H, W, 3\) and type uint8"),
        (_grey([60]), 0, "more than 0 frames a second"),
    ):
        with pytest.raises(InputError, match=words):
            write_mp4(wrong, fps, tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == []


def test_an_encoding_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    def frames() -> Iterator[Frames]:
        yield from _grey(LEVELS)
        raise RuntimeError("cancelled")

    path = tmp_path / "x.mp4"
    write_mp4(_grey([60]), 8, path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="cancelled"):
        write_mp4(frames(), 8, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.mp4"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_pictures_are_videos_of_one_frame(kind: str) -> None:
    target = io.BytesIO()
    Image.fromarray(_grey([120])[0]).save(target, kind)
    frames, _fps = read_file_frames(target.getvalue(), 5)
    assert frames.shape == (1, 48, 64, 3)
    assert np.abs(frames.astype(int) - 120).max() < 4


def test_reading_stops_at_the_limit_and_scales() -> None:
    frames, fps = read_file_frames(encode_mp4(_grey(LEVELS), 10), 4, (24, 24))
    assert frames.shape == (4, 24, 24, 3)
    assert (_shown(frames), fps) == ([20, 40, 60, 80], 10)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a video" * 100,
        encode_mp4(_grey(LEVELS), 10)[:700],
        b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    ],
    ids=["empty", "text", "cut off", "playlist", "concat"],
)
def test_what_is_no_video_is_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError, match=r"cannot decode the bytes given|no frame that decodes"):
        read_file_frames(data, 3)


def test_a_file_that_is_missing_or_has_only_sound(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot decode .*none.mp4 .*No such file"):
        read_file_frames(tmp_path / "none.mp4", 3)
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(InputError, match="no video stream"):
        read_file_frames(target.getvalue(), 3)
