import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError, NotFoundError
from ingest.manifest import read_manifest
from ingest.sources import find_films, scope

ROWS: list[dict[str, Any]] = [
    {"uri": "a.mp4", "licence": "CC0", "caption": "a red\nball", "tags": ["sea", "morning"]},
    {"uri": "b/c.mov", "licence": None, "caption": None, "tags": None},
]


def film(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def csv(path: Path) -> Path:
    path.write_text('uri,licence,caption,tags\na.mp4,CC0,"a red\nball",sea; morning\nb/c.mov,,,\n')
    return path


def jsonl(path: Path) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    return path


def parquet(path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("write", [csv, jsonl, parquet])
def test_all_forms_say_the_same(tmp_path: Path, write: Any) -> None:
    film(tmp_path / "a.mp4")
    film(tmp_path / "b/c.mov")
    manifest = write(tmp_path / f"films.{write.__name__}")
    one, two = find_films(str(manifest))
    assert (one.uri, two.uri) == (
        (tmp_path / "a.mp4").as_uri(),
        (tmp_path / "b/c.mov").as_uri(),
    )
    assert one.given == {"licence": "CC0", "caption": "a red ball", "tags": ["morning", "sea"]}
    assert two.given == {"licence": None, "caption": None, "tags": None}


def test_a_column_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    (tmp_path / "films.csv").write_text("uri,licence\na.mp4,CC0\n")
    (found,) = find_films(str(tmp_path / "films.csv"))
    assert found.given == {"licence": "CC0"}


def test_every_row_comes_back_with_a_film_or_a_problem(tmp_path: Path) -> None:
    here = film(tmp_path / "films/a.mp4")
    rows = [
        json.dumps({"uri": "a.mp4"}),
        "{not json",
        json.dumps(["a.mp4"]),
        json.dumps({"uri": ""}),
        json.dumps({"uri": "gone.mp4"}),
        json.dumps({"uri": here.as_uri()}),
        json.dumps({"uri": "a.mp4", "caption": 7}),
        json.dumps({"uri": "."}),
        json.dumps({"uri": "nul\0.mp4"}),
        json.dumps({"uri": "no-such-store://x/a.mp4"}),
    ]
    manifest = tmp_path / "films/films.jsonl"
    manifest.write_text("\n".join(rows))
    found = {film.uri: film.problem for film in find_films(str(manifest))}
    assert len(found) == len(rows)
    assert found.pop(here.as_uri()) == ""
    assert all(uri.startswith(scope(str(manifest))) for uri in found)
    by_row = {uri.split("#row-")[1]: text for uri, text in found.items()}
    for row, words in {
        "2": "it is not JSON",
        "3": "it is no JSON object",
        "4": "its uri is empty",
        "5": "row 5: gone.mp4: there is no such file",
        "8": "it is not a file",
        "6": "again, after row 1",
        "7": "its caption is 7, which is no text",
        "9": "null",
        "10": "Protocol not known",
    }.items():
        assert words in by_row[row], row


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (
            "m.csv",
            b"uri,license\na.mp4,CC0\n",
            "has the column 'license'; its columns are uri",
        ),
        ("m.csv", b"film\na.mp4\n", "has the column 'film'"),
        ("m.csv", b"caption\nx\n", "has no column 'uri'"),
        ("m.csv", b"uri,uri\na,b\n", "the same name"),
        ("m.csv", b'uri\na.mp4\n"b.mp4\nc.mp4\n', "line 4: unexpected end of data"),
        ("m.csv", b"uri\n", "names no film"),
        ("m.csv", b"", "has no column 'uri'"),
        ("m.csv", b"uri\n\xff\xfe\n", "is not UTF-8 text"),
        ("m.jsonl", b'{"uri": "a", "author": 1}', "has the column 'author'"),
        ("m.parquet", b"PAR1 not really", "cannot be read"),
    ],
)
def test_a_manifest_that_is_wrong_as_a_whole_is_one_sentence(
    name: str, data: bytes, words: str
) -> None:
    with pytest.raises(InputError, match=f"the manifest {name} .*{words}"):
        read_manifest(name, data)


def test_csv_rows_with_too_many_or_too_few_cells_are_problems() -> None:
    good, more, less = read_manifest("m.csv", b"uri,caption\na,x\nb,x,y\nc\n")
    assert (good.uri, good.problem) == ("a", "")
    assert more.problem == "it has 3 cells, the header 2"
    assert less.problem == "it has 1 cells, the header 2"


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no manifest .*films\.csv"):
        find_films(str(tmp_path / "films.csv"))


def test_a_folder_may_be_called_like_a_manifest(tmp_path: Path) -> None:
    film(tmp_path / "films.csv/a.mp4")
    assert len(find_films(str(tmp_path / "films.csv"))) == 1
