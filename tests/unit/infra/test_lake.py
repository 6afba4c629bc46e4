from pathlib import Path

import lance
import pyarrow as pa
import pytest

from infra.errors import InputError, NotFoundError
from infra.lake import Lake, quote, quote_all
from infra.lake_schema import TABLES


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(str(tmp_path / "lake"))
    found.ensure()
    return found


def test_ensure_twice_keeps_rows(lake: Lake) -> None:
    lake.append("clips", [{"clip_id": "a"}])
    lake.ensure()
    assert lake.count("clips") == 1


def test_upsert_of_some_columns_keeps_the_others(lake: Lake) -> None:
    lake.upsert("clips", [{"clip_id": "a", "num_frames": 9}, {"clip_id": "b", "num_frames": 5}])
    lake.upsert("clips", [{"clip_id": "a", "caption": "a dog"}, {"clip_id": "c", "caption": "c"}])
    rows = lake.read("clips", ["clip_id", "num_frames", "caption"]).sort_by("clip_id").to_pylist()
    assert rows == [
        {"clip_id": "a", "num_frames": 9, "caption": "a dog"},
        {"clip_id": "b", "num_frames": 5, "caption": None},
        {"clip_id": "c", "num_frames": None, "caption": "c"},
    ]


def test_upsert_with_a_key_of_two_columns(lake: Lake) -> None:
    row = {"clip_id": "a", "vae_hash": "1", "shape": [1, 2], "fps": 8.0, "latent": b"\0\0"}
    lake.upsert("latents", [row, row | {"vae_hash": "2"}])
    lake.upsert("latents", [row | {"fps": 4.0}])
    rows = lake.read("latents", ["vae_hash", "fps"]).sort_by("vae_hash").to_pylist()
    assert rows == [{"vae_hash": "1", "fps": 4.0}, {"vae_hash": "2", "fps": 8.0}]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"clip_id": "a", "colour": "red"}], "has no column colour"),
        ([{"clip_id": "a", "caption": "x"}, {"clip_id": "b"}], "different columns .caption."),
        ([{"clip_id": "a"}, {"clip_id": "a"}], "more than once"),
        ([{"caption": "x"}], "must name their key, clip_id"),
    ],
)
def test_upsert_refuses_rows_that_would_be_lost_or_doubled(
    lake: Lake, rows: list[dict[str, str]], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        lake.upsert("clips", rows)
    assert lake.count("clips") == 0


def test_upsert_takes_what_read_gave(lake: Lake) -> None:
    lake.append("clips", [{"clip_id": "a", "fps": 24.0}])
    lake.upsert("clips", lake.read("clips"))
    assert lake.read("clips", ["fps"]).to_pylist() == [{"fps": 24.0}]


def test_clip_bytes_come_back_in_the_order_asked(lake: Lake) -> None:
    # Small, packed and dedicated blobs are stored in three ways, and the ids fill two queries.
    clips = {f"clip{i}": bytes([i % 251]) * (10 + 60 * i) for i in range(600)}
    clips["huge"] = b"h" * (3 << 20)
    lake.write_clip_bytes(clips)
    wanted = ["huge", *[f"clip{i}" for i in range(599, -1, -1)]]
    found = lake.read_clip_bytes(wanted)
    assert list(found) == wanted
    assert found == clips


def test_clip_bytes_are_stored_once(lake: Lake) -> None:
    lake.write_clip_bytes({"a": b"first"})
    version = lake.versions()["clip_bytes"]
    lake.write_clip_bytes({"a": b"first"})
    lake.write_clip_bytes({})
    assert lake.versions()["clip_bytes"] == version
    lake.write_clip_bytes({"a": b"first", "b": b"second"})
    assert lake.count("clip_bytes") == 2


def test_clip_files_are_stored_a_few_at_a_time_in_one_commit(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [10, 70_000, 3 << 20, 20, 5 << 20, 30]
    files = {f"clip{number}": tmp_path / f"{number}" for number in range(len(sizes))}
    for number, (file, size) in enumerate(zip(files.values(), sizes, strict=True)):
        file.write_bytes(bytes([number]) * size)
    before, read = lake.versions()["clip_bytes"], list[int]()
    monkeypatch.setattr("infra.lake.BATCH_BYTES", 1 << 20)
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(1) or read_bytes(self))
    lake.write_clip_bytes(files)
    assert lake.versions()["clip_bytes"] == before + 1
    assert len(read) == len(files)
    found = lake.read_clip_bytes(list(files))
    assert found == {clip_id: read_bytes(file) for clip_id, file in files.items()}
    lake.write_clip_bytes({"clip0": tmp_path / "gone", "new": b"new"})
    assert lake.count("clip_bytes") == len(files) + 1


def test_a_lake_of_an_older_version_gets_the_columns_it_lacks(lake: Lake) -> None:
    lake.upsert("sources", [{"uri": "a", "codec": "h264"}])
    lance.dataset(f"{lake.uri}/sources.lance").drop_columns(["interlaced"])
    lake.ensure()
    version = lake.versions()["sources"]
    lake.ensure()
    assert lake.versions()["sources"] == version
    (row,) = lake.read("sources").to_pylist()
    assert (row["codec"], row["interlaced"]) == ("h264", None)
    lake.upsert("sources", [{"uri": "a", "interlaced": True}])
    assert lake.read("sources", ["codec", "interlaced"]).to_pylist() == [
        {"codec": "h264", "interlaced": True}
    ]


def test_missing_bytes_are_named(lake: Lake) -> None:
    with pytest.raises(NotFoundError, match=r"1 of 1 clips have no stored bytes .*'nope'"):
        lake.read_clip_bytes(["nope"])


def test_a_release_stays_as_it_was(lake: Lake) -> None:
    lake.upsert("clips", [{"clip_id": "a", "caption": "old"}])
    lake.write_clip_bytes({"a": b"bytes"})
    lake.tag("r1")
    lake.upsert("clips", [{"clip_id": "a", "caption": "new"}, {"clip_id": "b", "caption": "b"}])
    lake.delete("clips", "clip_id = 'a'")
    assert lake.read("clips", ["caption"], release="r1").to_pylist() == [{"caption": "old"}]
    assert lake.count("clips", release="r1") == 1
    assert lake.read_clip_bytes(["a"], release="r1") == {"a": b"bytes"}
    assert lake.releases() == ["r1"]


def test_tag_left_by_a_failed_attempt_is_moved(lake: Lake) -> None:
    lake.tag("r1")
    lake.append("clips", [{"clip_id": "a"}])
    versions = lake.tag("r1")
    assert versions == lake.versions()
    assert lake.count("clips", release="r1") == 1


def test_content_hash_ignores_order_versions_and_times(tmp_path: Path) -> None:
    one, two = Lake(str(tmp_path / "one")), Lake(str(tmp_path / "two"))
    one.ensure()
    two.ensure()
    source = {"uri": "f.mp4", "status": "accepted", "mtime_ns": 1, "hash_video": b"\1\2"}
    bad = {"uri": "x.mp4", "reason": "cut off", "first_seen": "2026-01-01", "last_seen": "…"}
    one.upsert("sources", [source])
    one.upsert("clips", [{"clip_id": "a", "fps": 24.0}, {"clip_id": "b", "fps": 25.0}])
    one.upsert("quarantine", [bad])
    two.upsert("clips", [{"clip_id": "b", "fps": 1.0}])
    two.upsert("clips", [{"clip_id": "b", "fps": 25.0}])
    two.upsert("clips", [{"clip_id": "a", "fps": 24.0}])
    two.upsert("sources", [source | {"mtime_ns": 2}])
    two.upsert("quarantine", [bad | {"first_seen": "2027-01-01"}])
    two.upsert("latents", [{"clip_id": "a", "vae_hash": "1"}])
    assert one.content_hash() == two.content_hash()


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("clips", {"clip_id": "a", "caption": "other"}),
        ("clips", {"clip_id": "b", "caption": None}),
        ("sources", {"uri": "b", "status": "accepted"}),
        ("quarantine", {"uri": "b", "reason": "cut off"}),
    ],
)
def test_content_hash_sees_every_change(lake: Lake, table: str, row: dict[str, str]) -> None:
    lake.upsert("clips", [{"clip_id": "a", "caption": "a dog"}])
    lake.tag("before")
    before = lake.content_hash()
    lake.upsert(table, [row])
    assert lake.content_hash() != before
    assert lake.content_hash("before") == before


