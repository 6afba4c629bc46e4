"""The quarantine table: every file that cannot be used, why, and since when."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from infra.lake import Lake, quote_all

Row = dict[str, Any]

IDS_PER_DELETE = 500


def record(lake: Lake, rows: Sequence[Row]) -> None:
    """Add or update rows (uri, stage, reason, error), keeping when each was first seen."""
    if not rows:
        return
    old = lake.read("quarantine", ["uri", "first_seen"]).to_pylist()
    first_seen = {row["uri"]: row["first_seen"] for row in old}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    times = [{"first_seen": first_seen.get(row["uri"], now), "last_seen": now} for row in rows]
    merged = [{**row, **seen} for row, seen in zip(rows, times, strict=True)]
    lake.upsert("quarantine", merged)


def release(lake: Lake, uris: Iterable[str]) -> None:
    """Remove files that turned out well, or are gone."""
    held = set(lake.read("quarantine", ["uri"])["uri"].to_pylist())
    delete_rows(lake, "quarantine", "uri", sorted(held.intersection(uris)))


def delete_rows(lake: Lake, table: str, column: str, values: Sequence[str]) -> None:
    """Delete the rows whose `column` is one of `values`; no values, no commit."""
    for start in range(0, len(values), IDS_PER_DELETE):
        chunk = values[start : start + IDS_PER_DELETE]
        lake.delete(table, f"{column} in ({quote_all(chunk)})")
