"""Files made to do harm, or broken by chance: none ends a run, hangs it or reaches another file."""

import os
import random
import re
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from infra.job_files import JobContext
from infra.lake import Lake
from ingest.film import FilmResult, ingest_film
from ingest.job import main
from ingest.recipe import IngestRecipe
from tests.unit.ingest.footage import shot, three_shots, write


def ingest(path: Path) -> FilmResult:
    source = {"uri": path.as_uri(), "source_id": "0" * 64, "size_bytes": 1, "mtime_ns": 1}
    folder = path.parent / "clips"
    folder.mkdir(exist_ok=True)
    return ingest_film(path, source, IngestRecipe(), folder)


def why(path: Path) -> str:
    result = ingest(path)
    assert result.source["status"] == "quarantined"
    return result.reason


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", {}), ("b.mkv", {}), ("c.ts", {}), ("d.avi", {"codec": "mpeg4"})],
)
def test_damage_anywhere_is_an_outcome_never_an_accident(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    """Cut off anywhere, bits flipped anywhere, bytes missing, bytes twice."""
    path = write(tmp_path / name, shot(1, 40, height=32, width=48), options={}, **options)
    whole = path.read_bytes()
    rng = random.Random(name)
    for _ in range(16):
        data, at = bytearray(whole), rng.randrange(len(whole))
        how = rng.choice(["cut", "flip", "header", "lose", "twice"])
        if how == "cut":
            del data[at:]
        elif how == "flip":
            for _ in range(rng.choice([1, 10, 100])):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif how == "header":  # where the numbers are that one may lie with
            start = max(0, whole.find(b"moov"))
            data[start + rng.randrange(min(600, len(data) - start))] = rng.randrange(256)
        elif how == "lose":
            del data[at : at + rng.randrange(2000)]
        else:
            data[at:at] = data[at : at + rng.randrange(2000)]
        path.write_bytes(data)
        result = ingest(path)
        assert result.source["status"] in ("accepted", "quarantined")
        assert "could not be processed" not in result.reason, result.error
        for clip in result.clips:
            assert clip["end_frame"] > clip["start_frame"]
            assert clip["end_s"] > clip["start_s"]


def test_no_container_leads_to_another_file_or_address(tmp_path: Path) -> None:
    secret = three_shots(tmp_path / "secret.mp4")
    lures = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{secret}\n#EXT-X-ENDLIST\n",
        "web": "#EXTM3U\n#EXTINF:3,\nhttp://127.0.0.1:9/film.mp4\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{secret}'\n",
        "dash": f"<?xml version='1.0'?><MPD><BaseURL>{secret}</BaseURL></MPD>",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 9 RTP/AVP 96\n",
        "url": f"[InternetShortcut]\nURL=file://{secret}\n",
    }
    for name, text in lures.items():
        for suffix in (".mp4", ".mkv", ".avi"):
            path = tmp_path / f"{name}{suffix}"
            path.write_text(text)
            assert why(path) == "not a video container"


def test_a_film_whose_media_lies_in_another_file_reads_nothing_of_it(tmp_path: Path) -> None:
    """A QuickTime reference film: its data reference is an alias of another file."""
    secret = three_shots(tmp_path / "secret.mov")
    data = bytearray(secret.read_bytes())
    begin = data.index(b"moov") - 4
    moov = bytes(data[begin : begin + struct.unpack_from(">I", data, begin)[0]])
    at = moov.index(b"dref") - 4
    size = struct.unpack_from(">I", moov, at)[0]
    entry = struct.pack(">I4sI", 12 + len(b"secret.mov\0"), b"url ", 0) + b"secret.mov\0"
    dref = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    grown = _grow(moov, at, size, dref)
    lure = tmp_path / "lure.mov"
    lure.write_bytes(bytes(data[: data.index(b"mdat") - 4]) + grown)
    assert ingest(lure).source["status"] == "quarantined"


