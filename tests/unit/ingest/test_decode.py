from pathlib import Path

import numpy as np
import pytest

from ingest.decode import Film, UnreadableError, read_film
from ingest.film import ingest_film
from ingest.recipe import IngestRecipe
from tests.unit.ingest.footage import shot, three_shots, write


def read(path: Path) -> Film:
    seen = list(read_film(path))
    assert all(image.shape == (72, 96, 3) for _, image in seen)
    return seen[-1][0]


def why(path: Path) -> tuple[str, str]:
    source = {"uri": path.as_uri(), "source_id": "0" * 64, "size_bytes": 1, "mtime_ns": 1}
    result = ingest_film(path, source, IngestRecipe(), path.parent)
    assert result.source["status"] == "quarantined"
    assert not result.clips
    return result.stage, result.reason


def test_variable_frame_rate_keeps_true_times(tmp_path: Path) -> None:
    times_ms = np.cumsum([0] + [40] * 20 + [100] * 19).tolist()
    film = read(write(tmp_path / "vfr.mkv", shot(1, 40), times_ms=times_ms))
    assert np.allclose(film.times_s[:-1] * 1000, times_ms, atol=1)
    assert film.duration_s == pytest.approx(2.8, abs=0.01)


def test_frame_rate_of_rounded_timestamps_is_the_declared_one(tmp_path: Path) -> None:
    film = read(write(tmp_path / "thirty.mkv", shot(1, 45), fps=30))
    assert film.fps == film.span_fps(3, 40) == 30


def test_times_start_at_the_first_frame(tmp_path: Path) -> None:
    times_ms = [5000 + 40 * number for number in range(30)]
    film = read(write(tmp_path / "late.mkv", shot(1, 30), times_ms=times_ms))
    assert film.times_s[0] == 0


def test_each_broken_file_has_its_true_reason(tmp_path: Path) -> None:
    whole = three_shots(tmp_path / "whole.mp4").read_bytes()
    front = {"movflags": "faststart"}
    streamable = three_shots(tmp_path / "fs.mp4", container_options=front).read_bytes()
    webm = three_shots(tmp_path / "whole.mkv").read_bytes()
    cases = {
        "empty.mp4": (b"", "the file is empty"),
        "zeros.mp4": (bytes(9000), "the file holds only zeros: it was never filled"),
        "text.mp4": (b"a shopping list\n" * 99, "not a video container"),
        "noise.webm": (np.random.default_rng(0).bytes(9000), "not a video container"),
        "cut.mp4": (
            whole[: len(whole) // 2],
            "no moov atom: the file is cut off or was never finished",
        ),
        "late.mp4": (streamable[: len(streamable) * 2 // 3], "the film is cut off"),
        "late.mkv": (webm[: len(webm) // 2], "the film is cut off"),
    }
    for name, (data, reason) in cases.items():
        (tmp_path / name).write_bytes(data)
        assert why(tmp_path / name)[1].startswith(reason), name


def test_flipped_bits_do_not_pass_as_clean(tmp_path: Path) -> None:
    data = bytearray(three_shots(tmp_path / "good.mp4").read_bytes())
    rng = np.random.default_rng(1)
    for position in rng.integers(len(data) // 10, len(data) * 8 // 10, 40):
        data[position] ^= 0x10
    (tmp_path / "flipped.mp4").write_bytes(data)
    stage, reason = why(tmp_path / "flipped.mp4")
    assert stage == "decode"
    assert "damaged" in reason or "cut off" in reason


def test_a_playlist_with_a_films_name_opens_no_other_file(tmp_path: Path) -> None:
    film = three_shots(tmp_path / "secret.mp4")
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"#EXTM3U\n#EXTINF:3,\n{film}\n#EXT-X-ENDLIST\n")
    assert why(playlist) == ("open", "not a video container")


def test_a_picture_too_small_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "dot.mkv", shot(1, 30, height=8, width=8))
    assert "8x8 pixels" in why(tmp_path / "dot.mkv")[1]


def test_the_decoders_words_are_kept(tmp_path: Path) -> None:
    whole = three_shots(tmp_path / "whole.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableError) as caught:
        read(cut)
    assert "moov atom not found" in caught.value.words


def test_names_that_look_like_options_or_addresses_are_files(tmp_path: Path) -> None:
    for name in ("-i.mp4", "http:x.mp4", "new\nline.mp4"):
        assert len(read(three_shots(tmp_path / name)).pts) == 90
