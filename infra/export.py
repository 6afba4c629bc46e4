"""A release as plain files for other tools: a folder of clips, or WebDataset shards.

A clip is stored as packets from the keyframe before it, so its bytes may begin with frames of
what came before. An export holds the clip alone: such a clip is encoded anew, the rest is copied.
"""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from infra.errors import InputError
from infra.lake import Lake
from infra.lake_schema import SCORES
from infra.releases import ReleaseInfo
from infra.video import encode_mp4, read_clip

COLUMNS = (
    "clip_id", "source_id", "offset_s", "start_s", "end_s", "fps", "width", "height", "num_frames",
    "caption", "caption_source", "caption_version", "caption_score", "split", *SCORES,
    "text_found", "facts_json",
)  # fmt: skip
CLIPS_PER_READ = 32
SHARD_CLIPS = 1000
SHARD_BYTES = 1 << 30
MATROSKA = b"\x1aE\xdf\xa3"


@dataclass(frozen=True)
class Exported:
    """One clip on its way out: its file and what is known of it."""

    name: str
    video: bytes
    facts: dict[str, Any]

    @property
    def suffix(self) -> str:
        """Of the container that the bytes are in."""
        return "mkv" if self.video.startswith(MATROSKA) else "mp4"


class Writer(Protocol):
    """Where clips go."""

    def add(self, clip: Exported) -> None: ...

    def close(self) -> None: ...


def export(
    lake: Lake,
    release: ReleaseInfo,
    folder: Path,
    format: str,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Write the release's clips below `folder`, which appears whole at the end; returns how many.

    Raises:
        InputError: the folder exists and is not empty, or the format is unknown.
    """
    if format not in WRITERS:
        raise InputError(f"no export format {format!r}; there are {' and '.join(WRITERS)}")
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is already there and not empty; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    temporary.mkdir()
    try:
        count, total = 0, int(release.counts["clips"])
        with closing(WRITERS[format](temporary)) as writer:
            for count, clip in enumerate(clips(lake, release), start=1):
                writer.add(clip)
                on_progress(count, total)
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return count


def clips(lake: Lake, release: ReleaseInfo) -> Iterator[Exported]:
    """The release's clips in order of their ids; few are held at a time."""
    rows = lake.read("clips", COLUMNS, release.view, release.name).sort_by("clip_id").to_pylist()
    for first in range(0, len(rows), CLIPS_PER_READ):
        part = rows[first : first + CLIPS_PER_READ]
        data = lake.read_clip_bytes([row["clip_id"] for row in part], release.name)
        for row in part:
            video = _exact(data[row["clip_id"]], row)
            facts = {name: row[name] for name in COLUMNS if name not in ("offset_s", "facts_json")}
            facts |= {"facts": json.loads(row["facts_json"] or "{}"), "release": release.name}
            yield Exported(row["clip_id"], video, facts)


def _exact(data: bytes, row: dict[str, Any]) -> bytes:
    """The clip alone, without the frames from its keyframe to its beginning."""
    if row["offset_s"] < 0.5 / row["fps"]:
        return data
    times = [index / row["fps"] for index in range(row["num_frames"])]
    return encode_mp4(read_clip(data, row["offset_s"], times, None), row["fps"])


class FolderWriter:
    """`clips/ID.mp4`, and `clips.jsonl` with a line for each clip."""

    def __init__(self, folder: Path) -> None:
        (folder / "clips").mkdir()
        self._folder = folder
        self._lines = (folder / "clips.jsonl").open("w", encoding="utf-8")

    def add(self, clip: Exported) -> None:
        path = f"clips/{clip.name}.{clip.suffix}"
        (self._folder / path).write_bytes(clip.video)
        self._lines.write(json.dumps({"file": path, **clip.facts}, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._lines.close()


class ShardWriter:
    """`shard-000000.tar` and so on, in WebDataset's convention: ID.mp4, ID.txt, ID.json."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards = 0
        self._clips = 0
        self._tar: tarfile.TarFile | None = None

    def add(self, clip: Exported) -> None:
        if self._tar is None:
            path = self._folder / f"shard-{self._shards:06d}.tar"
            self._tar, self._clips = tarfile.TarFile(path, "w"), 0
            self._shards += 1
        self._put(f"{clip.name}.{clip.suffix}", clip.video)
        self._put(f"{clip.name}.txt", (clip.facts["caption"] or "").encode())
        self._put(f"{clip.name}.json", json.dumps(clip.facts, ensure_ascii=False).encode())
        self._clips += 1
        if self._clips == SHARD_CLIPS or self._tar.offset >= SHARD_BYTES:
            self.close()

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None

    def _put(self, name: str, data: bytes) -> None:
        assert self._tar is not None
        entry = tarfile.TarInfo(name)  # no owner and no time: the same release, the same bytes
        entry.size = len(data)
        self._tar.addfile(entry, io.BytesIO(data))


WRITERS: dict[str, Callable[[Path], Writer]] = {"files": FolderWriter, "webdataset": ShardWriter}
