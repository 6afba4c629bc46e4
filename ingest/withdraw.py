"""Withdrawing a film from the lake: what belongs to it, and what of it stays.

All files with the same content go, and all that were found to be the same film in other bytes
(`duplicate_of`): who may not be shown may not be shown re-encoded either. What stays is a row with
status `withdrawn` for each file, with the hash of its bytes and the signature of its pictures, by
which the next refresh knows the film again, wherever it turns up.
"""

from collections import Counter

from infra.errors import InputError
from infra.lake import Lake, quote_all
from ingest import quarantine
from ingest.ledger import withdrawn
from ingest.quarantine import Row


def same_films(lake: Lake, row: Row) -> list[Row]:
    """All source rows of the film that `row` is a file of.

    Raises:
        InputError: the file was never read, so there is nothing of it.
    """
    if row["source_id"] is None:
        raise InputError(f"{row['uri']} was never read, so nothing of it is in the lake")
    rows = lake.read("sources").to_pylist()
    group, size = {row["source_id"]}, 0
    while len(group) > size:
        size = len(group)
        for other in rows:
            pair = {other["source_id"], other["duplicate_of"]} - {None}
            if pair & group:
                group |= pair
    return [other for other in rows if other["source_id"] in group]


def clip_ids(lake: Lake, source_ids: list[str], releases: list[str]) -> list[str]:
    """Ids of all clips of these sources, in the lake as it is and in the releases."""
    where = f"source_id in ({quote_all(source_ids)})"
    found = set[str]()
    for release in (None, *releases):
        found.update(lake.read("clips", ["clip_id"], where, release)["clip_id"].to_pylist())
    return sorted(found)


def shown_elsewhere(lake: Lake, source_ids: list[str]) -> dict[str, int]:
    """How many clips of other films show the same as clips of these, by the film's id."""
    if "duplicate_of" not in lake.dataset("clips").schema.names:
        return {}  # of a version that did not compare clips, and no refresh has been since
    groups = set[str]()
    rows = lake.read("clips", ["clip_id", "source_id", "duplicate_of"], "status = 'accepted'")
    for row in (clips := rows.to_pylist()):
        if row["source_id"] in source_ids:
            groups.add(row["duplicate_of"] or row["clip_id"])
    return dict(
        Counter(
            row["source_id"]
            for row in clips
            if row["source_id"] not in source_ids
            and (row["duplicate_of"] or row["clip_id"]) in groups
        )
    )


def withdraw(lake: Lake, rows: list[Row]) -> None:
    """Mark these sources as withdrawn. From here on no refresh brings them back, and the next one
    would remove their clips itself."""
    lake.upsert("sources", [withdrawn(row) for row in rows])
    quarantine.release(lake, [row["uri"] for row in rows])