def test_no_lake_no_release_no_table_no_column(lake: Lake, tmp_path: Path) -> None:
    lake.tag("r1")
    with pytest.raises(NotFoundError, match=r"there is no lake at .*nowhere.*reel refresh"):
        Lake(str(tmp_path / "nowhere")).read("clips")
    with pytest.raises(NotFoundError, match="no release 'r2'; releases: r1"):
        lake.read("clips", release="r2")
    with pytest.raises(InputError, match="no table 'clip'; its tables are sources, clips"):
        lake.read("clip")
    with pytest.raises(InputError, match="No field named nope"):
        lake.read("clips", columns=["nope"])
    with pytest.raises(InputError, match="where caption ="):
        lake.count("clips", "caption =")


def test_quoted_strings_reach_the_filter_whole(lake: Lake) -> None:
    names = ["it's", "a, b", "x'; y", "ünï \\ % _"]
    lake.append("clips", [{"clip_id": name} for name in [*names, "other"]])
    assert lake.count("clips", f"clip_id in ({quote_all(names)})") == 4
    assert lake.count("clips", f"clip_id = {quote(names[0])}") == 1


def test_append_of_a_table_fills_the_other_columns(lake: Lake) -> None:
    lake.append("clips", pa.table({"clip_id": ["a"], "fps": pa.array([24.0], pa.float32())}))
    assert lake.read("clips", ["fps", "caption"]).to_pylist() == [{"fps": 24.0, "caption": None}]


def test_reading_clip_bytes_without_columns_leaves_the_blob(lake: Lake) -> None:
    lake.write_clip_bytes({"a": b"x"})
    assert lake.read("clip_bytes").column_names == ["clip_id"]


def test_keys_are_never_null() -> None:
    for spec in TABLES.values():
        assert all(not spec.schema.field(key).nullable for key in spec.key)
