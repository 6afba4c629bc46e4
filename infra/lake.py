"""The lake: Lance tables of sources, clips, clip bytes, latents and quarantine, and their tags.

    lake = Lake(settings.lake_uri); lake.ensure()
    lake.upsert("clips", [{"clip_id": "a1", "caption": "a red ball", ...}])
    lake.read("clips", columns=["clip_id"], where="split = 'val'", release="2026-11-22-1")

Lance: https://lance.org (blob v2 needs data_storage_version 2.2). One writer at a time commits
best; concurrent writers are safe, they retry.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import lance
import pyarrow as pa

from infra.errors import InfrastructureError, InputError, NotFoundError
from infra.lake_schema import CONTENT_TABLES, TABLES, TableSpec

METADATA_CACHE_BYTES = 64 << 20  # Lance's default of 1 GiB + 6 GiB per opened table is too much
INDEX_CACHE_BYTES = 64 << 20
IDS_PER_QUERY = 512
ROWS_AT_ONCE = 128
BATCH_BYTES = 16 << 20  # of clips that are in memory while they are written

Rows: TypeAlias = list[dict[str, Any]] | pa.Table


def quote(value: str) -> str:
    """`value` as a string literal for a `where` clause, quotes inside it escaped."""
    return "'" + value.replace("'", "''") + "'"


def quote_all(values: Iterable[str]) -> str:
    """Comma-separated literals, for `where=f"clip_id in ({quote_all(ids)})"`."""
    return ", ".join(quote(value) for value in values)


class Lake:
    """All tables under one URI (a local folder or s3://…).

    A method that takes `release` reads the tables as they were when that release was tagged.

    Raises:
        NotFoundError: no such lake or release; the message lists the releases that exist.
        InputError: an unknown table or column, or a `where` that does not parse.
    """

    def __init__(self, uri: str, versions: Mapping[str, int] | None = None) -> None:
        self.uri = uri.rstrip("/")
        self._pinned = dict(versions or {})

    def pinned(self) -> "Lake":
        """This lake as it is now, for readers elsewhere while it is written to."""
        return Lake(self.uri, self.versions())

    def ensure(self) -> None:
        """Create the tables, and add the columns, that are missing."""
        if "://" not in self.uri:
            Path(self.uri).mkdir(parents=True, exist_ok=True)
        for name, spec in TABLES.items():
            if self._exists(name):
                self._widen(name, spec)
                continue
            try:
                lance.write_dataset(
                    _table([], spec, spec.schema.names),
                    self._path(name),
                    schema=spec.schema,
                    data_storage_version="2.2",
                )
            except OSError:
                # Another process may have created it since we looked.
                if not self._exists(name):
                    raise

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        release: str | None = None,
    ) -> pa.Table:
        """Rows of `table`; all columns but a blob when `columns` is None. A column that a release
        is older than holds nulls."""
        dataset = self._open(table, release)
        wanted = list(columns) if columns is not None else _stored(dataset, table)
        lacking = [name for name in wanted if _is_newer(name, dataset, table)]
        there = [name for name in wanted if name not in lacking] or list(_spec(table).key)
        try:
            result: pa.Table = dataset.to_table(columns=there, filter=where)
        except (OSError, ValueError) as error:
            raise bad_query(table, where, error) from error
        for name in lacking:
            field = _spec(table).schema.field(name)
            result = result.append_column(field, pa.nulls(len(result), field.type))
        return result.select(wanted) if lacking else result

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All rows of `table`, of which few are in memory at a time."""
        batches = self._open(table).to_batches(
            columns=list(columns),
            batch_size=ROWS_AT_ONCE,
            batch_readahead=1,
            fragment_readahead=1,
        )
        for batch in batches:
            yield from batch.to_pylist()

    def count(self, table: str, where: str | None = None, release: str | None = None) -> int:
        """How many rows match."""
        dataset = self._open(table, release)
        try:
            return int(dataset.count_rows(where))
        except (OSError, ValueError) as error:
            raise bad_query(table, where, error) from error

    def append(self, table: str, rows: Rows) -> None:
        """Add rows; columns left out are null. The keys must be new: nothing checks it."""
        spec = _spec(table)
        if len(rows):
            _check_columns(rows, spec, table)
            self._open(table).insert(_table(rows, spec, spec.plain_columns))

    def upsert(self, table: str, rows: Rows) -> None:
        """Update rows by key and insert those whose key is new, in one commit.

        Columns that no row names keep their values (null in an inserted row).
        """
        spec = _spec(table)
        if not len(rows):
            return
        if spec.blob:
            raise InputError(f"table {table!r} is append only; use write_clip_bytes")
        _check_columns(rows, spec, table)
        data = _table(rows, spec, _named_columns(rows, spec, table))
        _check_keys(data, spec, table)
        merge = self._open(table).merge_insert(list(spec.key))
        merge.when_matched_update_all().when_not_matched_insert_all().execute(data)

    def delete(self, table: str, where: str) -> None:
        """Delete the rows that match; releases made earlier still hold them."""
        dataset = self._open(table)
        try:
            dataset.delete(where)
        except (OSError, ValueError) as error:
            raise bad_query(table, where, error) from error

    def write_clip_bytes(self, clips: Mapping[str, bytes | Path]) -> None:
        """Store encoded clips, bytes or files of them, by clip id in one commit.

        Ids already stored are skipped. Files are read while they are written, a few at a time.
        """
        stored = {clip_id for clip_id, _ in _blob_rows(self._open("clip_bytes"), list(clips))}
        new = {clip_id: clip for clip_id, clip in clips.items() if clip_id not in stored}
        if new:
            batches = _clip_batches(new)
            schema = TABLES["clip_bytes"].schema
            self._open("clip_bytes").insert(pa.RecordBatchReader.from_batches(schema, batches))

    def read_clip_bytes(
        self, clip_ids: Sequence[str], release: str | None = None
    ) -> dict[str, bytes]:
        """Encoded bytes by clip id, in the order asked.

        Raises:
            NotFoundError: an id that has no stored bytes.
        """
        batches = self.clip_batches(clip_ids, len(clip_ids), release)
        return {clip_id: data for batch in batches for clip_id, data in batch.items()}

    def clip_batches(
        self, clip_ids: Sequence[str], size: int, release: str | None = None
    ) -> Iterator[dict[str, bytes]]:
        """As `read_clip_bytes`, `size` clips at a time; the table is opened and searched once.

        Raises:
            NotFoundError: an id that has no stored bytes; before the first batch.
            InfrastructureError: clips were erased from the lake meanwhile.
        """
        dataset = self._open("clip_bytes", release)
        rows = dict(_blob_rows(dataset, clip_ids))
        missing = [clip_id for clip_id in clip_ids if clip_id not in rows]
        if missing:
            raise NotFoundError(
                f"{len(missing)} of {len(clip_ids)} clips have no stored bytes in {self.uri} "
                f"(the first is {missing[0]!r}); run refresh again"
            )
        for start in range(0, len(clip_ids), max(1, size)):
            part = clip_ids[start : start + size]
            try:
                blobs = dataset.read_blobs(
                    "video", ids=[rows[clip_id] for clip_id in part], preserve_order=True
                )
            except OSError as error:
                raise InfrastructureError(
                    f"the bytes of clip {part[0]!r} and those after it can no longer be read from "
                    f"{self.uri} (was a film taken down just now?); run the step again: {error}"
                ) from error
            yield {clip_id: bytes(blob) for clip_id, (_, blob) in zip(part, blobs, strict=True)}

    def dataset(self, table: str) -> Any:
        """The Lance dataset of a table, for upkeep that no other method does."""
        return self._open(table)

    def versions(self, release: str | None = None) -> dict[str, int]:
        """The current version of every table, or that of a release."""
        return {table: int(self._open(table, release).version) for table in TABLES}

    def releases(self) -> list[str]:
        """Names of the tags that all tables carry, sorted."""
        tags = [set(self._open(table).tags.list()) for table in TABLES]
        return sorted(set.intersection(*tags))

    def tag(self, release: str) -> dict[str, int]:
        """Tag the current version of every table as `release`; returns those versions.

        A tag of that name left over from an attempt that the catalog never recorded is moved.
        """
        versions = self.versions()
        for table, version in versions.items():
            tags = self._open(table).tags
            if release in tags.list():
                tags.update(release, version)
            else:
                tags.create(release, version)
        return versions

    def content_hash(self, release: str | None = None) -> str:
        """16 hex digits that name what the lake says about the footage.

        Equal rows give an equal hash in any order and under any table version. Times of looking
        (first and last seen, file times) and latents do not count.
        """
        total = 0
        for table in CONTENT_TABLES:
            spec = TABLES[table]
            dataset = self._open(table, release)
            columns = sorted(set(_stored(dataset, table)) - spec.volatile)
            for batch in dataset.to_batches(columns=columns):
                for row in batch.to_pylist():
                    line = json.dumps([table, row], sort_keys=True, default=bytes.hex)
                    # A sum of row hashes is the same in any row order.
                    total += int.from_bytes(hashlib.sha256(line.encode()).digest(), "big")
        return hashlib.sha256(str(total % 2**256).encode()).hexdigest()[:16]

    def _path(self, table: str) -> str:
        return f"{self.uri}/{table}.lance"

    def _exists(self, table: str) -> bool:
        try:
            self._open(table)
        except NotFoundError:
            return False
        return True

    def _widen(self, table: str, spec: TableSpec) -> None:
        """Add columns that an older version of this program did not know; they hold nulls."""
        dataset = self._open(table)
        new = [field for field in spec.schema if field.name not in dataset.schema.names]
        if new:
            dataset.add_columns(pa.schema(new))

    def _open(self, table: str, release: str | None = None) -> Any:
        _spec(table)
        try:
            dataset = lance.dataset(
                self._path(table),
                metadata_cache_size_bytes=METADATA_CACHE_BYTES,
                index_cache_size_bytes=INDEX_CACHE_BYTES,
            )
        except ValueError as error:
            if "not found" not in str(error).lower():
                raise
            raise NotFoundError(
                f"there is no lake at {self.uri} (table {table!r} is missing); "
                "ingest footage first: reel refresh FOLDER"
            ) from error
        version = self._pinned.get(table) if release is None else release
        if version is None:
            return dataset
        try:
            return dataset.checkout_version(version)
        except (OSError, ValueError) as error:
            if "does not exist" not in str(error):
                raise
            known = ", ".join(self.releases()) or "none yet"
            raise NotFoundError(
                f"the lake has no release {version!r}; releases: {known}"
            ) from error


def _blob_rows(dataset: Any, clip_ids: Sequence[str]) -> Iterator[tuple[str, int]]:
    """(clip_id, row id) of those ids that have bytes; no id, no look."""
    wanted = set(clip_ids)
    # Ids are short: to read them all is cheaper than to ask for many.
    where = f"clip_id in ({quote_all(clip_ids)})" if len(wanted) <= IDS_PER_QUERY else None
    if wanted:
        for batch in dataset.to_batches(columns=["clip_id"], filter=where, with_row_id=True):
            found = zip(batch["clip_id"].to_pylist(), batch["_rowid"].to_pylist(), strict=True)
            yield from ((clip_id, row) for clip_id, row in found if clip_id in wanted)


def _spec(table: str) -> TableSpec:
    if table not in TABLES:
        raise InputError(f"the lake has no table {table!r}; its tables are {', '.join(TABLES)}")
    return TABLES[table]


def _stored(dataset: Any, table: str) -> list[str]:
    """Plain columns that this version has: a release may be older than a column."""
    return [name for name in _spec(table).plain_columns if name in dataset.schema.names]


def _is_newer(name: str, dataset: Any, table: str) -> bool:
    return name in _spec(table).plain_columns and name not in dataset.schema.names


def _check_columns(rows: Rows, spec: TableSpec, table: str) -> None:
    named = set(rows.column_names) if isinstance(rows, pa.Table) else set().union(*rows)
    unknown = sorted(named - set(spec.plain_columns))
    if unknown:
        raise InputError(
            f"table {table!r} has no column {', '.join(unknown)}; "
            f"its columns are {', '.join(spec.plain_columns)}"
        )


def _check_keys(data: pa.Table, spec: TableSpec, table: str) -> None:
    """One row a key: Lance would insert a new key as often as it comes."""
    if not set(spec.key) <= set(data.column_names):
        raise InputError(f"rows for {table!r} must name their key, {', '.join(spec.key)}")
    keys = list(zip(*(data[name].to_pylist() for name in spec.key), strict=True))
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"rows for {table!r} hold the key {twice} more than once; merge them")


