"""Erasing rows from the lake for good: from its present state, from every release, off the disk.

A delete in Lance only marks rows, and a tag keeps the files of its version. So each tagged version
that holds such rows, or hides any, gets a branch on which they are deleted and the files that held
them written anew; the tag moves there, and the versions that no tag names are removed with their
files. The lake's present state stays readable and writable meanwhile.

The price: every release keeps its own copy of the fragments (one flush of the ingest job, at most
some 64 MB and a film) that held an erased row.

https://lance.org/guide/tags_and_branches
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias

import pyarrow as pa

from infra.catalog import Catalog
from infra.lake import Lake, quote_all
from infra.releases import list_releases, restate

IDS_PER_DELETE = 500
JUDGED_BY = (
    "clip_id", "duplicate_of", "near_duplicates", "width", "height", "start_s", "end_s",
    "sharpness",
)  # fmt: skip

StandIns: TypeAlias = Callable[[Mapping[str, dict[str, Any]]], Mapping[str, str | None]]
"""`duplicate_of` anew of clips, by id, that lost the one that stood for them (of JUDGED_BY)."""
Mend: TypeAlias = Callable[[Any], None]


def erase(
    lake: Lake,
    catalog: Catalog,
    source_ids: Sequence[str],
    clip_ids: Sequence[str],
    stand_ins: StandIns,
    *,
    alone: bool = True,
) -> None:
    """Remove the clips of these sources with their captions, bytes and latents everywhere, and
    what releases say of the sources themselves (the present state says `withdrawn`).

    Args:
        stand_ins: Who stands for the clips that an erased one stood for.
        alone: No other process writes to the lake, so that files of no version at all, which a
            killed writer leaves, can go too. Lance removes those after seven days itself.
    """
    # Clips last: run again, their rows are what tells the ids of the rest.
    for table, column, ids, now in (
        ("latents", "clip_id", clip_ids, True),
        ("clip_bytes", "clip_id", clip_ids, True),
        ("captions", "clip_id", clip_ids, True),
        ("clips", "source_id", source_ids, True),
        ("sources", "source_id", source_ids, False),
    ):
        dataset = lake.dataset(table)
        mend = partial(_hand_on, clip_ids, stand_ins) if table == "clips" else _leave
        _erase_from_tags(dataset, column, ids, mend)
        _scrub(dataset, column, ids if now else [], mend)
        _remove_old_files(dataset, alone=alone)
    for release in list_releases(catalog):
        restate(lake, catalog, release.name)


def _erase_from_tags(dataset: Any, column: str, ids: Sequence[str], mend: Mend) -> None:
    tags = defaultdict(list)
    for name, tag in dataset.tags.list().items():
        tags[tag["branch"], tag["version"]].append(name)
    for (branch, version), names in tags.items():
        tagged = dataset.checkout_version((branch, version) if branch else version)
        if not _holds(tagged, column, ids) and not _fragments(tagged, hiding=True):
            continue
        name = branch or f"erased-{version}"
        if branch or name in dataset.branches.list():
            place = dataset.checkout_version((name, None))
        else:
            place = dataset.create_branch(name, version)
        _scrub(place, column, ids, mend)
        place = dataset.checkout_version((name, None))
        for tag in names:
            dataset.tags.update(tag, (name, place.version))


def _leave(_dataset: Any) -> None:
    """Nothing in this table names an erased row."""


def _hand_on(clip_ids: Sequence[str], stand_ins: StandIns, dataset: Any) -> None:
    """Let no clip that stays name an erased one as the best of its group."""
    if not set(JUDGED_BY) <= set(dataset.schema.names):
        return  # of a version that did not compare clips
    rows = dict[str, dict[str, Any]]()
    for first in range(0, len(clip_ids), IDS_PER_DELETE):
        where = _where("duplicate_of", clip_ids[first : first + IDS_PER_DELETE])
        found = dataset.to_table(columns=list(JUDGED_BY), filter=where).to_pylist()
        rows.update({row["clip_id"]: row for row in found})
    for clip_id in rows.keys() & set(clip_ids):
        del rows[clip_id]
    if rows:
        wanted = stand_ins(rows)
        columns = {"clip_id": list(wanted), "duplicate_of": list(wanted.values())}
        schema = pa.schema([dataset.schema.field(name) for name in columns])
        merge = dataset.merge_insert("clip_id").when_matched_update_all()
        merge.execute(pa.table(columns, schema=schema))


def _scrub(dataset: Any, column: str, ids: Sequence[str], mend: Mend) -> None:
    """Delete the rows, and write the fragments that hide deleted rows anew without them.

    Indices go, too: they hold words and vectors of deleted rows. Whoever needs one makes it anew.
    """
    for index in dataset.describe_indices():
        dataset.drop_index(index.name)
    mend(dataset)  # while the erased rows still tell a run after this one that it has to be done
    for first in range(0, len(ids), IDS_PER_DELETE):
        where = _where(column, ids[first : first + IDS_PER_DELETE])
        if dataset.count_rows(where):
            dataset.delete(where)
    if _fragments(dataset, hiding=True):
        dataset.optimize.compact_files(
            materialize_deletions_threshold=0.0,
            excluded_fragment_ids=_fragments(dataset, hiding=False),
        )


def _holds(dataset: Any, column: str, ids: Sequence[str]) -> bool:
    parts = (ids[first : first + IDS_PER_DELETE] for first in range(0, len(ids), IDS_PER_DELETE))
    return any(dataset.count_rows(_where(column, part)) for part in parts)


def _where(column: str, ids: Sequence[str]) -> str:
    return f"{column} in ({quote_all(ids)})"


def _fragments(dataset: Any, *, hiding: bool) -> list[int]:
    """Ids of the fragments that hide deleted rows, or of the others."""
    found = dataset.get_fragments()
    return [entry.fragment_id for entry in found if bool(entry.num_deletions) == hiding]


def _remove_old_files(dataset: Any, *, alone: bool) -> None:
    """Remove all versions that are neither the newest of their branch nor tagged.

    Branches first: what their older versions hold in the main data folder is in use until then.
    """
    places = [dataset.checkout_version((name, None)) for name in dataset.branches.list()]
    dataset.checkout_latest()
    for place in (*places, dataset):
        place.cleanup_old_versions(
            older_than=timedelta(0), delete_unverified=alone, error_if_tagged_old_versions=False
        )