def _grow(moov: bytes, at: int, size: int, new: bytes) -> bytes:
    """`moov` with the box of `size` bytes at `at` replaced, and every box around it resized."""
    result, more = bytearray(moov[:at] + new + moov[at + size :]), len(new) - size
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        place = result.index(name) - 4
        length = struct.unpack_from(">I", result, place)[0]
        struct.pack_into(">I", result, place, length + more)
    return bytes(result)


def test_lying_headers_are_found_out(tmp_path: Path) -> None:
    data = bytearray(three_shots(tmp_path / "good.mp4").read_bytes())
    lies = {
        "huge": (b"avc1", 28, struct.pack(">HH", 65535, 65535)),
        "long": (b"mdhd", 16, struct.pack(">I", 1 << 31)),
        "fast": (b"mdhd", 12, struct.pack(">I", 1 << 31)),
    }
    for name, (box, offset, value) in lies.items():
        lying = data.copy()
        place = lying.index(box) + 4 + offset - 4
        lying[place : place + len(value)] = value
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(lying)
        result = ingest(path)
        assert "could not be processed" not in result.reason, result.error


def test_extreme_shapes_and_lengths_have_an_outcome(tmp_path: Path) -> None:
    write(tmp_path / "dot.mkv", shot(1, 30, height=1, width=1), codec="ffv1", pix_fmt="bgr0")
    write(tmp_path / "line.mkv", shot(1, 30, height=2, width=8000), codec="ffv1", options={})
    assert why(tmp_path / "dot.mkv") == "frames of 1x1 pixels are too small to use"
    assert why(tmp_path / "line.mkv") == "frames of 8000x2 pixels are too small to use"
    one = ingest(write(tmp_path / "one.mp4", shot(1, 1)))
    (clip,) = one.clips
    assert (clip["status"], clip["reason"]) == ("rejected", "shorter than 1 s")
    assert one.source["num_frames"] == 1


def test_a_film_without_pictures_says_what_it_holds_instead(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        samples = np.zeros((1, 8000), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert why(path) == "the file holds no video stream, only audio"


def test_pipes_folders_and_vanished_files_are_no_films(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("pipe.mp4", "folder.mp4"):
        assert why(tmp_path / name) == "not a file but a folder, a pipe or a device"
    assert why(tmp_path / "gone.mp4") == "the file cannot be read"


def test_a_folder_of_the_nastiest_files_is_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REEL_HOME", str(tmp_path / "home"))
    folder = tmp_path / "footage"
    good = three_shots(folder / "good.mp4").read_bytes()
    outside = three_shots(tmp_path / "outside.mp4", seed=9)
    for name in ("-i.mp4", "new\nline.mp4", "http:x.mp4", "ünï.mp4", "%s%n.mp4"):
        (folder / name).write_bytes(good)
    (folder / os.fsdecode(b"caf\xe9.mp4")).write_bytes(good)
    (folder / "empty.mp4").touch()
    (folder / "zeros.mkv").write_bytes(bytes(9000))
    (folder / "cut.mp4").write_bytes(good[: len(good) // 2])
    (folder / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:3,\n{outside}\n#EXT-X-ENDLIST\n")
    (folder / "link.mp4").symlink_to(outside)
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    result = main(JobContext({"uri": str(folder), "recipe": {}}, tmp_path / "job"))
    assert result["funnel"] == {
        "files": 13, "duplicates": 6, "quarantined": 6, "withdrawn": 0, "accepted": 1,
        "shots": 3, "clips": 3, "rejected": {},
    }  # fmt: skip
    lake = Lake(str(tmp_path / "home/lake"))
    assert lake.count("sources") == 13
    bad = {Path(row["uri"]).name: row["reason"] for row in lake.read("quarantine").to_pylist()}
    assert bad == {
        "empty.mp4": "the file is empty",
        "zeros.mkv": "the file holds only zeros: it was never filled",
        "cut.mp4": "no moov atom: the file is cut off or was never finished",
        "list.mp4": "not a video container",
        "link.mp4": "a link that leads out of the folder is not followed",
        "pipe.mp4": "it is not a file; name each film",
    }
    assert not re.search("outside", str(lake.read("sources").to_pylist()))
    assert not (tmp_path / "job/spool").exists()