def _named_columns(rows: Rows, spec: TableSpec, table: str) -> list[str]:
    """The columns that every row names, in schema order; a ragged list of rows is an error."""
    if isinstance(rows, pa.Table):
        named = set(rows.column_names)
    else:
        named = set(rows[0])
        odd = sorted(set().union(*(set(row) ^ named for row in rows)))
        if odd:
            raise InputError(
                f"rows for {table!r} name different columns ({', '.join(odd)}); "
                "upsert rows of one shape at a time"
            )
    return [name for name in spec.schema.names if name in named]


def _table(rows: Rows, spec: TableSpec, columns: Sequence[str]) -> pa.Table:
    """`rows` as a table of exactly `columns`, in the types of the schema."""
    schema = pa.schema([spec.schema.field(name) for name in columns])
    if isinstance(rows, pa.Table):
        have = set(rows.column_names)
        arrays = [
            rows[name].cast(schema.field(name).type)
            if name in have
            else pa.nulls(len(rows), schema.field(name).type)
            for name in columns
        ]
        return pa.table(dict(zip(columns, arrays, strict=True)), schema=schema)
    if spec.blob in columns:
        return pa.table({"clip_id": [], spec.blob: lance.blob_array([])}, schema=schema)
    return pa.Table.from_pylist(rows, schema=schema)


def _clip_batches(clips: Mapping[str, bytes | Path]) -> Iterator[pa.RecordBatch]:
    """Rows of `clip_bytes`; a batch ends where it holds BATCH_BYTES."""
    ids, blobs, size = list[str](), list[bytes](), 0
    for number, (clip_id, clip) in enumerate(clips.items(), start=1):
        data = clip if isinstance(clip, bytes) else clip.read_bytes()
        ids.append(clip_id)
        blobs.append(data)
        size += len(data)
        if size >= BATCH_BYTES or number == len(clips):
            columns = [pa.array(ids, pa.string()), lance.blob_array(blobs)]
            yield pa.record_batch(columns, schema=TABLES["clip_bytes"].schema)
            ids, blobs, size = [], [], 0


def bad_query(table: str, where: str | None, error: Exception) -> InputError:
    """What Lance said of a condition, in one sentence."""
    reason = str(error).split(", /")[0].strip()  # what follows is a path in Lance's own source
    return InputError(f"cannot read table {table!r} where {where or 'anything'}: {reason}")
