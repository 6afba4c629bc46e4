"""Files that attack: what the child that decodes them lets through, and what it leaves behind."""

import asyncio
import io
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infra.video import encode_mp4
from serving import uploads
from serving.wire import ApiError
from tests.unit.serving.calls import first_frame, frames_of, png
from tests.unit.serving.conftest import *  # noqa: F403 - the fixtures

OURS = re.compile(
    r"(video|image|char)_[0-9a-f]+(/[a-z]+[0-9]?(-1)?\.(png|video|mask|mp4|webp|jpeg))?"
)
VIDEO_LIMITS = {"min_side": 16, "max_side": 256, "max_seconds": 5, "max_bytes": 2**20}


def mp4(num_frames=8, side=32, fps=8.0) -> bytes:
    return encode_mp4(np.zeros((num_frames, side, side, 3), np.uint8), fps)


def probe(kind: str, data: bytes, folder: Path, limits: dict[str, float]) -> dict[str, object]:
    (folder / "x").write_bytes(data)
    command = [sys.executable, "-m", "serving.probe", kind, str(folder / "x"), json.dumps(limits)]
    done = subprocess.run([*command, str(folder / "out.png")], capture_output=True, timeout=60)
    return json.loads(done.stdout) if done.stdout else {}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"#EXTM3U\n#EXTINF:1,\nsecret.mp4\n", "cannot be decoded"),
        (b"ffconcat version 1.0\nfile secret.mp4\n", "cannot be decoded"),
        (b"<?xml version='1.0'?><MPD><BaseURL>secret.mp4</BaseURL></MPD>", "cannot be decoded"),
        (mp4(side=512), "512x512"),
        (mp4(num_frames=60), "lasts 7.5 s"),
        (mp4(num_frames=200, side=128), "of pixels"),
        (mp4()[:200], "no video stream"),
    ],
    ids=["hls", "concat", "dash", "large", "long", "bomb", "cut"],
)
def test_clips_that_are_not_what_they_seem(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "secret.mp4").write_bytes(mp4())
    assert says in str(probe("video", data, tmp_path, VIDEO_LIMITS).get("error"))
    assert not (tmp_path / "out.png").exists()


def test_a_clip_within_the_limits_passes_and_shows_its_middle(tmp_path: Path) -> None:
    facts = probe("video", mp4(), tmp_path, VIDEO_LIMITS)
    assert facts == {"width": 32, "height": 32, "fps": 8.0, "num_frames": 8}
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (32, 32)


def test_a_reference_to_another_file_inside_an_mp4_is_not_followed(tmp_path: Path) -> None:
    """An mp4's `dref` may name a file that holds the samples."""
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(mp4())
    data = mp4()
    entry = b"\0\0\0\x0curl \0\0\0\1"  # "in this file"
    other = b"\0\0\0\x0curl \0\0\0\0"
    assert entry in data
    answer = probe("video", data.replace(entry, other), tmp_path, VIDEO_LIMITS)
    assert "error" in answer or answer["num_frames"] == 8  # its own samples, or none


def text_bomb() -> bytes:
    """A small PNG whose text chunk unpacks to far more than it is."""
    packed = zlib.compress(b"\0" * 2**25, 1)
    chunk = b"zTXtk\0\0" + packed
    length = (len(chunk) - 4).to_bytes(4, "big")
    bomb = length + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    plain = png()
    return plain[:33] + bomb + plain[33:]


def image_bomb() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    return buffer.getvalue()


def test_picture_bombs_end_in_the_child(tmp_path: Path) -> None:
    limits = {"min_side": 16, "max_pixels": 10**6}
    assert "9000x9000" in str(probe("picture", image_bomb(), tmp_path, limits)["error"])
    for data in (text_bomb(), png()[:50], b"RIFF\0\0\0\0WEBPVP8 junk"):
        assert probe("picture", data, tmp_path, limits) == {}
    assert not (tmp_path / "out.png").exists()
    assert probe("picture", png(), tmp_path, limits) == {"width": 64, "height": 48}


