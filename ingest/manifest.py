"""Manifests: a table of films with their licence, caption and tags. CSV, JSON lines or Parquet.

    uri,licence,caption,tags
    harbour/dawn.mp4,CC-BY-4.0,a harbour at dawn,sea; morning

Only `uri` is needed. One that is relative starts at the manifest's own folder.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from infra.errors import InputError

COLUMNS = ("uri", "licence", "caption", "tags")
SUFFIXES = (".csv", ".jsonl", ".parquet")
MAX_BYTES = 1 << 28

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row, counted from 1 without the header. `given` has a key for each column that the
    manifest has, None where the row says nothing. A `problem` says why the row cannot be used."""

    row: int
    uri: str = ""
    given: Row = field(default_factory=dict)
    problem: str = ""


def is_manifest(uri: str) -> bool:
    """Whether a path or URI names one, by its ending."""
    path = urlsplit(uri).path if "://" in uri else uri
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def read_manifest(uri: str, data: bytes) -> list[Entry]:
    """The rows of the manifest at `uri`, whose bytes are `data`.

    Raises:
        InputError: it cannot be read as a whole, or has a column that we do not know, or none
            called uri, or no row.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"the manifest {uri} has {len(data)} bytes; split it below {MAX_BYTES}")
    suffix = PurePosixPath(urlsplit(uri).path if "://" in uri else uri).suffix.lower()
    try:
        if suffix == ".parquet":
            names, rows = _parquet(data)
        else:
            text = data.decode("utf-8-sig")
            names, rows = _csv(text) if suffix == ".csv" else _json_lines(text)
    except UnicodeDecodeError as error:
        raise InputError(f"the manifest {uri} is not UTF-8 text: {error.reason}") from error
    except (ValueError, OSError) as error:  # Arrow raises both
        raise InputError(f"the manifest {uri} cannot be read: {error}") from error
    unknown = sorted(set(names) - set(COLUMNS))
    if unknown or "uri" not in names:
        what = f"has the column {unknown[0]!r}" if unknown else "has no column 'uri'"
        raise InputError(f"the manifest {uri} {what}; its columns are {', '.join(COLUMNS)}")
    if not rows:
        raise InputError(f"the manifest {uri} names no film; write one row for each")
    given = [name for name in COLUMNS[1:] if name in names]
    return [_entry(number, row, given) for number, row in enumerate(rows, start=1)]


def _csv(text: str) -> tuple[Sequence[str], list[Row | str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row | str] = []
    try:
        names = [name.strip() for name in next(reader, [])]
        for cells in reader:
            if len(cells) == len(names):
                rows.append(dict(zip(names, cells, strict=True)))
            elif cells:
                rows.append(f"it has {len(cells)} cells, the header {len(names)}")
    except csv.Error as error:
        # Where the next row begins nobody can tell, so nothing of it counts.
        raise ValueError(f"line {reader.line_num}: {error}") from error
    if len(set(names)) < len(names):
        raise ValueError("two of its columns have the same name")
    return names, rows


def _json_lines(text: str) -> tuple[Sequence[str], list[Row | str]]:
    rows: list[Row | str] = []
    names = {"uri"}
    for line in filter(str.strip, text.split("\n")):
        try:
            row = json.loads(line)
        except ValueError as error:
            rows.append(f"it is not JSON: {error}")
            continue
        if isinstance(row, dict):
            names |= row.keys()
            rows.append(row)
        else:
            rows.append('it is no JSON object such as {"uri": "film.mp4"}')
    return sorted(names), rows


def _parquet(data: bytes) -> tuple[Sequence[str], list[Row | str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(data))
    return table.column_names, table.to_pylist()


def _entry(number: int, row: Row | str, given: Sequence[str]) -> Entry:
    if isinstance(row, str):
        return Entry(row=number, problem=row)
    try:
        uri = _text("uri", row.get("uri"))
        if uri is None:
            raise ValueError("its uri is empty")
        values = {
            name: _tags(row.get(name)) if name == "tags" else _text(name, row.get(name))
            for name in given
        }
    except ValueError as error:
        return Entry(row=number, problem=str(error))
    return Entry(row=number, uri=uri, given=values)


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"its {name} is {value!r}, which is no text")
    if name == "uri":
        return value or None
    return " ".join((value or "").split()) or None


def _tags(value: Any) -> list[str] | None:
    """Of "sea; morning", "sea, morning" or a list."""
    words = re.split("[;,]", value) if isinstance(value, str) else (value or [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"its tags are {value!r}; write them as text, one from the other by ;")
    return sorted({word.strip() for word in words} - {""}) or None
