import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.catalog import Catalog
from infra.errors import InputError
from infra.export import export
from infra.lake import Lake
from infra.releases import ReleaseInfo, create_release
from infra.video import Frames, encode_mp4, read_file_frames


def gray(levels: list[int]) -> Frames:
    return np.stack([np.full((32, 48, 3), level, np.uint8) for level in levels])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Clip "a" is stored as it is; the bytes of "b" begin with four frames of what came before."""
    found = Lake(str(tmp_path / "lake"))
    found.ensure()
    row = {"status": "accepted", "split": "train", "fps": 8.0, "width": 48, "height": 32}
    found.upsert(
        "clips",
        [
            {
                **row, "clip_id": name, "caption": caption, "offset_s": offset_s, "num_frames": 8,
                "start_s": 2.0, "end_s": 3.0, "facts_json": '{"tempo": "slow"}',
            }
            for name, caption, offset_s in (("a", "a gray wall", 0.0), ("b", None, 0.5))
        ],
    )  # fmt: skip
    found.write_clip_bytes(
        {
            "a": encode_mp4(gray([100] * 8), 8.0),
            "b": encode_mp4(gray([240] * 4 + [20] * 8), 8.0),
        }
    )
    return found


@pytest.fixture
def release(lake: Lake, tmp_path: Path) -> Iterator[ReleaseInfo]:
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog.migrate()
    yield create_release(lake, catalog, fingerprints={})[0]
    catalog.close()


def test_files_hold_the_clip_alone_and_its_facts(
    lake: Lake, release: ReleaseInfo, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert export(lake, release, out, "files") == 2
    lines = [json.loads(line) for line in (out / "clips.jsonl").read_text().splitlines()]
    assert [(line["clip_id"], line["caption"]) for line in lines] == [
        ("a", "a gray wall"),
        ("b", None),
    ]
    assert lines[0]["facts"] == {"tempo": "slow"} and lines[0]["release"] == release.name
    frames, fps = read_file_frames(out / lines[1]["file"], 100)
    assert (len(frames), fps) == (8, 8.0)
    assert frames.max() < 40, "frames from before the clip were exported"
    stored = lake.read_clip_bytes(["a"])["a"]
    assert (out / lines[0]["file"]).read_bytes() == stored


def test_shards_are_in_the_webdataset_convention_and_repeat_to_the_byte(
    lake: Lake, release: ReleaseInfo, tmp_path: Path
) -> None:
    export(lake, release, tmp_path / "one", "webdataset")
    export(lake, release, tmp_path / "two", "webdataset")
    shard = (tmp_path / "one" / "shard-000000.tar").read_bytes()
    assert shard == (tmp_path / "two" / "shard-000000.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(shard)) as tar:
        assert tar.getnames() == ["a.mp4", "a.txt", "a.json", "b.mp4", "b.txt", "b.json"]
        text = tar.extractfile("a.txt")
        assert text is not None and text.read() == b"a gray wall"


def test_a_folder_with_something_in_it_is_left_alone(
    lake: Lake, release: ReleaseInfo, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(InputError, match=r"mine is already there and not empty"):
        export(lake, release, tmp_path / "mine", "files")
    with pytest.raises(InputError, match="no export format 'zip'; there are files and webdataset"):
        export(lake, release, tmp_path / "new", "zip")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_an_export_that_fails_leaves_nothing(
    lake: Lake, release: ReleaseInfo, tmp_path: Path
) -> None:
    def fail(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(lake, release, tmp_path / "out", "files", fail)
    assert not list(tmp_path.glob("*out*"))