def test_no_name_on_the_disk_is_a_users(world) -> None:
    names = ("../../evil.png", "/etc/passwd", "a\0b.png", "x" * 300)
    clip = mp4(side=48)
    for name in names:
        posts = (
            ("/v1/videos", {"prompt": "a", "seconds": "1"}, {"input_reference": (name, png())}),
            (
                "/v1/videos",
                {"prompt": "a", "seconds": "3", "keyframes[0][at]": "1", "keyframes[1][at]": "end"},
                {
                    "keyframes[0][image]": (name, png()),
                    "keyframes[1][video]": (name, clip),
                },
            ),
            ("/v1/videos/extensions", {"prompt": "a", "seconds": "1"}, {"video": (name, clip)}),
            ("/v1/videos/edits", {"prompt": "a"}, {"video": (name, clip)}),
            ("/v1/images/edits", {"prompt": "a"}, {"image": (name, png())}),
            (
                "/v1/videos/characters",
                {"name": name.replace("\0", "")[:80]},
                {"video": (name, clip)},
            ),
        )
        for path, fields, files in posts:
            reply = world.client.post(path, data=fields, files=files)
            assert reply.status_code == 200, reply.text
            if reply.json().get("object") == "video":
                world.finish(reply.json()["id"])
    assert [name for name in world.files() if not OURS.fullmatch(name)] == []
    beside = {path.name for path in world.settings.home.iterdir()}
    assert beside <= {"catalog.db", "catalog.db-wal", "catalog.db-shm", "media", "provenance"}
    assert not (world.settings.home.parent / "evil.png").exists()


def test_a_picture_lies_as_its_metadata_says(world) -> None:
    buffer = io.BytesIO()
    turned = Image.new("RGB", (64, 32), (0, 0, 200))
    turned.paste((200, 0, 0), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    turned.save(buffer, "PNG", exif=exif)
    files = {"input_reference": ("a.png", buffer.getvalue())}
    fields = {"prompt": "a", "seconds": "1", "size": "32x64"}
    reply = world.client.post("/v1/videos", data=fields, files=files)
    video = world.finish(reply.json()["id"])
    assert video["status"] == "completed"
    given = first_frame(world, 0)
    assert given.shape == (48, 32, 3) and (given[:20] == (200, 0, 0)).all()
    assert frames_of(world.client.get(f"/v1/videos/{video['id']}/content").content).any()


@pytest.fixture
def arriving(world) -> Iterator[Path]:
    yield world.settings.media_dir / ".incoming"


def test_refused_files_leave_nothing(world, arriving: Path) -> None:
    for data in (b"junk", text_bomb()[:5000], image_bomb()):
        files = {"input_reference": ("a.png", data)}
        reply = world.client.post("/v1/videos", data={"prompt": "a"}, files=files)
        assert reply.json()["error"]["param"] == "input_reference"
    said = {"prompt": "a"}
    for data in (b"junk", mp4(side=8)):
        for path, fields in (("extensions", said), ("edits", said), ("characters", {"name": "n"})):
            reply = world.client.post(
                f"/v1/videos/{path}", data=fields, files={"video": ("a.mp4", data)}
            )
            assert reply.json()["error"]["param"] == "video"
    assert world.files() == [] and list(arriving.iterdir()) == []


def test_the_child_that_decodes_is_limited(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    limits = json.dumps({"min_side": 16, "max_pixels": 10**6})
    script = (
        "import resource as r, sys; from serving import probe;"
        "probe.main(['picture', *sys.argv[1:]]);"
        "print([r.getrlimit(getattr(r, 'RLIMIT_' + n)) for n in "
        "('AS', 'CPU', 'FSIZE', 'NOFILE', 'CORE')])"
    )
    told = (str(tmp_path / "a.png"), limits, str(tmp_path / "out.png"))
    done = subprocess.run([sys.executable, "-c", script, *told], capture_output=True, text=True)
    facts, kept = done.stdout.splitlines()
    assert json.loads(facts) == {"width": 64, "height": 48}
    assert kept == f"[({2**32}, {2**32}), (60, 60), ({2**28}, {2**28}), (64, 64), (0, 0)]"


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch) -> None:
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def noted(*command, **options):
        started.append(await start(*command, **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    monkeypatch.setattr(uploads, "PROBE_TIMEOUT_S", 0.2)
    os.mkfifo(tmp_path / "endless")  # whoever opens it waits for a writer
    with pytest.raises(ApiError, match="cannot be decoded within the limits"):
        asyncio.run(uploads.probe_video(tmp_path / "endless", "video"))
    assert started[0].returncode == -9
