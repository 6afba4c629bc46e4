"""Upkeep of the lake after a refresh: small tables in few files, indices where they pay.

Bytes of clips are never moved: their table grows by whole fragments and is not compacted.

Each act is one commit, so a process that is killed leaves the lake as it was before or after it;
files of an unfinished one belong to no version, and Lance removes them with old versions.
"""

from typing import Any

from infra.lake import Lake
from infra.search import VECTOR_INDEX

COMPACTED = ("sources", "clips", "captions", "quarantine")
MANY_FRAGMENTS = 16
"""Of a small table; every fragment costs each query a file or two to open."""
INDEXED_VECTORS = 65_536
"""Embeddings from which a vector index is: below, an exact search takes about a second."""
INDEXED_IDS = 1_000_000
"""Rows from which a table has an index over its clip ids, which is loaded whenever it is opened: 64
of 100,000 are found in 10 ms by a scan and in 15 by an index; of 3 million, four times as fast."""
BY_CLIP = ("clips", "clip_bytes", "latents")
ID_INDEX = "clip_ids"
ROWS_A_PARTITION = 256  # so many rows are compared one by one in each partition that is probed


def keep_up(lake: Lake) -> list[str]:
    """Compact what is scattered and bring indices up to date; returns what was done."""
    done = [f"compacted {table}" for table in COMPACTED if _compact(lake.dataset(table))]
    many = lake.count("clips", "embedding is not null") >= INDEXED_VECTORS
    if many and _index_vectors(lake.dataset("clips")):
        done.append("indexed embeddings")
    for table in BY_CLIP:
        if lake.count(table) >= INDEXED_IDS and _index_ids(lake.dataset(table)):
            done.append(f"indexed ids of {table}")
    return done


def _compact(dataset: Any) -> bool:
    if len(dataset.get_fragments()) <= MANY_FRAGMENTS:
        return False
    dataset.optimize.compact_files()
    return True


def _refresh(dataset: Any, name: str) -> bool | None:
    """Take rows written since into the index: whether there were any; None when there is none."""
    if all(index.name != name for index in dataset.describe_indices()):
        return None
    before = dataset.version
    dataset.optimize.optimize_indices()
    return bool(dataset.version != before)


def _index_ids(dataset: Any) -> bool:
    if (changed := _refresh(dataset, ID_INDEX)) is not None:
        return changed
    dataset.create_scalar_index("clip_id", "BTREE", name=ID_INDEX)
    return True


def _index_vectors(dataset: Any) -> bool:
    """IVF without quantization: distances stay exact, only far partitions are left out."""
    if (changed := _refresh(dataset, VECTOR_INDEX)) is not None:
        return changed
    dataset.create_index(
        "embedding",
        "IVF_FLAT",
        name=VECTOR_INDEX,
        metric="cosine",
        num_partitions=max(1, dataset.count_rows() // ROWS_A_PARTITION),
    )
    return True
